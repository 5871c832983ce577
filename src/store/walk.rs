//! A search along a list of a filter: its authors, the values of one of its tags, or its kinds. Each value and
//! kind is a range of an index, newest first; the ranges are merged, so that what is read follows what is
//! wanted and the number of ranges, and not what is in them.
//!
//! Of several lists one is walked and the others are checked on each event. First the list that names the
//! fewest values is tried: read whole if it has [`FEW`] entries, else walked for [`TRIED`]. If that does not answer, the lists are counted, up to
//! [`MAX_ENTRIES`], and the rarest is walked. A search that would have to go on after [`MAX_ENTRIES`] entries of
//! the rarest list is refused, and the row that says so names it.

use super::read::{ENTRIES, MAX_ENTRIES, MAX_RANGES, OVER_BUDGET, RANGES, Viewer};
use super::search::{self, Params, Row, Shelves, Wanted};
use super::{Statement, is_by, may_be_by, vanish};
use crate::ledger::{READER, tag_key};
use crate::nostr::{Filter, PublicKey, Values};

/// A list of so few entries is read whole, which costs less than merging its ranges.
const FEW: u64 = 100;
/// Entries of the first list that are looked at before the lists are counted.
const TRIED: u64 = 1000;
/// Kinds that are told apart for a filter that names nothing: more than anybody has use for.
const MAX_KINDS: u64 = 10_000;
/// Lists of which the rarest is taken, those that name the fewest values: D1 takes five terms of a UNION.
const MAX_LISTS: usize = 4;

/// A list that an index has ranges for.
#[derive(Clone, Copy)]
pub enum List<'a> {
    /// Values of a tag.
    Tag(u8, &'a Values<String>),
    /// Who signed.
    Authors(&'a Values<PublicKey>),
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
}

/// The lists of a filter, those that name the fewest values first; kinds are a part of each.
pub fn lists(filter: &Filter) -> Vec<List<'_>> {
    let tags = filter.tags.iter().map(|(letter, values)| List::Tag(*letter, values));
    let mut lists: Vec<List> = tags.chain(filter.authors.as_ref().map(List::Authors)).collect();
    lists.sort_by_key(|list| (list.len(), list.place()));
    lists
}

/// Says in SQL whether an entry, by its table's alias, has a value.
type Has = fn(&str, &str) -> String;

/// How one list is walked, as parts of the statement.
struct Walk {
    /// What a client calls it.
    name: String,
    /// Selects its ranges: value and shelf.
    ranges: String,
    /// Whether these are no more than may be.
    bounded: bool,
    /// How many may be.
    most_ranges: u64,
    table: &'static str,
    /// Whether an entry has the value, each an expression; none when a range is a whole shelf.
    has: Option<Has>,
    /// The index that is walked.
    index: &'static str,
    /// Times and expiry of the entry `h`.
    within: String,
    /// What the event `e` of an entry must have besides.
    checks: Vec<String>,
    /// How many entries an event may have.
    copies: u64,
}

impl Walk {
    fn new(list: Option<List>, filter: &Filter, shelves: Shelves, within: &str, params: &mut Params) -> Self {
        let others = |letter| filter.tags.iter().filter(move |(other, _)| Some(**other) != letter);
        let within = |table| format!("{within} AND {}", vanish::entry_stays(table, "h"));
        let (name, values, table, has, index, checks) = match list {
            Some(List::Tag(letter, values)) => {
                let name = match letter {
                    READER => "what is for your keys".to_owned(),
                    letter => format!("#{}", char::from(letter)),
                };
                let checks = search::checks(filter.authors.as_ref(), others(Some(letter)), params);
                (name, params.keys([(letter, values)]), "tags", is_tag as Has, "", checks)
            }
            Some(List::Authors(authors)) => {
                let checks = search::checks(None, others(None), params);
                let index = " INDEXED BY events_by_author";
                (
                    "authors".to_owned(),
                    params.all_bytes(authors.iter().map(ToString::to_string)),
                    "events",
                    is_by as Has,
                    index,
                    checks,
                )
            }
            None => {
                let ranges = match &filter.kinds {
                    Some(kinds) => {
                        format!("SELECT '', value FROM {}", params.list(kinds.iter().map(|kind| shelves.of(*kind))))
                    }
                    None => all_shelves(shelves),
                };
                let most_ranges = if filter.kinds.is_some() { MAX_RANGES } else { MAX_KINDS };
                let (name, index) = ("kinds".to_owned(), " INDEXED BY events_by_kind");
                return Self {
                    name,
                    ranges,
                    bounded: false,
                    most_ranges,
                    table: "events",
                    has: None,
                    index,
                    within: within("events"),
                    checks: vec![],
                    copies: 1,
                };
            }
        };
        let ranges = by_shelf(table, &values, list, filter, shelves, params);
        let copies = list.map_or(1, |list| if matches!(list, List::Tag(..)) { list.len() as u64 } else { 1 });
        let bounded = are_named(list, filter);
        let (within, most_ranges) = (within(table), MAX_RANGES);
        Self { name, ranges, bounded, most_ranges, table, has: Some(has), index, within, checks, copies }
    }

    /// The table of entries, as `h`.
    fn entries(&self) -> String {
        format!("{} AS h{}", self.table, self.index)
    }

    /// What makes the entry `h` part of the range `of`.
    fn range(&self, of: &str) -> String {
        let value = self.has.map(|has| format!("{} AND ", has("h", &format!("{of}.value")))).unwrap_or_default();
        format!("{value}h.shelf = {of}.shelf")
    }

    /// All entries of the ranges in the table `ranges`.
    fn all(&self, ranges: &str) -> String {
        format!("{ranges} AS p CROSS JOIN {} ON {} AND {}", self.entries(), self.range("p"), self.within)
    }

    /// Merges the ranges in the table `ranges` newest first: a recursive SELECT named `name` with a queue of one
    /// entry for each range; what is taken out is followed by the next one of its range. `gate` stands
    /// before the ranges.
    fn merged(&self, name: &str, ranges: &str, gate: &str, most: u64) -> String {
        let (entries, within) = (self.entries(), &self.within);
        // What an index is ordered by after the tie, which tells entries apart that have the same.
        let (rest, after) = match self.table {
            "tags" => ("h.seq", "h.seq > w.seq"),
            _ => (
                "h.expires_at, h.seq DESC",
                "(coalesce(h.expires_at, 0) > w.expires_at OR coalesce(h.expires_at, 0) = w.expires_at AND h.seq < w.seq)",
            ),
        };
        let (of_range, of_walk) = (self.range("p"), self.range("w"));
        let columns = "e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq";
        format!(
            "{name} (value, shelf, created_at, tie, expires_at, seq) AS ( \
             SELECT p.value, p.shelf, {columns} FROM {gate}{ranges} AS p CROSS JOIN events AS e ON e.seq = ( \
               SELECT h.seq FROM {entries} WHERE {of_range} AND {within} ORDER BY h.created_at DESC, h.tie, {rest} LIMIT 1) \
             UNION ALL SELECT w.value, w.shelf, {columns} FROM {name} AS w CROSS JOIN events AS e ON e.seq = coalesce( \
               (SELECT h.seq FROM {entries} WHERE {of_walk} AND h.created_at = w.created_at AND h.tie >= w.tie \
                  AND (h.tie > w.tie OR {after}) AND {within} ORDER BY h.tie, {rest} LIMIT 1), \
               (SELECT h.seq FROM {entries} WHERE {of_walk} AND h.created_at < w.created_at AND {within} \
                  ORDER BY h.created_at DESC, h.tie, {rest} LIMIT 1)) \
             ORDER BY 3 DESC, 4 LIMIT {most})"
        )
    }

    /// Those events of the entries in the table `from` that pass the checks, in its order. An event that has several
    /// of the values has as many entries, and is checked once.
    fn checked(&self, from: &str) -> String {
        let distinct = if self.copies > 1 { "DISTINCT " } else { "" };
        let events = format!("SELECT {distinct}created_at, tie, seq FROM {from}");
        if self.checks.is_empty() {
            return events;
        }
        let checks = self.checks.join(" AND ");
        format!(
            "SELECT w.created_at, w.tie, w.seq FROM ({events}) AS w CROSS JOIN events AS e ON e.seq = w.seq WHERE {checks}"
        )
    }
}

/// Where the ranges of a list are, if they are few and the filter names them all.
fn named_ranges(list: List, filter: &Filter, shelves: Shelves, params: &mut Params) -> Option<Vec<String>> {
    let kinds = filter.kinds.as_ref().filter(|kinds| kinds.len() * list.len() <= search::MAX_JOINED)?;
    let values: Vec<String> = match list {
        List::Tag(letter, values) => {
            values.iter().map(|v| format!("h.tag = {}", params.bytes(tag_key::of(letter, v)))).collect()
        }
        List::Authors(keys) => keys.iter().map(|key| is_by("h", &params.bytes(key.to_string()))).collect(),
    };
    let shelves: Vec<u32> = kinds.iter().map(|kind| shelves.of(*kind)).collect();
    let ranges =
        |value: &String| shelves.iter().map(|shelf| format!("{value} AND h.shelf = {shelf}")).collect::<Vec<_>>();
    Some(values.iter().flat_map(ranges).collect())
}

impl Walk {
    /// The numbers of all entries of some ranges.
    fn each(&self, ranges: &[String]) -> String {
        let (entries, within) = (self.entries(), &self.within);
        let range = |range: &String| format!("SELECT h.seq FROM {entries} WHERE {range} AND {within}");
        ranges.iter().map(range).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// The answer when the table `few` has all entries of the list: its events that pass the checks, each read once.
    fn few(&self, row: &str, most: u64) -> String {
        let distinct = if self.copies > 1 { "SELECT DISTINCT seq FROM few" } else { "SELECT seq FROM few" };
        let checks: String = self.checks.iter().map(|check| format!(" AND {check}")).collect();
        format!(
            "SELECT r FROM (SELECT {row} AS r FROM ({distinct}) AS w CROSS JOIN events AS e ON e.seq = w.seq \
             WHERE NOT EXISTS (SELECT 1 FROM many){checks} ORDER BY e.created_at DESC, e.tie LIMIT {most})"
        )
    }
}

/// The statement that walks a list of the filter.
pub fn statement(filter: &Filter, shelves: Shelves, wanted: Wanted, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let within = search::within("h", filter, viewer, &mut params);
    let lists = lists(filter);
    let named = lists.first().and_then(|first| named_ranges(*first, filter, shelves, &mut params));
    let mut walk = |list| Walk::new(list, filter, shelves, &within, &mut params);
    let walks: Vec<Walk> = if lists.is_empty() {
        vec![walk(None)]
    } else {
        lists.into_iter().take(MAX_LISTS).map(|list| walk(Some(list))).collect()
    };
    let mut ctes: Vec<String> = Vec::new();
    for (n, walk) in walks.iter().enumerate() {
        // Ranges that the filter names are made where they are walked, and cost nothing where they are not.
        ctes.push(if walk.bounded {
            format!("r{n} (value, shelf) AS NOT MATERIALIZED ({})", walk.ranges)
        } else {
            format!("r{n} (value, shelf) AS ({} LIMIT {})", walk.ranges, walk.most_ranges + 1)
        });
    }
    let over = match walks.as_slice() {
        [only] => alone(only, wanted, &mut ctes),
        walks => rarest(walks, named.as_deref(), wanted, &mut ctes),
    };
    let (row, most) = (row("e"), wanted.most());
    let few = match walks.as_slice() {
        [first, _, ..] if wanted != Wanted::All => format!(" UNION ALL {}", first.few(&row, most)),
        _ => String::new(),
    };
    let sql = format!(
        "WITH RECURSIVE {} SELECT '{OVER_BUDGET}' || {over} \
         UNION ALL SELECT r FROM (SELECT {row} AS r FROM newest AS n CROSS JOIN events AS e ON e.seq = n.seq \
           ORDER BY n.created_at DESC, n.tie LIMIT {most}){few}",
        ctes.join(", "),
    );
    Statement { sql: sql.into(), params: params.0 }
}

/// Walks the only list; returns the row that says that there is too much.
fn alone(walk: &Walk, wanted: Wanted, ctes: &mut Vec<String>) -> String {
    let most = wanted.most();
    let longer = format!("EXISTS (SELECT 1 FROM {} LIMIT 1 OFFSET {MAX_ENTRIES})", walk.all("r0"));
    let more = match wanted {
        Wanted::Newest(_) => {
            // Nothing is checked, so no more are needed.
            let entries = most.saturating_mul(walk.copies).min(MAX_ENTRIES);
            ctes.push(walk.merged("w0", "r0", "", entries));
            ctes.push(format!("newest AS MATERIALIZED ({} LIMIT {most})", walk.checked("w0")));
            format!("CASE WHEN (SELECT count(*) FROM newest) < {most} THEN {longer} END")
        }
        Wanted::All => {
            let all = walk.all("r0");
            ctes.push(format!("w0 AS (SELECT h.created_at, h.tie, h.seq FROM {all} LIMIT {most})"));
            ctes.push(format!("newest AS MATERIALIZED ({})", walk.checked("w0")));
            longer
        }
    };
    let ranges = format!("(SELECT count(*) FROM r0) > {}", walk.most_ranges);
    format!(
        "iif({ranges}, {}, {}) AS r WHERE {ranges} OR {more}",
        many_ranges(walk.most_ranges, &walk.name),
        many_entries(&format!("'{}'", walk.name))
    )
}

/// Walks the rarest of several lists, unless the first answers soon; returns the row that says that there is
/// too much.
fn rarest(walks: &[Walk], named: Option<&[String]>, wanted: Wanted, ctes: &mut Vec<String>) -> String {
    let most = wanted.most();
    let first = walks.first();
    // One row when the lists have to be counted, else none.
    let tried = first.filter(|_| wanted != Wanted::All).map(|first| {
        let all = first.all("r0");
        let few = match named {
            Some(ranges) => first.each(ranges),
            None => format!("SELECT h.seq FROM {all}"),
        };
        ctes.push(format!("few AS MATERIALIZED ({few} LIMIT {})", FEW + 1));
        ctes.push(format!("many AS MATERIALIZED (SELECT 1 AS yes FROM few LIMIT 1 OFFSET {FEW})"));
        ctes.push(first.merged("w", "r0", "many AS g CROSS JOIN ", TRIED));
        ctes.push(format!("tried AS MATERIALIZED ({} LIMIT {most})", first.checked("w")));
        format!(
            "SELECT 1 AS yes FROM many WHERE CASE WHEN (SELECT count(*) FROM tried) < {most} \
             THEN EXISTS (SELECT 1 FROM {all} LIMIT 1 OFFSET {TRIED}) END"
        )
    });
    ctes.push(format!("counting AS MATERIALIZED ({})", tried.as_deref().unwrap_or("SELECT 1 AS yes")));
    for (n, walk) in walks.iter().enumerate() {
        // No list is counted further than the one before.
        let bound = match n.checked_sub(1) {
            None => (MAX_ENTRIES + 1).to_string(),
            Some(before) => format!("(SELECT min(n, {MAX_ENTRIES}) + 1 FROM c{before})"),
        };
        let count = format!("(SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {bound}))", walk.all(&format!("r{n}")));
        // A list of too many ranges is not walked.
        ctes.push(format!(
            "c{n} (list, n) AS MATERIALIZED (SELECT {n}, iif((SELECT count(*) FROM r{n}) > {MAX_RANGES}, {}, {count}) \
             FROM counting)",
            MAX_ENTRIES + 2
        ));
    }
    let counts: Vec<String> = (0..walks.len()).map(|n| format!("SELECT list, n FROM c{n}")).collect();
    ctes.push(format!(
        "best (list, n) AS MATERIALIZED (SELECT list, min(n) FROM ({}) HAVING count(*) > 0)",
        counts.join(" UNION ALL ")
    ));
    let mut found = Vec::new();
    for (n, walk) in walks.iter().enumerate() {
        let (name, ranges) = (format!("w{n}"), format!("r{n}"));
        let gate = format!("(SELECT 1 FROM best WHERE list = {n}) AS g CROSS JOIN ");
        ctes.push(match wanted {
            Wanted::Newest(_) => walk.merged(&name, &ranges, &gate, MAX_ENTRIES),
            Wanted::All => {
                let all = walk.all(&ranges);
                format!("{name} AS (SELECT h.created_at, h.tie, h.seq FROM {gate}{all} LIMIT {most})")
            }
        });
        found.push(format!("SELECT * FROM ({} LIMIT {most})", walk.checked(&name)));
    }
    let found = match tried {
        Some(_) => format!(
            "SELECT * FROM tried WHERE NOT EXISTS (SELECT 1 FROM counting) UNION ALL SELECT * FROM ({})",
            found.join(" UNION ALL ")
        ),
        None => found.join(" UNION ALL "),
    };
    ctes.push(format!("newest AS MATERIALIZED ({found})"));
    let names: Vec<String> =
        walks.iter().enumerate().map(|(n, walk)| format!("WHEN {n} THEN '{}'", walk.name)).collect();
    let name = format!("CASE list {} END", names.join(" "));
    let enough = match wanted {
        Wanted::Newest(_) => format!("(SELECT count(*) FROM newest) < {most}"),
        Wanted::All => "true".to_owned(),
    };
    format!(
        "iif(n > {}, {}, {}) AS r FROM best WHERE n > {MAX_ENTRIES} AND {enough}",
        MAX_ENTRIES + 1,
        many_ranges(MAX_RANGES, "every list of this filter"),
        many_entries(&name)
    )
}

/// Why a list is not walked, as SQL.
fn many_ranges(most: u64, name: &str) -> String {
    format!("'{RANGES} {most} {name}'")
}

/// Why the walk along a list ended, as SQL.
fn many_entries(name: &str) -> String {
    format!("'{ENTRIES} ' || {name}")
}

/// Whether the filter names the ranges of a list, and they are not too many.
fn are_named(list: Option<List>, filter: &Filter) -> bool {
    let values = list.map_or(1, |list| list.len());
    filter.kinds.as_ref().is_some_and(|kinds| (values * kinds.len()) as u64 <= MAX_RANGES)
}

/// All shelves on which anything is, each found by one step into the index.
fn all_shelves(shelves: Shelves) -> String {
    let end = shelves.end();
    let next =
        |after: &str| format!("(SELECT min(i.shelf) FROM events AS i WHERE i.shelf {after} AND i.shelf < {end})");
    format!(
        "WITH RECURSIVE here (shelf) AS (SELECT {} UNION ALL SELECT {} FROM here WHERE here.shelf IS NOT NULL LIMIT {}) \
         SELECT '', shelf FROM here WHERE shelf IS NOT NULL",
        next(&format!(">= {}", shelves.start())),
        next("> here.shelf"),
        MAX_KINDS + 2,
    )
}

/// Whether an entry of `tags` has a value.
fn is_tag(entry: &str, value: &str) -> String {
    format!("{entry}.tag = {value}")
}

/// The ranges of an index on (value, shelf, …): one for each value and kind. When the filter names no kinds,
/// or too many, those the index has for the value, each found by one step into it.
fn by_shelf(
    table: &str,
    values: &str,
    list: Option<List>,
    filter: &Filter,
    shelves: Shelves,
    params: &mut Params,
) -> String {
    if let Some(kinds) = filter.kinds.as_ref().filter(|_| are_named(list, filter)) {
        let named = params.list(kinds.iter().map(|kind| shelves.of(*kind)));
        return format!("SELECT v.value, k.value FROM {values} AS v CROSS JOIN {named} AS k");
    }
    let end = shelves.end();
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
    let most = MAX_RANGES as usize + 1 + list.map_or(1, |list| list.len());
    let kinds = filter.kinds.as_ref().map(|kinds| params.list(kinds.iter().map(|kind| shelves.of(*kind))));
    // What was cut there is not left out in silence: it counts as too many ranges.
    let cut = format!("(SELECT count(*) FROM here) >= {most}");
    let named = kinds.map(|kinds| format!(" AND (shelf IN {kinds} OR {cut})")).unwrap_or_default();
    format!(
        "WITH RECURSIVE here (value, shelf) AS ({all} LIMIT {most}) \
         SELECT value, shelf FROM here WHERE shelf IS NOT NULL{named}"
    )
}
