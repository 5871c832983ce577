//! The log belongs to one writer: what writes find in the totals, and what they leave there.

use nexus::ledger::{Mode, RememberedDeletion, RememberedJob, Swept, Work};
use nexus::nostr::{Event, PublicKey};
use nexus::store::counts::{Flush, Totals};
use nexus::store::log::{Landing, Write, WriteName};
use nexus::store::{Rows, Statement, StoreError, market};

use super::{dump, put, stored};
use crate::common::Database;
use crate::common::events::{Author, NOW, new_event};
use crate::common::ledger::{group, new_group, position, prepare, save};

/// A write of incarnation `who` at a version; so their numbers differ.
pub fn write_at(expected: u64, incarnation: u64) -> Write {
    Write { expected, name: WriteName { incarnation, number: 100 + expected } }
}

fn at(db: &mut dyn Database) -> Totals {
    position(db).totals
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

type MakeWrite = Box<dyn Fn(&mut dyn Database, &Write) -> Vec<Statement>>;

/// Every sort of write, and whether it is counted.
fn all_writes([request, _, handler]: [Event; 3]) -> Vec<(&'static str, MakeWrite, bool)> {
    let buyer = Author::new(1);
    let provider: PublicKey = handler.pubkey;
    let [fresh, old] = ["fresh", "of an export"].map(|content| new_event(&buyer.note(content)));
    let flush = |number| Flush { number, counts: [("x accepted".to_owned(), 3)].into(), ..Flush::default() };
    let work = |work: Work| -> MakeWrite { Box::new(move |db, by| prepare(db, &work, &Flush::default(), by).0) };
    let removal = |seq| work(Work::Removal(vec![seq], Swept::default()));
    let deletion = RememberedDeletion { key: format!("{} {}", request.pubkey, "ab".repeat(32)), until: NOW };
    let job = RememberedJob {
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
        ("a group", Box::new(move |db, by| prepare(db, &new_group([fresh.clone()]), &flush(1), by).0), true),
        ("counts", Box::new(move |db, by| save(db, &flushed, by)), true),
        ("seen", Box::new(move |_, by| market::seen(&[provider], NOW + 100, by)), false),
        ("a removal", removal(2), true),
        ("a removal of a request", removal(1), true),
        ("an import of events", work(Work::Events(vec![old.into()], Mode::Restored)), true),
        ("an import of deletions", work(Work::Deletions(vec![deletion])), true),
        ("an import of jobs", work(Work::Jobs(vec![job])), true),
    ]
}

pub fn other_versions(db: &mut dyn Database) {
    let furniture = furnished(db);
    for (name, write, counted) in all_writes(furniture) {
        println!("  {name}");
        let before = dump(db);
        let Totals { version, writer, .. } = at(db);
        for other in [version - 1, version + 1, 1 << 50] {
            let other = write(db, &write_at(other, 1));
            fenced(db.run(&other));
            assert_eq!(dump(db), before, "{name}");
        }
        let right = write_at(version, 2);
        let statements = write(db, &right);
        db.run(&statements).unwrap();
        assert_ne!(dump(db), before, "{name}");
        let after = at(db);
        let expected = if counted { (version + 1, Some(right.name)) } else { (version, writer) };
        assert_eq!((after.version, after.writer), expected, "{name}");
    }
}

pub fn twice(db: &mut dyn Database) {
    let furniture = furnished(db);
    for (name, write, counted) in all_writes(furniture) {
        println!("  {name}");
        let this = write_at(at(db).version, 1);
        assert_eq!(this.landing(&at(db)), Landing::NotLanded);
        let statements = write(db, &this);
        db.run(&statements).unwrap();
        let after = dump(db);
        // What is not counted changes nothing when it comes again.
        match (counted, db.run(&statements)) {
            (true, result) => fenced(result),
            (false, result) => drop(result.unwrap()),
        }
        assert_eq!(dump(db), after, "{name}");
        let landing = if counted { Landing::Landed } else { Landing::NotLanded };
        assert_eq!(this.landing(&at(db)), landing, "{name}");
    }
}

pub fn two_writers(db: &mut dyn Database) {
    let (a, b) = (Author::new(1).note("a"), Author::new(2).note("b"));
    for [first, second] in [[1, 2], [2, 1], [1, 1]] {
        let version = at(db).version;
        let name = |incarnation, number| Write { expected: version, name: WriteName { incarnation, number } };
        let (first, second) = (name(first, 1 + 2 * version), name(second, 2 + 2 * version));
        let [won, lost] = [&a, &b].map(|event| Author::new(3).note(&format!("{} {version}", event.content)));
        let last = at(db).last_seq;
        let [(winning, committed), (losing, _)] =
            [(&won, &first), (&lost, &second)].map(|(event, by)| prepare(db, &group(&[event]), &Flush::default(), by));
        db.run(&winning).unwrap();
        assert_eq!(committed.outcome(&won.id), stored(last + 1));
        let after = dump(db);
        fenced(db.run(&losing));
        assert_eq!(dump(db), after);
        let found = at(db);
        assert_eq!((first.landing(&found), second.landing(&found)), (Landing::Landed, Landing::Fenced));
    }
}
