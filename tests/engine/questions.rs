//! What a question costs follows what it asks for, and not how much others have published; what would cost too
//! much is refused with the list and the limit that are the reason.

use std::time::Instant;

use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{World, config};

/// A relay whose database is filled by SQL, faster than by publishing.
fn filled(sql: &str) -> (World, nexus::gateway::ConnId) {
    let mut world = World::open_relay();
    let conn = world.client();
    world.db.0.execute_batch(sql).unwrap();
    world.db.0.execute_batch("UPDATE totals SET last_seq = 1000000").unwrap();
    world.reset(true);
    world.settle();
    (world, conn)
}

/// SQL for `many` events from number `first` on, each a second older than the one before; `key` and `tags` are
/// its author and the list of its tags in terms of `n`.
fn events(first: u64, many: u64, kind: u16, key: &str, tags: &str) -> String {
    format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {many}) \
         INSERT INTO events (seq, id, tie, pubkey, sig, kind, shelf, created_at, delay_ms, tags, content) \
         SELECT {first} + n, unhex(printf('%064x', {first} + n)), {first} + n, unhex(printf('%064x', {key})), zeroblob(64), \
           {kind}, {kind}, {NOW} - n, 0, {tags}, '\"\"' FROM n; \
         INSERT INTO tags SELECT iif(length(k.value->>1) = 64, unhex(hex(k.value->>0) || '00' || (k.value->>1)), \
           CAST((k.value->>0) || '=' || (k.value->>1) AS BLOB)), shelf, created_at, tie, seq, NULL \
         FROM events CROSS JOIN json_each(events.tags) AS k WHERE seq > {first} AND seq <= {first} + {many};"
    )
}

fn hex(n: u64) -> String {
    format!("{n:064x}")
}

fn numbers(frames: &[Value]) -> Vec<u64> {
    let events = frames.iter().filter(|frame| frame[0] == "EVENT");
    events.map(|frame| u64::from_str_radix(frame[2]["id"].as_str().unwrap(), 16).unwrap()).collect()
}

#[test]
fn many_authors_who_have_published_much_are_merged_newest_first() {
    let (mut world, conn) = filled(&events(1000, 41_000, 6050, "n % 80", "'[]'"));
    for authors in [2, 39, 40, 80] {
        let list: Vec<String> = (0..authors).map(hex).collect();
        let expected: Vec<u64> = (1..).filter(|n| n % 80 < authors).take(500).map(|n| 1000 + n).collect();
        for filter in [json!({"kinds": [6050], "authors": list}), json!({"authors": list, "limit": 500})] {
            let frames = world.ask(conn, json!(["REQ", "s", filter]));
            assert_eq!(numbers(&frames), expected, "{authors} authors: {:?}", frames.last());
        }
    }
}

#[test]
fn the_few_events_of_an_author_are_found_under_a_tag_that_many_use() {
    let quality = events(1000, 30_000, 1985, "n % 80", r#"'[["L","quality"]]'"#);
    let mine = events(50_000, 3, 1985, "255", r#"'[["L","quality"],["p","x"]]'"#);
    let (mut world, conn) = filled(
        &(quality
            + &mine
            + "UPDATE events SET created_at = 1700000000 - seq WHERE seq > 50000; \
        UPDATE tags SET created_at = 1700000000 - seq WHERE seq > 50000;"),
    );
    let filter = json!({"kinds": [1985], "authors": [hex(255)], "#L": ["quality"]});
    assert_eq!(numbers(&world.ask(conn, json!(["REQ", "s", filter]))), [50_001, 50_002, 50_003]);
    assert_eq!(world.ask(conn, json!(["COUNT", "c", filter]))[0][2]["count"], 3);
    // Whichever list is the rare one: here it names more values than the other.
    let authors: Vec<String> = (300..320).chain([255]).map(hex).collect();
    let filter = json!({"authors": authors, "#L": ["quality"]});
    assert_eq!(numbers(&world.ask(conn, json!(["REQ", "s", filter]))), [50_001, 50_002, 50_003]);
    assert_eq!(world.ask(conn, json!(["COUNT", "c", filter]))[0][2]["count"], 3);
}

#[test]
fn what_is_refused_is_so_for_its_rarest_list() {
    // Of one author, 25,000; of another 30,000; all have a tag, and none a second one.
    let sql = events(1000, 25_000, 1, "7", r#"'[["t","x"]]'"#) + &events(100_000, 30_000, 1, "8", r#"'[["t","x"]]'"#);
    let (mut world, conn) = filled(&sql);
    let refused = |list: &str| {
        format!(
            "restricted: {list} finds more than 20000 events to look at (max_search_entries), and no list of this \
             filter finds fewer; narrow it by kinds, authors, tags, since or until"
        )
    };
    let sparse = json!({"kinds": [1], "authors": [hex(7)], "#t": ["x"], "#u": ["y"]});
    assert_eq!(world.ask(conn, json!(["REQ", "s", sparse])), [json!(["EOSE", "s", ["finish"]])], "nothing has #u");
    let dense = json!({"kinds": [1], "authors": [hex(7)], "#t": ["x"]});
    assert_eq!(world.ask(conn, json!(["REQ", "s", dense])).len(), 501);
    assert_eq!(world.ask(conn, json!(["COUNT", "c", dense])), [json!(["CLOSED", "c", refused("authors")])]);
    // Two tags that no event has both of.
    let sql = events(1000, 25_000, 1, "7", r#"'[["t","x"]]'"#) + &events(100_000, 30_000, 1, "8", r#"'[["u","y"]]'"#);
    let (mut world, conn) = filled(&sql);
    let disjoint = json!({"kinds": [1], "#t": ["x"], "#u": ["y"]});
    for question in ["REQ", "COUNT"] {
        assert_eq!(world.ask(conn, json!([question, "s", disjoint])), [json!(["CLOSED", "s", refused("#t")])]);
    }
    // With fewer by time it is answered.
    let narrow = json!({"kinds": [1], "#t": ["x"], "#u": ["y"], "since": NOW - 15_000});
    assert_eq!(world.ask(conn, json!(["REQ", "s", narrow])), [json!(["EOSE", "s", ["finish"]])]);
    let document = serde_json::to_value(config(&[]).document()).unwrap();
    assert_eq!(document["limitation"]["max_search_entries"], 20_000);
    assert_eq!(document["limitation"]["max_search_ranges"], 2_000);
}

#[test]
fn values_of_one_list_do_not_multiply_the_cost_of_another() {
    // 1,000 events of 500 tags each, and as many that name a key which is asked for.
    let spam = "(WITH RECURSIVE t(t) AS (SELECT 0 UNION ALL SELECT t + 1 FROM t WHERE t < 499) \
        SELECT json_group_array(json_array('t', cast(t AS TEXT))) FROM t)";
    let named = events(100_000, 30_000, 1, "8", "json_array(json_array('p', printf('%064x', n % 900)))");
    let (mut world, conn) = filled(&(events(1000, 1000, 1, "7", spam) + &named));
    let values = |n: u64| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
    let keys = |n: u64| (0..n).map(hex).collect::<Vec<_>>();
    // So many that each takes a moment: what else the machine does slows all alike then.
    let mut took = |times: u32, filter: Value| {
        let began = Instant::now();
        (0..times).for_each(|_| _ = world.ask(conn, json!(["REQ", "s", filter])));
        began.elapsed() / times
    };
    let one = took(200, json!({"#t": values(100), "#p": keys(1)}));
    let many = took(3, json!({"#t": values(100), "#p": keys(900)}));
    let half = took(3, json!({"#t": values(500), "#p": keys(500)}));
    println!("100 #t x 1 #p: {one:?}; 100 x 900: {many:?}; 500 x 500: {half:?}");
    // There are 900 and 2,500 times the products of values; the work is bounded by the entries of a list.
    assert!(many < one * 450, "{many:?} beside {one:?}");
    assert!(half < one * 1250, "{half:?} beside {one:?}");
}

#[test]
fn a_question_is_made_when_its_turn_comes() {
    let mut world = World::open_relay();
    let conn = world.client();
    let soon = (NOW + 30).to_string();
    world.ask(conn, json!(["EVENT", Author::new(1).sign(1, NOW, &[&["expiration", &soon]], "")]));
    world.say(conn, json!(["COUNT", "first", {"kinds": [1]}]));
    world.say(conn, json!(["COUNT", "second", {"kinds": [1]}]));
    // The first is with the store, the second waits until after the event has expired.
    world.now += 60_000;
    world.settle();
    let counts: Vec<Value> = world.take(conn).iter().map(|frame| frame[2]["count"].clone()).collect();
    assert_eq!(counts, [1, 0]);
}
