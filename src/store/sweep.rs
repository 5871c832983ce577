//! Looking for what may no longer be kept, in bounded steps: events that have expired (NIP-40, retention)
//! and those of keys that asked to vanish (NIP-62).

use std::ops::RangeInclusive;

use super::{PRIVATE, Param, Rows, Statement, StoreError, hex, integer, is_by, json, may_be_by};
use crate::ledger::{READER, Swept, Work};
use crate::market::retention::Kept;
use crate::nostr::{PublicKey, kind};

/// Events one step removes.
pub const STEP: usize = 200;

/// Vanishing keys that are looked at in one step, and their kinds.
const MAX_KEYS: usize = 100;
const MAX_SHELVES: usize = 2000;
/// Shelves of events of jobs: all there can be.
const MAX_KEPT_SHELVES: usize = 5000;

/// What there is to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Numbers of events, at most [`STEP`] of each sort.
    pub seqs: Vec<u64>,
    /// What holds when these are removed.
    pub swept: Swept,
    /// Whether there may be more.
    pub more: bool,
    /// When next something expires, in Unix seconds.
    pub next_expiry: Option<u64>,
}

impl Sweep {
    /// What is to be done with it.
    pub fn work(&self) -> Work {
        Work::Removal(self.seqs.clone(), self.swept.clone())
    }

    /// Leaves the rest of the events to the next step, and what holds when they are removed; says whether there is a rest.
    pub fn halve(&mut self) -> bool {
        let rest = self.seqs.split_off(self.seqs.len().div_ceil(2));
        self.swept = Swept::default();
        self.more |= !rest.is_empty();
        !rest.is_empty()
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty() && self.swept.is_empty()
    }
}

/// The shelves `s` of events that are not kept for ever, each with how many seconds they are; ?1 is [`spans`].
fn kept_shelves() -> String {
    let next = |after: &str, last: &str| {
        format!("(SELECT min(i.shelf) FROM events AS i WHERE i.shelf {after} AND i.shelf <= {last})")
    };
    format!(
        "WITH RECURSIVE s (shelf, last, seconds) AS (SELECT {}, k.value->>1, k.value->>2 FROM json_each(?1) AS k \
           UNION ALL SELECT {}, s.last, s.seconds FROM s WHERE s.shelf IS NOT NULL LIMIT {MAX_KEPT_SHELVES})",
        next(">= k.value->>0", "k.value->>1"),
        next("> s.shelf", "s.last"),
    )
}

/// Shelves from one to another, and for how many seconds what lies there is kept.
fn spans(kept: &Kept) -> Param {
    let span = |(kinds, seconds): (&RangeInclusive<u16>, u64)| {
        [0, PRIVATE].map(|shelves| (u32::from(*kinds.start()) + shelves, u32::from(*kinds.end()) + shelves, seconds))
    };
    json(&kept.by_kind().flat_map(span).collect::<Vec<_>>())
}

/// Looks for what can be removed at `now` (Unix seconds), where events of jobs are `kept` for some time; decode with
/// [`decode`].
pub fn find(now: u64, kept: &Kept) -> Vec<Statement> {
    // Shelf by shelf, so that what a key published since is not passed by.
    let shelf = |of: &str, after: &str| {
        let by = may_be_by("i", &format!("{of}.pubkey"));
        format!("(SELECT min(i.shelf) FROM events AS i WHERE {by} AND i.shelf > {after})")
    };
    let keys = format!("(SELECT * FROM vanishing ORDER BY pubkey LIMIT {MAX_KEYS})");
    // One key after the other; the last shelf of one that was walked to its end is NULL.
    let walk = format!(
        "WITH RECURSIVE s (pubkey, until, shelf) AS (SELECT v.pubkey, v.until, {} FROM {keys} AS v \
           UNION ALL SELECT s.pubkey, s.until, {} FROM s WHERE s.shelf IS NOT NULL ORDER BY 1 LIMIT {MAX_SHELVES})",
        shelf("v", "v.shelf - 1"),
        shelf("s", "s.shelf"),
    );
    let walked = format!(
        "{walk} SELECT {} || ' ' || until || iif(count(*) > count(shelf), '', ' ' || (max(shelf) + 1)) AS r \
         FROM s GROUP BY pubkey, until",
        hex("pubkey")
    );
    let vanished = format!(
        "{walk} SELECT e.seq AS r FROM s CROSS JOIN events AS e ON {by} AND e.shelf = s.shelf \
           AND e.created_at <= s.until WHERE s.shelf <> {} LIMIT {STEP}",
        kind::VANISH,
        by = is_by("e", "s.pubkey"),
    );
    let wraps = format!(
        "SELECT t.seq AS r FROM {keys} AS v CROSS JOIN tags AS t ON t.tag = unhex('{READER:02x}00' || hex(v.pubkey)) \
         AND t.shelf = {} + {PRIVATE} AND t.created_at <= v.until LIMIT {STEP}",
        kind::GIFT_WRAP
    );
    let expired = format!("SELECT seq AS r FROM events WHERE expires_at <= ?1 ORDER BY expires_at LIMIT {STEP}");
    let jobs = format!("SELECT until AS r FROM jobs WHERE held <= 0 AND until <= ?1 ORDER BY until LIMIT {STEP}");
    let with_now = |sql: &str| Statement { sql: text(sql).into(), params: vec![integer(now)] };
    let plain = |sql: &str| Statement { sql: text(sql).into(), params: vec![] };
    let old = format!(
        "{} SELECT e.seq AS r FROM s CROSS JOIN events AS e INDEXED BY events_by_kind \
           ON e.shelf = s.shelf AND e.created_at <= ?2 - s.seconds LIMIT {STEP}",
        kept_shelves()
    );
    let old = Statement { sql: text(&old).into(), params: vec![spans(kept), integer(now)] };
    vec![plain(&walked), plain(&vanished), plain(&wraps), with_now(&expired), old, with_now(&jobs), next(now, kept, "")]
}

/// Reads the second from which on there is something to remove, none if there never is, as things are; 0 when a key
/// vanishes. Decode with [`decode_due`].
pub fn due(kept: &Kept) -> Statement {
    next(0, kept, "UNION ALL SELECT * FROM (SELECT 0 AS r FROM vanishing LIMIT 1)")
}

/// The answer to [`due`].
pub fn decode_due(rows: &[String]) -> Option<u64> {
    rows.first()?.parse().ok()
}

/// When next an event expires or a job need not be remembered any more, after `now`, or `also`.
fn next(now: u64, kept: &Kept, also: &str) -> Statement {
    let sql = format!(
        "{} SELECT min(r) AS r FROM (SELECT min((SELECT min(e.created_at) FROM events AS e WHERE e.shelf = s.shelf) + s.seconds) AS r \
           FROM s \
         UNION ALL SELECT * FROM (SELECT expires_at AS r FROM events WHERE expires_at > ?2 ORDER BY expires_at LIMIT 1) \
         UNION ALL SELECT * FROM (SELECT until AS r FROM jobs WHERE held <= 0 AND until > ?2 ORDER BY until LIMIT 1) {also}) \
         HAVING min(r) IS NOT NULL",
        kept_shelves()
    );
    Statement { sql: text(&sql).into(), params: vec![spans(kept), integer(now)] }
}

fn text(sql: &str) -> String {
    format!("SELECT cast(r AS TEXT) AS r FROM ({sql})")
}

/// The answer to [`find`].
pub fn decode(rows: &Rows) -> Result<Sweep, StoreError> {
    let [walked, events, wraps, expired, old, jobs, next] = rows.as_slice() else {
        return Err(StoreError::new("a sweep was answered with another number of results"));
    };
    let wrong = |row: &String| StoreError::new(format!("sweep row: {row}"));
    let number = |row: &String| row.parse::<u64>().map_err(|_| wrong(row));
    let mut sweep = Sweep {
        seqs: [events, wraps, expired, old].into_iter().flatten().map(number).collect::<Result<_, _>>()?,
        swept: Swept { forget: jobs.last().map(number).transpose()?.unwrap_or_default(), ..Swept::default() },
        next_expiry: next.first().map(number).transpose()?,
        ..Sweep::default()
    };
    let full = |list: &Vec<String>| list.len() >= STEP;
    // As long as steps are full somebody's events are left.
    let walked: &[String] = if full(events) || full(wraps) { &[] } else { walked };
    for row in walked {
        let parts: Vec<&str> = row.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong(row));
        let key = parts.first().and_then(|key| PublicKey::parse(key)).ok_or_else(|| wrong(row))?;
        match *parts.as_slice() {
            [_, until] => sweep.swept.vanished.push((key, number(until)?)),
            [_, until, shelf] => sweep.swept.walked.push((key, number(until)?, number(shelf)?)),
            _ => return Err(wrong(row)),
        }
    }
    // Behind the keys that were looked at there may be others.
    sweep.more = [events, wraps, expired, old, jobs].into_iter().any(full) || !walked.is_empty();
    Ok(sweep)
}
