//! Removing what may no longer be kept, in bounded steps: events that have expired (NIP-40) and those
//! of keys that asked to vanish (NIP-62). A step finds some, the next removes them.

use super::{Param, Rows, Statement, StoreError};

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
    let wraps = format!(
        "SELECT t.seq AS r FROM vanishing AS v CROSS JOIN tags AS t ON t.tag = 'p=' || v.pubkey AND t.kind = 1059 \
         AND t.created_at <= v.until LIMIT {STEP}"
    );
    let expired = format!("SELECT seq AS r FROM events WHERE expires_at <= ?1 ORDER BY expires_at LIMIT {STEP}");
    let next = "SELECT expires_at AS r FROM events WHERE expires_at > ?1 ORDER BY expires_at LIMIT 1";
    let now = || vec![Param::Integer(i64::try_from(now).unwrap_or(i64::MAX))];
    let text = |sql: &str| format!("SELECT cast(r AS TEXT) AS r FROM ({sql})");
    vec![
        Statement { sql: text(&vanished), params: vec![] },
        Statement { sql: text(&wraps), params: vec![] },
        Statement { sql: text(&expired), params: now() },
        Statement { sql: text(next), params: now() },
    ]
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

/// Removes events by number with all that belongs to them; with `done`, also notes that nobody is
/// vanishing any more whose events are all gone.
pub fn remove(seqs: &[u64]) -> Vec<Statement> {
    let list = serde_json::to_string(seqs).unwrap_or_default();
    let with_list = |sql: &str| Statement { sql: sql.to_owned(), params: vec![Param::Text(list.clone())] };
    vec![
        with_list(
            "DELETE FROM tags WHERE (tag, kind, created_at, id) IN (SELECT k.value, e.kind, e.created_at, e.id \
             FROM json_each(?1) AS s CROSS JOIN events AS e ON e.seq = s.value CROSS JOIN json_each(e.keys) AS k)",
        ),
        with_list("DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?1))"),
        Statement {
            sql: "DELETE FROM vanishing WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.pubkey = vanishing.pubkey \
                  AND e.created_at <= vanishing.until AND e.kind <> 62) AND NOT EXISTS (SELECT 1 FROM tags AS t \
                  WHERE t.tag = 'p=' || vanishing.pubkey AND t.kind = 1059 AND t.created_at <= vanishing.until)"
                .to_owned(),
            params: vec![],
        },
    ]
}
