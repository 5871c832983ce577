//! What a proven key sends faster than its rate waits for its turn, in order and not for long.

use nexus::gateway::ConnId;
use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

const LIMITS: [(&str, &str); 1] = [("RATE_LIMITS", "on")];
/// An agent publishes four events, and then one a second.
const SLOW: [(&str, &str); 2] =
    [("RATE_LIMITS", "on"), ("RATE_AGENT", "events 1/4 queries 100/100 bytes 10000000/10000000")];

/// An agent whose next event waits: the first of these that were sent, and its connection.
fn spent(world: &mut World, author: &Author) -> ConnId {
    let conn = world.agent(author);
    for n in 0..4 {
        assert_eq!(world.ask(conn, json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())]))[0][2], true);
    }
    conn
}

fn names(frames: &[Value]) -> Vec<String> {
    frames.iter().map(|frame| format!("{} {}", frame[0], frame[1]).replace('"', "")).collect()
}

#[test]
fn a_thousand_events_at_once_are_taken_for_two_seconds_and_then_refused() {
    let mut world = World::new(&LIMITS);
    let alice = Author::new(1);
    let conn = world.agent(&alice);
    let events: Vec<Event> = (0..1000).map(|n| alice.note(&n.to_string())).collect();
    for event in &events {
        world.say(conn, json!(["EVENT", event]));
    }
    world.settle();
    let at_once: Vec<Value> = world.take(conn);
    let taken = at_once.iter().filter(|ok| ok[2] == true).count();
    assert_eq!((taken, at_once.len()), (200, 960), "40 wait");
    let refused = at_once.iter().find(|ok| ok[2] == false).unwrap();
    assert_eq!(refused[3], "rate-limited: 20 events a second for one agent; retry in 3 s");
    world.pass(1);
    assert_eq!(world.frames(conn), 20);
    world.pass(1);
    // In order.
    let expected: Vec<Value> = events[200..240].iter().map(|event| json!(["OK", event.id, true, ""])).collect();
    assert_eq!(world.take(conn), expected);
    // The counts are saved, and nothing keeps an object in memory.
    world.pass(5);
    assert_eq!(world.timer, None);
}

#[test]
fn what_is_said_later_waits_behind_it() {
    let mut world = World::new(&SLOW);
    let alice = Author::new(1);
    let conn = spent(&mut world, &alice);
    let note = alice.note("waits");
    world.say(conn, json!(["EVENT", note]));
    world.say(conn, json!(["REQ", "s", {"ids": [note.id]}]));
    world.say(conn, json!(["COUNT", "c", {"ids": [note.id]}]));
    world.say(conn, json!(["REQ", "gone", {"kinds": [1]}]));
    world.say(conn, json!(["CLOSE", "gone"]));
    world.settle();
    assert_eq!(world.frames(conn), 0);
    // What is no message is answered at once, and other connections are not held up.
    world.say_text(conn, "x");
    assert_eq!(names(&world.take(conn)), ["NOTICE invalid: message must be a JSON array: expected value"]);
    let other = world.agent(&Author::new(2));
    assert_eq!(names(&world.ask(other, json!(["REQ", "s", {"ids": [note.id]}]))), ["EOSE s"]);
    world.pass(1);
    world.settle();
    let id = note.id;
    assert_eq!(names(&world.take(conn)), [format!("OK {id}"), "EVENT s".into(), "EOSE s".into(), "COUNT c".into()]);
    assert_eq!(world.stats()["subscriptions"], 2);
    assert_eq!(names(&world.ask(conn, json!(["REQ", "t", {"kinds": [7]}]))), ["EOSE t"]);
}

#[test]
fn answers_to_jobs_pass_by_what_waits() {
    let mut world = World::new(&SLOW);
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let asking = world.agent(&buyer);
    let request = buyer.sign(5050, NOW, &[], "");
    world.ask(asking, json!(["EVENT", request]));
    let conn = spent(&mut world, &provider);
    world.say(conn, json!(["EVENT", provider.note("waits")]));
    let feedback = |n: u8| provider.answer(7000, &request, &[&["status", "processing", &n.to_string()]]);
    for n in 0..4 {
        assert_eq!(world.ask(conn, json!(["EVENT", feedback(n)]))[0][2], true);
    }
    // They wait for each other, and what waits already is not held up by them.
    let [fifth, sixth] = [4, 5].map(feedback);
    assert!(world.ask(conn, json!(["EVENT", fifth])).is_empty());
    assert!(world.ask(conn, json!(["EVENT", sixth])).is_empty());
    world.pass(1);
    assert_eq!(world.frames(conn), 2);
    world.pass(1);
    let order: Vec<Value> = world.take(conn).iter().map(|ok| ok[1].clone()).collect();
    assert_eq!(order.len(), 3);
    assert_eq!(
        order.iter().filter(|id| **id == json!(fifth.id) || **id == json!(sixth.id)).collect::<Vec<_>>(),
        [&json!(fifth.id), &json!(sixth.id)]
    );
}

#[test]
fn what_waits_ends_with_its_connection() {
    let mut world = World::new(&SLOW);
    let alice = Author::new(1);
    let conn = spent(&mut world, &alice);
    let lost = alice.note("lost");
    world.say(conn, json!(["EVENT", lost]));
    world.close(conn);
    world.pass(2);
    assert_eq!(world.stored().len(), 4);
    assert_eq!((world.frames(conn), world.timer), (0, None));
    // And with the memory; the client hears nothing, as of all that was on its way.
    let conn = world.agent(&alice);
    world.pass(10);
    world.say(conn, json!(["REQ", "s", {"kinds": [1], "limit": 0}]));
    world.reset(true);
    world.settle();
    assert_eq!(world.ask(conn, json!(["EVENT", lost])).pop().unwrap(), json!(["OK", lost.id, true, ""]));
}

#[test]
fn a_req_that_is_refused_ends_those_of_its_name_that_wait() {
    let mut world =
        World::new(&[("RATE_LIMITS", "on"), ("RATE_AGENT", "events 1/4 queries 1/1 bytes 10000000/10000000")]);
    let conn = world.agent(&Author::new(1));
    let req = |id: &str, kind: u16| json!(["REQ", id, {"kinds": [kind]}]);
    assert_eq!(names(&world.ask(conn, req("open", 1))), ["EOSE open"]);
    assert!(world.ask(conn, req("s", 1)).is_empty());
    assert!(world.ask(conn, req("t", 1)).is_empty());
    assert_eq!(names(&world.ask(conn, req("s", 2))), ["CLOSED s"]);
    assert_eq!(names(&world.ask(conn, req("open", 2))), ["CLOSED open"]);
    world.pass(2);
    assert_eq!(names(&world.take(conn)), ["EOSE t"]);
    assert_eq!(world.stats()["subscriptions"], 1);
    // A message that is none ends it as well.
    world.pass(10);
    world.ask(conn, req("u", 1));
    assert!(world.ask(conn, req("v", 1)).is_empty());
    assert_eq!(names(&world.ask(conn, json!(["REQ", "v", 5]))), ["CLOSED v"]);
    world.pass(2);
    assert_eq!(world.frames(conn), 0);
}

#[test]
fn what_waits_takes_bounded_memory() {
    let mut world = World::new(&[
        ("RATE_LIMITS", "on"),
        ("RATE_AGENT", "events 20/1 queries 1/1 bytes 1000000000/1000000000"),
        ("RATE_NETWORK", "events 1000000/1000000 queries 1/1 bytes 1000000000/1000000000"),
    ]);
    let large = "x".repeat(90_000);
    // How many of twenty wait, and why others are refused; the first is taken.
    let send = |world: &mut World, conn, author: &Author, from: u8| {
        let mut waiting = 0;
        let mut refused = Vec::new();
        for n in from..from + 20 {
            let event = author.sign(1, NOW, &[], &format!("{n}{large}"));
            match world.ask(conn, json!(["EVENT", event])).pop() {
                None => waiting += 1,
                Some(ok) if ok[2] == true => assert_eq!(n, from),
                Some(ok) => refused.push(ok[3].as_str().unwrap().to_owned()),
            }
        }
        (waiting, refused)
    };
    let alice = Author::new(1);
    let conn = world.agent(&alice);
    let full = "rate-limited: more waits for its turn than there is room for; retry in 2 s";
    assert_eq!(send(&mut world, conn, &alice, 0), (5, vec![full.to_owned(); 14]));
    // All connections together have 2 MiB.
    let mut waiting = 5;
    for n in 0..20 {
        let author = Author::numbered(n);
        let conn = world.agent(&author);
        waiting += send(&mut world, conn, &author, 0).0;
    }
    assert!((22..=24).contains(&waiting), "{waiting}");
    // What has had its turn leaves room.
    world.pass(2);
    assert_eq!(world.stored().len(), waiting + 21);
    world.take(conn);
    assert_eq!(send(&mut world, conn, &alice, 100).0, 5);
}

#[test]
fn guests_are_refused_at_once() {
    let mut world = World::new(&[("RATE_LIMITS", "on"), ("AUTH_REQUIRED", "false")]);
    let conn = world.open_from("192.0.2.1").unwrap();
    world.take(conn);
    for n in 0..150 {
        world.say(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]));
    }
    world.settle();
    let frames = world.take(conn);
    assert_eq!((frames.iter().filter(|ok| ok[2] == true).count(), frames.len()), (100, 150));
    // The counts are saved, and nothing else is due.
    world.pass(5);
    assert_eq!((world.frames(conn), world.timer), (0, None));
}
