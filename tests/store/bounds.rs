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

/// An event of about 100 KB, nearly all of it tags that are indexed.
fn large(author: &Author, kind: u16, n: u64, more: &[&[&str]]) -> Event {
    let values: Vec<String> = (0..1800).map(|m| format!("{n:020}{m:020}")).collect();
    let tags: Vec<[&str; 2]> = values.iter().map(|value| ["t", value.as_str()]).collect();
    let tags: Vec<&[&str]> = more.iter().copied().chain(tags.iter().map(|tag| tag.as_slice())).collect();
    author.sign(kind, NOW, &tags, "")
}

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
    let events: Vec<Event> = (0..count).map(|n| large(&author, 1, n, &[])).collect();
    events.iter().for_each(|event| _ = put(db, &[event]));
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
    group(&[&author.sign(5, NOW, &tags, "")])
}

fn sweep(db: &mut dyn Database, count: u64) -> Work {
    let author = Author::new(1);
    (0..count).for_each(|n| _ = put(db, &[&large(&author, 1, n, &[])]));
    Work::Removal((1..=count).collect(), Default::default())
}

/// Answers of about 100 KB that came before their request.
fn early(db: &mut dyn Database, count: u64) {
    let customer = Author::new(1);
    let request = customer.sign(5050, NOW, &[&["encrypted"]], "");
    let (id, key) = (request.id.to_string(), customer.key().to_string());
    let about: &[&[&str]] = &[&["e", &id], &["p", &key], &["status", "processing"]];
    (0..count).for_each(|n| _ = put(db, &[&large(&Author::new(2), 7000, n, about)]));
    check(db, &group(&[&request]));
}

fn label(db: &mut dyn Database, count: u64) {
    let author = Author::new(1);
    let events: Vec<Event> = (0..count).map(|n| large(&author, 1, n, &[])).collect();
    events.iter().for_each(|event| _ = put(db, &[event]));
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = [&["l", "good"] as &[&str]].into_iter().chain(tags.iter().map(|t| t.as_slice())).collect();
    check(db, &group(&[&Author::new(2).sign(1985, NOW, &tags, "")]));
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
    let keys: Vec<String> = (0..1700).map(|n| Author::numbered(n).key().to_string()).collect();
    let asked: Vec<[&str; 2]> = keys.iter().map(|key| ["p", key.as_str()]).collect();
    let asked: Vec<&[&str]> = asked.iter().map(|tag| tag.as_slice()).collect();
    let requests: Vec<Event> = (0..60).map(|n| Author::new(1).sign(5050, NOW, &asked, &n.to_string())).collect();
    requests.iter().for_each(|request| _ = put(&mut db, &[request]));
    let answers: Vec<Event> = requests.iter().map(|request| Author::numbered(0).answer(6050, request, &[])).collect();
    assert!(!is_read(&mut db, &group(&answers.iter().collect::<Vec<_>>())));
    assert!(is_read(&mut db, &group(&answers[..8].iter().collect::<Vec<_>>())));
}

#[test]
fn what_is_known_of_rated_events_is_bounded() {
    label(&mut Sqlite::new(), 100);
}
