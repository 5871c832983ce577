//! What the market asks the store besides events: who handles a kind and how well, and who provides.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::jobs::ACTIVE_SLOT;
use super::{Param, Rows, Statement, StoreError, integer, json, key, vanish};
use crate::market::handler::Record;
use crate::market::histogram::Histogram;
use crate::market::reputation::Vote;
use crate::nostr::{Event, PublicKey, kind};

/// Announcements of a kind that are looked at, the newest first; of one connected provider; and the
/// handlers that are listed, one for each provider.
const MAX_LOOKED_AT: usize = 500;
const MAX_OF_ONE: usize = 20;
const MAX_HANDLERS: usize = 100;
/// Bytes of a handler event that is listed.
const MAX_HANDLER: usize = 8192;
/// Labels about one provider that are looked at, the newest first.
const MAX_LABELS: usize = 100;
/// Seconds.
const HOUR: u64 = 3600;
/// Active providers that are counted.
const MAX_ACTIVE: usize = 10_000;
/// Bytes of a label event that counts.
const MAX_LABEL: usize = 2048;

/// Whether the handler `e` has a `d` tag: without one it is an event like any other.
const NAMED: &str = "EXISTS (SELECT 1 FROM json_each(e.keys) AS k WHERE k.value GLOB 'd[=#]*')";

/// A live handler of some kind.
#[derive(Clone, Debug)]
pub struct Found {
    /// The handler information (NIP-89).
    pub event: Event,
    /// What its author has done.
    pub record: Record,
}

/// What [`handlers`] finds.
#[derive(Clone, Debug, Default)]
pub struct Handlers {
    /// One for each provider.
    pub found: Vec<Found>,
    /// Labels about their authors (NIP-32).
    pub votes: BTreeMap<PublicKey, Vec<Vote>>,
}

/// The live handlers of `wanted` at `now` (Unix seconds): of the newest, and of those `online`, one for
/// each provider; who has given most results first. See [`decode_handlers`].
pub fn handlers<'a>(wanted: u16, online: impl Iterator<Item = &'a PublicKey>, now: u64) -> Vec<Statement> {
    let shelf = kind::HANDLER;
    let live = "(s.expires_at IS NULL OR s.expires_at > ?2)";
    // One key that announces much, or many that announce late, hide nobody who is here.
    let listed = format!(
        "SELECT h.pubkey, h.seq, p.results, p.errors, p.times, p.seen FROM (SELECT e.pubkey, e.seq, max(e.created_at) AS at \
           FROM (SELECT * FROM (SELECT s.seq FROM tags AS s WHERE s.tag = ?1 AND s.shelf = {shelf} AND {live} \
               ORDER BY s.created_at DESC LIMIT {MAX_LOOKED_AT}) \
             UNION SELECT n.value FROM json_each(?3) AS o CROSS JOIN json_each(( \
               SELECT json_group_array(seq) FROM (SELECT s.seq FROM events AS s WHERE s.pubkey = o.value \
                 AND s.shelf = {shelf} AND {live} ORDER BY s.created_at DESC LIMIT {MAX_OF_ONE}))) AS n) AS c \
           CROSS JOIN events AS e ON e.seq = c.seq AND octet_length(e.json) <= {MAX_HANDLER} \
             AND {NAMED} AND EXISTS (SELECT 1 FROM json_each(e.keys) AS k WHERE k.value = ?1) GROUP BY e.pubkey) AS h \
         LEFT JOIN providers AS p ON p.pubkey = h.pubkey ORDER BY p.results DESC, h.at DESC LIMIT {MAX_HANDLERS}"
    );
    let online = json(&online.collect::<Vec<_>>());
    let params = || vec![Param::Text(key::of(b'k', &wanted.to_string()).into()), integer(now), online.clone()];
    let found = format!(
        "SELECT json_object('event', json(e.json), 'results', coalesce(l.results, 0), 'errors', coalesce(l.errors, 0), \
           'times', json(coalesce(l.times, '{{}}')), 'seen', l.seen) AS r \
         FROM ({listed}) AS l CROSS JOIN events AS e ON e.seq = l.seq AND {}",
        vanish::stays("e")
    );
    let labels = format!(
        "SELECT json_object('provider', v.pubkey, 'customer', json(iif(EXISTS (SELECT 1 FROM dealings AS d \
             WHERE d.provider = v.pubkey AND d.customer = e.pubkey), 'true', 'false')), 'event', json(e.json)) AS r \
         FROM ({listed}) AS v CROSS JOIN json_each('[\"p=\",\"@=\"]') AS a \
         CROSS JOIN json_each((SELECT json_group_array(seq) FROM (SELECT s.seq FROM tags AS s \
           WHERE s.tag = a.value || v.pubkey AND s.shelf = {} AND {live} \
           ORDER BY s.created_at DESC LIMIT {MAX_LABELS}))) AS n \
         CROSS JOIN events AS e ON e.seq = n.value AND octet_length(e.json) <= {MAX_LABEL}",
        kind::LABEL
    );
    vec![Statement { sql: found.into(), params: params() }, Statement { sql: labels.into(), params: params() }]
}

/// The answer to [`handlers`].
pub fn decode_handlers(rows: &Rows) -> Result<Handlers, StoreError> {
    #[derive(Deserialize)]
    struct Handler {
        event: Box<RawValue>,
        results: u64,
        errors: u64,
        times: Histogram,
        seen: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Label {
        provider: PublicKey,
        customer: bool,
        event: Box<RawValue>,
    }
    let [found, labels] = rows.as_slice() else {
        return Err(StoreError::new("a search for handlers was answered with another number of results"));
    };
    let event = |raw: &RawValue| Event::parse(raw.get()).map_err(|reason| StoreError::new(reason.to_string()));
    let mut handlers = Handlers::default();
    for row in found {
        let row: Handler = serde_json::from_str(row).map_err(|e| StoreError::new(format!("handler row: {e}")))?;
        let record = Record { results: row.results, errors: row.errors, times: row.times, last_active: row.seen };
        handlers.found.push(Found { event: event(&row.event)?, record });
    }
    for row in labels {
        let row: Label = serde_json::from_str(row).map_err(|e| StoreError::new(format!("label row: {e}")))?;
        let vote = Vote { event: event(&row.event)?, customer: row.customer };
        handlers.votes.entry(row.provider).or_default().push(vote);
    }
    Ok(handlers)
}

/// Values of `k` tags, in the order of their text, of which [`announced`] looks at so many.
const MAX_ANNOUNCED: usize = 5000;
/// What tells that there are no more.
const NO_MORE: &str = "end";

/// Which kinds have a handler; decode with [`decode_announced`].
pub fn announced() -> Statement {
    // From one value to the next, whatever lies between: those that are no kind are passed by.
    let next = |after: &str| {
        format!("(SELECT t.tag FROM tags AS t WHERE t.tag {after} AND t.tag < 'k=:' ORDER BY t.tag LIMIT 1)")
    };
    Statement::new(
        format!(
            "WITH RECURSIVE w(tag, n) AS (SELECT {}, 1 \
             UNION ALL SELECT {}, n + 1 FROM w WHERE w.tag IS NOT NULL AND n <= {MAX_ANNOUNCED}) \
             SELECT coalesce(w.tag, '{NO_MORE}') AS r FROM w WHERE w.tag IS NULL \
               OR EXISTS (SELECT 1 FROM tags AS s WHERE s.tag = w.tag AND s.shelf = {})",
            next(">= 'k=0'"),
            next("> w.tag"),
            kind::HANDLER
        ),
        vec![],
    )
}

/// The answer to [`announced`]: kinds, and whether these are all. More than 5,000 values may hide some.
pub fn decode_announced(rows: &[String]) -> (BTreeSet<u16>, bool) {
    let kinds = rows.iter().filter_map(|row| row.strip_prefix("k=")?.parse().ok());
    (kinds.collect(), rows.iter().any(|row| row == NO_MORE))
}

/// Those of `keys` that have a live handler that can be ranked at `now` (Unix seconds), one row each.
pub fn providers_among<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, now: u64) -> Statement {
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    Statement {
        sql: format!(
            "SELECT v.value AS r FROM json_each(?1) AS v WHERE EXISTS (SELECT 1 FROM (SELECT e.keys FROM events AS e \
             WHERE e.pubkey = v.value AND e.shelf = {} AND (e.expires_at IS NULL OR e.expires_at > ?2) \
             ORDER BY e.created_at DESC LIMIT {MAX_OF_ONE}) AS e \
             WHERE {NAMED} AND EXISTS (SELECT 1 FROM json_each(e.keys) AS k WHERE k.value GLOB 'k=*'))",
            kind::HANDLER
        )
        .into(),
        params: vec![json(&keys), integer(now)],
    }
}

/// Notes that providers were here at `now` (Unix seconds).
pub fn seen<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, now: u64) -> Statement {
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    Statement {
        sql: format!(
            "INSERT INTO providers (pubkey, results, errors, times, seen, active) \
             SELECT v.value, 0, 0, '{{}}', ?2, 0 FROM json_each(?1) AS v WHERE EXISTS (SELECT 1 FROM events AS e \
             WHERE e.pubkey = v.value AND e.shelf = {}) \
             ON CONFLICT (pubkey) DO UPDATE SET seen = excluded.seen WHERE excluded.seen >= providers.seen + 60",
            kind::HANDLER
        )
        .into(),
        params: vec![json(&keys), integer(now)],
    }
}

/// Which providers have answered a job within the hour before `now` (Unix seconds), to five minutes; decode
/// with [`Active::add`].
pub fn active(now: u64) -> Statement {
    let sql = format!("SELECT pubkey || ' ' || active AS r FROM providers WHERE active > ?1 LIMIT {MAX_ACTIVE}");
    Statement { sql: sql.into(), params: vec![integer(hour_before(now))] }
}

/// The slot of an hour before `now` (Unix seconds).
fn hour_before(now: u64) -> u64 {
    now.saturating_sub(HOUR) / ACTIVE_SLOT
}

/// Providers and the slot in which each was active last; no more than [`MAX_ACTIVE`].
#[derive(Clone, Debug, Default)]
pub struct Active(BTreeMap<PublicKey, u64>);

impl Active {
    /// Adds the rows of [`active`] at `now` (Unix seconds).
    pub fn add(&mut self, rows: &[String], now: u64) {
        self.count(now);
        let pair = |row: &String| {
            let (key, slot) = row.split_once(' ')?;
            PublicKey::parse(key).zip(slot.parse().ok())
        };
        rows.iter().filter_map(pair).for_each(|(key, slot)| self.note(key, slot));
    }

    /// A provider was active in a slot.
    pub fn note(&mut self, key: PublicKey, slot: u64) {
        if self.0.len() >= MAX_ACTIVE {
            self.0.retain(|_, known| *known + HOUR / ACTIVE_SLOT > slot);
        }
        if self.0.len() < MAX_ACTIVE || self.0.contains_key(&key) {
            let known = self.0.entry(key).or_default();
            *known = slot.max(*known);
        }
    }

    /// A key has vanished.
    pub fn remove(&mut self, key: &PublicKey) {
        self.0.remove(key);
    }

    /// How many were active in the hour before `now` (Unix seconds); those who were not are forgotten.
    pub fn count(&mut self, now: u64) -> u64 {
        self.0.retain(|_, slot| *slot > hour_before(now));
        self.0.len() as u64
    }
}
