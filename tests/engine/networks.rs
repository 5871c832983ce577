//! All keys behind one address together: what they may do, and that none of them starves the others.

use nexus::gateway::ConnId;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

const PLENTY: &str = "events 100000/100000 queries 100000/100000 bytes 1000000000/1000000000";

/// A relay where a network may publish as much as one key may.
fn narrow(more: &[(&str, &str)]) -> World {
    let settings = [
        ("RATE_LIMITS", "on"),
        ("RATE_GUEST", PLENTY),
        ("RATE_AGENT", "events 20/200 queries 20/200 bytes 26214400/83886080"),
        ("RATE_NETWORK", "events 20/200 queries 20/200 bytes 26214400/83886080"),
    ];
    World::new(&[more, &settings].concat())
}

fn from(world: &mut World, ip: &str, author: &Author) -> ConnId {
    let conn = world.open_from(ip).unwrap();
    assert_eq!(world.prove(author, conn)[2], true);
    world.take(conn);
    conn
}

/// Each of these publishes an event every so many milliseconds, for so many seconds; how many were taken.
fn flood(world: &mut World, senders: &[(ConnId, Author)], kind: u16, every: u64, seconds: u64) -> usize {
    let (mut taken, end, mut n) = (0, world.now + seconds * 1000, 0);
    while world.now < end {
        let next = world.now + every;
        for (conn, author) in senders {
            n += 1;
            world.say(*conn, json!(["EVENT", author.sign(kind, NOW, &[], &format!("{} {n}", world.now))]));
        }
        world.settle();
        // The time of the store is not what is measured.
        world.now = next;
        world.pass(0);
        for conn in senders.iter().map(|(conn, _)| *conn) {
            taken += world.take(conn).iter().filter(|ok| ok[0] == "OK" && ok[2] == true).count();
        }
    }
    taken
}

#[test]
fn sixty_four_keys_on_four_connections_have_the_rate_of_their_network() {
    // An ephemeral event costs a tenth.
    for (kind, events) in [(1, "40/400"), (20_001, "4/40")] {
        let rates = format!("events {events} queries 20/200 bytes 26214400/83886080");
        let mut world = narrow(&[("RATE_NETWORK", &rates)]);
        let listener = world.agent(&Author::new(9));
        world.ask(listener, json!(["REQ", "live", {"kinds": [20_001], "limit": 0}]));
        let mut senders = Vec::new();
        for n in 0..64 {
            let author = Author::numbered(n);
            match n % 16 {
                0 => senders.push((from(&mut world, "192.0.2.1", &author), author)),
                _ => {
                    let conn = senders[n as usize / 16 * 16].0;
                    assert_eq!(world.prove(&author, conn)[2], true);
                    senders.push((conn, author));
                }
            }
            world.pass(1);
        }
        world.pass(20);
        // The burst, the rate, and what each may have in advance.
        let taken = flood(&mut world, &senders, kind, 250, 4);
        assert!((400..=400 + 40 * 4 + 400).contains(&taken), "{taken} of kind {kind}");
        let more = flood(&mut world, &senders, kind, 250, 10);
        assert!((300..=450).contains(&more), "{more} in ten seconds after {taken}, of kind {kind}");
    }
}

#[test]
fn a_hundred_keys_behind_one_address_cost_no_more_than_ten() {
    let mut world = World::new(&[("RATE_LIMITS", "on"), ("RATE_GUEST", PLENTY)]);
    for n in 0..100 {
        let author = Author::numbered(n);
        let conn = from(&mut world, "192.0.2.1", &author);
        for n in 0..200 {
            world.say(conn, json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())]));
        }
    }
    world.settle();
    let stored = world.stored().len();
    assert!((2000..=2600).contains(&stored), "{stored} at once");
}

#[test]
fn a_neighbour_beside_a_flooder_is_served() {
    for flooders in [1, 8] {
        let mut world = narrow(&[("RATE_NETWORK", "events 10/20 queries 10/20 bytes 26214400/83886080")]);
        let senders: Vec<(ConnId, Author)> = (0..flooders)
            .map(|n| {
                let author = Author::numbered(n);
                (from(&mut world, "192.0.2.1", &author), author)
            })
            .collect();
        let neighbour = Author::new(9);
        let conn = from(&mut world, "192.0.2.1", &neighbour);
        flood(&mut world, &senders, 1, 50, 4);
        for n in 0..5 {
            world.say(conn, json!(["EVENT", neighbour.sign(1, NOW, &[], &n.to_string())]));
            world.say(conn, json!(["REQ", "s", {"kinds": [7]}]));
            flood(&mut world, &senders, 1, 50, 2);
            let frames = world.take(conn);
            assert_eq!((frames.len(), &frames[0][2], &frames[1][0]), (2, &json!(true), &json!("EOSE")), "{frames:?}");
        }
    }
}

#[test]
fn the_reason_names_the_network() {
    let mut world = narrow(&[("RATE_NETWORK", "events 1/2 queries 1/2 bytes 1000000/1000000")]);
    let author = Author::new(1);
    let conn = from(&mut world, "192.0.2.1", &author);
    let reasons = |world: &mut World, message: &dyn Fn(u8) -> serde_json::Value| -> Vec<String> {
        let frames: Vec<_> = (0..20).flat_map(|n| world.ask(conn, message(n))).collect();
        frames.iter().filter_map(|frame| frame.as_array()?.last()?.as_str().map(str::to_owned)).collect()
    };
    let said = reasons(&mut world, &|n| json!(["EVENT", author.note(&n.to_string())]));
    assert_eq!(said.last().unwrap(), "rate-limited: 1 events a second for one network; retry in 3 s");
    world.pass(10);
    world.take(conn);
    let said = reasons(&mut world, &|n| json!(["REQ", n.to_string(), {"kinds": [1]}]));
    assert_eq!(said.last().unwrap(), "rate-limited: 1 queries a second for one network; retry in 3 s");
    // Another network is none of theirs.
    let author = Author::new(2);
    let other = from(&mut world, "192.0.2.2", &author);
    assert_eq!(world.ask(other, json!(["EVENT", author.note("x")]))[0][2], true);
    // Neither are its guests.
    assert!(world.open_from("192.0.2.1").is_some());
}

#[test]
fn bytes_of_all_keys_are_their_networks() {
    let mut world = narrow(&[("RATE_NETWORK", "events 20/200 queries 20/200 bytes 10000/1000000")]);
    let mut read = 0;
    for n in 0..16 {
        let author = Author::numbered(n);
        let conn = from(&mut world, "192.0.2.1", &author);
        for _ in 0..100 {
            world.say_text(conn, &format!("[\"CLOSE\",\"{}\"]", "x".repeat(10_000)));
            read += usize::from(world.take(conn).is_empty()) * 10_000;
        }
    }
    assert!((950_000..=1_700_000).contains(&read), "{read} of 16,000,000");
}

#[test]
fn trusted_networks_and_listed_keys_are_exempt() {
    let listed = Author::new(9);
    let settings = [
        ("RATE_AGENT", PLENTY),
        ("RATE_LISTED", PLENTY),
        ("LISTED_KEYS", &*listed.key().to_string()),
        ("TRUSTED_NETWORKS", "198.51.100.0/24, 2001:db8::7"),
    ];
    let mut world = narrow(&settings);
    let mut publish = |ip: &str, author: &Author| {
        let conn = from(&mut world, ip, author);
        for n in 0..500 {
            world.say(conn, json!(["EVENT", author.sign(1, NOW, &[], &format!("{ip} {n}"))]));
        }
        world.settle();
        world.take(conn).iter().filter(|ok| ok[2] == true).count()
    };
    assert_eq!(publish("192.0.2.1", &Author::new(1)), 200);
    assert_eq!(publish("198.51.100.7", &Author::new(2)), 500);
    assert_eq!(publish("2001:db8::1", &Author::new(3)), 500);
    assert_eq!(publish("192.0.2.1", &listed), 500);
    assert_eq!(publish("192.0.2.2", &Author::new(4)), 200);
}

#[test]
fn what_a_network_has_spent_is_remembered_through_a_loss_of_memory() {
    let mut world = narrow(&[("RATE_AGENT", PLENTY)]);
    let alice = Author::new(1);
    let conn = from(&mut world, "192.0.2.1", &alice);
    let publish = |world: &mut World, from: u64| {
        for n in from..from + 300 {
            world.say(conn, json!(["EVENT", alice.sign(1, NOW, &[], &n.to_string())]));
        }
        world.settle();
        world.take(conn).iter().filter(|ok| ok[2] == true).count()
    };
    assert_eq!(publish(&mut world, 0), 200);
    world.reset(false);
    world.settle();
    assert_eq!(publish(&mut world, 1000), 0);
}
