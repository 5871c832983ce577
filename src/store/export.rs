//! Reading everything for an export: events, and what a relay remembers besides, deletions that keep events out and jobs
//! whose requests may be gone before their answers are. What is read here is in databases of all versions.

use std::borrow::Cow;

use super::search::is_kept;
use super::{Param, Statement, StoreError, form, hex, integer, vanish};
use crate::market::retention::Kept;

/// In which form a database has its events and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As texts: databases of 0.1.
    Texts,
    /// As bytes.
    Bytes,
}

impl Form {
    /// Asks a database for its form; decode with [`decode`](Self::decode).
    pub fn read() -> Statement {
        Statement::new("SELECT name AS r FROM pragma_table_info('events') WHERE name = 'json'", vec![])
    }

    /// The answer to [`read`](Self::read).
    pub fn decode(rows: &[String]) -> Self {
        if rows.is_empty() { Self::Bytes } else { Self::Texts }
    }

    /// A column of an id or a key as hex.
    fn hex(self, column: &str) -> String {
        match self {
            Self::Texts => column.to_owned(),
            Self::Bytes => hex(column),
        }
    }
}

/// At most `limit` events after number `after` that are served at `now` (Unix seconds), a row each: the number, a
/// space and what [`decode_event`] makes the event of; `kept` says how long events of jobs are served, where that is known.
pub fn read_events(form: Form, after: u64, limit: u64, kept: Option<&Kept>, now: u64) -> Statement {
    let mut params = vec![integer(after), integer(now), integer(limit)];
    let mut rule = String::new();
    for (kinds, seconds) in kept.into_iter().flat_map(Kept::by_kind).filter(|_| form == Form::Bytes) {
        params.push(integer(now.saturating_sub(seconds)));
        rule.push_str(&format!("AND {} ", is_kept("e", kinds, &format!("?{}", params.len()))));
    }
    let (event, stays) = match form {
        Form::Texts => ("e.json".to_owned(), vanish::stayed("e")),
        Form::Bytes => (form::parts("e"), vanish::stays("e")),
    };
    Statement::new(
        format!(
            "SELECT e.seq || ' ' || {event} AS r FROM events AS e WHERE e.seq > ?1 \
             AND (e.expires_at IS NULL OR e.expires_at > ?2) {rule}AND {stays} ORDER BY e.seq LIMIT ?3"
        ),
        params,
    )
}

/// The number and the canonical text of a row of [`read_events`].
pub fn decode_event(form: Form, row: &str) -> Result<(u64, Cow<'_, str>), StoreError> {
    let event = || {
        let (seq, event) = row.split_once(' ')?;
        let text = match form {
            Form::Texts => event.into(),
            Form::Bytes => form::text(event)?.text.into(),
        };
        Some((seq.parse().ok()?, text))
    };
    event().ok_or_else(|| StoreError::new("a stored event cannot be read"))
}

/// Keys that stand one after the other as a JSON list of hex.
fn list_of_keys(column: &str) -> String {
    let key = hex(&format!("substr({column}, 32 * n + 1, 32)"));
    format!(
        "(SELECT json_group_array({key}) FROM (WITH RECURSIVE at(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM at \
           WHERE 32 * n + 32 < length({column})) SELECT n FROM at WHERE {column} IS NOT NULL) HAVING count(*) > 0)"
    )
}

/// At most `limit` deletions after one's key, each as a [`Remembered`](crate::ledger::Remembered) in JSON.
pub fn read_deletions(after: &str, limit: u64) -> Statement {
    let sql = "SELECT json_object('deletion', json_object('key', key, 'until', until)) AS r \
               FROM deletions WHERE key > ?1 ORDER BY key LIMIT ?2";
    Statement::new(sql, vec![Param::Text(after.into()), integer(limit)])
}

/// The same of jobs whose requests are known.
pub fn read_jobs(form: Form, after: &str, limit: u64) -> Statement {
    // Databases of 0.1 have no column `unasked`: there the name is the constant's.
    let (id, customer) = (form.hex("id"), form.hex("customer"));
    let (after_id, providers) = match form {
        Form::Texts => ("?1", "providers".to_owned()),
        Form::Bytes => ("unhex(?1)", list_of_keys("providers")),
    };
    let sql = format!(
        "SELECT json_object('job', json_patch(json_object('id', {id}, 'until', until, 'state', state, 'kind', kind, \
           'customer', {customer}, 'encrypted', json(iif(encrypted, 'true', 'false')), 'asked_ms', asked_ms, \
           'unasked', json((SELECT unasked FROM jobs AS o WHERE o.id = j.id))), \
           json_object('providers', json({providers})))) AS r \
         FROM (SELECT '{{}}' AS unasked) CROSS JOIN (SELECT id, until, state, kind, customer, encrypted, asked_ms, \
           providers FROM jobs WHERE id > {after_id} AND kind IS NOT NULL ORDER BY id LIMIT ?2) AS j"
    );
    Statement::new(sql, vec![Param::Text(after.into()), integer(limit)])
}
