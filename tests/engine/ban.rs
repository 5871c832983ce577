//! Who is blocked by the operator.

use nexus::gateway::ConnId;
use nexus::seam::Input;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::{World, config};

fn banned(settings: &[(&str, &str)]) -> Input {
    Input::Configured { config: Box::new(config(settings)) }
}

/// Whether a connection was ended for a ban.
fn ended(world: &mut World, conn: ConnId) -> bool {
    let end = world.take(conn).into_iter().find(|frame| frame[0] == "(closed)");
    end.is_some_and(|end| end[1] == 1008 && end[2].as_str().unwrap().starts_with("blocked: "))
}

#[test]
fn a_blocked_key_publishes_nothing_and_proves_nothing() {
    let (bad, good) = (Author::new(1), Author::new(2));
    let mut world = World::new(&[("BLOCKED_KEYS", &bad.key().to_string())]);
    let reason = "blocked: the operator of this relay has blocked this key";
    let guest = world.open();
    assert_eq!(world.prove(&bad, guest)[3], reason);
    // By whomever it is sent.
    let agent = world.agent(&good);
    for event in [bad.note("stored"), bad.sign(20_001, NOW, &[], "live")] {
        assert_eq!(world.ask(agent, json!(["EVENT", event])).pop().unwrap(), json!(["OK", event.id, false, reason]));
    }
    assert_eq!(world.ask(agent, json!(["EVENT", good.note("x")])).pop().unwrap()[2], true);
}

#[test]
fn a_ban_ends_what_is_open() {
    let (bad, good) = (Author::new(1), Author::new(2));
    let mut world = World::new(&[]);
    let (one, two) = (world.agent(&bad), world.agent(&good));
    let near = world.open_from("192.0.2.7").unwrap();
    let far = world.open_from("198.51.100.1").unwrap();
    world.input(banned(&[("BLOCKED_KEYS", &bad.key().to_string()), ("BLOCKED_NETWORKS", "192.0.2.0/24")]));
    assert_eq!([one, two, near, far].map(|conn| ended(&mut world, conn)), [true, false, true, false]);
    world.input(banned(&[]));
    assert!(world.open_from("192.0.2.7").is_some());
}

#[test]
fn a_blocked_network_is_turned_away_at_the_door() {
    for (networks, blocked, free) in [
        ("192.0.2.7", vec!["192.0.2.7", "::ffff:192.0.2.7"], vec!["192.0.2.8", "2001:db8::1"]),
        ("198.51.100.0/24, 10.0.0.0/8", vec!["198.51.100.200", "10.255.0.1"], vec!["198.51.101.1", "11.0.0.1"]),
        ("2001:db8::/32", vec!["2001:db8:ffff::1"], vec!["2001:db9::1", "192.0.2.7"]),
        // Whoever has one address of a /64 has all.
        ("2001:db8::5", vec!["2001:db8::5", "2001:db8::6"], vec!["2001:db8:0:1::5"]),
        ("0.0.0.0/0", vec!["192.0.2.7"], vec!["2001:db8::1"]),
    ] {
        let mut world = World::new(&[("BLOCKED_NETWORKS", networks)]);
        for ip in blocked {
            let away = world.may_open(ip).unwrap_err();
            let reason = "blocked: the operator of this relay has blocked this network";
            assert_eq!((away.status, away.reason.as_str()), (403, reason), "{ip} of {networks}");
        }
        for ip in free {
            assert!(world.may_open(ip).is_ok(), "{ip} of {networks}");
        }
    }
}

#[test]
fn a_ban_holds_for_who_was_asleep() {
    let bad = Author::new(1);
    let mut world = World::new(&[]);
    let conn = world.agent(&bad);
    world.settle();
    world.restart(config(&[("BLOCKED_KEYS", &bad.key().to_string())]));
    assert!(ended(&mut world, conn));
}
