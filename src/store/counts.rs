//! The totals: one row that says how far the log is and what has been counted, written with every group.
//!
//! Counts are a JSON object from a key to a number, so that counting costs one row whatever is counted.
//! The keys: `e KIND` events stored, `j KIND STATE` jobs now in a state, `f BUCKET` and `r BUCKET` jobs
//! by the time to the first feedback and the first result, `f sum` and `r sum` these times in ms, and what
//! the engine counts itself. Kinds past the first [`MAX_KEYS`] keys of a letter share the kind `*`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::{Write, WriteName};
use super::{Param, Rows, Statement, StoreError, integer, json};
use crate::ledger::Changes;
use crate::market::history::Snapshot;

/// Keys of one letter after which kinds are no longer told apart.
const MAX_KEYS: usize = 300;

/// What the database knows about itself, kept in one row so that reading it costs one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many writes the log has had.
    pub version: u64,
    /// The last of them.
    pub writer: Option<WriteName>,
    /// The highest number given to an event.
    pub last_seq: u64,
    /// Events ever stored.
    pub stored: u64,
    /// Number of the last [`Flush`] that was added.
    pub flush: u64,
    /// The latest `created_at` of all events ever stored.
    pub newest: u64,
    /// Unix seconds until which answers may be held whose request is not known: a request that comes
    /// before then may have to be reconciled with them.
    pub early: u64,
    /// The last day (since 1970, UTC) on which rows were taken from the allowance.
    pub day: u64,
    /// Rows taken on that day.
    pub spent: u64,
}

/// What the engine has counted since it last handed its counts over. Each number is added once, however
/// often the group it came with is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// Higher than [`Totals::flush`]: Unix milliseconds, as a rule. So what a partition counts after it has lost its
    /// memory is not taken for what it had counted before.
    pub number: u64,
    /// By key.
    pub counts: BTreeMap<String, u64>,
    /// The day (since 1970, UTC) to which `spent` belongs.
    pub day: u64,
    /// Rows taken from the allowance of that day.
    pub spent: u64,
}

/// Everything that has been counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// When counting began, Unix milliseconds; 0 before the first event.
    pub since_ms: u64,
    /// Events ever stored.
    pub stored: u64,
    /// Number of the last [`Flush`] that is among the counts.
    pub flush: u64,
    /// By key.
    pub counts: BTreeMap<String, i64>,
}

impl Counts {
    /// What of it is told of a moment (Unix seconds): events, and jobs by state.
    pub fn moment(&self, at: u64) -> Snapshot {
        let mut states: BTreeMap<String, i64> = BTreeMap::new();
        let jobs = self.counts.iter().filter(|(key, _)| key.starts_with("j "));
        let jobs = jobs.filter_map(|(key, n)| Some((key.rsplit_once(' ')?.1, *n)));
        for (state, n) in jobs.filter(|(_, n)| *n != 0) {
            *states.entry(state.to_owned()).or_default() += n;
        }
        Snapshot { at, stored: self.stored, states, results: BTreeMap::new() }
    }

    /// Adds another database's, and what is not among them yet.
    pub fn add<'a>(&mut self, other: &Self, more: impl IntoIterator<Item = (&'a String, u64)>) {
        self.since_ms = match (self.since_ms, other.since_ms) {
            (0, since) | (since, 0) => since,
            (own, others) => own.min(others),
        };
        self.stored += other.stored;
        let more = more.into_iter().map(|(key, n)| (key, i64::try_from(n).unwrap_or(i64::MAX)));
        for (key, n) in other.counts.iter().map(|(key, n)| (key, *n)).chain(more) {
            *self.counts.entry(key.clone()).or_default() += n;
        }
    }
}

/// The totals row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// How far the log is.
    pub totals: Totals,
    /// What has been counted.
    pub counts: Counts,
}

/// There is no row: what was imported into the database is not all of it yet.
pub fn missing() -> StoreError {
    StoreError::new("the totals row is missing; apply the migrations, or what is left of an import")
}

/// Reads the [`Position`] as one row; see [`decode`].
pub fn read() -> Statement {
    let sql = "SELECT json_object('version', version, 'writer', writer, 'last_seq', last_seq, 'stored', stored, \
         'flush', flush, 'newest', newest, 'early', early, 'day', day, 'spent', spent, 'since_ms', since_ms, \
         'counts', json(counts)) AS r FROM totals";
    Statement::new(sql, vec![])
}

/// Decodes the first of the answers, that to [`read`].
pub fn decode(rows: &Rows) -> Result<Position, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        version: u64,
        writer: String,
        last_seq: u64,
        stored: u64,
        flush: u64,
        newest: u64,
        early: u64,
        day: u64,
        spent: u64,
        since_ms: u64,
        counts: BTreeMap<String, i64>,
    }
    let row = rows.first().and_then(|rows| rows.first());
    let row = row.ok_or_else(missing)?;
    let row = serde_json::from_str(row).map_err(|error| StoreError::new(format!("totals row: {error}")))?;
    let Row { version, writer, last_seq, stored, flush, newest, early, day, spent, since_ms, counts } = row;
    let writer = WriteName::parse(&writer);
    Ok(Position {
        totals: Totals { version, writer, last_seq, stored, flush, newest, early, day, spent },
        counts: Counts { since_ms, stored, flush, counts },
    })
}

impl Position {
    /// What it is after a write that makes `changes` and adds `flush`.
    pub fn after(&self, write: &Write, changes: &Changes, flush: &Flush) -> Self {
        let (mut totals, mut counts) = (self.totals, self.counts.clone());
        (totals.version, totals.writer) = (write.expected + 1, Some(write.name));
        totals.last_seq = changes.fresh.last().map_or(totals.last_seq, |fresh| fresh.seq);
        totals.stored += changes.fresh.len() as u64;
        let created_at = |fresh: &crate::ledger::Fresh| fresh.new.event.created_at;
        totals.newest = changes.fresh.iter().map(created_at).fold(totals.newest, u64::max);
        totals.early = totals.early.max(changes.early);
        if counts.since_ms == 0 {
            counts.since_ms = changes.fresh.iter().map(|fresh| fresh.new.came_ms).min().unwrap_or_default();
        }
        for (key, other, n) in &changes.counts {
            add(&mut counts.counts, key, other, *n);
        }
        if flush.number > totals.flush {
            totals.spent = if flush.day > totals.day { 0 } else { totals.spent } + flush.spent;
            (totals.flush, totals.day) = (flush.number, totals.day.max(flush.day));
            for (key, n) in &flush.counts {
                add(&mut counts.counts, key, key, i64::try_from(*n).unwrap_or(i64::MAX));
            }
        }
        (counts.stored, counts.flush) = (totals.stored, totals.flush);
        Self { totals, counts }
    }

    /// Makes it the totals of the database, if the log is where `write` expects it; fails, and with it the whole batch,
    /// where it is not.
    pub(super) fn put(&self, write: &Write) -> Statement {
        let Totals { version: _, writer: _, last_seq, stored, flush, newest, early, day, spent } = self.totals;
        let numbers = [last_seq, stored, flush, newest, early, day, spent, self.counts.since_ms].map(integer);
        let mut params = vec![integer(write.expected), Param::Text(write.name.to_string().into())];
        params.extend(numbers);
        params.push(json(&self.counts.counts));
        // What may not be NULL fails the batch.
        let sql = "UPDATE totals SET version = iif(version = ?1, version + 1, NULL), writer = ?2, last_seq = ?3, stored = ?4, \
             flush = ?5, newest = ?6, early = ?7, day = ?8, spent = ?9, since_ms = ?10, counts = ?11";
        Statement::new(sql, params)
    }
}

/// Adds to a count; one that is not there, where there are as many as may be, is added to another one.
fn add(counts: &mut BTreeMap<String, i64>, key: &str, other: &str, n: i64) {
    let letter = |key: &str| key.starts_with("j ");
    let is_full =
        || counts.keys().filter(|known| letter(known) == letter(key) && is_of_kinds(known)).count() >= MAX_KEYS;
    let key = if counts.contains_key(key) || key == other || !is_full() { key } else { other };
    *counts.entry(key.to_owned()).or_default() += n;
}

/// Whether a count is of a kind.
fn is_of_kinds(key: &str) -> bool {
    key.starts_with("j ") || key.starts_with("e ")
}
