//! A filter as a statement. D1 bills every row that passes through any stage of a query, so there are shapes
//! that cost what they must: [`by_id`] looks ids up; [`direct`] joins a few ranges of an index that need no
//! further check; for all others [`walk`](super::walk) merges the ranges.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::read::{MAX_ENTRIES, Viewer};
use super::{PRIVATE, Param, Statement, form, integer, is_by, is_id, json, json_text, lists, vanish, walk};
use crate::ledger::{READER, reader, tag_key};
use crate::market::privacy;
use crate::nostr::{EventId, Filter, PublicKey, Values};

/// Ranges one statement joins: D1 takes five terms of a UNION.
pub const MAX_JOINED: usize = 5;
/// Up to so many values of tags are looked up for each entry; for more the entry's own tags are read.
const MAX_LOOKED_UP: usize = 8;

/// Which of the events that match are wanted.
#[derive(Clone, Copy, PartialEq)]
pub enum Wanted {
    /// The newest.
    Newest {
        /// How many at most.
        most: u64,
        /// Whether the shortest list is read whole, and a row says so where that does not do.
        of_few: bool,
    },
    /// All, in no order.
    All,
}

impl Wanted {
    /// How many at most; one more than may be found says that there are too many.
    pub fn most(self) -> u64 {
        match self {
            Self::Newest { most, .. } => most,
            Self::All => MAX_ENTRIES + 1,
        }
    }
}

/// Collects parameters and gives each its number.
#[derive(Default)]
pub struct Params(pub Vec<Param>);

impl Params {
    fn bind(&mut self, param: Param) -> String {
        self.0.push(param);
        format!("?{}", self.0.len())
    }

    /// Bytes, given as hex.
    pub fn bytes(&mut self, hex: String) -> String {
        format!("unhex({})", self.bind(Param::Text(hex.into())))
    }

    fn integer(&mut self, number: u64) -> String {
        self.bind(integer(number))
    }

    /// The values as a table.
    pub fn list<T: Serialize>(&mut self, values: impl IntoIterator<Item = T>) -> String {
        let values: Vec<T> = values.into_iter().collect();
        format!("(SELECT value FROM json_each({}))", self.bind(json(&values)))
    }

    /// Bytes, given as hex, as a table; one alone costs no row.
    pub fn all_bytes(&mut self, hex: impl IntoIterator<Item = String>) -> String {
        let mut hex: Vec<String> = hex.into_iter().collect();
        match (hex.pop(), hex.is_empty()) {
            (Some(only), true) => format!("(SELECT {} AS value)", self.bytes(only)),
            (last, _) => {
                let all = json(&hex.into_iter().chain(last).collect::<Vec<_>>());
                format!("(SELECT unhex(value) AS value FROM json_each({}))", self.bind(all))
            }
        }
    }

    /// The index keys of tags as a table.
    pub fn keys<'a>(&mut self, tags: impl IntoIterator<Item = (u8, &'a Values<String>)>) -> String {
        self.all_bytes(tags.into_iter().flat_map(|(letter, values)| values.iter().map(move |v| tag_key::of(letter, v))))
    }
}

/// What to return of an event, given its table's alias.
pub type Row<'a> = &'a dyn Fn(&str) -> String;

/// Where a search looks.
#[derive(Clone, Copy, PartialEq)]
pub enum Shelves {
    /// Among what everybody may read.
    Public,
    /// Among what is for some.
    Private,
}

impl Shelves {
    /// The shelf of a kind.
    pub fn of(self, kind: u16) -> u32 {
        u32::from(kind) + if self == Self::Private { PRIVATE } else { 0 }
    }

    /// The first one.
    pub fn start(self) -> u32 {
        self.of(0)
    }

    /// The first one that is not among them.
    pub fn end(self) -> u32 {
        self.start() + PRIVATE
    }
}

/// One statement for what is public and, if there can be any, one for what the viewer alone may read.
pub fn searches(filter: &Filter, wanted: Wanted, row: Row, viewer: &Viewer) -> Vec<Statement> {
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
    let private = |kind: &u16| privacy::may_be_private(viewer.profile, *kind);
    filter.kinds = filter.kinds.map(|kinds| kinds.iter().copied().filter(private).collect());
    filter.tags.insert(READER, viewer.keys.iter().map(ToString::to_string).collect());
    (!filter.is_void()).then_some(filter)
}

fn search(filter: &Filter, shelves: Shelves, wanted: Wanted, row: Row, viewer: &Viewer) -> Statement {
    let lists = lists::of(filter);
    let named = filter.kinds.is_some();
    let ranges = lists.first().map_or(1, lists::List::len) * filter.kinds.as_ref().map_or(1, |kinds| kinds.len());
    if named && lists.len() < 2 && ranges <= MAX_JOINED {
        direct(filter, shelves, wanted.most(), row, viewer)
    } else {
        match (wanted, lists.as_slice()) {
            (Wanted::Newest { most, of_few: true }, [first, _, ..]) => {
                walk::of_few(*first, filter, shelves, most, row, viewer)
            }
            _ => walk::statement(filter, shelves, wanted, row, viewer),
        }
    }
}

fn by_id(ids: &Values<EventId>, filter: &Filter, wanted: Wanted, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let list = params.list(ids);
    let mut conditions = vec![within("e", filter, viewer, &mut params), vanish::stays("e")];
    if let Some(kinds) = &filter.kinds {
        conditions.push(format!("e.kind IN {}", params.list(kinds)));
    }
    conditions.extend(checks(filter.authors.as_ref(), filter.tags.iter(), &mut params));
    let reader = params.all_bytes(viewer.keys.iter().map(reader));
    conditions.push(format!("(e.shelf < {PRIVATE} OR {})", has_one_of(&reader)));
    let (row, wanted) = (row("e"), wanted.most());
    Statement {
        sql: format!(
            "SELECT {row} AS r FROM {list} AS v CROSS JOIN events AS e ON {} WHERE {} \
             ORDER BY e.created_at DESC, e.tie LIMIT {wanted}",
            is_id("e", "unhex(v.value)"),
            conditions.join(" AND ")
        )
        .into(),
        params: params.0,
    }
}

/// A few ranges that the index covers whole, each walked by itself.
fn direct(filter: &Filter, shelves: Shelves, wanted: u64, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let within = within("s", filter, viewer, &mut params);
    let event = if filter.tags.is_empty() { "s" } else { "e" };
    let (row, stays) = (row(event), vanish::stays(event));
    let mut terms = Vec::new();
    let mut term = |from: &str, range: &str, shelf: &str| {
        terms.push(format!(
            "SELECT s.created_at, s.tie, s.seq, {row} AS r FROM {from} WHERE {range} AND s.shelf {shelf} AND {within} AND {stays} \
             ORDER BY s.created_at DESC, s.tie LIMIT {wanted}"
        ));
    };
    for kind in filter.kinds.iter().flatten() {
        let shelf = &format!("= {}", shelves.of(*kind));
        match (filter.tags.first_key_value(), &filter.authors) {
            (Some((letter, values)), _) => values.iter().for_each(|value| {
                let key = params.bytes(tag_key::of(*letter, value));
                term("tags AS s CROSS JOIN events AS e ON e.seq = s.seq", &format!("s.tag = {key}"), shelf);
            }),
            (None, Some(authors)) => authors.iter().for_each(|author| {
                let author = params.bytes(author.to_string());
                term("events AS s", &is_by("s", &author), shelf);
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

/// What every index has, of the table under an alias: times and expiry.
pub fn within(alias: &str, filter: &Filter, viewer: &Viewer, params: &mut Params) -> String {
    let now = params.integer(viewer.now);
    let mut conditions = vec![format!("({alias}.expires_at IS NULL OR {alias}.expires_at > {now})")];
    let are_asked = |kinds: &RangeInclusive<u16>| {
        filter.kinds.as_ref().is_none_or(|asked| asked.iter().any(|kind| kinds.contains(kind)))
    };
    conditions.extend(viewer.kept.by_kind().filter(|(kinds, _)| are_asked(kinds)).map(|(kinds, seconds)| {
        let kept = params.integer(viewer.now.saturating_sub(seconds));
        is_kept(alias, kinds, &kept)
    }));
    if let Some(since) = filter.since {
        conditions.push(format!("{alias}.created_at >= {}", params.integer(since)));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("{alias}.created_at <= {}", params.integer(until)));
    }
    conditions.join(" AND ")
}

/// Whether an entry is not of some kinds, or later than a time.
pub fn is_kept(alias: &str, kinds: &RangeInclusive<u16>, since: &str) -> String {
    let (first, last) = (kinds.start(), kinds.end());
    format!("({alias}.shelf & 65535 NOT BETWEEN {first} AND {last} OR {alias}.created_at > {since})")
}

/// What an index does not have, checked on the event `e` itself: its author, and that it has a tag of every
/// letter. Few values are looked up one by one; for many the event's own tags are read once.
pub fn checks<'a>(
    authors: Option<&Values<PublicKey>>,
    tags: impl Iterator<Item = (&'a u8, &'a Values<String>)>,
    params: &mut Params,
) -> Vec<String> {
    let tags: Vec<(u8, &Values<String>)> = tags.map(|(letter, values)| (*letter, values)).collect();
    let mut checks: Vec<String> = authors
        .map(|list| format!("e.pubkey IN {}", params.all_bytes(list.iter().map(ToString::to_string))))
        .into_iter()
        .collect();
    if tags.iter().map(|(_, values)| values.len()).sum::<usize>() <= MAX_LOOKED_UP {
        for (letter, values) in tags {
            let keys: Vec<String> = values.iter().map(|v| params.bytes(tag_key::of(letter, v))).collect();
            checks.push(has_one_of(&format!("({})", keys.join(", "))));
        }
    } else {
        let (readers, tags): (Vec<_>, Vec<_>) = tags.into_iter().partition(|(letter, _)| *letter == READER);
        for readers in readers {
            checks.push(has_one_of(&params.keys([readers])));
        }
        // Name and value as texts of JSON, which hold whatever these have and end where they end: the same serializer has
        // made the event's own.
        let spelled = |letter: u8, value: &String| format!("\"{}\"{}", char::from(letter), json_text(value));
        let all = tags.iter().flat_map(|(letter, values)| values.iter().map(|value| spelled(*letter, value)));
        checks.push(format!(
            "(SELECT count(DISTINCT k.value->>0) FROM json_each({}) AS k WHERE (k.value->0) || (k.value->1) IN {}) = {}",
            form::tags("e"),
            params.list(all),
            tags.len()
        ));
    }
    checks
}

/// Whether the event `e` has one of the tags.
fn has_one_of(keys: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM tags AS t WHERE t.tag IN {keys} \
         AND t.shelf = e.shelf AND t.created_at = e.created_at AND t.tie = e.tie AND t.seq = e.seq)"
    )
}
