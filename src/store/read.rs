//! Reading: a filter as one statement that walks an index and stops at the limit, and its rows as
//! events.
//!
//! A filter is covered by ranges of an index: one per tag value and kind, author and kind, and so on.
//! Three shapes of statement cost what they must, since D1 bills every row that passes through any
//! stage of a query: [`by_id`] looks ids up; [`direct`] joins a few ranges that need no further check;
//! [`general`] lists the ranges, takes the newest entries of each up to the limit, checks what no index
//! has, and reads the newest of them. So what is read follows the limit and the number of ranges, never
//! the size of the table, and it is bounded by a budget: a search that would exceed it answers
//! [`OVER_BUDGET`] and nothing is cut silently.
//!
//! Events that not everybody may read lie on shelves of their own, where a second search looks for
//! those the viewer may: it is the same filter with one more tag, the reader's.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::item::READER;
use super::{PRIVATE, Param, Rows, Statement, StoreError, integer, json, key, vanish};
use crate::market::{JobProfile, privacy};
use crate::nostr::{EventId, Filter, PublicKey};

/// Index entries one filter may look at.
const MAX_FOUND: u64 = 20_000;
/// Ranges one filter may be made of.
const MAX_PARTS: u64 = 2_000;
/// The row that says that a search stopped at its budget.
const OVER_BUDGET: &str = "!";
/// Stands before a private event in the log.
const HIDDEN: &str = "private ";
/// Ranges one statement joins: D1 takes five terms of a UNION.
const MAX_JOINED: usize = 5;

/// For whom and when a search is made.
#[derive(Clone, Debug)]
pub struct Viewer<'a> {
    /// Proven keys: private events are shown to those they are for.
    pub keys: &'a BTreeSet<PublicKey>,
    /// Says which kinds may be private.
    pub profile: &'a JobProfile,
    /// Unix seconds: what has expired is not shown.
    pub now: u64,
}

/// A stored event on its way to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Unix seconds.
    pub created_at: u64,
    /// Its text, or where to get it.
    pub text: Text,
    /// Unix seconds from which on it is not served; only [`newest`] says.
    pub expires_at: Option<u64>,
    /// Whether it is for its readers alone; only [`log`] says.
    pub private: bool,
}

/// The canonical text of a stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Here.
    Json(String),
    /// Too large to come with the others, with its bytes; [`texts`] gets it.
    Large(u64),
}

impl Text {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Json(json) => json.len() as u64,
            Self::Large(size) => *size,
        }
    }
}

/// The newest `limit` stored events `filter` matches, newest first, ties by the lowest id (NIP-01), in
/// each of the answers; texts of more than `max_size` bytes are left where they are. Decode them with
/// [`decode`].
pub fn newest(filter: &Filter, limit: u64, max_size: u64, viewer: &Viewer) -> Vec<Statement> {
    let row = |e: &str| {
        format!(
            "{e}.seq || coalesce(':' || {e}.expires_at, '') || ' ' || CASE WHEN octet_length({e}.json) > {max_size} \
             THEN {e}.id || ' ' || {e}.created_at || ' ' || octet_length({e}.json) ELSE {e}.json END"
        )
    };
    searches(filter, limit.min(MAX_FOUND), &row, viewer)
}

/// All stored events `filter` matches, to be counted; decode them with [`decode_counted`].
pub fn all(filter: &Filter, viewer: &Viewer) -> Vec<Statement> {
    searches(filter, MAX_FOUND + 1, &|e| format!("{e}.id || ' ' || {e}.pubkey"), viewer)
}

/// A statement that finds nothing.
pub fn nothing() -> Statement {
    Statement { sql: "SELECT '' AS r WHERE false".into(), params: vec![] }
}

/// The texts of events by number, one row each, in no order; decode them with [`decode`].
pub fn texts(seqs: &[u64]) -> Statement {
    let mut params = Params::default();
    let seqs = params.list(seqs);
    Statement {
        sql: format!("SELECT e.seq || ' ' || e.json AS r FROM {seqs} AS s CROSS JOIN events AS e ON e.seq = s.value")
            .into(),
        params: params.0,
    }
}

/// The events after number `after` up to `upto`: what a reader of the log has missed.
pub fn log(after: u64, upto: u64) -> Statement {
    Statement {
        sql: format!(
            "SELECT seq || iif(shelf < {PRIVATE}, ' ', ' {HIDDEN}') || json AS r \
             FROM events AS e WHERE seq > ?1 AND seq <= ?2 AND {} ORDER BY seq",
            vanish::stays("e"),
        )
        .into(),
        params: vec![integer(after), integer(upto)],
    }
}

/// The rows of one statement as events, in their order; `None` when the search would read too much.
pub fn decode(rows: Vec<String>) -> Result<Option<Vec<StoredEvent>>, StoreError> {
    #[derive(Deserialize)]
    struct Head {
        id: EventId,
        created_at: u64,
    }
    if rows.first().is_some_and(|row| row == OVER_BUDGET) {
        return Ok(None);
    }
    let large = |row: &str| {
        let mut parts = row.split(' ');
        let (id, created_at, size) = (parts.next()?, parts.next()?, parts.next()?);
        Some((EventId::parse(id)?, created_at.parse().ok()?, Text::Large(size.parse().ok()?)))
    };
    let numbers = |text: &str| match text.split_once(':') {
        Some((seq, expires_at)) => Some((seq.parse().ok()?, Some(expires_at.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    };
    let event = |row: String| {
        let ((seq, expires_at), rest) = row
            .split_once(' ')
            .and_then(|(first, rest)| Some((numbers(first)?, rest)))
            .ok_or_else(|| StoreError::new("a stored event came without its number"))?;
        let hidden = rest.strip_prefix(HIDDEN);
        let (rest, private) = (hidden.unwrap_or(rest), hidden.is_some());
        let (id, created_at, text) = if rest.starts_with('{') {
            let head: Head = serde_json::from_str(rest).map_err(|e| StoreError::new(format!("stored event: {e}")))?;
            (head.id, head.created_at, Text::Json(rest.to_owned()))
        } else {
            large(rest).ok_or_else(|| StoreError::new(format!("large row: {row}")))?
        };
        Ok(StoredEvent { seq, id, created_at, text, expires_at, private })
    };
    rows.into_iter().map(event).collect::<Result<_, _>>().map(Some)
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
    Ok((distinct.len() as u64 <= MAX_FOUND).then_some(distinct))
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
        format!("(SELECT value FROM json_each({}))", self.bind(json(&values)))
    }

    fn keys(&mut self, letter: u8, values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        self.list(values.into_iter().map(|value| key::of(letter, value.as_ref())))
    }
}

/// What to return of an event, given its table's alias.
type Row<'a> = &'a dyn Fn(&str) -> String;

/// Where a search looks.
#[derive(Clone, Copy, PartialEq)]
enum Shelves {
    Public,
    Private,
}

impl Shelves {
    fn of(self, kind: u16) -> u32 {
        u32::from(kind) + if self == Self::Private { PRIVATE } else { 0 }
    }

    /// The first one.
    fn start(self) -> u32 {
        self.of(0)
    }

    /// The first one that is not among them.
    fn end(self) -> u32 {
        self.start() + PRIVATE
    }
}

fn searches(filter: &Filter, wanted: u64, row: Row, viewer: &Viewer) -> Vec<Statement> {
    if filter.is_void() {
        return Vec::new();
    }
    if let Some(ids) = &filter.ids {
        return vec![by_id(ids, filter, wanted, row, viewer)];
    }
    let public = search(filter, Shelves::Public, wanted, row, viewer);
    let private = for_viewer(filter, viewer).map(|filter| search(&filter, Shelves::Private, wanted, row, viewer));
    [public].into_iter().chain(private).collect()
}

/// What the filter asks of private events the viewer may read; `None` when that can be nothing.
fn for_viewer(filter: &Filter, viewer: &Viewer) -> Option<Filter> {
    let mut filter = filter.clone();
    if let Some(kinds) = &mut filter.kinds {
        kinds.retain(|kind| privacy::may_be_private(viewer.profile, *kind));
    }
    filter.tags.insert(READER, viewer.keys.iter().map(ToString::to_string).collect());
    (!filter.is_void()).then_some(filter)
}

fn search(filter: &Filter, shelves: Shelves, wanted: u64, row: Row, viewer: &Viewer) -> Statement {
    let driving = driving(filter);
    let residual = filter.tags.len() > 1 || driving.is_some() && filter.authors.is_some();
    let named = filter.kinds.is_some() || driving.is_none() && filter.authors.is_none();
    if named && !residual && ranges(filter) <= MAX_JOINED as u64 {
        direct(filter, shelves, wanted, row, viewer)
    } else {
        general(filter, shelves, wanted, row, viewer)
    }
}

/// The letter whose values are walked: the one with the fewest, of several one that names an event or a
/// key.
fn driving(filter: &Filter) -> Option<(u8, &BTreeSet<String>)> {
    let place = |letter: u8| [b'e', READER, b'p'].iter().position(|name| *name == letter).unwrap_or(3);
    let fewest = filter.tags.iter().min_by_key(|(letter, values)| (values.len(), place(**letter)));
    fewest.map(|(letter, values)| (*letter, values))
}

/// How many ranges the filter names, as far as it does.
fn ranges(filter: &Filter) -> u64 {
    let kinds = filter.kinds.as_ref().map_or(1, BTreeSet::len);
    let values = driving(filter).map(|(_, values)| values.len());
    let values = values.or_else(|| filter.authors.as_ref().map(BTreeSet::len));
    (kinds * values.unwrap_or(1)) as u64
}

fn by_id(ids: &BTreeSet<EventId>, filter: &Filter, wanted: u64, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let list = params.list(ids);
    let mut checks = vec![within(filter, viewer, &mut params), vanish::stays("s")];
    if let Some(kinds) = &filter.kinds {
        checks.push(format!("s.kind IN {}", params.list(kinds)));
    }
    if let Some(authors) = &filter.authors {
        checks.push(format!("s.pubkey IN {}", params.list(authors)));
    }
    checks.extend(filter.tags.iter().map(|(letter, values)| has_tag(&params.keys(*letter, values))));
    let reader = has_tag(&params.keys(READER, viewer.keys.iter().map(ToString::to_string)));
    checks.push(format!("(s.shelf < {PRIVATE} OR {reader})"));
    let row = row("s");
    Statement {
        sql: format!(
            "SELECT {row} AS r FROM {list} AS v CROSS JOIN events AS s ON s.id = v.value WHERE {} \
             ORDER BY s.created_at DESC, s.tie LIMIT {wanted}",
            checks.join(" AND ")
        )
        .into(),
        params: params.0,
    }
}

/// A few ranges that the index covers whole, each walked by itself.
fn direct(filter: &Filter, shelves: Shelves, wanted: u64, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let within = within(filter, viewer, &mut params);
    let event = if filter.tags.is_empty() { "s" } else { "e" };
    let (row, stays) = (row(event), vanish::stays(event));
    let mut terms = Vec::new();
    let mut term = |from: &str, range: &str, shelf: &str| {
        terms.push(format!(
            "SELECT s.created_at, s.tie, s.seq, {row} AS r FROM {from} WHERE {range} AND s.shelf {shelf} AND {within} AND {stays} \
             ORDER BY s.created_at DESC, s.tie LIMIT {wanted}"
        ));
    };
    let named = filter.kinds.iter().flatten().map(|kind| format!("= {}", shelves.of(*kind)));
    // Without kinds there is an index of all that is public.
    let all = filter.kinds.is_none().then(|| format!("< {PRIVATE}"));
    for shelf in named.chain(all) {
        let shelf = shelf.as_str();
        match (driving(filter), &filter.authors) {
            (Some((letter, values)), _) => values.iter().for_each(|value| {
                let key = params.bind(Param::Text(key::of(letter, value).into()));
                term("tags AS s CROSS JOIN events AS e ON e.seq = s.seq", &format!("s.tag = {key}"), shelf);
            }),
            (None, Some(authors)) => authors.iter().for_each(|author| {
                let author = params.bind(Param::Text(author.to_string().into()));
                term("events AS s", &format!("s.pubkey = {author}"), shelf);
            }),
            (None, None) => term("events AS s", "true", shelf),
        }
    }
    let sql = match terms.as_slice() {
        [only] => format!("SELECT r FROM ({only})"),
        terms => {
            let terms: Vec<String> = terms.iter().map(|term| format!("SELECT * FROM ({term})")).collect();
            // An event that has two of the values is found twice.
            format!(
                "SELECT r FROM ({}) GROUP BY created_at, tie, seq ORDER BY created_at DESC, tie LIMIT {wanted}",
                terms.join(" UNION ALL ")
            )
        }
    };
    Statement { sql: sql.into(), params: params.0 }
}

fn general(filter: &Filter, shelves: Shelves, wanted: u64, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let (parts, table, range) = walk(filter, shelves, &mut params);
    let stays = vanish::entry_stays(table, "s");
    let range = format!("{range} AND {} AND {stays}", within(filter, viewer, &mut params));
    let checks = checks(filter, &mut params).join(" AND ");
    let walked = |limit: u64| {
        format!(
            "SELECT s.created_at, s.tie, s.seq, s.shelf FROM {table} AS s WHERE {range} \
             ORDER BY s.created_at DESC, s.tie LIMIT {limit}"
        )
    };
    // A checked range is walked only as far as it takes to find what is wanted: SQLite runs the inner
    // SELECT as a co-routine that the outer LIMIT ends.
    let per_range = MAX_FOUND / ranges(filter).clamp(1, MAX_FOUND / 1000);
    let (newest_of_range, cut_off) = if checks.is_empty() {
        (walked(wanted), "false".to_owned())
    } else {
        let checked = format!("SELECT * FROM ({}) AS s WHERE {checks} LIMIT {wanted}", walked(per_range));
        let longer = format!("SELECT 1 FROM {table} AS s WHERE {range} LIMIT 1 OFFSET {per_range}");
        let some = format!("EXISTS (SELECT 1 FROM parts WHERE ({longer}))");
        (checked, format!("CASE WHEN (SELECT count(*) FROM newest) < {wanted} THEN {some} END"))
    };
    Statement {
        sql: format!(
            "WITH RECURSIVE parts (value, shelf) AS ({parts} LIMIT {max_parts}), \
             found AS MATERIALIZED (SELECT n.value->>0 AS created_at, n.value->>1 AS tie, n.value->>2 AS seq \
               FROM parts CROSS JOIN json_each(( \
                 SELECT json_group_array(json_array(created_at, tie, seq)) FROM ({newest_of_range}))) AS n \
               LIMIT {max_found}), \
             newest AS MATERIALIZED (SELECT DISTINCT created_at, tie, seq FROM found \
               ORDER BY created_at DESC, tie LIMIT {wanted}) \
             SELECT '{OVER_BUDGET}' AS r WHERE (SELECT count(*) FROM found) > {MAX_FOUND} \
               OR (SELECT count(*) FROM parts) > {MAX_PARTS} OR {cut_off} \
             UNION ALL SELECT r FROM (SELECT {row} AS r FROM newest AS n CROSS JOIN events AS e ON e.seq = n.seq \
               ORDER BY n.created_at DESC, n.tie)",
            max_parts = MAX_PARTS + 1,
            max_found = MAX_FOUND + 1,
            row = row("e"),
        )
        .into(),
        params: params.0,
    }
}

/// The ranges a search walks, the table whose index has them, and what makes an entry part of one.
fn walk(filter: &Filter, shelves: Shelves, params: &mut Params) -> (String, &'static str, &'static str) {
    match (driving(filter), &filter.authors) {
        (Some((letter, values)), _) => {
            let keys = params.keys(letter, values);
            let parts = by_shelf("tags", "tag", &keys, filter, shelves, params);
            (parts, "tags", "s.tag = parts.value AND s.shelf = parts.shelf")
        }
        (None, Some(authors)) => {
            let keys = params.list(authors);
            let parts = by_shelf("events", "pubkey", &keys, filter, shelves, params);
            (parts, "events", "s.pubkey = parts.value AND s.shelf = parts.shelf")
        }
        (None, None) => {
            let named = filter.kinds.iter().flatten().map(|kind| shelves.of(*kind));
            (format!("SELECT '', value FROM {}", params.list(named)), "events", "s.shelf = parts.shelf")
        }
    }
}

/// The ranges of an index on (`column`, shelf, …): one per value and kind. When the filter names no
/// kinds, those the index has for the value, each found by one step into it.
fn by_shelf(table: &str, column: &str, keys: &str, filter: &Filter, shelves: Shelves, params: &mut Params) -> String {
    let Some(kinds) = &filter.kinds else {
        let (start, end) = (shelves.start(), shelves.end());
        let first = |value: &str, after: &str| {
            format!(
                "(SELECT min(i.shelf) FROM {table} AS i WHERE i.{column} = {value} AND i.shelf {after} \
                 AND i.shelf < {end})"
            )
        };
        return format!(
            "SELECT v.value, {} FROM {keys} AS v UNION ALL \
             SELECT value, {} FROM parts WHERE parts.shelf IS NOT NULL",
            first("v.value", &format!(">= {start}")),
            first("parts.value", "> parts.shelf"),
        );
    };
    let named = params.list(kinds.iter().map(|kind| shelves.of(*kind)));
    format!("SELECT v.value, k.value FROM {keys} AS v CROSS JOIN {named} AS k")
}

/// What every index has: times and expiry.
fn within(filter: &Filter, viewer: &Viewer, params: &mut Params) -> String {
    let mut conditions = vec![format!("(s.expires_at IS NULL OR s.expires_at > {})", params.integer(viewer.now))];
    if let Some(since) = filter.since {
        conditions.push(format!("s.created_at >= {}", params.integer(since)));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("s.created_at <= {}", params.integer(until)));
    }
    conditions.join(" AND ")
}

/// What the walked index does not have, checked on each entry it gave.
fn checks(filter: &Filter, params: &mut Params) -> Vec<String> {
    let driving = driving(filter).map(|(letter, _)| letter);
    let mut checks = Vec::new();
    if let (Some(_), Some(authors)) = (driving, &filter.authors) {
        let author = "(SELECT a.pubkey FROM events AS a WHERE a.seq = s.seq)";
        checks.push(format!("{author} IN {}", params.list(authors)));
    }
    for (letter, values) in filter.tags.iter().filter(|(letter, _)| driving != Some(**letter)) {
        checks.push(has_tag(&params.keys(*letter, values)));
    }
    checks
}

/// Whether an index entry's event has one of the tags.
fn has_tag(keys: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM {keys} AS v CROSS JOIN tags AS t ON t.tag = v.value \
         AND t.shelf = s.shelf AND t.created_at = s.created_at AND t.tie = s.tie AND t.seq = s.seq)"
    )
}
