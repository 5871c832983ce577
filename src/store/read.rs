//! Reading: a filter as one statement that walks an index and stops at the limit, and its rows as
//! events.
//!
//! Every query has one shape. `parts` lists the ranges of an index that together cover the filter
//! (one per tag value and kind, author and kind, …); each range gives its newest events up to the
//! limit; the newest of all of them are returned. So the rows read follow the limit and the number
//! of ranges, never the size of the table.

use serde::Deserialize;
use serde::Serialize;

use super::{Param, Rows, Statement, StoreError, key};
use crate::nostr::{EventId, Filter};

/// The largest time that is bound, as D1 takes numbers as doubles.
const MAX_TIME: u64 = 1 << 53;

/// A stored event on its way to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// Unix seconds.
    pub created_at: u64,
    /// Canonical text.
    pub json: String,
}

/// The statements for the stored events of `filters`, at most `limit(filter)` of each; filters that
/// can match nothing have none, so the list may be empty. Decode the answer with [`decode`].
pub fn statements(filters: &[Filter], limit: impl Fn(&Filter) -> u64) -> Vec<Statement> {
    filters
        .iter()
        .map(|filter| (filter, limit(filter)))
        .filter(|(filter, limit)| *limit > 0 && !filter.is_void())
        .map(|(filter, limit)| statement(filter, limit))
        .collect()
}

/// The events after number `after` up to `upto`: what a reader of the log has missed.
pub fn log(after: u64, upto: u64) -> Vec<Statement> {
    let bound = |seq: u64| Param::Integer(i64::try_from(seq).unwrap_or(i64::MAX));
    vec![Statement {
        sql: "SELECT json AS r FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq".to_owned(),
        params: vec![bound(after), bound(upto)],
    }]
}

/// The events of an answer: each once, newest first, ties by the lowest id (NIP-01).
pub fn decode(rows: Rows) -> Result<Vec<StoredEvent>, StoreError> {
    #[derive(Deserialize)]
    struct Head {
        id: EventId,
        created_at: u64,
    }
    let lists = rows.len();
    let mut events = rows
        .into_iter()
        .flatten()
        .map(|json| {
            let head: Head = serde_json::from_str(&json).map_err(|e| StoreError::new(format!("stored event: {e}")))?;
            Ok(StoredEvent { id: head.id, created_at: head.created_at, json })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if lists > 1 {
        events.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
        events.dedup_by(|a, b| a.id == b.id);
    }
    Ok(events)
}

/// Collects parameters and gives each its number.
#[derive(Default)]
struct Params(Vec<Param>);

impl Params {
    fn bind(&mut self, param: Param) -> String {
        self.0.push(param);
        format!("?{}", self.0.len())
    }

    fn list<T: Serialize>(&mut self, values: impl IntoIterator<Item = T>) -> String {
        let values: Vec<T> = values.into_iter().collect();
        let json = serde_json::to_string(&values).unwrap_or_default();
        self.bind(Param::Text(json))
    }

    fn time(&mut self, time: u64) -> String {
        self.bind(Param::Integer(i64::try_from(time.min(MAX_TIME)).unwrap_or(i64::MAX)))
    }

    fn keys(&mut self, letter: u8, values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        self.list(values.into_iter().map(|value| key::of(letter, value.as_ref())))
    }
}

fn statement(filter: &Filter, limit: u64) -> Statement {
    let mut params = Params::default();
    let limit = params.bind(Param::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    // The letter with the fewest values drives; the others are checked per row.
    let driving = filter.tags.iter().min_by_key(|(_, values)| values.len());
    let (parts, table, range) = match (&filter.ids, driving, &filter.authors, &filter.kinds) {
        (Some(ids), _, _, _) => {
            let ids = params.list(ids);
            (format!("SELECT value, 0 FROM json_each({ids})"), "events", "s.id = parts.value")
        }
        (None, Some((letter, values)), _, _) => {
            let keys = params.keys(*letter, values);
            (by_kind("tags", "tag", &keys, filter, &mut params), "tags", "s.tag = parts.value AND s.kind = parts.kind")
        }
        (None, None, Some(authors), _) => {
            let keys = params.list(authors);
            let parts = by_kind("events", "pubkey", &keys, filter, &mut params);
            (parts, "events", "s.pubkey = parts.value AND s.kind = parts.kind")
        }
        (None, None, None, Some(kinds)) => {
            let kinds = params.list(kinds);
            (format!("SELECT '', value FROM json_each({kinds})"), "events", "s.kind = parts.kind")
        }
        (None, None, None, None) => ("SELECT '', 0".to_owned(), "events", "true"),
    };

    let mut conditions = vec![range.to_owned()];
    if let Some(since) = filter.since {
        conditions.push(format!("s.created_at >= {}", params.time(since)));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("s.created_at <= {}", params.time(until)));
    }
    let from_ids = filter.ids.is_some();
    if let (true, Some(kinds)) = (from_ids, &filter.kinds) {
        conditions.push(format!("s.kind IN (SELECT value FROM json_each({}))", params.list(kinds)));
    }
    if let (true, Some(authors)) = (from_ids || driving.is_some(), &filter.authors) {
        let authors = params.list(authors);
        conditions.push(if table == "tags" {
            format!(
                "(SELECT e.pubkey FROM events AS e WHERE e.seq = s.seq) IN (SELECT value FROM json_each({authors}))"
            )
        } else {
            format!("s.pubkey IN (SELECT value FROM json_each({authors}))")
        });
    }
    for (letter, values) in &filter.tags {
        if from_ids || driving.is_some_and(|(driving, _)| driving != letter) {
            let keys = params.keys(*letter, values);
            conditions.push(format!(
                "EXISTS (SELECT 1 FROM json_each({keys}) AS v CROSS JOIN tags AS t ON t.tag = v.value \
                 AND t.kind = s.kind AND t.created_at = s.created_at AND t.id = s.id)"
            ));
        }
    }
    let conditions = conditions.join(" AND ");
    Statement {
        sql: format!(
            "WITH RECURSIVE parts (value, kind) AS ({parts}) \
             SELECT e.json AS r FROM (SELECT DISTINCT n.value AS seq FROM parts CROSS JOIN json_each(( \
               SELECT json_group_array(seq) FROM (SELECT s.seq FROM {table} AS s WHERE {conditions} \
               ORDER BY s.created_at DESC, s.id LIMIT {limit}))) AS n) AS newest \
             CROSS JOIN events AS e ON e.seq = newest.seq \
             ORDER BY e.created_at DESC, e.id LIMIT {limit}"
        ),
        params: params.0,
    }
}

/// The ranges of an index on (`column`, kind, …): one per value and kind. When the filter names no
/// kinds, those the index has for the value, each found by one step into it.
fn by_kind(table: &str, column: &str, keys: &str, filter: &Filter, params: &mut Params) -> String {
    match &filter.kinds {
        Some(kinds) => {
            let kinds = params.list(kinds);
            format!("SELECT v.value, k.value FROM json_each({keys}) AS v CROSS JOIN json_each({kinds}) AS k")
        }
        None => format!(
            "SELECT v.value, (SELECT min(kind) FROM {table} WHERE {column} = v.value) FROM json_each({keys}) AS v \
             UNION ALL \
             SELECT value, (SELECT min(i.kind) FROM {table} AS i WHERE i.{column} = parts.value AND i.kind > parts.kind) \
             FROM parts WHERE parts.kind IS NOT NULL"
        ),
    }
}
