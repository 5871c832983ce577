//! Limits and pages (NIP-01, NIP-67): newest first, whole seconds where they are small, nothing lost.

use std::collections::BTreeSet;

use nexus::gateway::ConnId;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

/// A relay with so many notes at each time, that knows of none of them without its store.
fn stored(notes: &[(u64, u64)]) -> (World, ConnId) {
    let (mut world, conn) = held(notes);
    world.reset(true);
    world.settle();
    world.take(conn);
    (world, conn)
}

/// The same of a relay that has them in memory, too.
fn held(notes: &[(u64, u64)]) -> (World, ConnId) {
    let mut world = World::open_relay();
    let conn = world.client();
    for (time, count) in notes {
        for n in 0..*count {
            world.say(conn, json!(["EVENT", Author::new(1).sign(1, *time, &[&["t", "x"]], &n.to_string())]));
            // What waits for the store takes bounded memory.
            if n % 1000 == 0 {
                world.settle();
            }
        }
    }
    world.settle();
    world.take(conn);
    (world, conn)
}

/// The events of an answer and its hint.
fn page(world: &mut World, conn: ConnId, filter: &Value) -> (Vec<Value>, Value) {
    let mut frames = world.ask(conn, json!(["REQ", "page", filter]));
    let eose = frames.pop().unwrap();
    assert_eq!(eose[0], "EOSE", "{eose}");
    (frames.into_iter().map(|frame| frame[2].clone()).collect(), eose[2].clone())
}

#[test]
fn hints_say_whether_all_was_sent() {
    let (mut world, conn) = stored(&[(NOW, 1), (NOW - 1, 1), (NOW - 2, 1)]);
    let cases = [
        (json!({"limit": 2}), 2, json!(["more"])),
        (json!({"kinds": [1], "limit": 3}), 3, json!(["finish"])),
        (json!({"kinds": [1], "limit": 4}), 3, json!(["finish"])),
        (json!({"kinds": [1], "limit": 0}), 0, Value::Null),
        (json!({"kinds": [1]}), 3, json!(["finish"])),
        // Who asks for every kind may have been kept from some, whatever there is.
        (json!({}), 3, Value::Null),
        (json!({"limit": 3}), 3, Value::Null),
        (json!({"kinds": [2]}), 0, json!(["finish"])),
    ];
    for (filter, count, hint) in cases {
        let (events, given) = page(&mut world, conn, &filter);
        assert_eq!((events.len(), given), (count, hint), "{filter}");
    }
    let frames = world.ask(conn, json!(["REQ", "two", {"limit": 1}, {"kinds": [9]}]));
    assert_eq!(frames.last(), Some(&json!(["EOSE", "two", ["more"]])));
    // What the first filter cuts off the second one sends: whether there is more was not looked at.
    let frames = world.ask(conn, json!(["REQ", "two", {"limit": 1}, {"kinds": [1]}]));
    assert_eq!((frames.len(), frames.last()), (4, Some(&json!(["EOSE", "two"]))));
}

#[test]
fn a_small_limit_is_exact_and_a_page_ends_with_a_whole_second_if_that_is_a_quarter_more() {
    for (mut world, conn) in [stored, held].map(|relay| relay(&[(NOW + 1, 60), (NOW, 90), (NOW - 1, 5)])) {
        small_limits_and_pages(&mut world, conn);
    }
}

fn small_limits_and_pages(world: &mut World, conn: ConnId) {
    let key = Author::new(1).key();
    for filter in [json!({"kinds": [1]}), json!({"kinds": [1], "#t": ["x"]}), json!({"kinds": [1], "authors": [key]})] {
        let limited = |limit: u64| {
            let mut filter = filter.clone();
            filter["limit"] = json!(limit);
            filter
        };
        for (limit, count, hint) in [
            (70, 70, "more"),
            (99, 99, "more"),
            (100, 100, "more"),
            (119, 119, "more"),
            (120, 150, "more"),
            (150, 150, "more"),
            (151, 155, "finish"),
            (155, 155, "finish"),
        ] {
            let (events, given) = page(world, conn, &limited(limit));
            assert_eq!((events.len(), given), (count, json!([hint])), "{filter} {limit}");
            let order: Vec<(u64, String)> =
                events.iter().map(|e| (u64::MAX - e["created_at"].as_u64().unwrap(), e["id"].to_string())).collect();
            assert!(order.is_sorted(), "{filter} {limit}");
        }
    }
}

#[test]
fn going_on_with_the_oldest_second_loses_nothing() {
    let times = [(NOW + 1, 130), (NOW, 190), (NOW - 1, 200), (NOW - 2, 45), (NOW - 3, 1)];
    let (mut world, conn) = stored(&times);
    let mut seen = BTreeSet::new();
    let mut until = NOW + 10;
    for pages in 1.. {
        let (events, hint) = page(&mut world, conn, &json!({"kinds": [1], "until": until, "limit": 200}));
        assert!(events.len() <= 250, "{} events", events.len());
        let before = seen.len();
        seen.extend(events.iter().map(|event| event["id"].to_string()));
        if hint == json!(["finish"]) {
            assert_eq!(pages, 5);
            break;
        }
        // A second that fills a page would come again.
        until = events.last().unwrap()["created_at"].as_u64().unwrap() - u64::from(seen.len() == before);
    }
    assert_eq!(seen.len() as u64, times.iter().map(|(_, count)| count).sum::<u64>());
}

#[test]
fn a_second_of_more_events_than_a_page_holds_is_cut_and_the_subscription_lives() {
    let (mut world, conn) = stored(&[(NOW + 1, 3), (NOW, 1), (NOW - 1, 2)]);
    // As one key can store them in a minute; at once, or the test would take that long.
    let (first, last) = (100, 100 + 10_001);
    world
        .db
        .0
        .execute_batch(&format!(
            "WITH RECURSIVE n(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM n WHERE n < {last}) \
             INSERT INTO events (seq, id, tie, pubkey, sig, kind, shelf, created_at, delay_ms, tags, content) \
             SELECT n, unhex(printf('%064x', n)), 0, unhex(printf('%064x', 7)), zeroblob(64), 1, 1, {NOW}, 0, \
               '[]', '\"\"' FROM n; \
             UPDATE totals SET last_seq = {last}, stored = {last};",
        ))
        .unwrap();
    world.reset(true);
    world.settle();
    for until in [NOW + 10, NOW] {
        let (events, hint) = page(&mut world, conn, &json!({"kinds": [1], "until": until}));
        assert_eq!((events.len(), hint), (500, json!(["more"])));
        assert_eq!(events.last().unwrap()["created_at"], NOW);
    }
    let (events, hint) = page(&mut world, conn, &json!({"kinds": [1], "until": NOW - 1}));
    assert_eq!((events.len(), hint), (2, json!(["finish"])));
    // Another way in: by the author, the second is as long as the question asks.
    let (events, hint) =
        page(&mut world, conn, &json!({"kinds": [1], "authors": [Author::new(1).key()], "until": NOW}));
    assert_eq!((events.len(), hint), (3, json!(["finish"])));
    assert_eq!(world.stats()["subscriptions"], 1);
}

#[test]
fn live_events_wait_for_the_second_query_too() {
    let (mut world, conn) = stored(&[(NOW, 120)]);
    let reader = world.client();
    world.say(reader, json!(["REQ", "s", {"limit": 100}]));
    let first = world.run_oldest(false).unwrap();
    world.input(first);
    let late = Author::new(2).note("late");
    world.say(conn, json!(["EVENT", late]));
    let commit = world.run_oldest(true).unwrap();
    world.input(commit);
    assert!(world.take(reader).is_empty());
    world.settle();
    let frames = world.take(reader);
    let copies = frames.iter().filter(|frame| **frame == json!(["EVENT", "s", late])).count();
    assert_eq!((frames.len(), copies), (122, 1));
}

#[test]
fn a_question_that_would_read_too_much_is_refused() {
    let mut world = World::open_relay();
    let conn = world.client();
    // 2,001 kinds of one author, found only by looking.
    for kind in 0..2001u16 {
        world.say(conn, json!(["EVENT", Author::new(1).sign(40_000 + kind, NOW, &[&["t", "x"]], "")]));
    }
    world.settle();
    // Memory would know the newest.
    world.reset(true);
    world.settle();
    world.take(conn);
    for (list, filter) in
        [("authors", json!({"authors": [Author::new(1).key()], "limit": 1})), ("#t", json!({"#t": ["x"]}))]
    {
        let reason = format!(
            "restricted: {list} with these kinds would be more than 2000 ranges of an index (max_search_ranges); \
             ask for fewer at a time"
        );
        assert_eq!(world.ask(conn, json!(["REQ", "s", filter])), [json!(["CLOSED", "s", reason])]);
        assert_eq!(world.ask(conn, json!(["COUNT", "c", filter])), [json!(["CLOSED", "c", reason])]);
    }
    assert_eq!(world.ask(conn, json!(["REQ", "s", {"#t": ["x"], "kinds": [40_007]}])).len(), 2);
    assert_eq!(world.stats()["subscriptions"], 1);
}
