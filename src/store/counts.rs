//! The totals: one row that says how far the log is and what has been counted, written once a group.
//!
//! Counts are a JSON object from a key to a number, so that counting costs one row whatever is counted.
//! The keys: `e KIND` events stored, `j KIND STATE` jobs now in a state, `f BUCKET` and `r BUCKET` jobs
//! by the time to the first feedback and the first result, `f sum` and `r sum` these times in ms, and what
//! the engine counts itself. Kinds past the first [`MAX_KEYS`] keys of a letter share the kind `*`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::{self, Write, WriteName};
use super::{MAX_INTEGER, Rows, Statement, StoreError, json};
use crate::market::histogram::BOUNDS_MS;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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

/// Reads [`Totals`] as one row.
pub(super) const READ_TOTALS: &str = "SELECT json_object('version', version, 'writer', writer, 'last_seq', last_seq, \
     'stored', stored, 'flush', flush, \
     'newest', newest, 'early', early, 'day', day, 'spent', spent) AS r FROM totals";
/// Reads [`Totals`] and [`Counts`] as one row.
pub(super) const READ_COUNTS: &str = "SELECT json_object('version', version, 'writer', writer, 'last_seq', last_seq, \
     'stored', stored, 'flush', flush, \
     'newest', newest, 'early', early, 'day', day, 'spent', spent, 'since_ms', since_ms, 'counts', json(counts)) AS r FROM totals";

/// Reads [`Totals`]; see [`decode_totals`].
pub fn read_totals() -> Vec<Statement> {
    vec![log::position()]
}

/// Decodes the answer to [`read_totals`].
pub fn decode_totals(rows: &Rows) -> Result<Totals, StoreError> {
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
    }
    let Row { version, writer, last_seq, stored, flush, newest, early, day, spent } =
        decode(rows.first().and_then(|rows| rows.first()))?;
    let writer = WriteName::parse(&writer);
    Ok(Totals { version, writer, last_seq, stored, flush, newest, early, day, spent })
}

/// Reads [`Totals`] and [`Counts`]; see [`decode_counts`].
pub fn read_counts() -> Statement {
    Statement::new(READ_COUNTS, vec![])
}

/// Decodes the row of [`read_counts`].
pub fn decode_counts(row: Option<&String>) -> Result<Counts, StoreError> {
    decode(row)
}

fn decode<T: for<'a> Deserialize<'a>>(row: Option<&String>) -> Result<T, StoreError> {
    row.map_or_else(
        || Err(StoreError::new("the totals row is missing; apply the migrations")),
        |row| serde_json::from_str(row).map_err(|e| StoreError::new(format!("totals row: {e}"))),
    )
}

/// The counts with `deltas` added: a SELECT of a key, the key to use when there is no room for another
/// one, and a number.
pub fn plus(deltas: &str) -> String {
    format!(
        "(SELECT json_group_object(k, n) FROM (SELECT k, sum(n) AS n FROM ( \
           SELECT key AS k, value AS n FROM json_each(totals.counts) \
           UNION ALL \
           SELECT CASE WHEN iif(substr(d.k, 1, 2) = 'j ', s.jobs, s.events) < {MAX_KEYS} \
               OR json_type(totals.counts, '$.\"' || d.k || '\"') IS NOT NULL THEN d.k ELSE coalesce(d.other, d.k) END, d.n \
             FROM (SELECT count(*) FILTER (WHERE key GLOB 'e *') AS events, count(*) FILTER (WHERE key GLOB 'j *') AS jobs \
                FROM json_each((SELECT counts FROM totals))) AS s CROSS JOIN ({deltas}) AS d) GROUP BY k))"
    )
}

/// Whether ?1 is later than the last flush.
const NEW_FLUSH: &str = "totals.flush < ?1->>'$.number'";

/// Counts a group whose events are `fresh`; ?1 is a [`Flush`], ?2 the write's name, `moved` selects how it has moved
/// jobs. `answers` says whether some answer jobs.
pub fn count_group(fresh: &str, moved: Option<&str>, answers: bool) -> String {
    let stored = format!(
        "SELECT 'e ' || e.kind AS k, 'e *' AS other, count(*) AS n FROM {fresh} GROUP BY e.kind \
         UNION ALL SELECT key, key, value FROM json_each(?1, '$.counts') WHERE {NEW_FLUSH}"
    );
    let deltas = match moved {
        Some(moved) => format!("{stored} UNION ALL {moved}"),
        None => stored,
    };
    let counts = plus(&deltas);
    let early = if answers {
        format!(
            "max(early, coalesce((SELECT max(coalesce(e.expires_at, {MAX_INTEGER})) FROM {fresh} \
             CROSS JOIN jobs AS j ON j.id = e.job AND j.kind IS NULL), 0))"
        )
    } else {
        "early".to_owned()
    };
    format!(
        "UPDATE totals SET {}, counts = {counts}, stored = stored + (SELECT count(*) FROM {fresh}), \
         last_seq = (SELECT max(e.seq) FROM {fresh}), flush = max(flush, ?1->>'$.number'), early = {early}, \
         spent = iif({NEW_FLUSH}, iif(?1->>'$.day' > day, 0, spent) + ?1->>'$.spent', spent), \
         day = iif({NEW_FLUSH}, max(day, ?1->>'$.day'), day), newest = max(newest, (SELECT max(e.created_at) FROM {fresh})), \
         since_ms = CASE since_ms WHEN 0 THEN (SELECT min(e.came_ms) FROM {fresh}) ELSE since_ms END \
         WHERE EXISTS (SELECT 1 FROM {fresh})",
        log::COUNT_WRITE
    )
}

/// Adds `flush` to the totals by itself, and reads [`Totals`] and [`Counts`] after it.
pub fn save(flush: &Flush, write: &Write) -> Vec<Statement> {
    let counts = plus("SELECT key AS k, key AS other, value AS n FROM json_each(?1, '$.counts')");
    let sql = format!(
        "UPDATE totals SET {}, counts = {counts}, flush = ?1->>'$.number', \
         spent = iif(?1->>'$.day' > day, 0, spent) + ?1->>'$.spent', day = max(day, ?1->>'$.day') WHERE {NEW_FLUSH}",
        log::COUNT_WRITE
    );
    log::guarded(write, vec![Statement::new(sql, vec![json(flush), log::name(write)]), read_counts()])
}

/// Decodes what [`save`] answers: the totals, and the row of the counts.
pub fn decode_saved(rows: &Rows) -> Result<(Totals, String), StoreError> {
    let row = rows.last().and_then(|rows| rows.first()).cloned().unwrap_or_default();
    let totals = decode_totals(&vec![vec![row.clone()]])?;
    Ok((totals, row))
}

/// The bucket of a time in milliseconds, as [`crate::market::histogram::bucket`] has it.
pub fn bucket(ms: &str) -> String {
    let whens: Vec<String> =
        BOUNDS_MS.iter().enumerate().map(|(at, bound)| format!("WHEN {ms} <= {bound} THEN {at}")).collect();
    format!("CASE {} ELSE {} END", whens.join(" "), BOUNDS_MS.len())
}
