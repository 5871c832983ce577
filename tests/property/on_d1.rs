//! The fourth judge: the same groups and searches on Miniflare's D1, without the engine.

use nexus::ledger::{Outcome, Work};
use nexus::market::job::NIP90;
use nexus::nostr::{Event, Filter, PublicKey, Values};
use nexus::store::read::{self, StoredEvent, Text, Viewer};
use nexus::store::{Rows, Statement, sweep};
use serde_json::Value;

use crate::common::Database;
use crate::common::d1::D1;
use crate::common::ledger::{self, carry_out, for_ever};
use crate::model::Fate;

/// More than is ever stored.
const ALL: u64 = 5000;

/// What D1 finds of one filter.
pub struct Found {
    pub all: Vec<Value>,
    pub limited: Vec<Value>,
    pub counted: usize,
}

/// A filter, with a limit, and who asks.
pub struct Asked<'a> {
    pub filter: &'a Value,
    pub limit: u64,
    pub keys: &'a Values<PublicKey>,
    pub now: u64,
}

/// Forgets everything.
pub fn clear(d1: &mut D1) {
    let sql = |sql: String| Statement { sql: sql.into(), params: vec![] };
    let tables = ["events", "tags", "jobs", "deletions", "vanishing"];
    let mut statements = tables.map(|table| sql(format!("DELETE FROM {table}"))).to_vec();
    statements.push(sql("UPDATE totals SET last_seq = 0, stored = 0, flush = 0, newest = 0, counts = '{}'".to_owned()));
    d1.run(&statements).unwrap();
}

/// Writes a group.
pub fn take(d1: &mut D1, group: &[&Event]) -> Vec<Fate> {
    let committed = carry_out(d1, &ledger::group(group));
    let fate = |event: &&Event| match committed.outcome(&event.id) {
        Outcome::Stored { seq, .. } if seq > committed.before.totals.last_seq => Fate::Stored,
        Outcome::Stored { .. } => Fate::Known,
        Outcome::Superseded => Fate::Superseded,
        Outcome::Deleted => Fate::Deleted,
        Outcome::Cancelled | Outcome::Disagrees(_) => panic!("there are no jobs here"),
        Outcome::TooMuch => panic!("there is nothing large here"),
        Outcome::Elsewhere => panic!("there is one partition"),
    };
    group.iter().map(fate).collect()
}

pub fn sweep(d1: &mut D1, now: u64) {
    loop {
        let found = sweep::decode(&d1.run(&sweep::find(now, &for_ever())).unwrap()).unwrap();
        if found.is_empty() {
            return;
        }
        carry_out(d1, &Work::Removal(found.seqs, found.swept));
    }
}

/// Answers all questions in one batch.
pub fn find(d1: &mut D1, asked: &[Asked]) -> Vec<Found> {
    let statements = |asked: &Asked| {
        let filter = Filter::parse(&asked.filter.to_string()).unwrap();
        let viewer = Viewer { keys: asked.keys, profile: &NIP90, kept: &for_ever(), now: asked.now };
        let newest = |limit| read::newest(&filter, limit, u64::MAX >> 12, &viewer);
        let of_few = read::newest_of_few(&filter, asked.limit, u64::MAX >> 12, &viewer);
        [newest(ALL), newest(asked.limit), of_few, read::all(&filter, false, &viewer)]
    };
    let statements: Vec<[Vec<Statement>; 4]> = asked.iter().map(statements).collect();
    let mut rows = d1.run(&statements.as_flattened().concat()).unwrap().into_iter();
    let mut next = |statements: &Vec<Statement>| rows.by_ref().take(statements.len()).collect::<Rows>();
    let found = |(asked, [all, limited, of_few, counted]): (&Asked, &[Vec<Statement>; 4])| {
        let (all, limited, of_few) = (next(all), events(next(limited), asked.limit), next(of_few));
        if !of_few.iter().any(|rows| read::is_of_many(rows)) {
            assert_eq!(events(of_few, asked.limit), limited, "{}", asked.filter);
        }
        let counted = read::decode_counted(next(counted)).unwrap().unwrap().len();
        Found { all: events(all, ALL), limited, counted }
    };
    asked.iter().zip(&statements).map(found).collect()
}

/// The newest of all lists together.
fn events(lists: Rows, limit: u64) -> Vec<Value> {
    let mut events: Vec<StoredEvent> =
        lists.into_iter().flat_map(|rows| read::decode(rows).unwrap().unwrap()).collect();
    events.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    events.truncate(limit as usize);
    let json = |event: &StoredEvent| match &event.text {
        Text::Json(json) => serde_json::from_str(json).unwrap(),
        Text::Large(_) => panic!("no text is too large here"),
    };
    events.iter().map(json).collect()
}
