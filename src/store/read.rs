//! Reading: a filter as one statement that walks an index and stops at the limit, and its rows as
//! events.
//!
//! How a filter is searched for is [`search`](super::search)'s matter. What is read follows the limit, never
//! the size of the table, and is bounded: a search that would exceed [`MAX_ENTRIES`] or [`MAX_RANGES`]
//! answers [`OVER_BUDGET`] with the reason, and nothing is cut silently.
//!
//! Events that not everybody may read lie on shelves of their own, where a second search looks for
//! those the viewer may: it is the same filter with one more tag, the reader's.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::search::{Params, Wanted, searches};
use super::{PRIVATE, Rows, Statement, StoreError, form, hex, integer, vanish};
use crate::market::JobProfile;
use crate::market::retention::Kept;
use crate::nostr::{EventId, Filter, PublicKey, Reason, Values, refusal};

/// Index entries one filter may look at.
pub const MAX_ENTRIES: u64 = 20_000;
/// Ranges of an index one filter may walk: one for each value and kind that it names, or that is there.
pub const MAX_RANGES: u64 = 2_000;
/// Stands before the reason in the row that says that a search stopped at its budget.
pub(super) const OVER_BUDGET: &str = "!";
/// Follows that: which limit it is, before the name of the list; of ranges how many may be, too.
pub(super) const ENTRIES: &str = "entries";
pub(super) const RANGES: &str = "ranges";
/// The row that says that the lists of a filter have many entries.
pub(super) const MANY: &str = "!many";
/// Bytes of texts that are read of the log at once.
pub const MAX_LOG_BYTES: u64 = 4_000_000;
/// Stands before a private event in the log.
const HIDDEN: &str = "private ";
/// Stands where a text is left where it is.
const LARGE: &str = "large ";

/// For whom and when a search is made.
#[derive(Clone, Debug)]
pub struct Viewer<'a> {
    /// Proven keys: private events are shown to those they are for.
    pub keys: &'a Values<PublicKey>,
    /// Says which kinds may be private.
    pub profile: &'a JobProfile,
    /// How long events of jobs are kept.
    pub kept: &'a Kept,
    /// Unix seconds: what has expired is not shown.
    pub now: u64,
}

/// A stored event on its way to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Unix seconds.
    pub created_at: u64,
    /// Its text, or where to get it.
    pub text: Text,
    /// Unix seconds from which on it is not served, by its own word; only [`newest`] says.
    pub expires_at: Option<u64>,
    /// Whether it is for its readers alone; only [`log`] says.
    pub private: bool,
}

impl StoredEvent {
    /// The order of answers: newest first, and of one second the lowest id (NIP-01).
    pub fn newest_first(&self, other: &Self) -> Ordering {
        other.created_at.cmp(&self.created_at).then(self.id.cmp(&other.id))
    }

    /// The place of the first event whose text does not fit `max` bytes together with those before it, if one does not.
    pub fn too_many(events: &[Self], max: u64) -> Option<usize> {
        let mut bytes = 0;
        events.iter().position(|event| {
            bytes += event.text.size();
            bytes > max
        })
    }
}

/// The canonical text of a stored event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Text {
    /// Here.
    Json(Arc<str>),
    /// Too large to come with the others, with its bytes at most; [`texts`] gets it.
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
    newest_as(filter, Wanted::Newest { most: limit.min(MAX_ENTRIES), of_few: false }, max_size, viewer)
}

/// The same by statements that are short, and do for what agents ask: where a list of the filter has many entries an
/// answer [says so](is_of_many), and [`newest`] is to be asked.
pub fn newest_of_few(filter: &Filter, limit: u64, max_size: u64, viewer: &Viewer) -> Vec<Statement> {
    newest_as(filter, Wanted::Newest { most: limit.min(MAX_ENTRIES), of_few: true }, max_size, viewer)
}

fn newest_as(filter: &Filter, wanted: Wanted, max_size: u64, viewer: &Viewer) -> Vec<Statement> {
    let row = |e: &str| {
        format!(
            "{e}.seq || coalesce(':' || {e}.expires_at, '') || ' ' || CASE WHEN {} > {max_size} THEN {} ELSE {} END",
            form::text_bytes_max(e),
            large(e),
            form::parts(e),
        )
    };
    searches(filter, wanted, &row, viewer)
}

/// All stored events `filter` matches, to be counted, in one row for each search: their numbers, and their `authors`
/// when these are asked for. Decode them with [`decode_counted`].
pub fn all(filter: &Filter, authors: bool, viewer: &Viewer) -> Vec<Statement> {
    let pubkey = |e: &str| hex(&format!("{e}.pubkey"));
    let row = |e: &str| if authors { format!("{e}.seq || ' ' || {}", pubkey(e)) } else { format!("{e}.seq") };
    let mut searches = searches(filter, Wanted::All, &row, viewer);
    for search in &mut searches {
        search.sql = format!("SELECT coalesce(group_concat(r, char(10)), '') AS r FROM ({})", search.sql).into();
    }
    searches
}

/// What stands for a text that is left where it is.
fn large(e: &str) -> String {
    format!("'{LARGE}' || {} || ' ' || {e}.created_at || ' ' || {}", hex(&format!("{e}.id")), form::text_bytes_max(e))
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
        sql: format!(
            "SELECT e.seq || ' ' || {} AS r FROM {seqs} AS s CROSS JOIN events AS e ON e.seq = s.value",
            form::parts("e")
        )
        .into(),
        params: params.0,
    }
}

/// The events after number `after` up to `upto`: what a reader of the log has missed. Texts beyond [`MAX_LOG_BYTES`] in
/// all are left where they are.
pub fn log(after: u64, upto: u64) -> Statement {
    Statement {
        sql: format!(
            "SELECT e.seq || iif(e.shelf < {PRIVATE}, ' ', ' {HIDDEN}') || CASE WHEN s.bytes > {MAX_LOG_BYTES} \
             THEN {} ELSE {} END AS r \
             FROM (SELECT e.seq, sum({}) OVER (ORDER BY e.seq) AS bytes FROM events AS e \
               WHERE e.seq > ?1 AND e.seq <= ?2 AND {}) AS s CROSS JOIN events AS e ON e.seq = s.seq ORDER BY e.seq",
            large("e"),
            form::parts("e"),
            form::text_bytes_max("e"),
            vanish::stays("e"),
        )
        .into(),
        params: vec![integer(after), integer(upto)],
    }
}

/// Whether [`newest_of_few`] does not do.
pub fn is_of_many(rows: &[String]) -> bool {
    rows.first().is_some_and(|row| row == MANY)
}

/// Why a search was not made, if the row says so; the reason names the list of the filter and the limit.
fn over_budget(row: &str) -> Option<Reason> {
    match row.strip_prefix(OVER_BUDGET)?.split_once(' ')? {
        (ENTRIES, list) => Some(refusal::searches_too_much(list, MAX_ENTRIES)),
        (RANGES, ranges) => {
            let (most, list) = ranges.split_once(' ')?;
            Some(refusal::searches_too_many_ranges(list, most.parse::<u64>().ok()?))
        }
        _ => None,
    }
}

/// The rows of one statement as events, in their order, or why the search would read too much.
pub fn decode(rows: Vec<String>) -> Result<Result<Vec<StoredEvent>, Reason>, StoreError> {
    if let Some(reason) = rows.first().and_then(|row| over_budget(row)) {
        return Ok(Err(reason));
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
        let event = match rest.strip_prefix(LARGE) {
            Some(rest) => large(rest),
            None => form::text(rest).map(|event| (event.id, event.created_at, Text::Json(event.text.into()))),
        };
        let (id, created_at, text) =
            event.ok_or_else(|| StoreError::new(format!("stored event {seq} cannot be read")))?;
        Ok(StoredEvent { seq, id, created_at, text, expires_at, private })
    };
    rows.into_iter().map(event).collect::<Result<_, _>>().map(Ok)
}

/// The distinct events of [`all`]'s answers, by number, with their authors if these were asked for, or why there are
/// too many.
pub fn decode_counted(rows: Rows) -> Result<Result<BTreeMap<u64, Option<PublicKey>>, Reason>, StoreError> {
    let mut distinct = BTreeMap::new();
    for row in rows.iter().flatten().flat_map(|rows| rows.lines()) {
        if let Some(reason) = over_budget(row) {
            return Ok(Err(reason));
        }
        let (number, author) = row.split_once(' ').map_or((row, None), |(number, author)| (number, Some(author)));
        let number = number.parse().map_err(|_| StoreError::new(format!("counted row: {row}")))?;
        distinct.insert(number, author.and_then(PublicKey::parse));
        if distinct.len() as u64 > MAX_ENTRIES {
            return Ok(Err(refusal::counts_too_many(MAX_ENTRIES)));
        }
    }
    Ok(Ok(distinct))
}
