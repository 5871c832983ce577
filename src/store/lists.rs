//! The lists of a filter that an index has ranges for: its authors, and the values of each of its tags. A range is a value on
//! a shelf.

use super::read::MAX_RANGES;
use super::search::{self, MAX_JOINED, Params, Shelves};
use super::{is_by, may_be_by};
use crate::ledger::{READER, tag_key};
use crate::nostr::{Filter, PublicKey, Values};
use crate::trees::in_order;

/// A list of a filter.
#[derive(Clone, Copy)]
pub enum List<'a> {
    /// Values of a tag.
    Tag(u8, &'a Values<String>),
    /// Who signed.
    Authors(&'a Values<PublicKey>),
}

/// Says in SQL whether an entry, by its table's alias, has a value.
pub type Has = fn(&str, &str) -> String;

/// The lists of a filter, those that name the fewest values first; kinds are a part of each.
pub fn of(filter: &Filter) -> Vec<List<'_>> {
    let tags = filter.tags.iter().map(|(letter, values)| List::Tag(*letter, values));
    let lists = tags.chain(filter.authors.as_ref().map(List::Authors)).collect();
    in_order(lists, |list| (list.len() << 8 | list.place()) as u64)
}

impl List<'_> {
    /// How many values it names.
    pub fn len(&self) -> usize {
        match self {
            Self::Tag(_, values) => values.len(),
            Self::Authors(keys) => keys.len(),
        }
    }

    /// Of lists that name as many values, those come first that tell events apart best.
    fn place(&self) -> usize {
        match self {
            Self::Tag(b'e', _) => 0,
            Self::Tag(READER, _) => 1,
            Self::Tag(b'p', _) => 2,
            Self::Authors(_) => 3,
            Self::Tag(..) => 4,
        }
    }

    /// What a client calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Tag(READER, _) => "what is for your keys".to_owned(),
            Self::Tag(letter, _) => format!("#{}", char::from(*letter)),
            Self::Authors(_) => "authors".to_owned(),
        }
    }

    /// The table of its entries.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Tag(..) => "tags",
            Self::Authors(_) => "events",
        }
    }

    /// The index of that table that is walked, if it has to be named.
    pub fn index(&self) -> &'static str {
        match self {
            Self::Tag(..) => "",
            Self::Authors(_) => " INDEXED BY events_by_author",
        }
    }

    /// Whether an entry has a value.
    pub fn has(&self) -> Has {
        match self {
            Self::Tag(..) => is_tag,
            Self::Authors(_) => is_by,
        }
    }

    /// What else the filter asks of the event `e`, besides times and kinds.
    pub fn checks(&self, filter: &Filter, params: &mut Params) -> Vec<String> {
        let (authors, letter) = match self {
            Self::Tag(letter, _) => (filter.authors.as_ref(), Some(*letter)),
            Self::Authors(_) => (None, None),
        };
        search::checks(authors, filter.tags.iter().filter(|(other, _)| Some(**other) != letter), params)
    }

    /// How many entries an event may have.
    pub fn copies(&self) -> u64 {
        match self {
            Self::Tag(_, values) => values.len() as u64,
            Self::Authors(_) => 1,
        }
    }

    /// Whether the filter names its ranges, and they are not too many.
    pub fn is_bounded(&self, filter: &Filter) -> bool {
        filter.kinds.as_ref().is_some_and(|kinds| (self.len() * kinds.len()) as u64 <= MAX_RANGES)
    }

    /// Where its ranges are, each as a condition on the entry `h`, if they are few and the filter names them all.
    pub fn named_ranges(&self, filter: &Filter, shelves: Shelves, params: &mut Params) -> Option<Vec<String>> {
        let kinds = filter.kinds.as_ref().filter(|kinds| kinds.len() * self.len() <= MAX_JOINED)?;
        let values: Vec<String> = match self {
            Self::Tag(letter, values) => {
                values.iter().map(|v| is_tag("h", &params.bytes(tag_key::of(*letter, v)))).collect()
            }
            Self::Authors(keys) => keys.iter().map(|key| is_by("h", &params.bytes(key.to_string()))).collect(),
        };
        let shelves: Vec<u32> = kinds.iter().map(|kind| shelves.of(*kind)).collect();
        let ranges =
            |value: &String| shelves.iter().map(|shelf| format!("{value} AND h.shelf = {shelf}")).collect::<Vec<_>>();
        Some(values.iter().flat_map(ranges).collect())
    }

    /// Its ranges as a table of (value, shelf): one for each value and kind. When the filter names no kinds, or too many,
    /// those the index has for the value, each found by one step into it.
    pub fn ranges(&self, filter: &Filter, shelves: Shelves, params: &mut Params) -> String {
        let values = match self {
            Self::Tag(letter, values) => params.keys([(*letter, *values)]),
            Self::Authors(keys) => params.all_bytes(keys.iter().map(ToString::to_string)),
        };
        if let Some(kinds) = filter.kinds.as_ref().filter(|_| self.is_bounded(filter)) {
            let named = params.list(kinds.iter().map(|kind| shelves.of(*kind)));
            return format!("SELECT v.value, k.value FROM {values} AS v CROSS JOIN {named} AS k");
        }
        let (table, end) = (self.table(), shelves.end());
        let has: Has = if table == "tags" { is_tag } else { may_be_by };
        let next = |value: &str, after: &str| {
            let has = has("i", value);
            format!("(SELECT min(i.shelf) FROM {table} AS i WHERE {has} AND i.shelf {after} AND i.shelf < {end})")
        };
        let all = format!(
            "SELECT v.value, {} FROM {values} AS v UNION ALL SELECT value, {} FROM here WHERE here.shelf IS NOT NULL",
            next("v.value", &format!(">= {}", shelves.start())),
            next("here.value", "> here.shelf"),
        );
        // Each value ends with a row without a shelf, so this many rows hold more than enough ranges.
        let most = MAX_RANGES as usize + 1 + self.len();
        let kinds = filter.kinds.as_ref().map(|kinds| params.list(kinds.iter().map(|kind| shelves.of(*kind))));
        // What was cut there is not left out in silence: it counts as too many ranges.
        let cut = format!("(SELECT count(*) FROM here) >= {most}");
        let named = kinds.map(|kinds| format!(" AND (shelf IN {kinds} OR {cut})")).unwrap_or_default();
        format!(
            "WITH RECURSIVE here (value, shelf) AS ({all} LIMIT {most}) \
             SELECT value, shelf FROM here WHERE shelf IS NOT NULL{named}"
        )
    }
}

/// All shelves on which anything is, at most so many, each found by one step into the index.
pub fn all_shelves(shelves: Shelves, most: u64) -> String {
    let end = shelves.end();
    let next =
        |after: &str| format!("(SELECT min(i.shelf) FROM events AS i WHERE i.shelf {after} AND i.shelf < {end})");
    format!(
        "WITH RECURSIVE here (shelf) AS (SELECT {} UNION ALL SELECT {} FROM here WHERE here.shelf IS NOT NULL LIMIT {most}) \
         SELECT '', shelf FROM here WHERE shelf IS NOT NULL",
        next(&format!(">= {}", shelves.start())),
        next("> here.shelf"),
    )
}

/// Whether an entry of `tags` has a value.
fn is_tag(entry: &str, value: &str) -> String {
    format!("{entry}.tag = {value}")
}
