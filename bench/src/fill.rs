//! A store with many events, written by the store's own statements. The `n`th event is always the
//! same, so that questions about them can be asked without looking.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nexus::ledger::{Mode, NewEvent, Work};
use nexus::market::job::NIP90;
use nexus::market::retention::{Kept, Retention};
use nexus::nostr::{Event, EventId, PublicKey, Signature};
use nexus::store::counts::{self, Flush};
use nexus::store::log::{Write, WriteName};
use nexus::store::{Param, Statement, facts, write};
use rusqlite::Connection;

use crate::Error;
use crate::jobs::{hash, tags_of};

/// Unix seconds of the last event; before the machine's clock, whatever it says.
pub const NEWEST: u64 = 1_790_000_000;
/// Seconds over which the events are spread: as long as jobs are kept.
const SPAN: u64 = 86_400;
const GROUP: u64 = 256;
const CUSTOMERS: u64 = 500;
const PROVIDERS: u64 = 50;
/// One in so many events announces a handler, up to as many as there are providers.
const HANDLERS: u64 = 1000;

pub fn id(n: u64) -> EventId {
    EventId::new(hash(&format!("event {n}")))
}

/// The customer and the provider of the job that the `n`th event is of.
pub fn parties(n: u64) -> (PublicKey, PublicKey) {
    let key = |name: &str, n: u64| PublicKey::new(hash(&format!("{name} {n}")));
    (key("customer", n / 4 % CUSTOMERS), key("provider", n / 4 % PROVIDERS))
}

/// The `n`th of `events`. The store does not verify, so it is not signed.
fn event(n: u64, events: u64) -> Event {
    let job = id(n - n % 4).to_string();
    let (customer, provider) = parties(n);
    let (to, name) = (customer.to_string(), n.to_string());
    let answer = |status| tags_of(&[&["e", &job], &["p", &to], &["status", status]]);
    let (kind, pubkey, tags) = match n % 4 {
        0 if n.is_multiple_of(HANDLERS) && n / HANDLERS < PROVIDERS => {
            (31990, provider, tags_of(&[&["d", &name], &["k", "5050"]]))
        }
        0 => (5050, customer, tags_of(&[&["i", &name, "text"], &["p", &provider.to_string()], &["t", "bench"]])),
        1 => (7000, provider, answer("processing")),
        2 => (7000, provider, answer("partial")),
        _ => (6050, provider, answer("success")),
    };
    let created_at = NEWEST - SPAN + (n + 1) * SPAN / events;
    Event { id: id(n), pubkey, created_at, kind, tags, content: "x".repeat(300), sig: Signature::new([0; 64]) }
}

pub fn run(file: &Path, events: u64) -> Result<(), Error> {
    let db = Connection::open(file)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;")?;
    let (start, mut told) = (Instant::now(), 0);
    for from in (0..events).step_by(GROUP as usize) {
        let group: Vec<Arc<NewEvent>> =
            (from..events.min(from + GROUP)).map(|n| new(event(n, events)).into()).collect();
        db.execute_batch("BEGIN")?;
        let before = counts::decode(&vec![execute(&db, &counts::read())?])?;
        let number = before.totals.version;
        let write = Write { expected: number, name: WriteName { incarnation: 0, number } };
        let work = Work::Events(group, Mode::New);
        let needed = work.needed();
        let rows = facts::statements(&needed, false)
            .iter()
            .map(|statement| execute(&db, statement))
            .collect::<Result<_, _>>()?;
        let facts = facts::decode(&needed, false, &rows)?.ok_or("a group is too large")?;
        let decision = work.decide(before.totals.last_seq, facts);
        for statement in write::statements(&decision.changes, &before, &Flush::default(), &kept(), &write).0 {
            execute(&db, &statement)?;
        }
        db.execute_batch("COMMIT")?;
        if from - told >= 100_000 {
            told = from;
            eprintln!("filled {from} of {events} events in {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
    Ok(())
}

/// Events of jobs are kept as long as where the settings are not touched.
fn kept() -> Kept {
    let day = 86_400;
    Retention { requests: day, feedback: day, results: 7 * day, handlers: 0, others: 0 }.of_jobs(&NIP90)
}

fn new(event: Event) -> NewEvent {
    NewEvent {
        text: event.to_json().into(),
        came_ms: event.created_at * 1000,
        expires_at: None,
        deletes: Vec::new(),
        part: NIP90.part_of(&event),
        remember_until: event.created_at + 7 * SPAN,
        is_elsewhere: false,
        act: None,
        event,
    }
}

/// The rows of a statement.
fn execute(db: &Connection, statement: &Statement) -> Result<Vec<String>, Error> {
    let mut prepared = db.prepare_cached(&statement.sql)?;
    for (at, param) in statement.params.iter().enumerate() {
        match param {
            Param::Text(text) => prepared.raw_bind_parameter(at + 1, text)?,
            Param::Integer(number) => prepared.raw_bind_parameter(at + 1, number)?,
        }
    }
    let mut found = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        found.push(row.get("r")?);
    }
    Ok(found)
}
