//! The store suite: the same cases on SQLite and on Miniflare's D1, with the same answers; and what is
//! written before an upgrade is read after it.

#[path = "store/attacked.rs"]
mod attacked;
#[path = "store/bounds.rs"]
mod bounds;
mod common;
#[path = "store/lists.rs"]
mod lists;
#[path = "store/log.rs"]
mod log;
#[path = "store/outcomes.rs"]
mod outcomes;
#[path = "store/statements.rs"]
mod statements;
#[path = "store/texts.rs"]
mod texts;
#[path = "store/upgrade.rs"]
mod upgrade;

use common::d1::D1;
use common::events::{Author, NOW};
use common::ledger::{Committed, carry_out, for_ever, group, position, prepare};
use common::sqlite::Sqlite;
use common::{Database, totals, write_after};
use nexus::market::job::NIP90;

use nexus::ledger::{Change, Outcome, tag_key};
use nexus::nostr::{Event, EventId, Filter, Values};
use nexus::store::Statement;
use nexus::store::counts::{Flush, Totals};
use nexus::store::read::{self, StoredEvent, Text, Viewer};

/// One case: a name and what it does with an empty database.
type Case = (&'static str, fn(&mut dyn Database));

const CASES: &[Case] = &[
    ("an event comes back byte for byte", bytes),
    ("whatever an event says comes back byte for byte", texts::byte_for_byte),
    ("a group gets growing numbers in the order it came", numbers),
    ("a duplicate is stored once and counted once", duplicates),
    ("the newest replaceable event wins, ties go to the lowest id", replaceable),
    ("addressable events are replaced per d tag", addressable),
    ("the versions of one group leave one winner", one_group),
    ("tags of a replaced event are gone", replaced_tags),
    ("ids, authors, kinds and times", plain_filters),
    ("tags: any letter, several letters, with and without kinds", tag_filters),
    ("several lists of several values, with and without kinds", lists::several),
    ("a tag is found by its own name alone, however many values are asked for", lists::names_alike),
    ("newest first, lowest id first, up to the limit", order),
    ("events of one second whose ids begin alike are told apart", alike),
    ("values with NUL, quotes, length and two letters alike", odd_values),
    ("a list with no value matches nothing", void_filters),
    ("jobs move forward and are counted once, whatever order their events come in", jobs),
    ("a group says which events it removed and hid, and which requests nobody has answered", changes),
    ("a statement that fails leaves nothing of its group", atomic),
    ("a NULL where none may be leaves nothing of a batch, as its first statement and as its last", not_null),
    ("the log after a number", log_after),
    ("a write that finds another version changes nothing, whatever it writes", log::other_versions),
    ("a write that comes twice is made once", log::twice),
    ("of two writers at one version one writes", log::two_writers),
    ("what is decided of events of every sort is what is there afterwards", outcomes::outcomes),
];

#[test]
fn on_sqlite() {
    suite(&mut Sqlite::new());
}

#[test]
fn on_d1() {
    suite(&mut D1::start());
}

fn suite(db: &mut dyn Database) {
    for (name, case) in CASES {
        println!("case: {name}");
        let clear = ["events", "tags", "jobs", "providers", "dealings", "votes", "deletions", "vanishing"]
            .map(|table| sql(&format!("DELETE FROM {table}")));
        let zero = sql(
            "UPDATE totals SET version = 0, writer = '', last_seq = 0, stored = 0, flush = 0, newest = 0, since_ms = 0, early = 0, day = 0, spent = 0, counts = '{}'",
        );
        db.run(&[clear.to_vec(), vec![zero]].concat()).unwrap();
        case(db);
    }
}

fn sql(text: &str) -> Statement {
    Statement { sql: text.into(), params: vec![] }
}

fn put(db: &mut dyn Database, events: &[&Event]) -> Committed {
    carry_out(db, &group(events))
}

fn get(db: &mut dyn Database, filters: &str) -> Vec<Event> {
    let filters: Vec<Filter> = serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(filters)
        .unwrap()
        .iter()
        .map(|filter| Filter::parse(filter.get()).unwrap())
        .collect();
    let keys = Values::default();
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &for_ever(), now: NOW };
    let mut found = Vec::new();
    for filter in filters.iter().filter(|filter| !filter.is_void()) {
        let (limit, max_size) = (filter.limit.unwrap_or(100), u64::MAX >> 12);
        let rows = db.run(&read::newest(filter, limit, max_size, &viewer)).unwrap();
        let page = read::decode(rows[0].clone()).unwrap().expect("within the budget");
        let of_few = db.run(&read::newest_of_few(filter, limit, max_size, &viewer)).unwrap();
        assert!(read::is_of_many(&of_few[0]) || of_few == rows, "{filter:?}");
        found.extend(page.iter().map(text).map(|json| Event::parse(&json).unwrap()));
    }
    found
}

fn text(stored: &StoredEvent) -> String {
    match &stored.text {
        Text::Json(json) => json.to_string(),
        Text::Large(_) => panic!("no text is too large here"),
    }
}

/// The contents of what a filter returns, in order.
fn contents(db: &mut dyn Database, filters: &str) -> Vec<String> {
    get(db, filters).into_iter().map(|event| event.content).collect()
}

fn stored(seq: u64) -> Outcome {
    Outcome::Stored { seq, private: false, first: false }
}

fn bytes(db: &mut dyn Database) {
    let content = "\0\u{1}\u{1f}\u{7f}\u{2028} \"\\/\n\r\t\u{8}\u{c} ü 🙂 {\"a\": [1.0e5, null]}";
    let event = Author::new(1).sign(1, NOW, &[&["t", content], &["", "\""], &["x"]], content);
    put(db, &[&event]);
    let filter = Filter::default();
    let keys = Values::default();
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &for_ever(), now: NOW };
    let mut rows = db.run(&read::newest(&filter, 1, u64::MAX >> 12, &viewer)).unwrap();
    let found = read::decode(rows.remove(0)).unwrap().unwrap();
    assert_eq!((found[0].seq, text(&found[0])), (1, event.to_json()));
    Event::parse(&text(&found[0])).unwrap().verify().unwrap();
}

fn numbers(db: &mut dyn Database) {
    let author = Author::new(1);
    let notes: Vec<Event> = (0..5).map(|n| author.sign(1, NOW + n, &[], &n.to_string())).collect();
    let first = put(db, &[&notes[0], &notes[1]]);
    assert_eq!((first.before.totals.last_seq, first.after.totals.last_seq, first.after.totals.stored), (0, 2, 2));
    let second = put(db, &[&notes[2], &notes[3], &notes[4]]);
    assert_eq!((second.before.totals.last_seq, second.after.totals.last_seq, second.after.totals.stored), (2, 5, 5));
    let seqs: Vec<Outcome> = notes[2..].iter().map(|note| second.outcome(&note.id)).collect();
    assert_eq!(seqs, [stored(3), stored(4), stored(5)]);
}

fn duplicates(db: &mut dyn Database) {
    let author = Author::new(1);
    let (a, b) = (author.sign(1, NOW, &[&["t", "x"], &["t", "x"]], "a"), author.note("b"));
    assert_eq!(put(db, &[&a]).outcome(&a.id), stored(1));
    let again = put(db, &[&b, &a]);
    assert_eq!((again.outcome(&a.id), again.before.totals.last_seq), (stored(1), 1));
    assert_eq!(totals(db).stored, 2);
    assert_eq!(put(db, &[&a, &b]).after.totals, totals(db));
    assert_eq!(contents(db, r##"[{"#t":["x"]}]"##), ["a"]);
}

fn replaceable(db: &mut dyn Database) {
    let (author, other) = (Author::new(1), Author::new(2));
    let at = |time, content: &str| author.sign(10_000, time, &[], content);
    put(db, &[&at(NOW, "old"), &other.sign(10_000, NOW, &[], "another author's")]);
    put(db, &[&at(NOW + 1, "new")]);
    let late = at(NOW - 1, "older");
    assert_eq!(put(db, &[&late]).outcome(&late.id), Outcome::Superseded);
    assert_eq!(contents(db, r#"[{"kinds":[10000]}]"#), ["new", "another author's"]);

    let mut tied = [at(NOW + 2, "x"), at(NOW + 2, "y"), at(NOW + 2, "z")];
    tied.sort_by_key(|event| event.id);
    let [low, middle, high] = &tied;
    for event in [middle, high, low, middle] {
        put(db, &[event]);
    }
    assert_eq!(contents(db, r#"[{"kinds":[10000]}]"#), [low.content.as_str(), "another author's"]);
}

fn addressable(db: &mut dyn Database) {
    let author = Author::new(1);
    let at = |time, d: &str, content: &str| author.sign(31990, time, &[&["d", d], &["k", "5050"]], content);
    put(db, &[&at(NOW, "a", "a1"), &at(NOW, "b", "b1"), &author.sign(31990, NOW, &[&["k", "5050"]], "none")]);
    put(db, &[&at(NOW + 1, "a", "a2"), &at(NOW - 1, "b", "b0"), &at(NOW + 2, "", "empty")]);
    assert_eq!(contents(db, r##"[{"kinds":[31990],"#k":["5050"]}]"##), ["empty", "a2", "b1"]);
    assert_eq!(contents(db, r##"[{"#d":["a","b"]}]"##), ["a2", "b1"]);
    // Values that differ after a NUL, or late in a long text, are different coordinates.
    let long = "x".repeat(300);
    put(
        db,
        &[&at(NOW, "n\0a", "n1"), &at(NOW, "n\0b", "n2"), &at(NOW, &long, "l1"), &at(NOW, &(long.clone() + "y"), "l2")],
    );
    put(db, &[&at(NOW + 9, "n\0a", "n3"), &at(NOW + 8, &long, "l3")]);
    let mut left = contents(db, r#"[{"kinds":[31990]}]"#);
    left.sort();
    assert_eq!(left, ["a2", "b1", "empty", "l2", "l3", "n2", "n3"]);
}

fn one_group(db: &mut dyn Database) {
    let author = Author::new(1);
    let versions: Vec<Event> = [3, 1, 5, 2].map(|n| author.sign(0, NOW + n, &[], &n.to_string())).to_vec();
    let committed = put(db, &versions.iter().collect::<Vec<_>>());
    let stored = versions.iter().filter(|v| committed.outcome(&v.id) != Outcome::Superseded).count();
    assert_eq!(stored, 1);
    assert_eq!(contents(db, r#"[{"kinds":[0]}]"#), ["5"]);
    assert_eq!(committed.after.totals.stored, 1);
}

fn replaced_tags(db: &mut dyn Database) {
    let author = Author::new(1);
    put(db, &[&author.sign(31990, NOW, &[&["d", "a"], &["k", "5050"], &["k", "5051"]], "old")]);
    put(db, &[&author.sign(31990, NOW + 1, &[&["d", "a"], &["k", "5051"]], "new")]);
    assert!(contents(db, r##"[{"#k":["5050"]}]"##).is_empty());
    assert_eq!(contents(db, r##"[{"#k":["5051"]}]"##), ["new"]);
    let rows = db.run(&[sql("SELECT lower(hex(tag)) AS r FROM tags ORDER BY tag")]).unwrap();
    assert_eq!(rows, [[tag_key::of(b'd', "a"), tag_key::of(b'k', "5051")]]);
}

fn plain_filters(db: &mut dyn Database) {
    let (alice, bob) = (Author::new(1), Author::new(2));
    let a = alice.sign(1, NOW, &[], "a");
    let b = bob.sign(2, NOW + 1, &[], "b");
    let c = alice.sign(7000, NOW + 2, &[], "c");
    put(db, &[&a, &b, &c]);
    let key = |author: &Author| author.key().to_string();
    let cases = [
        ("{}".to_owned(), "cba"),
        (format!(r#"{{"ids":["{}","{}"]}}"#, a.id, b.id), "ba"),
        (format!(r#"{{"ids":["{}"],"kinds":[2]}}"#, a.id), ""),
        (format!(r#"{{"ids":["{}"],"authors":["{}"]}}"#, a.id, key(&alice)), "a"),
        (format!(r#"{{"authors":["{}"]}}"#, key(&alice)), "ca"),
        (format!(r#"{{"authors":["{}","{}"],"kinds":[1,2]}}"#, key(&alice), key(&bob)), "ba"),
        (r#"{"kinds":[7000,1]}"#.to_owned(), "ca"),
        (format!(r#"{{"since":{}}}"#, NOW + 1), "cb"),
        (format!(r#"{{"until":{}}}"#, NOW + 1), "ba"),
        (format!(r#"{{"since":{NOW},"until":{NOW}}}"#), "a"),
        (format!(r#"{{"kinds":[1,2],"since":{},"until":18446744073709551615}}"#, NOW + 1), "b"),
        (r#"{"kinds":[9]}"#.to_owned(), ""),
    ];
    for (filter, expected) in cases {
        assert_eq!(contents(db, &format!("[{filter}]")).concat(), expected, "{filter}");
    }
}

fn tag_filters(db: &mut dyn Database) {
    let (alice, bob) = (Author::new(1), Author::new(2));
    let job = "ab".repeat(32);
    let p = alice.key().to_string();
    put(
        db,
        &[
            &alice.sign(7000, NOW, &[&["e", &job], &["p", &p]], "a"),
            &bob.sign(6050, NOW + 1, &[&["e", &job], &["p", &p], &["T", "up"]], "b"),
            &bob.sign(1, NOW + 2, &[&["e", &job], &["t", "x"], &["t", "y"]], "c"),
            &bob.sign(1, NOW + 3, &[&["alt", "x"], &["t"], &["u", "first", "x"]], "d"),
        ],
    );
    let cases = [
        (format!(r##"{{"#e":["{job}"]}}"##), "cba"),
        (format!(r##"{{"kinds":[6050,7000],"#e":["{job}"],"#p":["{p}"]}}"##), "ba"),
        (format!(r##"{{"#e":["{job}"],"#t":["y","x","z"]}}"##), "c"),
        (format!(r##"{{"#e":["{job}"],"authors":["{p}"]}}"##), "a"),
        (format!(r##"{{"#e":["{job}"],"limit":2}}"##), "cb"),
        (format!(r##"{{"#e":["{job}"],"until":{NOW}}}"##), "a"),
        (r##"{"#T":["up"]}"##.to_owned(), "b"),
        (r##"{"#T":["UP"]}"##.to_owned(), ""),
        (r##"{"#t":["x"]}"##.to_owned(), "c"),
        (r##"{"#u":["first"]}"##.to_owned(), "d"),
        (r##"{"#u":["x"]}"##.to_owned(), ""),
        (r##"{"#t":["x","y"],"kinds":[1]}"##.to_owned(), "c"),
    ];
    for (filter, expected) in cases {
        assert_eq!(contents(db, &format!("[{filter}]")).concat(), expected, "{filter}");
    }
}

fn order(db: &mut dyn Database) {
    let author = Author::new(1);
    let mut events: Vec<Event> =
        (0..30u64).map(|n| author.sign(1, NOW + n % 3, &[&["t", "x"]], &n.to_string())).collect();
    put(db, &events.iter().collect::<Vec<_>>());
    events.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let expected: Vec<String> = events.iter().map(|event| event.content.clone()).collect();
    let author = author.key();
    for filter in ["", r#""kinds":[1],"#, r##""#t":["x","y"],"##, &format!(r#""authors":["{author}"],"#)] {
        for limit in [1, 7, 30, 100] {
            let found = contents(db, &format!(r#"[{{{filter}"limit":{limit}}}]"#));
            assert_eq!(found, expected[..limit.min(30)], "{filter} {limit}");
        }
    }
}

fn alike(db: &mut dyn Database) {
    let author = Author::new(1);
    let with_id = |last: u8, content: &str| {
        let mut id = [0xff; 32];
        id[31] = last;
        let tags: &[&[&str]] = &[&["t", "x"], &["t", "y"], &["d", content]];
        Event { id: EventId::new(id), ..author.sign(30_000, NOW, tags, content) }
    };
    put(db, &[&with_id(1, "a"), &with_id(2, "b"), &with_id(3, "c"), &author.sign(30_000, NOW, &[&["d", "z"]], "z")]);
    let key = author.key();
    for filter in [
        r#""kinds":[30000]"#,
        r##""#t":["x","y"]"##,
        r##""#t":["x"],"#d":["a","b","c"]"##,
        &format!(r#""authors":["{key}"]"#),
    ] {
        let mut found = contents(db, &format!("[{{{filter}}}]"));
        found.retain(|content| content != "z");
        found.sort();
        assert_eq!(found, ["a", "b", "c"], "{filter}");
    }
    put(db, &[&Event { created_at: NOW + 1, id: EventId::new([1; 32]), ..with_id(9, "b") }]);
    let mut tagged = contents(db, r##"[{"#t":["x"],"until":1800000000}]"##);
    tagged.sort();
    assert_eq!(tagged, ["a", "c"], "the tags of the one that was replaced are gone");
}

fn odd_values(db: &mut dyn Database) {
    let author = Author::new(1);
    let long = "é".repeat(500);
    let values = ["", "\0", "\0a", "a\0b", "'\"\\", "%_", "=", "#", &long, &(long.clone() + "x"), "🙂"];
    let events: Vec<Event> = values.iter().map(|value| author.sign(1, NOW, &[&["t", value]], value)).collect();
    put(db, &events.iter().collect::<Vec<_>>());
    for value in values {
        let filter = serde_json::json!([{ "#t": [value] }]).to_string();
        assert_eq!(contents(db, &filter), [value], "{value:?}");
        assert!(contents(db, &filter.replace("#t", "#T")).is_empty());
    }
}

fn void_filters(db: &mut dyn Database) {
    put(db, &[&Author::new(1).note("a")]);
    for filter in
        [r#"{"ids":[]}"#, r#"{"kinds":[]}"#, r##"{"#t":[],"kinds":[1]}"##, r#"{"since":2,"until":1}"#, r#"{"limit":0}"#]
    {
        assert!(contents(db, &format!("[{filter}]")).is_empty(), "{filter}");
    }
}

/// What is counted under keys that begin like this, without what has gone back to 0.
fn counted(db: &mut dyn Database, prefix: &str) -> Vec<(String, i64)> {
    let counts = position(db).counts.counts;
    counts.into_iter().filter(|(key, n)| key.starts_with(prefix) && *n != 0).collect()
}

fn jobs(db: &mut dyn Database) {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let customer = buyer.key().to_string();
    let about = |request: &Event, kind, status: &str, after: u64| {
        let id = request.id.to_string();
        provider.sign(kind, NOW + after, &[&["e", &id], &["p", &customer], &["status", status]], status)
    };
    let request = buyer.sign(5050, NOW, &[], "ask");
    let feedback = [about(&request, 7000, "processing", 1), about(&request, 7000, "partial", 2)];
    let result = about(&request, 6050, "", 3);

    // In order, one by one.
    let states = |db: &mut dyn Database| {
        let keys: Vec<String> = counted(db, "j ").into_iter().map(|(key, n)| format!("{key} {n}")).collect();
        keys.join(", ")
    };
    let mut seen = Vec::new();
    for event in [&request, &feedback[0], &feedback[1], &feedback[0], &result, &result] {
        put(db, &[event]);
        seen.push(states(db));
    }
    let expected = ["open", "processing", "partial", "partial", "success", "success"];
    assert_eq!(seen, expected.map(|state| format!("j 5050 {state} 1")));
    // One second to the first feedback, three to the result.
    let times = |bucket: &str, sum: &str, ms| vec![(bucket.to_owned(), 1), (sum.to_owned(), ms)];
    assert_eq!(counted(db, "f "), times("f 9", "f sum", 1000));
    assert_eq!(counted(db, "r "), times("r 11", "r sum", 3000));

    // A job that is answered before it is asked, then one in a single group.
    let late = buyer.sign(5051, NOW, &[], "ask 2");
    put(db, &[&about(&late, 6051, "", 5)]);
    assert_eq!(states(db), "j 5050 success 1");
    put(db, &[&late]);
    assert_eq!(states(db), "j 5050 success 1, j 5051 success 1");
    let third = buyer.sign(5050, NOW, &[], "ask 3");
    put(db, &[&about(&third, 7000, "error", 1), &third]);
    assert_eq!(states(db), "j 5050 error 1, j 5050 success 1, j 5051 success 1");
    let by_kind = [("e 5050", 2), ("e 5051", 1), ("e 6050", 1), ("e 6051", 1), ("e 7000", 3)];
    assert_eq!(counted(db, "e "), by_kind.map(|(key, n)| (key.to_owned(), n)));
    assert_eq!(totals(db).stored, 8);
}

fn changes(db: &mut dyn Database) {
    let (buyer, provider, other) = (Author::new(1), Author::new(2), Author::new(3));
    let first = |committed: &Committed, event: &Event| {
        matches!(committed.outcome(&event.id), Outcome::Stored { first: true, .. })
    };
    // 1 and 2, then what replaces the first and deletes the second.
    let profile = |at| buyer.sign(0, at, &[], "");
    let note = provider.note("a");
    assert!(put(db, &[&profile(NOW), &note]).changes().is_empty());
    let deletion = provider.sign(5, NOW, &[&["e", &note.id.to_string()]], "");
    let mut changes = put(db, &[&profile(NOW + 1), &deletion, &profile(NOW - 1)]).changes().to_vec();
    changes.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(changes, [Change::Removed(1), Change::Removed(2)]);
    assert!(put(db, &[&profile(NOW + 1), &deletion]).changes().is_empty(), "said once");
    // A request with an answer in its group, a later one, and none that was stored before.
    let open = buyer.sign(5050, NOW, &[], "open");
    let together = put(db, &[&provider.answer(6050, &open, &[]), &open]);
    assert!(first(&together, &open));
    put(db, &[&other.answer(6050, &open, &[])]);
    assert!(!first(&put(db, &[&open]), &open), "nobody knows any more");
    // Of answers that came before an encrypted request, one that does not agree stays as it is, the other is hidden.
    let asked = buyer.sign(5050, NOW, &[&["encrypted"], &["p", &provider.key().to_string()]], "");
    let early =
        put(db, &[&provider.answer(7000, &asked, &[&["status", "processing"]]), &other.answer(6050, &asked, &[])]);
    let number = |event: &Event| match early.outcome(&event.id) {
        Outcome::Stored { seq, .. } => seq,
        _ => panic!("it is stored"),
    };
    let hidden = provider.answer(7000, &asked, &[&["status", "processing"]]);
    let late = put(db, &[&asked]);
    assert!(!first(&late, &asked));
    assert_eq!(late.changes(), [Change::Hidden(number(&hidden))]);
}

fn atomic(db: &mut dyn Database) {
    let event = Author::new(1).sign(1, NOW, &[&["t", "x"]], "a");
    let (mut statements, _) = prepare(db, &group(&[&event]), &Flush::default(), &write_after(&Totals::default()));
    statements.push(sql("INSERT INTO nowhere VALUES (1)"));
    let error = db.run(&statements).unwrap_err();
    assert!(error.message.contains("nowhere"), "{error}");
    assert_eq!(totals(db), Totals::default());
    assert!(contents(db, "[{}]").is_empty());
}

/// Every row of every table as JSON, with the table's name before it.
fn dump(db: &mut dyn Database) -> Vec<String> {
    let tables = "SELECT t.name || '|' || group_concat('quote(' || c.name || ')') AS r FROM sqlite_schema AS t \
                  CROSS JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.name NOT GLOB '_cf_*' \
                  AND t.name NOT GLOB 'sqlite_*' GROUP BY t.name";
    let tables = db.run(&[sql(tables)]).unwrap().concat();
    assert!(tables.len() >= 9, "{tables:?}");
    let rows = |table: &String| {
        let (name, columns) = table.split_once('|').unwrap();
        sql(&format!("SELECT '{name} ' || json_array({columns}) AS r FROM {name} ORDER BY 1"))
    };
    db.run(&tables.iter().map(rows).collect::<Vec<_>>()).unwrap().concat()
}

fn not_null(db: &mut dyn Database) {
    let (author, job) = (Author::new(1), Author::new(2).sign(5050, NOW, &[], "ask"));
    put(db, &[&author.note("a")]);
    let before = dump(db);
    assert!(before.iter().any(|row| row.starts_with("events ")), "{before:?}");
    let write = write_after(&totals(db));
    let (group, _) =
        prepare(db, &group(&[&author.note("b"), &author.answer(6050, &job, &[]), &job]), &Flush::default(), &write);
    let null = vec![sql("UPDATE totals SET last_seq = NULL WHERE last_seq <> 7")];
    for batch in [[null.clone(), group.clone()].concat(), [group.clone(), null].concat()] {
        let error = db.run(&batch).unwrap_err();
        assert!(error.message.contains("NOT NULL constraint failed: totals.last_seq"), "{error}");
        assert_eq!(dump(db), before);
    }
    db.run(&group).unwrap();
    assert_ne!(dump(db), before);
}

fn log_after(db: &mut dyn Database) {
    let author = Author::new(1);
    let events: Vec<Event> = (0..4u64).map(|n| author.sign(1, NOW - n, &[], &n.to_string())).collect();
    put(db, &events.iter().collect::<Vec<_>>());
    let rows = db.run(&[read::log(1, 3)]).unwrap().remove(0);
    let found = read::decode(rows).unwrap().unwrap();
    let found: Vec<String> = found.iter().map(|found| Event::parse(&text(found)).unwrap().content).collect();
    assert_eq!(found, ["1", "2"]);
}
