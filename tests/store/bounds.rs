//! What one write takes and what is read for it stays within what D1 takes, however large the events are that go.

use nexus::ledger::Work;
use nexus::nostr::Event;
use nexus::store::counts::Flush;
use nexus::store::{Param, facts};

use super::put;
use crate::common::d1::D1;
use crate::common::events::{Author, NOW};
use crate::common::ledger::{group, position, prepare};
use crate::common::sqlite::Sqlite;
use crate::common::{Database, write_after};

/// Bytes D1 takes in one parameter, and what one step of reading facts may bring.
const PARAMETER_MAX: usize = 2_000_000;
const FACTS_MAX: usize = 1_500_000;

/// Whether the facts for some work are read, which are few enough in any case.
fn is_read(db: &mut dyn Database, work: &Work) -> bool {
    let needed = work.needed();
    let answer = db.run(&facts::statements(&needed, true)).unwrap();
    let bytes: usize = answer.iter().flatten().map(String::len).sum();
    assert!(bytes <= FACTS_MAX, "{bytes} bytes of facts");
    facts::decode(&needed, true, &answer).unwrap().is_some()
}

fn check(db: &mut dyn Database, work: &Work) {
    assert!(is_read(db, work));
    let write = write_after(&position(db).totals);
    let (statements, committed) = prepare(db, work, &Flush::default(), &write);
    let params = statements.iter().flat_map(|statement| &statement.params);
    let longest = params.map(|param| if let Param::Text(text) = param { text.len() } else { 8 }).max().unwrap();
    let removed = committed.decision.changes.removed.len();
    let result = db.run(&statements).map(|_| ());
    assert_eq!(result, Ok(()), "{removed} removed");
    assert!(longest <= PARAMETER_MAX, "{longest} bytes of a parameter, {removed} removed");
}

fn deletion(db: &mut dyn Database, count: u64) -> Work {
    let author = Author::new(1);
    let events: Vec<Event> = (0..count).map(|n| author.large(1, n, &[])).collect();
    events.iter().for_each(|event| _ = put(db, &[event]));
    group(&[&author.delete(&events)])
}

fn sweep(db: &mut dyn Database, count: u64) -> Work {
    let author = Author::new(1);
    (0..count).for_each(|n| _ = put(db, &[&author.large(1, n, &[])]));
    Work::Removal((1..=count).collect(), Default::default())
}

/// Answers of about 100 KB that came before their request.
fn early(db: &mut dyn Database, count: u64) {
    let customer = Author::new(1);
    let request = customer.sign(5050, NOW, &[&["encrypted"]], "");
    let (id, key) = (request.id.to_string(), customer.key().to_string());
    let about: &[&[&str]] = &[&["e", &id], &["p", &key], &["status", "processing"]];
    (0..count).for_each(|n| _ = put(db, &[&Author::new(2).large(7000, n, about)]));
    check(db, &group(&[&request]));
}

fn label(db: &mut dyn Database, count: u64) {
    let author = Author::new(1);
    let events: Vec<Event> = (0..count).map(|n| author.large(1, n, &[])).collect();
    events.iter().for_each(|event| _ = put(db, &[event]));
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    check(db, &group(&[&Author::new(2).sign_list(1985, &[&["l", "good"]], "e", &ids, "")]));
}

#[test]
fn large_events_are_deleted_on_d1() {
    let mut db = D1::start();
    let work = deletion(&mut db, 9);
    check(&mut db, &work);
}

#[test]
fn large_events_are_swept_on_d1() {
    let mut db = D1::start();
    let work = sweep(&mut db, 9);
    check(&mut db, &work);
}

#[test]
fn large_early_answers_are_corrected_on_d1() {
    early(&mut D1::start(), 20);
}

#[test]
fn what_is_read_for_one_write_is_bounded() {
    let (mut one, mut two) = (Sqlite::new(), Sqlite::new());
    let (deletion, sweep) = (deletion(&mut one, 100), sweep(&mut two, 100));
    assert!(!is_read(&mut one, &deletion));
    assert!(!is_read(&mut two, &sweep));
    early(&mut Sqlite::new(), 100);
}

/// Requests that name as many providers as have room.
#[test]
fn what_is_known_of_jobs_is_bounded() {
    let mut db = Sqlite::new();
    let requests = Author::new(1).ask_many(60);
    requests.iter().for_each(|request| _ = put(&mut db, &[request]));
    let answers: Vec<Event> = requests.iter().map(|request| Author::numbered(0).answer(6050, request, &[])).collect();
    assert!(!is_read(&mut db, &group(&answers.iter().collect::<Vec<_>>())));
    assert!(is_read(&mut db, &group(&answers[..8].iter().collect::<Vec<_>>())));
}

#[test]
fn what_is_known_of_rated_events_is_bounded() {
    label(&mut Sqlite::new(), 100);
}

/// What a deletion names of others is anybody's to name, and a deletion is not deleted: none of it is read.
#[test]
fn what_is_not_deleted_is_not_read() {
    let mut db = Sqlite::new();
    let [other, stranger] = [1, 2].map(Author::new);
    let own: Vec<Event> = (0..20).map(|n| stranger.large(5, n, &[])).collect();
    let wraps: Vec<Event> = (0..20).map(|n| other.large(1059, n, &[])).collect();
    for events in [other.ask_many(20), own, wraps] {
        events.iter().for_each(|event| _ = put(&mut db, &[event]));
        assert!(is_read(&mut db, &group(&[&stranger.delete(&events)])), "kind {}", events[0].kind);
    }
}
