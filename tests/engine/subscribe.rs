//! REQ and CLOSE: stored and live without a gap, nothing twice, always an EOSE or a CLOSED.

use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

fn publish(world: &mut World, events: &[&Event]) {
    let conn = world.client();
    for event in events {
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    }
}

#[test]
fn stored_events_then_eose_then_live_ones() {
    let mut world = World::open_relay();
    let author = Author::new(1);
    let (old, older, live) = (author.note("old"), author.sign(1, NOW - 1, &[], "older"), author.note("live"));
    publish(&mut world, &[&old, &older]);
    let reader = world.client();
    let frames = world.ask(reader, json!(["REQ", "s", {"kinds": [1]}]));
    assert_eq!(frames, [json!(["EVENT", "s", old]), json!(["EVENT", "s", older]), json!(["EOSE", "s", ["finish"]])]);
    publish(&mut world, &[&live]);
    assert_eq!(world.take(reader), [json!(["EVENT", "s", live])]);
    assert!(world.ask(reader, json!(["CLOSE", "s"])).is_empty());
    publish(&mut world, &[&author.note("later")]);
    assert!(world.take(reader).is_empty());
}

/// In every order of "the commit lands", "its answer arrives", "the query runs" and "its answer
/// arrives", a subscriber gets the event once.
#[test]
fn an_event_that_races_the_query_arrives_once() {
    for order in ["lAqa", "lqAa", "lqaA", "qlAa", "qlaA", "qalA"] {
        let mut world = World::open_relay();
        let (author, reader) = (world.client(), world.client());
        let event = Author::new(1).note("racing");
        world.say(author, json!(["EVENT", event]));
        world.say(reader, json!(["REQ", "s", {}]));
        let (mut commit, mut query) = (None, None);
        for step in order.chars() {
            match step {
                'l' => commit = world.run_oldest(true),
                'q' => query = world.run_oldest(false),
                'A' => world.input(commit.take().unwrap()),
                _ => world.input(query.take().unwrap()),
            }
        }
        world.settle();
        let mut frames = world.take(reader);
        frames.sort_by_key(Value::to_string);
        assert_eq!(frames, [json!(["EOSE", "s"]), json!(["EVENT", "s", event])], "order {order}");
    }
}

#[test]
fn live_events_wait_for_eose() {
    let mut world = World::open_relay();
    let reader = world.client();
    let (a, b) = (Author::new(1).note("a"), Author::new(1).sign(20_000, NOW, &[], "b"));
    publish(&mut world, &[&a]);
    world.say(reader, json!(["REQ", "s", {}]));
    let answer = world.run_oldest(false).unwrap();
    let author = world.client();
    assert_eq!(world.ask(author, json!(["EVENT", b])), [json!(["OK", b.id, true, ""])]);
    assert!(world.take(reader).is_empty());
    world.input(answer);
    assert_eq!(world.take(reader), [json!(["EVENT", "s", a]), json!(["EOSE", "s"]), json!(["EVENT", "s", b])]);
}

#[test]
fn a_new_req_replaces_the_subscription_of_its_id() {
    let mut world = World::open_relay();
    let reader = world.client();
    world.ask(reader, json!(["REQ", "s", {"kinds": [1]}]));
    world.ask(reader, json!(["REQ", "s", {"kinds": [2]}]));
    let (one, two) = (Author::new(1).note("1"), Author::new(1).sign(2, NOW, &[], "2"));
    publish(&mut world, &[&one, &two]);
    assert_eq!(world.take(reader), [json!(["EVENT", "s", two])]);
    assert_eq!(world.stats()["subscriptions"], 1);
    // While the older one's stored events are still being read: one EOSE, of the newer one.
    world.say(reader, json!(["REQ", "s", {"kinds": [1]}]));
    world.say(reader, json!(["REQ", "s", {"kinds": [2]}]));
    world.settle();
    assert_eq!(world.take(reader), [json!(["EVENT", "s", two]), json!(["EOSE", "s", ["finish"]])]);
    // A refused one ends it, too: CLOSED means closed.
    assert_eq!(world.ask(reader, json!(["REQ", "s", {"kinds": ["x"]}]))[0][0], "CLOSED");
    publish(&mut world, &[&Author::new(1).sign(2, NOW, &[], "3")]);
    assert!(world.take(reader).is_empty());
}

#[test]
fn subscriptions_are_per_connection_and_several_may_match() {
    let mut world = World::open_relay();
    let (a, b) = (world.client(), world.client());
    world.ask(a, json!(["REQ", "s", {"kinds": [1]}, {"authors": [Author::new(1).key()]}]));
    world.ask(a, json!(["REQ", "t", {"limit": 0}]));
    world.ask(b, json!(["REQ", "s", {"kinds": [2]}]));
    let event = Author::new(1).note("x");
    publish(&mut world, &[&event]);
    assert_eq!(world.take(a), [json!(["EVENT", "s", event]), json!(["EVENT", "t", event])]);
    assert!(world.take(b).is_empty());
    world.ask(b, json!(["CLOSE", "t"]));
    world.close(a);
    publish(&mut world, &[&Author::new(1).note("y")]);
    assert_eq!(world.stats()["subscriptions"], 1);
}

#[test]
fn live_matching_knows_every_condition() {
    let mut world = World::open_relay();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let job = "ab".repeat(32);
    let event = alice.sign(1063, NOW, &[&["e", &job], &["t", "x", "y"], &["T", "Z"], &["long", "v"]], "");
    let yes = [
        json!({}),
        json!({"ids": [event.id]}),
        json!({"authors": [alice.key(), bob.key()]}),
        json!({"kinds": [1, 1063]}),
        json!({"#e": [job], "#t": ["w", "x"], "kinds": [1063]}),
        json!({"#T": ["Z"]}),
        json!({"since": NOW, "until": NOW}),
        json!({"limit": 0}),
    ];
    let no = [
        json!({"ids": [job]}),
        json!({"ids": []}),
        json!({"authors": [bob.key()]}),
        json!({"kinds": [1]}),
        json!({"kinds": []}),
        json!({"#e": [job], "#t": ["y"]}),
        json!({"#t": ["Z"]}),
        json!({"#T": ["z"]}),
        json!({"since": NOW + 1}),
        json!({"until": NOW - 1}),
        json!({"ids": [event.id], "kinds": [1]}),
    ];
    let reader = world.client();
    for (n, filter) in yes.iter().chain(&no).enumerate() {
        world.ask(reader, json!(["REQ", format!("{n:02}"), filter]));
    }
    publish(&mut world, &[&event]);
    let expected: Vec<Value> = (0..yes.len()).map(|n| json!(["EVENT", format!("{n:02}"), event])).collect();
    assert_eq!(world.take(reader), expected);
}

#[test]
fn nothing_can_match_is_answered_at_once() {
    let mut world = World::open_relay();
    let reader = world.client();
    world.say(reader, json!(["REQ", "s", {"ids": []}]));
    world.say(reader, json!(["REQ", "t", {"limit": 0}]));
    assert_eq!(world.waiting(), (0, 0));
    // Of what was not asked for nothing is claimed.
    assert_eq!(world.take(reader), [json!(["EOSE", "s", ["finish"]]), json!(["EOSE", "t"])]);
}

#[test]
fn limits_are_exact_and_named() {
    let limits = [
        ("AUTH_REQUIRED", "false"),
        ("MAX_SUBSCRIPTIONS", "2"),
        ("MAX_FILTERS", "2"),
        ("MAX_FILTER_VALUES", "3"),
        ("MAX_SUBID_LENGTH", "4"),
        ("DEFAULT_LIMIT", "2"),
        ("MAX_LIMIT", "3"),
    ];
    let mut world = World::new(&limits);
    let conn = world.client();
    let eose = |id: &str| vec![json!(["EOSE", id])];
    let closed = |id: &str, why: &str| vec![json!(["CLOSED", id, why])];
    assert_eq!(world.ask(conn, json!(["REQ", "éééé", {}, {"kinds": [1, 2, 3]}])), eose("éééé"));
    let long = "restricted: subscription id is over 4 characters";
    assert_eq!(world.ask(conn, json!(["REQ", "12345", {}])), closed("12345", long));
    let many = "restricted: more than 2 filters in one REQ";
    assert_eq!(world.ask(conn, json!(["REQ", "b", {}, {}, {}])), closed("b", many));
    let values = "restricted: more than 3 values in one filter";
    assert_eq!(world.ask(conn, json!(["REQ", "b", {"kinds": [1, 2], "#t": ["x", "y"]}])), closed("b", values));
    assert_eq!(world.ask(conn, json!(["REQ", "b", {}])), eose("b"));
    let open = "restricted: more than 2 open subscriptions; CLOSE one";
    assert_eq!(world.ask(conn, json!(["REQ", "c", {}])), closed("c", open));
    // Replacing one is not one more.
    assert_eq!(world.ask(conn, json!(["REQ", "b", {"authors": []}, {}])), eose("b"));
    world.ask(conn, json!(["CLOSE", "b"]));
    for n in 0..5 {
        publish(&mut world, &[&Author::new(1).sign(2, NOW - n, &[], "")]);
    }
    world.take(conn);
    for (filter, count) in [(json!({}), 2), (json!({"limit": 1}), 1), (json!({"limit": 100}), 3)] {
        assert_eq!(world.ask(conn, json!(["REQ", "c", filter])).len(), count + 1, "{filter}");
    }
}

#[test]
fn filters_that_are_too_large_to_remember_are_refused() {
    let mut world = World::open_relay();
    let conn = world.client();
    let filter = json!({"#t": (0..800).map(|n| format!("{n:0128}")).collect::<Vec<_>>()});
    let answers: Vec<Value> =
        (0..4).map(|n| world.ask(conn, json!(["REQ", n.to_string(), filter])).remove(0)).collect();
    assert_eq!(answers.iter().filter(|answer| answer[0] == "EOSE").count(), 2);
    let reason = answers[3][2].as_str().unwrap();
    assert!(reason.starts_with("restricted: the filters of this connection"), "{reason}");
}
