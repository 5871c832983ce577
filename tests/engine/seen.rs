//! What the owner sees of who does too much: the last refusals, and who sends most.

use std::collections::BTreeSet;

use nexus::gateway::RequestId;
use nexus::message::{Refused, Seen};
use nexus::nostr::PublicKey;
use nexus::seam::Network;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::gateways::Gateways;
use crate::moderation::{Caller, owner, world};

fn key(number: u16) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    PublicKey::new(bytes)
}

fn network(number: u16) -> Network {
    Network::from([10, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]])
}

fn refused(at: u64, of: Option<u16>, from: u16, reason: &str) -> Refused {
    let (key, network) = (of.map(key), Some(network(from)));
    Refused { at, key, proven: of.is_some(), network, kind: None, reason: reason.to_owned(), times: 1 }
}

#[test]
fn who_was_refused_what_is_told_the_last_first() {
    let (spammer, other) = (Author::new(1), Author::new(2));
    let mut world = world(&[("AUTH_REQUIRED", "false")]);
    let mut owner = Caller(owner(), 0);
    let conn = world.agent(&spammer);
    let guest = world.open_from("192.0.2.7").unwrap();
    for n in 0..3 {
        let future = spammer.sign(1, NOW + 100_000 + n, &[], "");
        assert_eq!(world.publish(conn, &future)[2], false);
    }
    world.pass(5);
    let forged = nexus::nostr::Event { content: "not what was signed".to_owned(), ..other.note("x") };
    assert_eq!(world.publish(guest, &forged)[2], false);
    let listed = owner.list(&mut world, "listrefusals");
    assert_eq!(listed.len(), 2, "{listed:?}");
    // What is not signed by its author is not his.
    assert_eq!(
        listed[0],
        json!({"at": NOW + 5, "pubkey": other.key(), "proven": false, "ip": "192.0.2.7", "kind": 1, "reason": listed[0]["reason"], "times": 1})
    );
    assert!(listed[0]["reason"].as_str().unwrap().starts_with("invalid: "));
    let of = |name: &str| &listed[1][name];
    assert_eq!((of("pubkey"), of("proven"), of("times")), (&json!(spammer.key()), &json!(true), &json!(3)));
    assert!(!listed.iter().any(|line| line.to_string().contains("not what was signed")));
}

#[test]
fn what_is_asked_of_everybody_is_no_refusal_and_who_is_turned_away_is() {
    let mut world = world(&[]);
    let mut owner = Caller(owner(), 0);
    let guest = world.open();
    assert_eq!(world.publish(guest, &Author::new(1).note("x"))[2], false);
    assert_eq!(owner.list(&mut world, "listrefusals"), Vec::<Value>::new());
    owner.does(&mut world, "blockip", json!(["192.0.2.0/24"]));
    assert_eq!(world.may_open("192.0.2.9").unwrap_err().status, 403);
    let listed = owner.list(&mut world, "listrefusals");
    assert_eq!((&listed[0]["ip"], &listed[0]["pubkey"]), (&json!("192.0.2.9"), &Value::Null));
}

#[test]
fn who_sends_most_comes_first_by_key_and_by_network() {
    let (much, little) = (Author::new(1), Author::new(2));
    let mut world = world(&[("AUTH_REQUIRED", "false")]);
    let mut owner = Caller(owner(), 0);
    let (one, two) = (world.agent(&much), world.agent(&little));
    let guest = world.open_from("192.0.2.7").unwrap();
    for n in 0..20 {
        assert_eq!(world.publish(one, &much.note(&n.to_string()))[2], true);
    }
    assert_eq!(world.publish(two, &little.note("x"))[2], true);
    for n in 0..5 {
        assert_eq!(world.publish(guest, &Author::new(50).note(&n.to_string()))[2], true);
    }
    let listed = owner.list(&mut world, "listsenders");
    let of = |line: &Value| (line["pubkey"].clone(), line["ip"].clone(), line["events"].clone());
    let keys: Vec<_> = listed.iter().filter(|line| line["ip"].is_null()).map(of).collect();
    let (null, much, little) = (Value::Null, json!(much.key()), json!(little.key()));
    assert_eq!(keys, [(much, null.clone(), json!(20)), (little, null.clone(), json!(1))]);
    let guests: Vec<_> = listed.iter().map(of).filter(|(_, ip, _)| ip == "192.0.2.7").collect();
    assert_eq!(guests, [(null, json!("192.0.2.7"), json!(5))]);
    assert!(listed[0]["bytes"].as_u64().unwrap() > 4000);
    // After an hour nobody has sent anything lately.
    world.pass(3700);
    assert_eq!(owner.list(&mut world, "listsenders"), Vec::<Value>::new());
}

#[test]
fn both_are_told_of_all_gateways() {
    let own = owner().key().to_string();
    for seed in 0..4 {
        let chance = &mut Chance::new(seed);
        let mut all = Gateways::with(3, 1 + seed as usize % 2, &[("RELAY_PUBKEY", &own)]);
        let (bad, good) = (Author::new(1), Author::new(2));
        all.prove(0, &bad);
        all.prove(1, &good);
        for n in 0..4 {
            all.ask(0, json!(["EVENT", bad.sign(1, NOW + 100_000 + n, &[], "")]));
            all.ask(1, json!(["EVENT", good.sign(1, NOW, &[], &n.to_string())]));
        }
        // A second passes, in which gateways tell what they know.
        all.stats(2);
        let mut owner = Caller(owner(), 0);
        let mut ask = |method| {
            let input = owner.input(RequestId(9), method, json!([]));
            all.input(2, input);
            all.settle(chance);
            all.answers.pop().unwrap()["result"].as_array().unwrap().clone()
        };
        let senders = ask("listsenders");
        let events = |key: PublicKey| {
            senders.iter().find(|line| line["pubkey"] == json!(key)).map(|line| line["events"].clone())
        };
        assert_eq!(
            [events(bad.key()), events(good.key())],
            [Some(json!(4)), Some(json!(4))],
            "seed {seed}: {senders:?}"
        );
        let refusals = ask("listrefusals");
        assert_eq!((refusals.len(), &refusals[0]["times"]), (1, &json!(4)), "seed {seed}: {refusals:?}");
    }
}

#[test]
fn whoever_comes_memory_is_bounded_and_who_is_refused_often_takes_no_place_of_others() {
    let mut seen = Seen::default();
    seen.refused(refused(1, Some(1), 1, "blocked: one"));
    for n in 0..100_000 {
        seen.refused(refused(2 + n, None, 2, &format!("rate-limited: retry in {n} s, {}", "\u{e9}".repeat(500))));
    }
    assert_eq!(seen.refusals().count(), 2);
    let last = seen.refusals().next().unwrap();
    assert_eq!((last.at, last.times), (100_001, 100_000));
    assert!(last.reason.len() <= 200);
    // Another prefix, another network and another key are others.
    seen.refused(refused(100_002, None, 2, "invalid: x"));
    seen.refused(refused(100_003, None, 3, "invalid: x"));
    seen.refused(refused(100_004, Some(2), 2, "invalid: x"));
    assert_eq!(seen.refusals().count(), 5);
    for n in 0..10_000 {
        seen.refused(refused(100_005 + u64::from(n), Some(n), n, "invalid: x"));
    }
    assert_eq!(seen.refusals().count(), 200);
    assert!(seen.refusals().map(|one| one.at).is_sorted_by(|a, b| a >= b));
    let told = seen.told();
    assert_eq!(told.refusals().count(), 50);
    assert_eq!(told.refusals().next(), seen.refusals().next());
    let bytes = postcard::to_allocvec(&told).unwrap().len();
    assert!(bytes < 20_000, "{bytes} bytes");
    // What comes from elsewhere takes its place by its time.
    let mut other = Seen::default();
    other.refused(refused(50, Some(9), 9, "pow: x"));
    other.add(&told);
    assert_eq!(other.refusals().last().unwrap().at, 50);
}

#[test]
fn a_heavy_sender_is_found_among_many_and_never_counted_too_high() {
    let mut seen = Seen::default();
    for n in 0..20_000_u16 {
        seen.sent(Some(key(n)), None, 1, 300, NOW);
        if n % 10 == 0 {
            seen.sent(Some(key(60_000)), None, 1, 300, NOW);
            seen.sent(None, Some(network(7)), 0, 5000, NOW);
        }
    }
    let senders = seen.senders(NOW);
    assert!(senders.len() <= 64);
    let place = |key, network| senders.iter().position(|one| (one.key, one.network) == (key, network));
    assert!(place(Some(key(60_000)), None).unwrap() < 3 && place(None, Some(network(7))).unwrap() < 3);
    let heavy = senders.iter().find(|one| one.key == Some(key(60_000))).unwrap();
    assert!((1900..=2000).contains(&heavy.events) && heavy.bytes == 300 * heavy.events, "{heavy:?}");
    assert!(
        senders.iter().filter(|one| one.key != Some(key(60_000)) && one.network.is_none()).all(|one| one.events == 1)
    );
    let known: BTreeSet<_> = senders.iter().map(|one| (one.key, one.network)).collect();
    assert_eq!(known.len(), senders.len());
    // The time before is told, too, and what is older is forgotten.
    seen.sent(Some(key(1)), None, 1, 10, NOW + 1800);
    assert!(seen.senders(NOW + 1801).iter().any(|one| one.key == Some(key(60_000))));
    assert!(seen.senders(NOW + 3601).iter().all(|one| one.key == Some(key(1))));
}
