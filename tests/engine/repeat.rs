//! Reads that the store fails are repeated: CLOSED comes when the time is over, EOSE when it was read.

use nexus::gateway::ConnId;
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

const REASON: &str = "error: stored events could not be read: disk on fire; try again";

/// How many reads have failed.
fn failed(world: &World) -> usize {
    world.log.iter().filter(|line| line.contains("query failed")).count()
}

/// Says something and has the store fail its read, and nothing else.
fn ask_in_vain(world: &mut World, conn: ConnId, message: Value) {
    world.say(conn, message);
    world.broken = true;
    let answer = world.run_oldest(false).unwrap();
    world.broken = false;
    world.input(answer);
    assert!(world.take(conn).is_empty());
}

/// The timer comes, and what that asks of the store is answered. Milliseconds it was set for.
fn repeat(world: &mut World) -> u64 {
    let at = world.timer.take().unwrap();
    let pause = at - world.now;
    world.now = at;
    world.input(Input::Timer);
    world.settle();
    pause
}

#[test]
fn a_read_that_fails_is_repeated_after_a_pause_that_grows() {
    for (verb, times) in [("REQ", 1), ("REQ", 7), ("COUNT", 3)] {
        let mut world = World::open_relay();
        let conn = world.client();
        let event = Author::new(1).note("stored");
        world.ask(conn, json!(["EVENT", event]));
        world.broken = true;
        assert!(world.ask(conn, json!([verb, "s", {"kinds": [1]}])).is_empty());
        let pauses: Vec<u64> = (1..times).map(|_| repeat(&mut world)).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000][..times - 1]);
        assert!(world.take(conn).is_empty());
        world.broken = false;
        repeat(&mut world);
        let frames = world.take(conn);
        if verb == "REQ" {
            assert_eq!(frames, [json!(["EVENT", "s", event]), json!(["EOSE", "s", ["finish"]])]);
        } else {
            assert_eq!(frames, [json!(["COUNT", "s", {"count": 1}])]);
        }
        // A success makes the pause short again.
        world.broken = true;
        world.ask(conn, json!(["REQ", "t", {}]));
        assert_eq!(repeat(&mut world), 500);
    }
}

#[test]
fn a_read_that_fails_for_thirty_seconds_is_closed() {
    for verb in ["REQ", "COUNT"] {
        let mut world = World::open_relay();
        let conn = world.client();
        world.broken = true;
        assert!(world.ask(conn, json!([verb, "s", {}])).is_empty());
        world.pass(29);
        assert!(world.take(conn).is_empty());
        world.pass(2);
        assert_eq!(world.take(conn), [json!(["CLOSED", "s", REASON])]);
        world.broken = false;
        assert_eq!(world.stats()["subscriptions"], 0);
        world.pass(60);
        assert!(world.take(conn).is_empty());
        assert_eq!(world.ask(conn, json!(["REQ", "s", {}])), [json!(["EOSE", "s"])]);
    }
}

#[test]
fn live_events_of_meanwhile_come_once_and_after_what_was_read() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    let [first, second, third] = [1, 2, 3].map(|n| Author::new(1).sign(1, NOW - 10 + n, &[], &n.to_string()));
    ask_in_vain(&mut world, reader, json!(["REQ", "all", {"kinds": [1]}]));
    ask_in_vain(&mut world, reader, json!(["REQ", "newest", {"kinds": [1], "limit": 1}]));
    for event in [&first, &second] {
        world.ask(conn, json!(["EVENT", event]));
    }
    assert!(world.take(reader).is_empty());
    world.pass(1);
    let frames = world.take(reader);
    let of = |id: &str| frames.iter().filter(|frame| frame[1] == id).cloned().collect::<Vec<_>>();
    let event = |id: &str, event| json!(["EVENT", id, event]);
    assert_eq!(of("all"), [event("all", &second), event("all", &first), json!(["EOSE", "all", ["finish"]])]);
    assert_eq!(of("newest"), [event("newest", &second), json!(["EOSE", "newest", ["more"]]), event("newest", &first)]);
    world.ask(conn, json!(["EVENT", third]));
    assert_eq!(world.take(reader), [event("all", &third), event("newest", &third)]);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_repeated() {
    let mut world = World::open_relay();
    let (gone, closer, other) = (world.client(), world.client(), world.client());
    world.broken = true;
    for conn in [gone, closer, other] {
        world.ask(conn, json!(["REQ", "s", {}]));
    }
    world.broken = false;
    world.close(gone);
    world.say(closer, json!(["CLOSE", "s"]));
    // A new REQ of the id takes the place of the one that waits.
    assert_eq!(world.ask(other, json!(["REQ", "s", {"kinds": [1]}])), [json!(["EOSE", "s", ["finish"]])]);
    world.broken = true;
    world.pass(40);
    assert_eq!(failed(&world), 3);
    assert!(world.take(closer).is_empty() && world.take(other).is_empty());
}

#[test]
fn many_questions_are_repeated_a_few_at_a_time_with_one_pause() {
    let mut world = World::open_relay();
    let conns: Vec<ConnId> = (0..20).map(|_| world.client()).collect();
    world.broken = true;
    for conn in &conns {
        world.say(*conn, json!(["REQ", "s", {}]));
    }
    world.settle();
    assert_eq!(failed(&world), 20);
    assert_eq!(repeat(&mut world), 500 - 20 + 1, "since the first of them failed");
    assert_eq!(failed(&world), 24);
    let at = world.timer.take().unwrap();
    world.now = at;
    world.broken = false;
    world.input(Input::Timer);
    assert_eq!(world.waiting(), (0, 4));
    world.settle();
    for conn in conns {
        assert_eq!(world.take(conn), [json!(["EOSE", "s"])]);
    }
}

#[test]
fn who_asks_much_while_the_store_fails_has_a_bound() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.broken = true;
    for n in 0..200 {
        world.ask(conn, json!(["COUNT", n.to_string(), {}]));
    }
    // What waits is bounded as what stands in line is.
    assert_eq!(failed(&world), 128);
}
