//! The fourth judge: the same groups and searches on Miniflare's D1, without the engine.

use std::collections::BTreeSet;

use nexus::market::job;
use nexus::nostr::{Event, EventId, Filter, PublicKey, deletion};
use nexus::store::read::{self, StoredEvent, Text, Viewer};
use nexus::store::write::{self, NewEvent, Outcome};
use nexus::store::{Statement, sweep};
use serde_json::Value;

use crate::common::Database;
use crate::common::d1::D1;
use crate::model::Fate;

/// More than is ever stored.
const ALL: u64 = 5000;

/// What D1 finds of one filter.
pub struct Found {
    pub all: Vec<Value>,
    pub limited: Vec<Value>,
    pub counted: BTreeSet<String>,
}

/// A filter, with a limit, and who asks.
pub struct Asked<'a> {
    pub filter: &'a Value,
    pub limit: u64,
    pub keys: &'a BTreeSet<PublicKey>,
    pub now: u64,
}

/// Forgets everything.
pub fn clear(d1: &mut D1) {
    let sql = |sql: String| Statement { sql, params: vec![] };
    let tables = ["events", "tags", "jobs", "deletions", "vanishing"];
    let mut statements = tables.map(|table| sql(format!("DELETE FROM {table}"))).to_vec();
    statements.push(sql(
        "UPDATE totals SET last_seq = 0, stored = 0, requested = 0, with_feedback = 0, with_result = 0".to_owned(),
    ));
    d1.run(&statements).unwrap();
}

/// Writes a group.
pub fn take(d1: &mut D1, group: &[&Event]) -> Vec<Fate> {
    let new = |event: &&Event| NewEvent {
        event: (*event).clone(),
        expires_at: event.expiration().unwrap(),
        deletes: deletion::targets(event, &[]),
        job: job::NIP90.job_of(event),
    };
    let ids: Vec<EventId> = group.iter().map(|event| event.id).collect();
    let rows = d1.run(&write::statements(&group.iter().map(new).collect::<Vec<_>>())).unwrap();
    let committed = write::decode(&ids, &rows).unwrap();
    let fate = |id: &EventId| match committed.outcomes[id] {
        Outcome::Stored(seq) if seq > committed.base => Fate::Stored,
        Outcome::Stored(_) => Fate::Known,
        Outcome::Superseded => Fate::Superseded,
        Outcome::Deleted => Fate::Deleted,
    };
    ids.iter().map(fate).collect()
}

pub fn sweep(d1: &mut D1, now: u64) {
    loop {
        let found = sweep::decode(&d1.run(&sweep::find(now)).unwrap()).unwrap();
        if found.seqs.is_empty() {
            return;
        }
        d1.run(&sweep::remove(&found.seqs)).unwrap();
    }
}

/// Answers all questions in one batch.
pub fn find(d1: &mut D1, asked: &[Asked]) -> Vec<Found> {
    let statements = |asked: &Asked| {
        let filter = Filter::parse(&asked.filter.to_string()).unwrap();
        let viewer = Viewer { keys: asked.keys, now: asked.now };
        let newest = |limit| read::newest(&filter, limit, u64::MAX >> 12, &viewer);
        [newest(ALL), newest(asked.limit), read::all(&filter, &viewer)]
    };
    let statements: Vec<Statement> = asked.iter().flat_map(statements).collect();
    let mut rows = d1.run(&statements).unwrap().into_iter();
    let mut next = || rows.next().unwrap();
    let found = |_: &Asked| Found {
        all: events(next()),
        limited: events(next()),
        counted: {
            let counted = read::decode_counted(vec![next()]).unwrap().unwrap();
            counted.keys().map(ToString::to_string).collect()
        },
    };
    asked.iter().map(found).collect()
}

fn events(rows: Vec<String>) -> Vec<Value> {
    let events = read::decode(rows).unwrap().unwrap();
    let json = |event: &StoredEvent| match &event.text {
        Text::Json(json) => serde_json::from_str(json).unwrap(),
        Text::Large(_) => panic!("no text is too large here"),
    };
    events.iter().map(json).collect()
}
