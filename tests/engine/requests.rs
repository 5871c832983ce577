//! A crowd that asks over HTTP: the store is asked little, clients wait for one question at the most, and who asks
//! for what nobody else does pays for it.

use nexus::gateway::{Api, RequestId};
use nexus::store::history::Step;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

/// A relay where `many` kinds from 5000 on have a handler, and that knows which have.
fn market(changes: &[(&str, &str)], many: u16) -> World {
    let mut world = World::new(&[changes, &[("AUTH_REQUIRED", "false")]].concat());
    let conn = world.client();
    let kinds: Vec<String> = (5000..5000 + many).map(|kind| kind.to_string()).collect();
    let tags: Vec<[&str; 2]> = kinds.iter().map(|kind| ["k", kind.as_str()]).chain([["d", "all"]]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
    let handler = Author::new(9).sign(31990, NOW, &tags, "{}");
    assert_eq!(world.ask(conn, json!(["EVENT", handler]))[0][2], true);
    assert_eq!(world.http(Api::Handlers(4000)).0, 200);
    world
}

fn address(n: u16) -> Option<String> {
    Some(format!("192.0.2.{n}"))
}

/// Lets the store answer the oldest of its questions.
fn answer_oldest(world: &mut World) {
    let answer = world.run_oldest(false).unwrap();
    world.input(answer);
}

fn is_answered(world: &World, request: RequestId) -> bool {
    world.response(request).is_some()
}

#[test]
fn the_question_of_an_agent_waits_for_one_of_strangers() {
    let mut world = market(&[], 30);
    let agent = world.agent(&Author::new(1));
    world.settle();
    let strangers: Vec<RequestId> = (0..30).map(|n| world.request(Api::Handlers(5000 + n), address(n))).collect();
    let shared = [Api::Health, Api::History(Step::Hour), Api::Stats].map(|api| world.request(api, address(1)));
    assert_eq!(world.waiting(), (0, 1), "the store is asked one question over HTTP");
    world.say(agent, json!(["REQ", "s", {"kinds": [1]}]));
    answer_oldest(&mut world);
    assert!(is_answered(&world, strangers[0]) && !is_answered(&world, strangers[1]));
    answer_oldest(&mut world);
    assert_eq!(world.take(agent), [json!(["EOSE", "s", ["finish"]])]);
    // What everybody shares goes before what strangers thought of.
    shared.iter().for_each(|_| answer_oldest(&mut world));
    assert_eq!(shared.map(|request| is_answered(&world, request)), [true; 3]);
    assert!(!is_answered(&world, strangers[1]));
    world.settle();
    assert!(strangers.iter().all(|request| world.response(*request).unwrap().0 == 200));
}

#[test]
fn many_who_ask_the_same_cost_one_question() {
    let mut world = market(&[], 1);
    for api in [Api::Health, Api::Stats, Api::History(Step::Minute), Api::Handlers(5000)] {
        let crowd: Vec<RequestId> = (0..900).map(|n| world.request(api, address(n % 200))).collect();
        assert_eq!(world.waiting(), (0, 1), "{api:?}");
        answer_oldest(&mut world);
        assert!(crowd.iter().all(|request| world.response(*request).unwrap().0 == 200), "{api:?}");
        let again = world.request(api, address(1));
        assert_eq!((world.waiting(), is_answered(&world, again)), ((0, 0), true), "{api:?}");
        world.now += 20_000;
    }
}

#[test]
fn the_line_is_bounded_and_says_when_to_come_again() {
    let mut world = market(&[], 40);
    let all: Vec<RequestId> = (0..40).map(|n| world.request(Api::Handlers(5000 + n), address(n))).collect();
    let (taken, refused): (Vec<RequestId>, Vec<RequestId>) =
        all.into_iter().partition(|request| !is_answered(&world, *request));
    assert_eq!((taken.len(), refused.len()), (33, 7));
    for request in refused {
        let (status, body, retry_after_s) = world.response(request).unwrap();
        assert_eq!((*status, *retry_after_s), (503, Some(2)), "{body}");
        assert!(body.contains("too many questions wait for the database; retry in 2 s"), "{body}");
    }
    // Who asks for the same as others takes no place, and neither does what everybody asks.
    let others = [Api::Handlers(5003), Api::Health].map(|api| world.request(api, address(99)));
    world.settle();
    assert!(taken.iter().chain(&others).all(|request| world.response(*request).unwrap().0 == 200));
    // Of those who wait there are no more than a thousand.
    let crowd: Vec<RequestId> = (0..1001).map(|_| world.request(Api::Handlers(5039), address(1))).collect();
    assert_eq!(crowd.iter().filter(|request| is_answered(&world, **request)).count(), 1);
    assert_eq!(world.response(crowd[1000]).unwrap().0, 503);
}

#[test]
fn who_asks_for_what_nobody_shares_pays_as_a_guest() {
    let rates = [("RATE_LIMITS", "on"), ("RATE_GUEST", "events 1/1 queries 1/2 bytes 100000/1000000")];
    let mut world = market(&rates, 9);
    let mut ask = |api, n| {
        let request = world.request(api, address(n));
        world.settle();
        let (status, body, retry_after_s) = world.response(request).unwrap();
        (*status, body.clone(), *retry_after_s)
    };
    assert_eq!([5000, 5001].map(|kind| ask(Api::Handlers(kind), 1).0), [200, 200]);
    let (status, body, retry_after_s) = ask(Api::Handlers(5002), 1);
    assert_eq!((status, retry_after_s), (429, Some(1)));
    assert!(body.contains("rate-limited: 1 queries a second for one guest; retry in 1 s"), "{body}");
    // What is known or shared costs nothing, and others pay for themselves.
    for (api, n) in [
        (Api::Handlers(5001), 1),
        (Api::Handlers(4001), 1),
        (Api::Health, 1),
        (Api::History(Step::Hour), 1),
        (Api::Stats, 1),
        (Api::Handlers(5002), 2),
    ] {
        assert_eq!(ask(api, n).0, 200, "{api:?} of {n}");
    }
}

#[test]
fn kinds_that_nobody_has_announced_are_answered_from_memory() {
    let mut world = World::open_relay();
    world.awake_for(200);
    let conn = world.client();
    let listed = |world: &mut World, kind: u16| {
        let (status, body) = world.http(Api::Handlers(kind));
        assert_eq!((status, &body["version"], &body["kind"]), (200, &json!(1), &json!(kind)));
        body["handlers"].as_array().unwrap().len()
    };
    assert_eq!(listed(&mut world, 5000), 0);
    for kind in 0..u16::MAX {
        let request = world.request(Api::Handlers(kind), None);
        assert_eq!((world.waiting(), is_answered(&world, request)), ((0, 0), true), "{kind}");
    }
    // Until somebody does.
    let handler = Author::new(2).sign(31990, NOW, &[&["d", "a"], &["k", "5001"], &["k", "5050"]], "{}");
    assert_eq!(world.ask(conn, json!(["EVENT", handler]))[0][2], true);
    assert_eq!([5001, 5050, 5002].map(|kind| listed(&mut world, kind)), [1, 1, 0]);
    // What was stored before this memory is found in the store; what only looks like a kind is none.
    let odd = Author::new(3).sign(1, NOW, &[&["k", "5003"], &["k", "5002x"], &["k", "70000"], &["k", ""]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", odd]))[0][2], true);
    world.reset(false);
    world.settle();
    assert_eq!([5000, 5003, 5050, 5001].map(|kind| listed(&mut world, kind)), [0, 0, 1, 1]);
    // Before the relay has the log, what is known is so for a minute.
    let asks = |world: &mut World| {
        let request = world.request(Api::Handlers(5004), None);
        let asks = world.waiting().1;
        world.settle();
        assert!(is_answered(world, request));
        asks
    };
    assert_eq!(asks(&mut world), 0);
    world.now += 61_000;
    assert_eq!([asks(&mut world), asks(&mut world)], [1, 0]);
    assert_eq!(world.ask(conn, json!(["EVENT", Author::new(3).note("takes the log")]))[0][2], true);
    world.now += 10_000_000;
    assert_eq!(asks(&mut world), 0);
}

#[test]
fn where_very_many_values_are_announced_the_store_is_asked() {
    let mut world = World::open_relay();
    world.awake_for(200);
    let values = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5001) \
        INSERT INTO tags SELECT CAST('k=0' || n AS BLOB), 1, 1, n, n, NULL FROM n";
    world.db.0.execute_batch(values).unwrap();
    for kind in 5000..5003 {
        let request = world.request(Api::Handlers(kind), None);
        assert_eq!(world.waiting(), (0, 1));
        world.settle();
        assert_eq!(world.response(request).unwrap().0, 200);
    }
    world.db.0.execute_batch("DELETE FROM tags WHERE tag = CAST('k=01' AS BLOB)").unwrap();
    world.reset(false);
    world.settle();
    assert_eq!(world.http(Api::Handlers(5000)).0, 200);
    world.request(Api::Handlers(5001), None);
    assert_eq!(world.waiting(), (0, 0));
}

#[test]
fn health_names_what_the_schema_lacks() {
    let mut world = World::open_relay();
    let health = |world: &mut World| {
        world.now += 2000;
        let (status, body) = world.http(Api::Health);
        (status, body["error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(world.http(Api::Health), (200, json!({"status": "ok"})));
    // Once it was right it is not compared again, and the database has to answer.
    world.broken = true;
    assert_eq!(health(&mut world), (503, "database: disk on fire".to_owned()));
    world.broken = false;
    assert_eq!(health(&mut world).0, 200);

    let found = |world: &World| -> Vec<Value> {
        let lines = world.log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["what"] == "the database cannot be relied on").collect()
    };
    let index = world.column("SELECT sql FROM sqlite_schema WHERE name = 'events_by_author'").remove(0);
    world.db.0.execute_batch("DROP INDEX events_by_author").unwrap();
    assert_eq!(found(&world), Vec::<Value>::new());
    world.reset(false);
    world.settle();
    let difference = "it has another schema than this version needs: index events_by_author is missing";
    let line = json!({"level": "error", "what": "the database cannot be relied on", "error": difference});
    assert_eq!(found(&world), [line]);
    assert_eq!(health(&mut world), (503, format!("database: {difference}")));
    // Mended while it serves.
    world.db.0.execute_batch(&index).unwrap();
    assert_eq!(health(&mut world).0, 200);

    for table in ["history", "totals"] {
        world.db.0.execute_batch(&format!("ALTER TABLE {table} RENAME TO gone_{table}")).unwrap();
        world.reset(false);
        world.settle();
        let (status, error) = health(&mut world);
        assert_eq!(status, 503);
        assert!(error.contains(&format!("table {table} is missing")), "{error}");
    }
}
