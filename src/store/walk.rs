//! A search along a list of a filter: its authors, the values of one of its tags, or its kinds. Each value and
//! kind is a range of an index, newest first; the ranges are merged, so that what is read follows what is
//! wanted and the number of ranges, and not what is in them.
//!
//! Of several lists one is walked and the others are checked on each event. First the list that names the
//! fewest values is tried: if it has no more than [`FEW`] entries it is read whole ([`of_few`], a statement of its own, as
//! that is short and mostly does); else it is walked for [`TRIED`]. If that does not answer, the lists are counted, up to
//! [`MAX_ENTRIES`], and the rarest is walked. A search that would have to go on after [`MAX_ENTRIES`] entries of
//! the rarest list is refused, and the row that says so names it.

use super::lists::{self, Has, List};
use super::read::{ENTRIES, MANY, MAX_ENTRIES, MAX_RANGES, OVER_BUDGET, RANGES, Viewer};
use super::search::{self, Params, Row, Shelves, Wanted};
use super::{Statement, vanish};
use crate::nostr::Filter;

/// A list of so few entries is read whole, which costs less than merging its ranges.
const FEW: u64 = 100;
/// Entries of the first list that are looked at before the lists are counted.
const TRIED: u64 = 1000;
/// Kinds that are told apart for a filter that names nothing: more than anybody has use for.
const MAX_KINDS: u64 = 10_000;
/// Lists of which the rarest is taken, those that name the fewest values: D1 takes five terms of a UNION.
const MAX_LISTS: usize = 4;

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
        let within = |table| format!("{within} AND {}", vanish::entry_stays(table, "h"));
        let Some(list) = list else {
            let ranges = match &filter.kinds {
                Some(kinds) => {
                    format!("SELECT '', value FROM {}", params.list(kinds.iter().map(|kind| shelves.of(*kind))))
                }
                None => lists::all_shelves(shelves, MAX_KINDS + 2),
            };
            return Self {
                name: "kinds".to_owned(),
                ranges,
                bounded: false,
                most_ranges: if filter.kinds.is_some() { MAX_RANGES } else { MAX_KINDS },
                table: "events",
                has: None,
                index: " INDEXED BY events_by_kind",
                within: within("events"),
                checks: vec![],
                copies: 1,
            };
        };
        let checks = list.checks(filter, params);
        Self {
            name: list.name(),
            ranges: list.ranges(filter, shelves, params),
            bounded: list.is_bounded(filter),
            most_ranges: MAX_RANGES,
            table: list.table(),
            has: Some(list.has()),
            index: list.index(),
            within: within(list.table()),
            checks,
            copies: list.copies(),
        }
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

/// The statement that reads the shortest list of the filter whole, if it has few entries, and checks each event once; if
/// it has many it answers [`MANY`]. Only for a filter of two lists or more: the others are what is checked.
pub fn of_few(list: List, filter: &Filter, shelves: Shelves, most: u64, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let within = search::within("h", filter, viewer, &mut params);
    let checks = list.checks(filter, &mut params).join(" AND ");
    let entries = format!("{} AS h{}", list.table(), list.index());
    let many = format!("(SELECT count(*) FROM few) > {FEW}");
    let (ranges, entries, many) = match list.named_ranges(filter, shelves, &mut params) {
        Some(ranges) => {
            let range = |range| format!("SELECT h.seq FROM {entries} WHERE {range} AND {within}");
            (String::new(), ranges.into_iter().map(range).collect::<Vec<_>>().join(" UNION ALL "), many)
        }
        None => {
            let ranges = list.ranges(filter, shelves, &mut params);
            let ranges = format!("p (value, shelf) AS MATERIALIZED ({ranges} LIMIT {}), ", MAX_RANGES + 1);
            let has = (list.has())("h", "p.value");
            // Of more ranges not all are there.
            let many = format!("{many} OR (SELECT count(*) FROM p) > {MAX_RANGES}");
            (
                ranges,
                format!("SELECT h.seq FROM p CROSS JOIN {entries} ON {has} AND h.shelf = p.shelf AND {within}"),
                many,
            )
        }
    };
    let distinct = if list.copies() > 1 { "SELECT DISTINCT seq FROM few" } else { "SELECT seq FROM few" };
    let (row, stays) = (row("e"), vanish::stays("e"));
    let sql = format!(
        "WITH {ranges}few AS MATERIALIZED ({entries} LIMIT {}) SELECT '{MANY}' AS r WHERE {many} \
         UNION ALL SELECT r FROM (SELECT {row} AS r FROM ({distinct}) AS w CROSS JOIN events AS e ON e.seq = w.seq \
           WHERE NOT ({many}) AND {checks} AND {stays} ORDER BY e.created_at DESC, e.tie LIMIT {most})",
        FEW + 1,
    );
    Statement { sql: sql.into(), params: params.0 }
}

/// The statement that walks a list of the filter.
pub fn statement(filter: &Filter, shelves: Shelves, wanted: Wanted, row: Row, viewer: &Viewer) -> Statement {
    let mut params = Params::default();
    let within = search::within("h", filter, viewer, &mut params);
    let lists = lists::of(filter);
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
        walks => rarest(walks, wanted, &mut ctes),
    };
    let (row, most) = (row("e"), wanted.most());
    let sql = format!(
        "WITH RECURSIVE {} SELECT '{OVER_BUDGET}' || {over} \
         UNION ALL SELECT r FROM (SELECT {row} AS r FROM newest AS n CROSS JOIN events AS e ON e.seq = n.seq \
           ORDER BY n.created_at DESC, n.tie LIMIT {most})",
        ctes.join(", "),
    );
    Statement { sql: sql.into(), params: params.0 }
}

/// Walks the only list; returns the row that says that there is too much.
fn alone(walk: &Walk, wanted: Wanted, ctes: &mut Vec<String>) -> String {
    let most = wanted.most();
    let longer = format!("EXISTS (SELECT 1 FROM {} LIMIT 1 OFFSET {MAX_ENTRIES})", walk.all("r0"));
    let more = match wanted {
        Wanted::Newest { .. } => {
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
fn rarest(walks: &[Walk], wanted: Wanted, ctes: &mut Vec<String>) -> String {
    let most = wanted.most();
    let first = walks.first();
    // One row when the lists have to be counted, else none.
    let tried = first.filter(|_| wanted != Wanted::All).map(|first| {
        let all = first.all("r0");
        ctes.push(first.merged("w", "r0", "", TRIED));
        ctes.push(format!("tried AS MATERIALIZED ({} LIMIT {most})", first.checked("w")));
        format!(
            "SELECT 1 AS yes WHERE (SELECT count(*) FROM r0) > {MAX_RANGES} OR CASE WHEN (SELECT count(*) FROM tried) < {most} \
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
            Wanted::Newest { .. } => walk.merged(&name, &ranges, &gate, MAX_ENTRIES),
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
        Wanted::Newest { .. } => format!("(SELECT count(*) FROM newest) < {most}"),
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
