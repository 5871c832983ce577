//! Removing what may no longer be kept, in bounded steps: events that have expired (NIP-40, retention)
//! and those of keys that asked to vanish (NIP-62). A step finds some, the next removes them.

use super::{Param, Rows, Statement, StoreError, counts, integer, jobs};
use crate::market::State;

/// Events one step removes.
pub const STEP: usize = 200;

/// What there is to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Numbers of events, at most [`STEP`] of each sort.
    pub seqs: Vec<u64>,
    /// Whether there may be more.
    pub more: bool,
    /// When the next event expires, in Unix seconds.
    pub next_expiry: Option<u64>,
}

/// Looks for what can be removed at `now` (Unix seconds); decode with [`decode`].
pub fn find(now: u64) -> Vec<Statement> {
    let vanished = format!(
        "SELECT e.seq AS r FROM vanishing AS v CROSS JOIN events AS e ON e.pubkey = v.pubkey \
         AND e.created_at <= v.until AND e.kind <> 62 LIMIT {STEP}"
    );
    let wraps = format!("SELECT t.seq AS r FROM vanishing AS v CROSS JOIN {WRAPS} LIMIT {STEP}", WRAPS = wraps("v"));
    let expired = format!("SELECT seq AS r FROM events WHERE expires_at <= ?1 ORDER BY expires_at LIMIT {STEP}");
    let next = "SELECT expires_at AS r FROM events WHERE expires_at > ?1 ORDER BY expires_at LIMIT 1";
    let now = || vec![integer(now)];
    let text = |sql: &str| format!("SELECT cast(r AS TEXT) AS r FROM ({sql})");
    vec![
        Statement { sql: text(&vanished), params: vec![] },
        Statement { sql: text(&wraps), params: vec![] },
        Statement { sql: text(&expired), params: now() },
        Statement { sql: text(next), params: now() },
    ]
}

/// The tags by which gift wraps (kind 1059, always private) to a vanishing key are found.
fn wraps(vanishing: &str) -> String {
    format!(
        "tags AS t ON t.tag = '>=' || {vanishing}.pubkey AND t.shelf = 1059 + {} AND t.created_at <= {vanishing}.until",
        super::PRIVATE
    )
}

/// The answer to [`find`].
pub fn decode(rows: &Rows) -> Result<Sweep, StoreError> {
    let [vanished, wraps, expired, next] = rows.as_slice() else {
        return Err(StoreError::new("a sweep was answered with another number of results"));
    };
    let number = |row: &String| row.parse::<u64>().map_err(|_| StoreError::new(format!("sweep row: {row}")));
    let lists = [vanished, wraps, expired];
    Ok(Sweep {
        seqs: lists.iter().flat_map(|list| list.iter()).map(number).collect::<Result<_, _>>()?,
        more: lists.iter().any(|list| list.len() >= STEP),
        next_expiry: next.first().map(number).transpose()?,
    })
}

/// Removes events by number with all that belongs to them; a job that loses its request unanswered has
/// expired. Also notes that nobody is vanishing any more whose events are all gone.
pub fn remove(seqs: &[u64]) -> Vec<Statement> {
    let list = serde_json::to_string(seqs).unwrap_or_default();
    let with_list = |sql: String| Statement { sql, params: vec![Param::Text(list.clone())] };
    let listed = "SELECT value FROM json_each(?1)";
    let (expired, name) = (State::Expired.rank(), State::Expired.as_str());
    let unanswered = format!(
        "SELECT e.id FROM events AS e CROSS JOIN jobs AS j ON j.id = e.id AND j.state < {expired} \
         WHERE e.seq IN ({listed}) AND e.job = e.id"
    );
    let left = jobs::state_name("state");
    let deltas = format!(
        "SELECT 'j ' || kind || ' ' || {left} AS k, 'j * ' || {left} AS other, -1 AS n FROM jobs WHERE id IN ({unanswered}) \
         UNION ALL SELECT 'j ' || kind || ' {name}', 'j * {name}', 1 FROM jobs WHERE id IN ({unanswered})"
    );
    let mut statements = vec![
        with_list(format!("UPDATE totals SET counts = {} WHERE EXISTS ({unanswered})", counts::plus(&deltas))),
        with_list(format!("UPDATE jobs SET state = {expired} WHERE id IN ({unanswered})")),
    ];
    statements.extend(jobs::remove(listed).map(with_list));
    let plain = |sql: String| Statement { sql, params: vec![] };
    statements.push(plain(jobs::FORGET.to_owned()));
    statements.push(plain(format!(
        "DELETE FROM vanishing WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.pubkey = vanishing.pubkey \
         AND e.created_at <= vanishing.until AND e.kind <> 62) \
         AND NOT EXISTS (SELECT 1 FROM (SELECT 1) CROSS JOIN {})",
        wraps("vanishing")
    )));
    statements
}
