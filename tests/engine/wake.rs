//! Hibernation and resets: all that the engine holds comes back.

use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::sqlite::Sqlite;
use crate::common::world::{Fault, World};

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
fn a_req_that_was_being_answered_is_answered_after_the_reset() {
    let mut world = World::open_relay();
    let (reader, writer) = (world.client(), world.client());
    let event = Author::new(1).note("stored");
    world.ask(writer, json!(["EVENT", event]));
    world.say(reader, json!(["REQ", "s", {}]));
    world.say(reader, json!(["REQ", "closed", {}]));
    world.reset(false);
    world.say(reader, json!(["CLOSE", "closed"]));
    world.settle();
    let answer = [json!(["EVENT", "s", event]), json!(["EOSE", "s"])];
    assert_eq!(world.take(reader), answer);
    world.reset(false);
    world.settle();
    world.pass(60);
    assert!(world.take(reader).is_empty());
    assert_eq!(world.ask(reader, json!(["REQ", "s", {}])), answer);
}

#[test]
fn the_time_of_a_read_goes_on_over_a_reset() {
    let mut world = World::open_relay();
    let (reader, other) = (world.client(), world.client());
    world.broken = true;
    world.ask(reader, json!(["REQ", "s", {}]));
    world.pass(15);
    world.ask(other, json!(["REQ", "s", {}]));
    world.reset(false);
    world.answer_all();
    world.pass(14);
    assert!(world.take(reader).is_empty());
    world.reset(false);
    world.answer_all();
    world.pass(2);
    let reason = "error: stored events could not be read: disk on fire; try again";
    assert_eq!(world.take(reader), [json!(["CLOSED", "s", reason])]);
    assert!(world.take(other).is_empty());
    world.broken = false;
    world.pass(6);
    assert_eq!(world.take(other), [json!(["EOSE", "s"])]);
}

#[test]
fn what_waited_behind_a_read_when_memory_was_lost_is_told() {
    let mut world = World::new(&[]);
    let (alice, bob) = (Author::new(1), Author::new(2));
    let (writer, reader) = (world.agent(&alice), world.agent(&bob));
    let notes: Vec<_> = (0..3).map(|n| alice.sign(1, NOW - 10 + n, &[], &n.to_string())).collect();
    let (other, secret) = (alice.sign(7, NOW, &[], ""), alice.sign(4, NOW, &[&["p", &alice.key().to_string()]], ""));
    world.ask(writer, json!(["EVENT", notes[0]]));
    world.say(reader, json!(["REQ", "s", {"kinds": [1, 4], "limit": 1}]));
    for event in [&notes[1], &other, &secret, &notes[2]] {
        world.say(writer, json!(["EVENT", event]));
        world.commit_all();
    }
    assert_eq!(world.take(writer).iter().filter(|frame| frame[2] == true).count(), 4);
    world.reset(false);
    world.settle();
    let event = |n: usize| json!(["EVENT", "s", notes[n]]);
    assert_eq!(world.take(reader), [event(2), json!(["EOSE", "s", ["more"]]), event(1)]);
}

#[test]
fn what_was_stored_while_memory_was_lost_is_told_once() {
    let mut world = World::open_relay();
    let conns: Vec<_> = (0..3).map(|_| world.client()).collect();
    let (reader, writer) = (conns[1], conns[2]);
    world.ask(reader, json!(["REQ", "live", {}]));
    let event = |n: u64| Author::new(1).note(&n.to_string());
    for n in 0..10 {
        if n == 5 {
            // Whoever it is that remembers what was told.
            world.close(conns[0]);
        }
        world.say(writer, json!(["EVENT", event(n)]));
        if n % 2 == 0 {
            world.settle();
        }
        // The commit lands, and its answer is lost.
        world.reset(true);
        world.settle();
        assert_eq!(world.take(reader), [json!(["EVENT", "live", event(n)])], "{n}");
        world.reset(true);
        world.settle();
        assert!(world.take(reader).is_empty());
    }
}

#[test]
fn an_unreadable_attachment_closes_its_connection_alone() {
    let mut world = World::open_relay();
    let (a, b) = (world.client(), world.client());
    for text in [
        "",
        "{",
        r#"{"v":99,"c":"","k":[],"s":[]}"#,
        r#"{"v":4,"n":null,"o":0,"c":"","k":[],"f":null,"p":{},"l":[],"q":[],"t":null,"s":[["s",null,[{"ids":5}],[]]]}"#,
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

#[test]
fn a_minute_has_its_point_in_the_history_although_its_first_write_failed() {
    for fault in [Fault::Fails, Fault::LandsAndFails] {
        let mut world = World::open_relay();
        let conn = world.client();
        for n in 0..4 {
            world.faults.extend([fault]);
            let frames = world.ask(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]));
            assert_eq!(frames[0][2], true, "{fault:?}");
            world.now += 60_000;
        }
        assert_eq!(world.column("SELECT count(*) || '' FROM history"), ["4"], "{fault:?}");
    }
}

#[test]
fn an_idle_relay_that_has_nothing_to_remove_sets_no_alarm() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.ask(conn, json!(["EVENT", Author::new(1).note("for ever")]));
    world.alarm = None;
    for _ in 0..3 {
        world.reset(true);
        world.settle();
        assert_eq!(world.alarm, None);
        world.now += 3_600_000;
    }
    // What expires in a month is waited for as long.
    let month = world.now + 30 * 86_400_000;
    let until = (month / 1000).to_string();
    world.ask(conn, json!(["EVENT", Author::new(1).sign(1, world.now / 1000, &[&["expiration", &until]], "")]));
    world.alarm = None;
    world.reset(true);
    world.settle();
    assert_eq!(world.alarm.map(|at| at / 1000), Some(month / 1000));
}

/// What does not fit a socket's attachment is kept in a while; until then a loss of memory closes the connection.
#[test]
fn many_filters_are_remembered_in_a_while() {
    for (seconds, lives) in [(0, false), (9, false), (11, true)] {
        let mut world = World::open_relay();
        let (reader, writer) = (world.client(), world.client());
        let ids: Vec<String> = (0..1000).map(|n| format!("{n:064x}")).collect();
        world.ask(reader, json!(["REQ", "large", {"ids": ids, "limit": 0}]));
        world.ask(reader, json!(["REQ", "small", {"kinds": [1], "limit": 0}]));
        world.pass(seconds);
        world.reset(true);
        world.settle();
        let note = Author::new(1).note("hello");
        assert_eq!(world.ask(writer, json!(["EVENT", note]))[0][2], true);
        let heard = world.take(reader);
        let closed = json!(["(closed)", 1012, "the relay lost this connection's state; reconnect"]);
        let expected = if lives { json!(["EVENT", "small", note]) } else { closed };
        assert_eq!(heard, [expected], "after {seconds} s");
    }
}

#[test]
fn after_a_database_was_set_back_what_is_stored_is_told_once() {
    let mut world = World::open_relay();
    let conns: Vec<_> = (0..3).map(|_| world.client()).collect();
    let (reader, writer) = (conns[1], conns[2]);
    let event = |n: u64| Author::new(1).note(&n.to_string());
    (0..20).for_each(|n| assert_eq!(world.publish(writer, &event(n))[2], true));
    world.ask(reader, json!(["REQ", "live", {"limit": 0}]));
    world.db = Sqlite::new();
    world.reset(true);
    world.settle();
    for n in 20..24 {
        world.say(writer, json!(["EVENT", event(n)]));
        // The commit lands, and its answer is lost.
        world.reset(true);
        world.settle();
        assert_eq!(world.take(reader), [json!(["EVENT", "live", event(n)])], "{n}");
        world.reset(true);
        world.settle();
        assert!(world.take(reader).is_empty(), "{n}");
    }
}
