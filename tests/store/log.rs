//! The log belongs to one writer: what writes find in the totals, and what they leave there.

use nexus::nostr::{Event, PublicKey};
use nexus::store::counts::{self, Flush, Totals};
use nexus::store::log::{self, Landing, Write, WriteName};
use nexus::store::restore::{self, Deletion, Job};
use nexus::store::sweep::{self, Sweep};
use nexus::store::write::{self, Committed};
use nexus::store::{Rows, Statement, StoreError, market};

use super::{dump, put, stored};
use crate::common::events::{Author, NOW, new_event};
use crate::common::{Database, totals};

/// A write of incarnation `who` at a version; so their numbers differ.
pub fn write_at(expected: u64, incarnation: u64) -> Write {
    Write { expected, name: WriteName { incarnation, number: 100 + expected } }
}

pub fn group(events: &[&Event], write: &Write) -> Vec<Statement> {
    let group: Vec<_> = events.iter().map(|event| new_event(event)).collect();
    write::statements(&group, &Flush::default(), true, write)
}

/// Writes a group for who has the log.
pub fn take(db: &mut dyn Database, events: &[&Event], write: &Write) -> Committed {
    let before = totals(db);
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    write::decode(&ids, &db.run(&group(events, write)).unwrap(), before).unwrap()
}

fn position(db: &mut dyn Database) -> Totals {
    counts::decode_totals(&db.run(&[log::position()]).unwrap()).unwrap()
}

fn fenced(result: Result<Rows, StoreError>) {
    let error = result.unwrap_err();
    assert!(error.is_fenced(), "{error}");
}

/// A database in which each of [`all_writes`] has something to do: 1 is an unanswered request, 2 a note, 3 a handler.
fn furnished(db: &mut dyn Database) -> [Event; 3] {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[&["t", "x"]], "ask");
    let note = buyer.sign(1, NOW, &[&["t", "x"]], "a note");
    let handler = provider.sign(31990, NOW, &[&["d", "a"], &["k", "5050"]], "");
    put(db, &[&request, &note, &handler]);
    [request, note, handler]
}

type MakeWrite = Box<dyn Fn(&Write) -> Vec<Statement>>;

/// Every sort of write, and whether it is counted.
fn all_writes([request, note, handler]: [Event; 3]) -> Vec<(&'static str, MakeWrite, bool)> {
    let buyer = Author::new(1);
    let provider: PublicKey = handler.pubkey;
    let fresh = new_event(&buyer.note("fresh"));
    let old = new_event(&buyer.note("of an export"));
    let again = new_event(&note);
    let flush = |number| Flush { number, counts: [("x accepted".to_owned(), 3)].into(), ..Flush::default() };
    let sweep = |seqs| Sweep { seqs, ..Sweep::default() };
    let deletion = Deletion { key: format!("{} {}", request.pubkey, "ab".repeat(32)), until: NOW };
    let job = Job {
        id: buyer.note("a job").id,
        until: NOW + 9,
        state: 0,
        kind: 5050,
        customer: buyer.key(),
        providers: None,
        encrypted: false,
        asked_ms: 1,
        unasked: [].into(),
    };
    let flushed = flush(7);
    vec![
        ("a group", Box::new(move |w| write::statements(&[&fresh], &flush(1), true, w)), true),
        ("a duplicate", Box::new(move |w| write::statements(&[&again], &flush(2), true, w)), false),
        ("counts", Box::new(move |w| counts::save(&flushed, w)), true),
        ("counts that are there", Box::new(move |w| counts::save(&flush(7), w)), false),
        ("seen", Box::new(move |w| market::seen(&[provider], NOW + 100, w)), false),
        ("a removal", Box::new(move |w| sweep::remove(&sweep(vec![2]), w)), false),
        ("a removal of a request", Box::new(move |w| sweep::remove(&sweep(vec![1]), w)), true),
        ("an import of events", Box::new(move |w| write::restore(&[&old], w)), true),
        ("an import of deletions", Box::new(move |w| restore::deletions(&[&deletion], w)), true),
        ("an import of jobs", Box::new(move |w| restore::jobs(&[&job], w)), true),
    ]
}

pub fn other_versions(db: &mut dyn Database) {
    let furniture = furnished(db);
    for (name, write, counted) in all_writes(furniture) {
        println!("  {name}");
        let before = dump(db);
        let Totals { version, writer, .. } = position(db);
        for other in [version - 1, version + 1, 1 << 50] {
            fenced(db.run(&write(&write_at(other, 1))));
            assert_eq!(dump(db), before, "{name} at {other}");
        }
        let right = write_at(version, 2);
        db.run(&write(&right)).unwrap();
        let changes = !matches!(name, "a duplicate" | "counts that are there");
        assert_eq!(dump(db) != before, changes, "{name}");
        let after = position(db);
        let expected = if counted { (version + 1, Some(right.name)) } else { (version, writer) };
        assert_eq!((after.version, after.writer), expected, "{name}");
    }
}

pub fn twice(db: &mut dyn Database) {
    let furniture = furnished(db);
    for (name, write, counted) in all_writes(furniture) {
        println!("  {name}");
        let this = write_at(position(db).version, 1);
        assert_eq!(this.landing(&position(db)), Landing::NotLanded);
        db.run(&write(&this)).unwrap();
        let after = dump(db);
        // What is not counted changes nothing when it comes again.
        match (counted, db.run(&write(&this))) {
            (true, result) => fenced(result),
            (false, result) => drop(result.unwrap()),
        }
        assert_eq!(dump(db), after, "{name}");
        let landing = if counted { Landing::Landed } else { Landing::NotLanded };
        assert_eq!(this.landing(&position(db)), landing, "{name}");
    }
}

pub fn two_writers(db: &mut dyn Database) {
    let (a, b) = (Author::new(1).note("a"), Author::new(2).note("b"));
    for [first, second] in [[1, 2], [2, 1], [1, 1]] {
        let version = position(db).version;
        let name = |incarnation, number| Write { expected: version, name: WriteName { incarnation, number } };
        let (first, second) = (name(first, 1 + 2 * version), name(second, 2 + 2 * version));
        let [won, lost] = [&a, &b].map(|event| Author::new(3).note(&format!("{} {version}", event.content)));
        let outcome = take(db, &[&won], &first).outcomes[&won.id];
        assert_eq!(outcome, stored(version + 1));
        let after = dump(db);
        fenced(db.run(&group(&[&lost], &second)));
        assert_eq!(dump(db), after);
        let found = position(db);
        assert_eq!((first.landing(&found), second.landing(&found)), (Landing::Landed, Landing::Fenced));
    }
}
