//! Hibernation and resets: all that the engine holds comes back.

use serde_json::json;

use crate::common::events::Author;
use crate::common::world::World;

#[test]
fn subscriptions_and_authentication_survive() {
    let mut world = World::new(&[]);
    let alice = Author::new(1);
    let (reader, writer) = (world.agent(&alice), world.agent(&alice));
    let locked = world.client();
    world.ask(reader, json!(["REQ", "live", {"kinds": [1], "#t": ["\"x\""]}, {"kinds": [7], "limit": 3}]));
    world.ask(reader, json!(["REQ", "gone", {}]));
    world.ask(reader, json!(["CLOSE", "gone"]));
    world.reset(false);
    world.settle();
    assert!(world.take(reader).is_empty(), "waking is not felt by a client");
    let event = alice.sign(1, world.now / 1000, &[&["t", "\"x\""]], "");
    assert_eq!(world.ask(writer, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
    assert_eq!(world.ask(locked, json!(["REQ", "s", {}]))[0][0], "CLOSED");
    // The challenge of before still holds.
    let auth = world.auth_event(&alice, locked);
    assert_eq!(world.ask(locked, json!(["AUTH", auth])), [json!(["OK", auth.id, true, ""])]);
    assert_eq!(world.stats()["connections"], json!({"open": 3, "authenticated": 3, "providers": 0, "opened": 0}));
}

#[test]
fn a_req_that_was_being_answered_is_closed_after_the_reset() {
    let mut world = World::open_relay();
    let (reader, writer) = (world.client(), world.client());
    let event = Author::new(1).note("stored");
    world.ask(writer, json!(["EVENT", event]));
    world.say(reader, json!(["REQ", "s", {}]));
    world.reset(false);
    world.settle();
    let reason = "error: the relay lost this request; send it again";
    assert_eq!(world.take(reader), [json!(["CLOSED", "s", reason])]);
    world.reset(false);
    world.settle();
    assert!(world.take(reader).is_empty());
    assert_eq!(world.ask(reader, json!(["REQ", "s", {}]))[0], json!(["EVENT", "s", event]));
}

#[test]
fn an_unreadable_attachment_closes_its_connection_alone() {
    let mut world = World::open_relay();
    let (a, b) = (world.client(), world.client());
    for text in [
        "",
        "{",
        r#"{"v":99,"c":"","k":[],"s":[]}"#,
        r#"{"v":4,"n":null,"o":0,"c":"","k":[],"f":null,"p":{},"l":[],"q":[],"s":[["s",false,[{"ids":5}]]]}"#,
    ] {
        world.corrupt(a, text);
        world.reset(false);
        world.settle();
        let closed = json!(["(closed)", 1012, "the relay lost this connection's state; reconnect"]);
        assert_eq!(world.take(a), [closed], "{text}");
        assert_eq!(world.ask(b, json!(["REQ", "s", {}])), [json!(["EOSE", "s"])]);
    }
}

#[test]
fn an_hour_of_the_history_is_one_row_however_often_the_relay_wakes() {
    let mut world = World::open_relay();
    let conn = world.client();
    for n in 0..6 {
        world.ask(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]));
        world.reset(true);
        world.settle();
        world.now += 900_000;
    }
    let hours = "SELECT (minute / 60) || ' ' || sum(hour) FROM history GROUP BY minute / 60";
    let hour = world.now / 3_600_000 - 1;
    assert_eq!(world.column(hours), [format!("{} 1", hour), format!("{} 1", hour + 1)]);
}
