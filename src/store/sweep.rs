//! Removing what may no longer be kept, in bounded steps: events that have expired (NIP-40, retention)
//! and those of keys that asked to vanish (NIP-62). A step finds some, the next removes them.

use super::log::{self, Write};
use super::{PRIVATE, Param, Rows, Statement, StoreError, counts, integer, jobs, json};
use crate::market::State;
use crate::nostr::kind;

/// Events one step removes.
pub const STEP: usize = 200;

/// Vanishing keys that are looked at in one step, and their kinds.
const MAX_KEYS: usize = 100;
const MAX_SHELVES: usize = 2000;

/// What there is to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Numbers of events, at most [`STEP`] of each sort.
    pub seqs: Vec<u64>,
    /// Keys that are done with vanishing when these are removed, each with the time it vanished at.
    pub vanished: Vec<(String, u64)>,
    /// Keys of which nothing is left then on the shelves before one, each with the time it vanished at.
    pub walked: Vec<(String, u64, u64)>,
    /// Unix seconds up to which jobs need not be remembered.
    pub forget: u64,
    /// Whether there may be more.
    pub more: bool,
    /// When next something expires, in Unix seconds.
    pub next_expiry: Option<u64>,
}

impl Sweep {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty() && self.vanished.is_empty() && self.walked.is_empty() && self.forget == 0
    }
}

/// Looks for what can be removed at `now` (Unix seconds); decode with [`decode`].
pub fn find(now: u64) -> Vec<Statement> {
    // Shelf by shelf, so that what a key published since is not passed by.
    let shelf = |of: &str, after: &str| {
        format!("(SELECT min(i.shelf) FROM events AS i WHERE i.pubkey = {of}.pubkey AND i.shelf > {after})")
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
        "{walk} SELECT pubkey || ' ' || until || iif(count(*) > count(shelf), '', ' ' || (max(shelf) + 1)) AS r \
         FROM s GROUP BY pubkey, until"
    );
    let vanished = format!(
        "{walk} SELECT e.seq AS r FROM s CROSS JOIN events AS e ON e.pubkey = s.pubkey AND e.shelf = s.shelf \
           AND e.created_at <= s.until WHERE s.shelf <> {} LIMIT {STEP}",
        kind::VANISH,
    );
    let wraps = format!(
        "SELECT t.seq AS r FROM {keys} AS v CROSS JOIN tags AS t ON t.tag = '>=' || v.pubkey \
         AND t.shelf = {} + {PRIVATE} AND t.created_at <= v.until LIMIT {STEP}",
        kind::GIFT_WRAP
    );
    let expired = format!("SELECT seq AS r FROM events WHERE expires_at <= ?1 ORDER BY expires_at LIMIT {STEP}");
    let jobs = format!("SELECT until AS r FROM jobs WHERE held <= 0 AND until <= ?1 ORDER BY until LIMIT {STEP}");
    let with_now = |sql: &str| Statement { sql: text(sql).into(), params: vec![integer(now)] };
    let plain = |sql: &str| Statement { sql: text(sql).into(), params: vec![] };
    vec![plain(&walked), plain(&vanished), plain(&wraps), with_now(&expired), with_now(&jobs), with_now(&next(NEXT))]
}

/// Reads the second from which on there is something to remove, none if there never is, as things are; 0 when a key
/// vanishes. Decode with [`decode_due`].
pub fn due() -> Statement {
    let sql = next(&format!("{NEXT} UNION ALL SELECT * FROM (SELECT 0 AS r FROM vanishing LIMIT 1)"));
    Statement { sql: text(&sql).into(), params: vec![integer(0)] }
}

/// The answer to [`due`].
pub fn decode_due(rows: &[String]) -> Option<u64> {
    rows.first()?.parse().ok()
}

/// When next an event expires or a job need not be remembered any more, after ?1.
const NEXT: &str = "SELECT * FROM (SELECT expires_at AS r FROM events WHERE expires_at > ?1 ORDER BY expires_at LIMIT 1) \
    UNION ALL SELECT * FROM (SELECT until AS r FROM jobs WHERE held <= 0 AND until > ?1 ORDER BY until LIMIT 1)";

fn next(of: &str) -> String {
    format!("SELECT min(r) AS r FROM ({of}) HAVING min(r) IS NOT NULL")
}

fn text(sql: &str) -> String {
    format!("SELECT cast(r AS TEXT) AS r FROM ({sql})")
}

/// The answer to [`find`].
pub fn decode(rows: &Rows) -> Result<Sweep, StoreError> {
    let [walked, events, wraps, expired, jobs, next] = rows.as_slice() else {
        return Err(StoreError::new("a sweep was answered with another number of results"));
    };
    let wrong = |row: &String| StoreError::new(format!("sweep row: {row}"));
    let number = |row: &String| row.parse::<u64>().map_err(|_| wrong(row));
    let mut sweep = Sweep {
        seqs: [events, wraps, expired].into_iter().flatten().map(number).collect::<Result<_, _>>()?,
        forget: jobs.last().map(number).transpose()?.unwrap_or_default(),
        next_expiry: next.first().map(number).transpose()?,
        ..Sweep::default()
    };
    let full = |list: &Vec<String>| list.len() >= STEP;
    // As long as steps are full somebody's events are left.
    let walked: &[String] = if full(events) || full(wraps) { &[] } else { walked };
    for row in walked {
        let parts: Vec<&str> = row.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong(row));
        match *parts.as_slice() {
            [key, until] => sweep.vanished.push((key.to_owned(), number(until)?)),
            [key, until, shelf] => sweep.walked.push((key.to_owned(), number(until)?, number(shelf)?)),
            _ => return Err(wrong(row)),
        }
    }
    // Behind the keys that were looked at there may be others.
    sweep.more = [events, wraps, expired, jobs].into_iter().any(full) || !walked.is_empty();
    Ok(sweep)
}

/// Removes what was found with all that belongs to it; a job that loses its request unanswered has
/// expired, one whose customer vanishes is not remembered. What is answered last is the row of
/// [`counts::read_counts`].
pub fn remove(found: &Sweep, write: &Write) -> Vec<Statement> {
    let list = |list: Param| move |sql: String| Statement { sql: sql.into(), params: vec![list.clone()] };
    let (with_seqs, with_vanished) = (list(json(&found.seqs)), list(json(&found.vanished)));
    let listed = "SELECT value FROM json_each(?1)";
    let (expired, name) = (State::Expired.rank(), State::Expired.as_str());
    let requests = format!("SELECT e.id FROM events AS e WHERE e.seq IN ({listed}) AND e.job = e.id");
    let unanswered = format!("SELECT j.id FROM jobs AS j WHERE j.id IN ({requests}) AND j.state < {expired}");
    let left = jobs::state_name("state");
    let deltas = format!(
        "SELECT 'j ' || kind || ' ' || {left} AS k, 'j * ' || {left} AS other, -1 AS n FROM jobs WHERE id IN ({unanswered}) \
         UNION ALL SELECT 'j ' || kind || ' {name}', 'j * {name}', 1 FROM jobs WHERE id IN ({unanswered})"
    );
    let mut statements = vec![
        Statement::new(
            format!(
                "UPDATE totals SET {}, counts = {} WHERE EXISTS ({unanswered})",
                log::COUNT_WRITE,
                counts::plus(&deltas)
            ),
            vec![json(&found.seqs), log::name(write)],
        ),
        with_seqs(format!("UPDATE jobs SET state = {expired} WHERE id IN ({unanswered})")),
        with_seqs(format!(
            "UPDATE jobs SET until = 0 WHERE id IN ({requests}) AND customer IN (SELECT pubkey FROM vanishing)"
        )),
    ];
    statements.extend(jobs::remove(listed).map(with_seqs));
    statements.push(Statement::new(jobs::forget("?1"), vec![integer(found.forget)]));
    statements.push(Statement::new(
        "UPDATE vanishing SET shelf = w.value->>2 FROM json_each(?1) AS w \
         WHERE vanishing.pubkey = w.value->>0 AND vanishing.until = w.value->>1",
        vec![json(&found.walked)],
    ));
    statements.push(with_vanished(
        "DELETE FROM vanishing WHERE (pubkey, until) IN (SELECT value->>0, value->>1 FROM json_each(?1))".to_owned(),
    ));
    statements.push(counts::read_counts());
    log::guarded(write, statements)
}
