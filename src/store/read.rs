//! Reading: a filter as one statement that walks an index and stops at the limit, and its rows as
//! events.
//!
//! Every search has one shape. `parts` lists the ranges of an index that together cover the filter
//! (one per tag value and kind, author and kind, …); each range gives its newest entries up to the
//! limit (`found`); conditions no index has are checked on these; the newest of them are read and
//! returned. So what is read follows the limit and the number of ranges, never the size of the table,
//! and it is bounded by a budget: a search that would exceed it answers [`OVER_BUDGET`] and nothing is
//! cut silently.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Param, Rows, Statement, StoreError, key};
use crate::nostr::gate::GATES;
use crate::nostr::{EventId, Filter, PublicKey};

/// The largest time that is bound, as D1 takes numbers as doubles.
const MAX_TIME: u64 = 1 << 53;
/// Index entries one filter may look at.
const MAX_FOUND: u64 = 20_000;
/// Ranges one filter may be made of.
const MAX_PARTS: u64 = 2_000;
/// The row that says that a search stopped at its budget.
const OVER_BUDGET: &str = "!";
/// What a row begins with that stands for an event left out of a page, followed by its time.
const CUT: &str = "~";

/// For whom and when a search is made.
#[derive(Clone, Debug)]
pub struct Viewer<'a> {
    /// Proven keys: gated kinds are shown to those they name.
    pub keys: &'a BTreeSet<PublicKey>,
    /// Unix seconds: what has expired is not shown.
    pub now: u64,
}

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

/// Stored events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Whole seconds, if the page was cut.
    pub events: Vec<StoredEvent>,
    /// Whether the page ends before the limit because its events are large.
    pub cut: bool,
}

/// The newest `limit` stored events `filter` matches, newest first, ties by the lowest id (NIP-01), as
/// far as their texts before the last take `max_bytes`. Decode the answer with [`decode`].
pub fn newest(filter: &Filter, limit: u64, max_bytes: u64, viewer: &Viewer) -> Statement {
    // A page that is cut goes on with the times of what it leaves out.
    let rows = format!(
        "SELECT CASE WHEN before <= {max_bytes} THEN json ELSE '{CUT}' || created_at END AS r FROM ( \
           SELECT e.json, n.created_at, n.id, sum(octet_length(e.json)) OVER (ORDER BY n.created_at DESC, n.id \
             ROWS UNBOUNDED PRECEDING) - octet_length(e.json) AS before \
           FROM newest AS n CROSS JOIN events AS e ON e.seq = n.seq ORDER BY n.created_at DESC, n.id)"
    );
    search(filter, limit.min(MAX_FOUND), &rows, viewer)
}

/// All stored events `filter` matches, to be counted; decode them with [`decode_counted`].
pub fn all(filter: &Filter, viewer: &Viewer) -> Statement {
    let rows = "SELECT e.id || ' ' || e.pubkey AS r FROM newest AS n CROSS JOIN events AS e ON e.seq = n.seq";
    search(filter, MAX_FOUND + 1, rows, viewer)
}

/// The events after number `after` up to `upto`: what a reader of the log has missed.
pub fn log(after: u64, upto: u64) -> Statement {
    Statement {
        sql: "SELECT json AS r FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq".to_owned(),
        params: vec![integer(after), integer(upto)],
    }
}

/// The rows of one statement as a page; `None` when the search, or a single second of it, is too large.
pub fn decode(rows: Vec<String>) -> Result<Option<Page>, StoreError> {
    #[derive(Deserialize)]
    struct Head {
        id: EventId,
        created_at: u64,
    }
    let mut page = Page::default();
    for json in rows {
        if json == OVER_BUDGET {
            return Ok(None);
        }
        if let Some(second) = json.strip_prefix(CUT) {
            let second: u64 = second.parse().map_err(|_| StoreError::new(format!("cut row: {json}")))?;
            page.events.retain(|event| event.created_at > second);
            page.cut = true;
            return Ok((!page.events.is_empty()).then_some(page));
        }
        let head: Head = serde_json::from_str(&json).map_err(|e| StoreError::new(format!("stored event: {e}")))?;
        page.events.push(StoredEvent { id: head.id, created_at: head.created_at, json });
    }
    Ok(Some(page))
}

/// The distinct events of [`all`]'s answers, id and author; `None` when there are too many.
pub fn decode_counted(rows: Rows) -> Result<Option<BTreeMap<EventId, PublicKey>>, StoreError> {
    let mut distinct = BTreeMap::new();
    for row in rows.iter().flatten() {
        if row == OVER_BUDGET {
            return Ok(None);
        }
        let (id, author) = row
            .split_once(' ')
            .and_then(|(id, author)| Some((EventId::parse(id)?, PublicKey::parse(author)?)))
            .ok_or_else(|| StoreError::new(format!("counted row: {row}")))?;
        distinct.insert(id, author);
    }
    Ok(Some(distinct))
}

fn integer(number: u64) -> Param {
    Param::Integer(i64::try_from(number.min(MAX_TIME)).unwrap_or(i64::MAX))
}

/// Collects parameters and gives each its number.
#[derive(Default)]
struct Params(Vec<Param>);

impl Params {
    fn bind(&mut self, param: Param) -> String {
        self.0.push(param);
        format!("?{}", self.0.len())
    }

    fn integer(&mut self, number: u64) -> String {
        self.bind(integer(number))
    }

    fn list<T: Serialize>(&mut self, values: impl IntoIterator<Item = T>) -> String {
        let values: Vec<T> = values.into_iter().collect();
        let json = serde_json::to_string(&values).unwrap_or_default();
        format!("(SELECT value FROM json_each({}))", self.bind(Param::Text(json)))
    }

    fn keys(&mut self, letter: u8, values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        self.list(values.into_iter().map(|value| key::of(letter, value.as_ref())))
    }
}

/// The index a search walks: its table, the ranges of it, and what makes an entry part of a range.
struct Walk {
    parts: String,
    table: &'static str,
    range: &'static str,
}

fn search(filter: &Filter, wanted: u64, rows: &str, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    // The letter with the fewest values drives, of several one that names an event or a key.
    let names = |letter: u8| matches!(letter, b'e' | b'p');
    let driving = filter.tags.iter().min_by_key(|(letter, values)| (values.len(), !names(**letter)));
    let driving = driving.map(|(letter, _)| *letter);
    let Walk { parts, table, range } = walk(filter, driving, &mut params);
    let range = entries(filter, viewer, range, &mut params);
    let conditions = conditions(filter, driving, viewer, &mut params).join(" AND ");
    let walked = |limit: u64| {
        format!(
            "SELECT s.created_at, s.id, s.seq, s.kind FROM {table} AS s WHERE {range} \
             ORDER BY s.created_at DESC, s.id LIMIT {limit}"
        )
    };
    // A checked range is walked only as far as it takes to find what is wanted: SQLite runs the inner
    // SELECT as a co-routine that the outer LIMIT ends.
    let per_range = MAX_FOUND / ranges(filter).clamp(1, MAX_FOUND / 1000);
    let (newest_of_range, cut_off) = if conditions.is_empty() {
        (walked(wanted), "false".to_owned())
    } else {
        let checked = format!("SELECT * FROM ({}) AS s WHERE {conditions} LIMIT {wanted}", walked(per_range));
        let longer = format!("SELECT 1 FROM {table} AS s WHERE {range} LIMIT 1 OFFSET {per_range}");
        let some = format!("EXISTS (SELECT 1 FROM parts WHERE ({longer}))");
        (checked, format!("CASE WHEN (SELECT count(*) FROM newest) < {wanted} THEN {some} END"))
    };
    Statement {
        sql: format!(
            "WITH RECURSIVE parts (value, kind) AS ({parts} LIMIT {max_parts}), \
             found AS MATERIALIZED (SELECT n.value->>0 AS created_at, n.value->>1 AS id, n.value->>2 AS seq \
               FROM parts CROSS JOIN json_each(( \
                 SELECT json_group_array(json_array(created_at, id, seq)) FROM ({newest_of_range}))) AS n \
               LIMIT {max_found}), \
             newest AS MATERIALIZED (SELECT DISTINCT created_at, id, seq FROM found \
               ORDER BY created_at DESC, id LIMIT {wanted}) \
             SELECT '{OVER_BUDGET}' AS r WHERE (SELECT count(*) FROM found) > {MAX_FOUND} \
               OR (SELECT count(*) FROM parts) > {MAX_PARTS} OR {cut_off} \
             UNION ALL SELECT r FROM ({rows})",
            max_parts = MAX_PARTS + 1,
            max_found = MAX_FOUND + 1,
        ),
        params: params.0,
    }
}

/// How many ranges the filter names, as far as it does.
fn ranges(filter: &Filter) -> u64 {
    let kinds = filter.kinds.as_ref().map_or(1, BTreeSet::len);
    let values = filter.tags.values().map(BTreeSet::len).min();
    let values = values.or_else(|| filter.authors.as_ref().map(BTreeSet::len));
    filter.ids.as_ref().map_or_else(|| (kinds * values.unwrap_or(1)) as u64, |ids| ids.len() as u64)
}

fn walk(filter: &Filter, driving: Option<u8>, params: &mut Params) -> Walk {
    let tag = driving.and_then(|letter| Some((letter, filter.tags.get(&letter)?)));
    match (&filter.ids, tag, &filter.authors, &filter.kinds) {
        (Some(ids), ..) => Walk {
            parts: format!("SELECT value, 0 FROM {}", params.list(ids)),
            table: "events",
            range: "s.id = parts.value",
        },
        (_, Some((letter, values)), ..) => {
            let keys = params.keys(letter, values);
            let parts = by_kind("tags", "tag", &keys, filter, params);
            Walk { parts, table: "tags", range: "s.tag = parts.value AND s.kind = parts.kind" }
        }
        (_, _, Some(authors), _) => {
            let keys = params.list(authors);
            let parts = by_kind("events", "pubkey", &keys, filter, params);
            Walk { parts, table: "events", range: "s.pubkey = parts.value AND s.kind = parts.kind" }
        }
        (_, _, _, Some(kinds)) => Walk {
            parts: format!("SELECT '', value FROM {}", params.list(kinds)),
            table: "events",
            range: "s.kind = parts.kind",
        },
        _ => Walk { parts: "SELECT '', 0".to_owned(), table: "events", range: "true" },
    }
}

/// The ranges of an index on (`column`, kind, …): one per value and kind. When the filter names no
/// kinds, those the index has for the value, each found by one step into it.
fn by_kind(table: &str, column: &str, keys: &str, filter: &Filter, params: &mut Params) -> String {
    match &filter.kinds {
        Some(kinds) => format!("SELECT v.value, k.value FROM {keys} AS v CROSS JOIN {} AS k", params.list(kinds)),
        None => format!(
            "SELECT v.value, (SELECT min(kind) FROM {table} WHERE {column} = v.value) FROM {keys} AS v \
             UNION ALL \
             SELECT value, (SELECT min(i.kind) FROM {table} AS i WHERE i.{column} = parts.value AND i.kind > parts.kind) \
             FROM parts WHERE parts.kind IS NOT NULL"
        ),
    }
}

/// What every index has: the range, times, expiry.
fn entries(filter: &Filter, viewer: &Viewer, range: &str, params: &mut Params) -> String {
    let mut conditions = vec![range.to_owned()];
    if let Some(since) = filter.since {
        conditions.push(format!("s.created_at >= {}", params.integer(since)));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("s.created_at <= {}", params.integer(until)));
    }
    conditions.push(format!("(s.expires_at IS NULL OR s.expires_at > {})", params.integer(viewer.now)));
    conditions.join(" AND ")
}

/// What the walked index does not have, checked on each entry it gave.
fn conditions(filter: &Filter, driving: Option<u8>, viewer: &Viewer, params: &mut Params) -> Vec<String> {
    const AUTHOR: &str = "(SELECT e.pubkey FROM events AS e WHERE e.seq = s.seq)";
    let has_tag = |keys: &str| {
        format!(
            "EXISTS (SELECT 1 FROM {keys} AS v CROSS JOIN tags AS t ON t.tag = v.value \
             AND t.kind = s.kind AND t.created_at = s.created_at AND t.id = s.id)"
        )
    };
    let mut conditions = Vec::new();
    let by_id = filter.ids.is_some();
    if let (true, Some(kinds)) = (by_id, &filter.kinds) {
        conditions.push(format!("s.kind IN {}", params.list(kinds)));
    }
    if let (true, Some(authors)) = (by_id || driving.is_some(), &filter.authors) {
        conditions.push(format!("{AUTHOR} IN {}", params.list(authors)));
    }
    for (letter, values) in filter.tags.iter().filter(|(letter, _)| by_id || driving != Some(**letter)) {
        conditions.push(has_tag(&params.keys(*letter, values)));
    }
    let gated = |kind: u16| filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind));
    if GATES.iter().any(|gate| gated(gate.kind)) {
        let kinds = params.list(GATES.iter().map(|gate| gate.kind));
        let of_author = params.list(GATES.iter().filter(|gate| gate.author).map(|gate| gate.kind));
        let named = params.keys(b'p', viewer.keys.iter().map(ToString::to_string));
        let keys = params.list(viewer.keys);
        conditions.push(format!(
            "(s.kind NOT IN {kinds} OR {} OR s.kind IN {of_author} AND {AUTHOR} IN {keys})",
            has_tag(&named)
        ));
    }
    conditions
}
