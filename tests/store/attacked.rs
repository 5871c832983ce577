//! Filters of values that strangers use in many kinds, and what is read and noted of events that stay or are hidden.

use nexus::market::job::NIP90;
use nexus::nostr::{Event, Filter, Values};
use nexus::store::read::{self, Viewer};

use super::{Database, put, sql, text};
use crate::common::events::{Author, NOW};
use crate::common::ledger::for_ever;
use crate::common::sqlite::Sqlite;

/// What [`read::newest_of_few`] and [`read::newest`] answer, `None` where they say it is too much.
fn both(db: &mut dyn Database, filter: &Filter) -> [Option<Vec<u16>>; 2] {
    let keys = Values::default();
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &for_ever(), now: NOW };
    let mut ask = |statements| {
        let rows = db.run(statements).unwrap();
        if read::is_of_many(&rows[0]) {
            return None;
        }
        let found = read::decode(rows[0].clone()).unwrap().ok()?;
        Some(found.iter().map(|found| Event::parse(&text(found)).unwrap().kind).collect())
    };
    [ask(&read::newest_of_few(filter, 100, 1_000_000, &viewer)), ask(&read::newest(filter, 100, 1_000_000, &viewer))]
}

fn put_all(db: &mut dyn Database, events: &[Event]) {
    events.chunks(200).for_each(|some| _ = put(db, &some.iter().collect::<Vec<_>>()));
}

/// A stranger can use a value in more kinds than are walked.
#[test]
fn a_stranger_hides_what_names_a_key_by_tagging_it_in_many_kinds() {
    let mut db = Sqlite::new();
    let (stranger, friend, named) = (Author::new(1), Author::new(2), Author::new(3).key().to_string());
    let events: Vec<Event> =
        (1000..3010).map(|kind| stranger.sign(kind, NOW - 100_000, &[&["p", &named]], "")).collect();
    put_all(&mut db, &events);
    put(&mut db, &[&friend.sign(9000, NOW, &[&["p", &named]], "")]);
    let filter = format!(r##"{{"#p":["{named}"],"authors":["{}"],"since":{}}}"##, friend.key(), NOW - 10);
    let answers = both(&mut db, &Filter::parse(&filter).unwrap());
    for answer in answers {
        assert!(answer.is_none_or(|kinds| kinds == [9000]));
    }
}

/// The same where the filter names kinds.
#[test]
fn kinds_that_were_not_asked_for_are_not_answered() {
    let mut db = Sqlite::new();
    let authors: Vec<Author> = (0..50).map(Author::numbered).collect();
    let of = |author: &Author| (1000..1043).map(|kind| author.sign(kind, NOW - 100_000, &[], "")).collect::<Vec<_>>();
    put_all(&mut db, &authors.iter().flat_map(of).collect::<Vec<_>>());
    put(&mut db, &[&authors[0].sign(1000, NOW, &[&["t", "v0"]], "")]);
    let keys: Vec<String> = authors.iter().map(|author| author.key().to_string()).collect();
    let kinds: Vec<u16> = (9000..9050).collect();
    let values: Vec<String> = (0..60).map(|n| format!("v{n}")).collect();
    let filter = serde_json::json!({"authors": keys, "kinds": kinds, "#t": values, "since": NOW - 10}).to_string();
    let answers = both(&mut db, &Filter::parse(&filter).unwrap());
    for answer in answers {
        assert!(answer.is_none_or(|kinds| kinds.is_empty()));
    }
}

/// Whatever its tags say, nothing public is left of an early answer that is hidden.
#[test]
fn hidden_answers_leave_nothing_public() {
    let mut db = Sqlite::new();
    let customer = Author::new(1);
    let request = customer.sign(5050, NOW, &[&["encrypted"]], "");
    let long = "x".repeat(300);
    let values = [
        "\0",
        "a\0b",
        "",
        "\"",
        "\\",
        "\\u0000",
        "\u{1}",
        "\u{7f}",
        "\u{2028}",
        "é",
        "🙂",
        "'",
        "null",
        "1.0",
        &long,
        "\u{feff}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{10ffff}",
        "\r\n\t\u{8}\u{c}",
    ];
    let names = ["t", "T", "é", "", "\0", "t\0", "\0t", "tt", "x", "1", "\""];
    for (n, name) in names.iter().enumerate() {
        let tags: Vec<Vec<&str>> = values.iter().map(|value| vec![*name, *value, "more"]).collect();
        let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
        let answer = Author::new(n as u8 + 2).answer(
            7000,
            &request,
            &[&[&["status", "processing"] as &[&str], &["t"]], tags.as_slice()].concat(),
        );
        put(&mut db, &[&answer]);
    }
    let made = put(&mut db, &[&request]);
    let rows = db.run(&[sql("SELECT cast(count(*) AS TEXT) AS r FROM tags AS t JOIN events AS e ON e.seq = t.seq WHERE t.shelf <> e.shelf")]).unwrap();
    assert_eq!(rows[0], ["0"]);
    let changes = &made.decision.changes;
    assert_eq!(changes.hidden.len() + changes.left.len(), names.len());
    assert!(!changes.hidden.is_empty());
    let public = "SELECT cast(count(*) AS TEXT) AS r FROM events AS e WHERE e.kind = 7000 AND e.shelf < 65536";
    assert_eq!(db.run(&[sql(public)]).unwrap()[0], [changes.left.len().to_string()]);
}

/// A job that is imported has a customer who may have vanished.
#[test]
fn an_imported_job_of_who_vanished_notes_no_dealing() {
    use nexus::ledger::{Remembered, Work};
    let mut db = Sqlite::new();
    let (customer, provider) = (Author::new(1), Author::new(2));
    let request = customer.sign(5050, NOW - 100, &[], "");
    put(&mut db, &[&provider.answer(6050, &request, &[])]);
    let key = format!("{} *", customer.key());
    let lines = [
        serde_json::json!({"deletion": {"key": key, "until": NOW}}),
        serde_json::json!({"job": {"id": request.id, "until": NOW + 1000, "state": 0, "kind": 5050, "customer": customer.key(),
            "encrypted": false, "asked_ms": (NOW - 100) * 1000, "unasked": {}}}),
    ];
    for line in lines {
        let work = match serde_json::from_value(line).unwrap() {
            Remembered::Deletion(deletion) => Work::Deletions(vec![deletion]),
            Remembered::Job(job) => Work::Jobs(vec![job]),
        };
        crate::common::ledger::carry_out(&mut db, &work);
    }
    let rows = db.run(&[sql("SELECT json_array(hex(customer), results) AS r FROM dealings")]).unwrap();
    assert_eq!(rows[0], [""; 0]);
}

/// What holds its place stays.
#[test]
fn what_is_refused_as_older_does_not_read_what_stays() {
    use nexus::store::facts;
    let mut db = Sqlite::new();
    let author = Author::new(1);
    let values: Vec<String> = (0..1800).map(|m| format!("{m:040}")).collect();
    let large: Vec<[&str; 2]> = values.iter().map(|value| ["t", value.as_str()]).collect();
    let names: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    for name in &names {
        let d: &[&str] = &["d", name];
        let tags: Vec<&[&str]> = [d].into_iter().chain(large.iter().map(|tag| tag.as_slice())).collect();
        put(&mut db, &[&author.sign(30_000, NOW, &tags, "")]);
    }
    let older: Vec<Event> = names.iter().map(|name| author.sign(30_000, NOW - 1, &[&["d", name]], "")).collect();
    for some in [&older[..30], &older[..]] {
        let needed = crate::common::ledger::group(&some.iter().collect::<Vec<_>>()).needed();
        let rows = db.run(&facts::statements(&needed, false)).unwrap();
        let bytes: usize = rows.iter().flatten().map(String::len).sum();
        let is_read = facts::decode(&needed, false, &rows).unwrap().is_some();
        assert!(is_read && bytes < 100_000);
    }
}

/// An event that its author deletes goes with all its entries, whoever else names it in the same group, and whatever else
/// comes to its place.
#[test]
fn what_is_deleted_leaves_no_entry_whoever_else_names_it() {
    for place in [false, true] {
        let mut db = Sqlite::new();
        let mut authors: Vec<Author> = (1..6).map(Author::new).collect();
        authors.sort_by_key(Author::key);
        for (n, author) in authors.iter().enumerate() {
            let at = NOW + n as u64;
            let event = author.sign(if place { 30_000 } else { 1 }, at, &[&["d", "x"], &["t", "topic"]], "");
            put(&mut db, &[&event]);
            let id = event.id.to_string();
            let others = authors.iter().map(|author| author.sign(5, at + 100, &[&["e", &id]], ""));
            let mut group: Vec<Event> = others.collect();
            if place {
                group.push(author.sign(30_000, at - 50, &[&["d", "x"]], ""));
            }
            put(&mut db, &group.iter().collect::<Vec<_>>());
            let left = "SELECT cast(count(*) AS TEXT) AS r FROM tags WHERE seq NOT IN (SELECT seq FROM events)";
            assert_eq!(db.run(&[sql(left)]).unwrap()[0], ["0"], "author {n}, at a place: {place}");
        }
    }
}

/// An answer came before its request: whom it names is known however many tags come first, and whatever these say.
#[test]
fn whom_a_long_answer_names_is_known() {
    let (customer, provider) = (Author::new(1), Author::new(2));
    let (key, other) = (customer.key().to_string(), provider.key().to_string());
    let odd = format!("[\"p\",\"{other}\"");
    for (encrypted, held) in [(false, "2"), (true, "1")] {
        let mut db = Sqlite::new();
        let request = customer.sign(5050, NOW, if encrypted { &[&["encrypted"]] } else { &[] }, "");
        let id = request.id.to_string();
        let last: [&[&str]; 5] = [&["t", &odd], &["[", "p", &other], &["pp", &other], &["e", &id], &["p", &key]];
        let tags = [vec![&["t", "x"] as &[&str]; 150], last.to_vec()].concat();
        put(&mut db, &[&provider.sign(7000, NOW, &tags, "")]);
        put(&mut db, &[&request]);
        let jobs = db.run(&[sql("SELECT cast(held AS TEXT) AS r FROM jobs")]).unwrap();
        assert_eq!(jobs[0], [held], "encrypted {encrypted}: a long answer is not hidden, and then no part of the job");
    }
}
