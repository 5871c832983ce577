//! Who may read direct messages and gift wraps: stored, live and counted alike.

use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

#[test]
fn gated_kinds_reach_those_they_name_alone() {
    let (alice, bob, carol) = (Author::new(1), Author::new(2), Author::new(3));
    let to_bob = bob.key().to_string();
    let tags: &[&[&str]] = &[&["p", &to_bob]];
    // (kind, who may read)
    let cases = [(4, "alice bob"), (1059, "bob"), (21059, "bob"), (1, "alice bob carol nobody")];
    for (kind, readers) in cases {
        let mut world = World::open_relay();
        let conns = [
            ("alice", world.agent(&alice)),
            ("bob", world.agent(&bob)),
            ("carol", world.agent(&carol)),
            ("nobody", world.client()),
        ];
        for (_, conn) in conns {
            world.ask(conn, json!(["REQ", "live", {"since": NOW}]));
        }
        let publisher = world.client();
        let event = alice.sign(kind, NOW, tags, "secret");
        assert_eq!(world.ask(publisher, json!(["EVENT", event]))[0][2], true);
        for (name, conn) in conns {
            let may = readers.contains(name);
            let live = world.take(conn).contains(&json!(["EVENT", "live", event]));
            assert_eq!(live, may, "live {kind} for {name}");
            let stored = kind != 21059 && may;
            for filter in
                [json!({"ids": [event.id]}), json!({"#p": [to_bob]}), json!({"authors": [alice.key()]}), json!({})]
            {
                let frames = world.ask(conn, json!(["REQ", "stored", filter]));
                assert_eq!(frames.len() > 1, stored, "stored {kind} for {name} by {filter}");
                let count = world.ask(conn, json!(["COUNT", "c", filter]))[0][2]["count"].clone();
                assert_eq!(count, u64::from(stored), "counted {kind} for {name} by {filter}");
            }
        }
    }
}

#[test]
fn who_asks_for_nothing_else_is_told_to_authenticate() {
    let mut world = World::open_relay();
    let conn = world.client();
    let reason = "auth-required: these kinds are served to those they name (NIP-42)";
    assert_eq!(world.ask(conn, json!(["REQ", "s", {"kinds": [4, 1059]}])), [json!(["CLOSED", "s", reason])]);
    assert_eq!(world.ask(conn, json!(["COUNT", "c", {"kinds": [1059]}])), [json!(["CLOSED", "c", reason])]);
    assert_eq!(world.ask(conn, json!(["REQ", "s", {"kinds": [4, 1]}])), [json!(["EOSE", "s"])]);
}

#[test]
fn a_key_proven_later_opens_the_gate() {
    let mut world = World::open_relay();
    let bob = Author::new(2);
    let (reader, writer) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "s", {}]));
    let wrap = |n| Author::new(1).sign(1059, NOW + n, &[&["p", &bob.key().to_string()]], "");
    world.ask(writer, json!(["EVENT", wrap(0)]));
    assert!(world.take(reader).is_empty());
    let auth = world.auth_event(&bob, reader);
    world.ask(reader, json!(["AUTH", auth]));
    world.ask(writer, json!(["EVENT", wrap(1)]));
    assert_eq!(world.take(reader), [json!(["EVENT", "s", wrap(1)])]);
}
