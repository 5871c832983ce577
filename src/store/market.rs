//! What the market asks the store besides events: who handles a kind and how well, and who provides.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Param, Rows, Statement, StoreError, integer, key};
use crate::market::handler::Record;
use crate::market::histogram::Histogram;
use crate::market::reputation::Vote;
use crate::nostr::{Event, PublicKey, kind};

/// Handlers of a kind that are looked at, the newest first.
const MAX_HANDLERS: usize = 500;
/// Bytes of a handler event that is looked at.
const MAX_HANDLER: usize = 8192;
/// Labels about one provider that are looked at, the newest first, and about all together.
const MAX_LABELS: usize = 200;
const MAX_ALL_LABELS: usize = 5000;
/// Bytes of a label event that is looked at.
const MAX_LABEL: usize = 2048;

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
    /// The newest first.
    pub found: Vec<Found>,
    /// Labels about their authors (NIP-32).
    pub votes: BTreeMap<PublicKey, Vec<Vote>>,
}

/// The live handlers of `wanted` at `now` (Unix seconds); see [`decode_handlers`].
pub fn handlers(wanted: u16, now: u64) -> Vec<Statement> {
    let live = format!(
        "SELECT t.seq FROM tags AS t WHERE t.tag = ?1 AND t.shelf = {} \
         AND (t.expires_at IS NULL OR t.expires_at > ?2) ORDER BY t.created_at DESC LIMIT {MAX_HANDLERS}",
        kind::HANDLER
    );
    let params = || vec![Param::Text(key::of(b'k', &wanted.to_string())), integer(now)];
    let found = format!(
        "SELECT json_object('event', json(e.json), 'results', coalesce(p.results, 0), 'errors', coalesce(p.errors, 0), \
           'times', json(coalesce(p.times, '{{}}')), 'seen', p.seen) AS r \
         FROM ({live}) AS n CROSS JOIN events AS e ON e.seq = n.seq LEFT JOIN providers AS p ON p.pubkey = e.pubkey \
         WHERE octet_length(e.json) <= {MAX_HANDLER} ORDER BY e.created_at DESC, e.id"
    );
    let labels = format!(
        "SELECT json_object('provider', v.pubkey, 'customer', json(iif(EXISTS (SELECT 1 FROM dealings AS d \
             WHERE d.provider = v.pubkey AND d.customer = e.pubkey), 'true', 'false')), 'event', json(e.json)) AS r \
         FROM (SELECT DISTINCT h.pubkey FROM ({live}) AS n CROSS JOIN events AS h ON h.seq = n.seq) AS v \
         CROSS JOIN json_each('[\"p=\",\"@=\"]') AS a \
         CROSS JOIN json_each((SELECT json_group_array(seq) FROM (SELECT t.seq FROM tags AS t \
           WHERE t.tag = a.value || v.pubkey AND t.shelf = {} AND (t.expires_at IS NULL OR t.expires_at > ?2) \
           ORDER BY t.created_at DESC LIMIT {MAX_LABELS}))) AS l \
         CROSS JOIN events AS e ON e.seq = l.value AND octet_length(e.json) <= {MAX_LABEL} LIMIT {MAX_ALL_LABELS}",
        kind::LABEL
    );
    vec![Statement { sql: found, params: params() }, Statement { sql: labels, params: params() }]
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

/// Those of `keys` that have a live handler at `now` (Unix seconds), one row each.
pub fn providers_among<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, now: u64) -> Statement {
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    Statement {
        sql: format!(
            "SELECT v.value AS r FROM json_each(?1) AS v WHERE EXISTS (SELECT 1 FROM events AS e \
             WHERE e.pubkey = v.value AND e.shelf = {} AND (e.expires_at IS NULL OR e.expires_at > ?2))",
            kind::HANDLER
        ),
        params: vec![Param::Text(serde_json::to_string(&keys).unwrap_or_default()), integer(now)],
    }
}

/// Notes that providers were here at `now` (Unix seconds).
pub fn seen<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, now: u64) -> Statement {
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    Statement {
        sql: "INSERT INTO providers (pubkey, results, errors, times, seen, active_hour) \
              SELECT value, 0, 0, '{}', ?2, 0 FROM json_each(?1) WHERE true \
              ON CONFLICT (pubkey) DO UPDATE SET seen = excluded.seen WHERE excluded.seen >= providers.seen + 60"
            .to_owned(),
        params: vec![Param::Text(serde_json::to_string(&keys).unwrap_or_default()), integer(now)],
    }
}

/// How many providers have answered a job within the hour before `now` (Unix seconds), at most 10,000.
pub fn active_providers(now: u64) -> Statement {
    let hour_ago = now.saturating_sub(3600);
    Statement {
        sql: "SELECT cast(count(*) AS TEXT) AS r FROM (SELECT 1 FROM providers \
              WHERE active_hour >= ?1 AND seen > ?2 LIMIT 10000)"
            .to_owned(),
        params: vec![integer(hour_ago / 3600), integer(hour_ago)],
    }
}
