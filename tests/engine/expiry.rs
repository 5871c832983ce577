//! Expiration (NIP-40): not taken, not served, and removed in the end.

use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

#[test]
fn expired_or_malformed_on_arrival_is_refused() {
    let mut world = World::open_relay();
    let conn = world.client();
    let expiring = |kind, at: &str| Author::new(1).sign(kind, NOW, &[&["expiration", at]], "");
    let malformed = "invalid: expiration tag must be a Unix time in seconds, digits alone";
    let cases = [
        (expiring(1, &NOW.to_string()), "invalid: the event has expired"),
        (expiring(1, "1"), "invalid: the event has expired"),
        (expiring(1, "soon"), malformed),
        (expiring(1, "-5"), malformed),
        (expiring(1, "1e9"), malformed),
        (expiring(1, &format!("+{}", NOW + 60)), malformed),
        (expiring(1, &format!("0{}", NOW + 60)), malformed),
        (Author::new(1).sign(1, NOW, &[&["expiration"]], ""), malformed),
    ];
    for (event, reason) in cases {
        assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, false, reason])]);
    }
    assert!(world.stored().is_empty());
}

#[test]
fn an_event_is_served_until_the_second_it_expires_and_then_removed() {
    let mut world = World::open_relay();
    let conn = world.client();
    let author = Author::new(1);
    let until = (NOW + 60).to_string();
    let event = author.sign(5050, NOW, &[&["expiration", &until], &["t", "x"]], "");
    world.ask(conn, json!(["EVENT", event]));
    world.ask(conn, json!(["EVENT", author.sign(1, NOW, &[&["t", "x"]], "stays")]));
    let filters = [
        json!({"kinds": [5050]}),
        json!({"ids": [event.id]}),
        json!({"#t": ["x"], "kinds": [5050]}),
        json!({"authors": [author.key()], "kinds": [5050]}),
        json!({"kinds": [5050], "since": NOW, "limit": 1}),
    ];
    for (second, count) in [(NOW + 59, 1), (NOW + 60, 0), (NOW + 61, 0)] {
        world.now = second * 1000;
        for filter in &filters {
            assert_eq!(world.ask(conn, json!(["REQ", "s", filter])).len(), count + 1, "{filter} at {second}");
            world.now = second * 1000;
            assert_eq!(world.ask(conn, json!(["COUNT", "c", filter]))[0][2]["count"], count, "{filter} at {second}");
            world.now = second * 1000;
        }
    }
    assert_eq!(world.stored().len(), 2);
    world.pass(2 * 3600);
    assert_eq!(world.stored().len(), 1);
    assert_eq!(world.column("SELECT tag FROM tags"), ["743d78"]);
}

#[test]
fn the_relay_wakes_for_the_next_expiry_and_not_without_one() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.ask(conn, json!(["EVENT", Author::new(1).note("for ever")]));
    // After a wake it looks once.
    world.pass(3600);
    assert_eq!(world.alarm, None);
    for days in [1, 3] {
        let at = (NOW + days * 86_400).to_string();
        world.ask(conn, json!(["EVENT", Author::new(1).sign(1, NOW, &[&["expiration", &at]], "")]));
    }
    for expected in [2, 1] {
        while world.stored().len() > expected {
            assert!(world.alarm.is_some());
            world.pass(3600);
        }
    }
    for _ in 0..3 {
        world.pass(3600);
    }
    assert_eq!(world.alarm, None);
}

#[test]
fn more_than_one_step_is_removed_and_a_failure_is_tried_again() {
    let mut world = World::open_relay();
    let conn = world.client();
    let at = (NOW + 60).to_string();
    for n in 0..500 {
        world.say(conn, json!(["EVENT", Author::new(1).sign(1, NOW, &[&["expiration", &at]], &n.to_string())]));
    }
    world.settle();
    world.faults.extend([crate::common::world::Fault::Fails]);
    world.pass(7200);
    assert!(world.stored().len() >= 300);
    world.pass(120);
    assert!(world.stored().is_empty());
}

#[test]
fn ephemeral_events_whose_time_is_over_are_not_delivered() {
    let mut world = World::open_relay();
    let (conn, listener) = (world.client(), world.client());
    world.ask(listener, json!(["REQ", "live", {"kinds": [20_001]}]));
    let until = |at: u64| Author::new(1).sign(20_001, NOW, &[&["expiration", &at.to_string()]], "");
    let (over, open) = (until(NOW - 60), until(NOW + 60));
    let frames = world.ask(conn, json!(["EVENT", over]));
    assert_eq!(frames, [json!(["OK", over.id, false, "invalid: the event has expired"])]);
    assert!(world.take(listener).is_empty());
    world.ask(conn, json!(["EVENT", open]));
    assert_eq!(world.take(listener), [json!(["EVENT", "live", open])]);
}

#[test]
fn what_landed_unknown_is_removed_too() {
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).sign(1, NOW, &[&["expiration", &(NOW + 30).to_string()]], "");
    world.say(conn, json!(["EVENT", event]));
    world.lose();
    assert_eq!(world.take(conn)[0][2], false);
    assert_eq!(world.stored().len(), 1);
    world.pass(60);
    assert!(world.stored().is_empty());
}

/// The operator takes long messages (as he may): a gift wrap for many has its readers beside its tags.
#[test]
fn what_one_event_has_can_always_be_removed() {
    let settings = [("AUTH_REQUIRED", "false"), ("MAX_MESSAGE_LENGTH", "1000000"), ("MAX_EVENT_TAGS", "10000")];
    for expires in [true, false] {
        let mut world = World::new(&settings);
        let conn = world.client();
        let (author, friend) = (Author::new(1), Author::new(2));
        let readers: Vec<String> = (0..7200).map(|n| format!("{n:064x}")).collect();
        let at = (NOW + 60).to_string();
        let more: &[&[&str]] = if expires { &[&["expiration", &at]] } else { &[] };
        let wrap = author.sign_list(1059, more, "p", &readers, "");
        assert_eq!(world.publish(conn, &wrap)[2], true);
        if !expires {
            assert_eq!(world.publish(conn, &author.delete(&[wrap]))[2], true, "its author deletes one event");
            continue;
        }
        let at = (NOW + 61).to_string();
        let small = friend.sign(1, NOW, &[&["expiration", &at]], "");
        assert_eq!(world.publish(conn, &small)[2], true);
        world.pass(4000);
        (0..100).for_each(|_| world.pass(60));
        let left = world.column("SELECT cast(kind AS TEXT) FROM events");
        assert!(!left.contains(&"1".to_owned()), "what expired beside it is removed: {left:?}");
        assert!(left.is_empty(), "it is removed itself: {left:?}");
    }
}
