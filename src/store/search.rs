//! A filter as a statement. D1 bills every row that passes through any stage of a query, so there are shapes
//! that cost what they must: [`by_id`] looks ids up; [`direct`] joins a few ranges of an index that need no
//! further check; for all others [`walk`](super::walk) merges the ranges.

use serde::Serialize;

use super::item::READER;
use super::read::{MAX_ENTRIES, Viewer};
use super::{PRIVATE, Param, Statement, integer, json, key, vanish, walk};
use crate::market::privacy;
use crate::nostr::{EventId, Filter, PublicKey, Values};

/// Ranges one statement joins: D1 takes five terms of a UNION.
pub const MAX_JOINED: usize = 5;
/// Up to so many values of tags are looked up for each entry; for more the entry's own tags are read.
const MAX_LOOKED_UP: usize = 8;

/// Which of the events that match are wanted.
#[derive(Clone, Copy, PartialEq)]
pub enum Wanted {
    /// The newest, at most so many.
    Newest(u64),
    /// All, in no order.
    All,
}

impl Wanted {
    /// How many at most; one more than may be found says that there are too many.
    pub fn most(self) -> u64 {
        match self {
            Self::Newest(limit) => limit,
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

    /// A text.
    pub fn text(&mut self, text: String) -> String {
        self.bind(Param::Text(text.into()))
    }

    fn integer(&mut self, number: u64) -> String {
        self.bind(integer(number))
    }

    /// The values as a table.
    pub fn list<T: Serialize>(&mut self, values: impl IntoIterator<Item = T>) -> String {
        let values: Vec<T> = values.into_iter().collect();
        format!("(SELECT value FROM json_each({}))", self.bind(json(&values)))
    }

    /// Texts as a table; one alone costs no row.
    pub fn texts(&mut self, texts: impl IntoIterator<Item = String>) -> String {
        let mut texts: Vec<String> = texts.into_iter().collect();
        match (texts.pop(), texts.is_empty()) {
            (Some(only), true) => format!("(SELECT {} AS value)", self.bind(Param::Text(only.into()))),
            (last, _) => self.list(texts.into_iter().chain(last)),
        }
    }

    /// The index keys of tags as a table.
    pub fn keys<'a>(&mut self, tags: impl IntoIterator<Item = (u8, &'a Values<String>)>) -> String {
        self.texts(tags.into_iter().flat_map(|(letter, values)| values.iter().map(move |v| key::of(letter, v))))
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
    let lists = walk::lists(filter);
    let named = filter.kinds.is_some() || lists.is_empty();
    let ranges = lists.first().map_or(1, walk::List::len) * filter.kinds.as_ref().map_or(1, |kinds| kinds.len());
    if named && lists.len() < 2 && ranges <= MAX_JOINED {
        direct(filter, shelves, wanted.most(), row, viewer)
    } else {
        walk::statement(filter, shelves, wanted, row, viewer)
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
    let reader = params.list(viewer.keys.iter().map(|reader| key::of(READER, &reader.to_string())));
    conditions.push(format!("(e.shelf < {PRIVATE} OR {})", has_one_of(&reader)));
    let (row, wanted) = (row("e"), wanted.most());
    Statement {
        sql: format!(
            "SELECT {row} AS r FROM {list} AS v CROSS JOIN events AS e ON e.id = v.value WHERE {} \
             ORDER BY e.created_at DESC, e.tie LIMIT {wanted}",
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
    let named = filter.kinds.iter().flatten().map(|kind| format!("= {}", shelves.of(*kind)));
    // Without kinds there is an index of all that is public.
    let all = filter.kinds.is_none().then(|| format!("< {PRIVATE}"));
    for shelf in named.chain(all) {
        let shelf = shelf.as_str();
        match (filter.tags.first_key_value(), &filter.authors) {
            (Some((letter, values)), _) => values.iter().for_each(|value| {
                let key = params.bind(Param::Text(key::of(*letter, value).into()));
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

/// What every index has, of the table under an alias: times and expiry.
pub fn within(alias: &str, filter: &Filter, viewer: &Viewer, params: &mut Params) -> String {
    let now = params.integer(viewer.now);
    let mut conditions = vec![format!("({alias}.expires_at IS NULL OR {alias}.expires_at > {now})")];
    if let Some(since) = filter.since {
        conditions.push(format!("{alias}.created_at >= {}", params.integer(since)));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("{alias}.created_at <= {}", params.integer(until)));
    }
    conditions.join(" AND ")
}

/// What an index does not have, checked on the event `e` itself: its author, and that it has a tag of every
/// letter. Few values are looked up one by one; for many the event's own tags are read once.
pub fn checks<'a>(
    authors: Option<&Values<PublicKey>>,
    tags: impl Iterator<Item = (&'a u8, &'a Values<String>)>,
    params: &mut Params,
) -> Vec<String> {
    let tags: Vec<(u8, &Values<String>)> = tags.map(|(letter, values)| (*letter, values)).collect();
    let mut checks: Vec<String> =
        authors.map(|list| format!("e.pubkey IN {}", params.list(list))).into_iter().collect();
    if tags.iter().map(|(_, values)| values.len()).sum::<usize>() <= MAX_LOOKED_UP {
        for (letter, values) in tags {
            let keys: Vec<String> =
                values.iter().map(|v| params.bind(Param::Text(key::of(letter, v).into()))).collect();
            checks.push(has_one_of(&format!("({})", keys.join(", "))));
        }
    } else {
        checks.push(format!(
            "(SELECT count(DISTINCT substr(k.value, 1, 1)) FROM json_each(e.keys) AS k WHERE k.value IN {}) = {}",
            params.keys(tags.iter().copied()),
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
