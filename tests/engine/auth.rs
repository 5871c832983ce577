//! NIP-42: nothing but AUTH works before AUTH, and AUTH cannot be faked or passed on.

use nexus::nostr::Event;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::{RELAY, World, config};

/// What a fresh connection is told about an AUTH that must fail; it stays unauthenticated.
fn refusal(make: impl Fn(&str) -> Event) -> String {
    let mut world = World::new(&[]);
    let conn = world.open();
    let challenge = world.take(conn)[0][1].as_str().unwrap().to_owned();
    let event = make(&challenge);
    let frames = world.ask(conn, json!(["AUTH", event]));
    let [frame] = frames.as_slice() else { panic!("one answer, not {frames:?}") };
    assert_eq!((&frame[0], &frame[1], &frame[2]), (&json!("OK"), &json!(event.id), &json!(false)));
    assert_eq!(world.stats()["connections"]["authenticated"], 0);
    assert_eq!(world.ask(conn, json!(["REQ", "s", {}]))[0][0], "CLOSED");
    frame[3].as_str().unwrap().to_owned()
}

#[test]
fn every_connection_gets_its_own_challenge() {
    let mut world = World::new(&[]);
    let (a, b) = (world.open(), world.open());
    let (a, b) = (world.take(a), world.take(b));
    assert_eq!((&a[0][0], &b[0][0]), (&json!("AUTH"), &json!("AUTH")));
    assert_ne!(a[0][1], b[0][1]);
}

#[test]
fn before_auth_nothing_else_works() {
    let mut world = World::new(&[]);
    let conn = world.client();
    let event = Author::new(1).note("hello");
    let reason = "auth-required: answer the AUTH challenge first (NIP-42)";
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, false, reason])]);
    assert_eq!(world.ask(conn, json!(["REQ", "s", {}])), [json!(["CLOSED", "s", reason])]);
    assert!(world.stored().is_empty());
    assert_eq!(world.stats()["subscriptions"], 0);
}

#[test]
fn after_auth_everything_works_and_several_keys_can_be_proven() {
    let mut world = World::new(&[]);
    let (alice, bob) = (Author::new(1), Author::new(2));
    let conn = world.agent(&alice);
    let second = world.auth_event(&bob, conn);
    assert_eq!(world.ask(conn, json!(["AUTH", second])), [json!(["OK", second.id, true, ""])]);
    let event = alice.note("hello");
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.ask(conn, json!(["REQ", "s", {}]))[1], json!(["EOSE", "s"]));
    assert_eq!(world.stats()["connections"]["authenticated"], 1);
    // A second try that fails takes nothing away.
    world.ask(conn, json!(["AUTH", alice.note("no auth event")]));
    assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
}

#[test]
fn what_an_auth_event_must_say() {
    let alice = Author::new(1);
    let sign = |time, tags: &[&[&str]]| alice.sign(22242, time, tags, "");
    let good = |c: &str| sign(NOW, &[&["relay", RELAY], &["challenge", c]]);
    assert_eq!(refusal(|_| good("another")), "invalid: challenge tag is not the challenge of this connection");
    assert_eq!(refusal(|_| good("")), "invalid: challenge tag is not the challenge of this connection");
    assert_eq!(
        refusal(|c| sign(NOW, &[&["relay", "wss://elsewhere.example"], &["challenge", c]])),
        "invalid: relay tag names another relay"
    );
    for relay in ["wss://nexus.example:8443", "ws://nexus.example", "wss://nexus.example.evil"] {
        let tagged = |c: &str| sign(NOW, &[&["relay", relay], &["challenge", c]]);
        assert_eq!(refusal(tagged), "invalid: relay tag names another relay", "{relay}");
    }
    for relay in ["https://nexus.example", "nexus.example", ""] {
        let tagged = |c: &str| sign(NOW, &[&["relay", relay], &["challenge", c]]);
        assert_eq!(refusal(tagged), "invalid: relay tag must be this relay's ws:// or wss:// URL", "{relay}");
    }
    for time in [NOW - 602, NOW + 602] {
        let reason = refusal(|c| sign(time, &[&["relay", RELAY], &["challenge", c]]));
        assert_eq!(reason, "invalid: created_at is more than 10 minutes from now; check your clock");
    }
    assert_eq!(
        refusal(|c| alice.sign(1, NOW, &[&["relay", RELAY], &["challenge", c]], "")),
        "invalid: AUTH takes an event of kind 22242"
    );
}

#[test]
fn a_forged_auth_event_proves_nothing() {
    let (alice, mallory) = (Author::new(1), Author::new(2));
    let good = |c: &str| alice.sign(22242, NOW, &[&["relay", RELAY], &["challenge", c]], "");
    // Signed by another key.
    let stolen = |c: &str| Event { sig: mallory.sign(22242, NOW, &[&["challenge", c]], "").sig, ..good(c) };
    assert_eq!(refusal(stolen), "invalid: sig is not the author's signature of the id");
    // The challenge changed after signing.
    let patched = |c: &str| Event { tags: good(c).tags, ..good("the relay in the middle's") };
    assert_eq!(refusal(patched), "invalid: id is not the sha256 of the event");
    // Somebody else's name on one's own signature.
    let renamed = |c: &str| {
        let own = mallory.sign(22242, NOW, &[&["relay", RELAY], &["challenge", c]], "");
        Event { pubkey: alice.key(), ..own }
    };
    assert_eq!(refusal(renamed), "invalid: id is not the sha256 of the event");
}

#[test]
fn relay_names_compare_by_host_and_port() {
    let alice = Author::new(1);
    let names = "ws://127.0.0.1:8787 ws://localhost:8787,wss://Nexus.Example/";
    for relay in
        ["ws://localhost:8787/", "wss://127.0.0.1:8787/any/path", "WSS://NEXUS.example:443", "wss://nexus.example."]
    {
        let mut world = World::new(&[("RELAY_URL", names)]);
        let conn = world.open();
        let challenge = world.take(conn)[0][1].as_str().unwrap().to_owned();
        let event = alice.sign(22242, NOW, &[&["relay", relay], &["challenge", &challenge]], "");
        assert_eq!(world.ask(conn, json!(["AUTH", event])), [json!(["OK", event.id, true, ""])], "{relay}");
    }
}

#[test]
fn auth_events_are_never_published() {
    let mut world = World::new(&[]);
    let alice = Author::new(1);
    let conn = world.agent(&alice);
    world.ask(conn, json!(["REQ", "all", {}]));
    let event = world.auth_event(&alice, conn);
    let answer = world.ask(conn, json!(["EVENT", event]));
    assert_eq!(
        answer,
        [json!(["OK", event.id, false, "invalid: kinds 22242 and 27235 prove a key and are never published"])]
    );
}

#[test]
fn a_connection_proves_as_many_keys_as_are_advertised() {
    let max = u32::try_from(config(&[]).document().limitation.max_keys).unwrap();
    assert_eq!(max, 16);
    let mut world = World::new(&[]);
    let conn = world.client();
    let mut prove = |n: u32| {
        let event = world.auth_event(&Author::numbered(n), conn);
        world.ask(conn, json!(["AUTH", event]))[0][3].as_str().unwrap().to_owned()
    };
    assert!((0..max).all(|n| prove(n).is_empty()));
    assert_eq!(prove(max), format!("restricted: a connection can prove {max} keys"));
    assert_eq!(prove(0), "", "a key that is proven can be proven again");
}
