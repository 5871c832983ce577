//! What the market asks the store besides events: who handles a kind and how well, and what is known of a key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::log::{self, Write};
use super::{Param, Rows, Statement, StoreError, form, hex, hex_or_null, integer, is_by, json, vanish};
use crate::ledger::{ACTIVE_SLOT, tag_key};
use crate::market::dealing::Dealing;
use crate::market::handler::Record;
use crate::market::reputation::Vote;
use crate::nostr::{Event, PublicKey, kind};
use crate::trees::Gather;

/// Announcements of a kind that are looked at, the newest first; providers, those that answered last first; and
/// announcements of one of these or of one that is here.
const MAX_LOOKED_AT: usize = 500;
const MAX_LAST_ACTIVE: usize = 500;
const MAX_OF_ONE: usize = 20;
/// Handlers that are listed, one for each provider, and the bytes of one.
const MAX_HANDLERS: usize = 100;
const MAX_HANDLER: usize = 8192;
/// Known customers, and customers, that are told apart when more handlers are found than are listed.
const MAX_COMPARED: usize = 20;
/// Dealings of a provider that are looked at, those with known customers first, and votes besides those of these customers.
const MAX_DEALINGS: usize = 100;
const MAX_VOTES: usize = 100;
/// Customers with results that give a provider its rates, of so many that are looked at.
const SERVED_AT: usize = 3;
const MAX_SERVED: usize = 100;
/// Seconds.
const HOUR: u64 = 3600;
/// Active providers that are counted.
const MAX_ACTIVE: usize = 10_000;

/// Whether the handler `e` has a `d` tag: without one it is an event like any other.
const NAMED: &str = "EXISTS (SELECT 1 FROM json_each(e.tags) AS k WHERE k.value->>0 = 'd' AND k.value->1 IS NOT NULL)";

/// A live handler of some kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The handler information (NIP-89).
    pub event: Event,
    /// What its author has done.
    pub record: Record,
    /// What is said of its author (NIP-32).
    pub votes: Vec<Vote>,
}

/// The live handlers of `wanted` at `now` (Unix seconds), one for each provider: of the newest, of those `online`, and of
/// those that answered last; of too many those with the most known customers, then those online, then those with the most
/// customers. See [`decode_handlers`].
pub fn handlers<'a>(wanted: u16, online: impl Iterator<Item = &'a PublicKey>, now: u64) -> Vec<Statement> {
    let shelf = kind::HANDLER;
    let live = "(s.expires_at IS NULL OR s.expires_at > ?2)";
    let is_by = is_by("s", "o.pubkey");
    // One key that announces much, or many that announce late, hide nobody who is here.
    let candidates = format!(
        "SELECT * FROM (SELECT s.seq FROM tags AS s WHERE s.tag = unhex(?1) AND s.shelf = {shelf} AND {live} \
           ORDER BY s.created_at DESC LIMIT {MAX_LOOKED_AT}) \
         UNION SELECT n.value FROM (SELECT unhex(value) AS pubkey FROM json_each(?3) \
             UNION SELECT * FROM (SELECT pubkey FROM providers ORDER BY active DESC LIMIT {MAX_LAST_ACTIVE})) AS o \
           CROSS JOIN json_each((SELECT json_group_array(seq) FROM (SELECT s.seq, s.shelf, s.created_at, s.tie FROM events AS s \
               WHERE {is_by} AND s.shelf = {shelf} AND {live} ORDER BY s.created_at DESC LIMIT {MAX_OF_ONE}) AS s \
             WHERE EXISTS (SELECT 1 FROM tags AS t WHERE t.tag = unhex(?1) AND t.shelf = s.shelf AND t.created_at = s.created_at \
               AND t.tie = s.tie AND t.seq = s.seq))) AS n"
    );
    let customers = |which: &str| {
        format!(
            "(SELECT count(*) FROM (SELECT 1 FROM dealings AS d WHERE d.provider = h.pubkey{which} LIMIT {MAX_COMPARED}))"
        )
    };
    let listed = format!(
        "SELECT h.pubkey, h.seq FROM (SELECT e.pubkey, e.seq, max(e.created_at) AS at \
           FROM ({candidates}) AS c CROSS JOIN events AS e ON e.seq = c.seq AND {size} <= {MAX_HANDLER} \
             AND {NAMED} GROUP BY e.pubkey) AS h \
         ORDER BY {} DESC, h.pubkey IN (SELECT unhex(value) FROM json_each(?3)) DESC, {} DESC, h.at DESC LIMIT {MAX_HANDLERS}",
        customers(" AND d.known = 1"),
        customers(""),
        size = form::text_bytes_max("e"),
    );
    let dealings = dealings_of("l.pubkey");
    // The votes of those who count come first, whenever they were cast.
    let votes = format!(
        "SELECT v.voter, v.namespace, v.labels, d.results > 0 AS customer, d.known FROM {dealings} CROSS JOIN votes AS v \
           ON v.provider = l.pubkey AND v.voter = d.customer AND {stands} \
         UNION SELECT v.voter, v.namespace, v.labels, coalesce(d.results > 0, 0), coalesce(d.known, 0) \
           FROM (SELECT * FROM votes AS v WHERE v.provider = l.pubkey AND {stands} LIMIT {MAX_VOTES}) AS v \
           LEFT JOIN dealings AS d ON d.customer = v.voter AND d.provider = l.pubkey",
        stands = stands("v")
    );
    let found = format!(
        "SELECT json_object('results', coalesce(p.results, 0), 'errors', coalesce(p.errors, 0), \
           'seen', p.seen, \
           'dealings', (SELECT json_group_array(json_array(d.known, d.results, d.errors, d.speed)) FROM {dealings}), \
           'votes', (SELECT json_group_array(json_array({voter}, v.namespace, json(v.labels), v.customer, v.known)) FROM ({votes}) AS v)) \
           || char(10) || {parts} AS r \
         FROM ({listed}) AS l CROSS JOIN events AS e ON e.seq = l.seq AND {stays} \
         LEFT JOIN providers AS p ON p.pubkey = l.pubkey",
        stays = vanish::stays("e"),
        parts = form::parts("e"),
        voter = hex("v.voter"),
    );
    let online = json(&online.collect::<Vec<_>>());
    let params = vec![Param::Text(tag_key::of(b'k', &wanted.to_string()).into()), integer(now), online];
    vec![Statement { sql: found.into(), params }]
}

/// The answer to [`handlers`].
pub fn decode_handlers(rows: &Rows) -> Result<Vec<Found>, StoreError> {
    #[derive(Deserialize)]
    struct Handler {
        results: u64,
        errors: u64,
        seen: Option<u64>,
        dealings: Vec<(u8, u64, u64, u64)>,
        votes: Vec<(PublicKey, String, BTreeSet<String>, u8, u8)>,
    }
    let found = |row: &String| {
        let unreadable = || StoreError::new("a handler cannot be read");
        let (record, event) = row.split_once('\n').ok_or_else(unreadable)?;
        let row: Handler = serde_json::from_str(record).map_err(|e| StoreError::new(format!("handler row: {e}")))?;
        let event = form::text(event).ok_or_else(unreadable)?;
        let dealing = |(known, results, errors, speed)| Dealing { known: known == 1, results, errors, speed };
        let vote = |(voter, namespace, labels, customer, known)| Vote {
            voter,
            namespace,
            labels,
            customer: customer == 1,
            known: known == 1,
        };
        Ok(Found {
            event: Event::parse(&event.text).map_err(|reason| StoreError::new(reason.to_string()))?,
            record: Record {
                results: row.results,
                errors: row.errors,
                dealings: row.dealings.into_iter().map(dealing).collect(),
                last_active: row.seen,
            },
            votes: row.votes.into_iter().map(vote).collect(),
        })
    };
    match rows.as_slice() {
        [rows] => rows.iter().map(found).collect(),
        _ => Err(StoreError::new("a search for handlers was answered with another number of results")),
    }
}

/// The dealings `d` of a provider that are looked at.
fn dealings_of(provider: &str) -> String {
    format!(
        "(SELECT d.customer, d.results, d.errors, d.speed, d.known FROM dealings AS d WHERE d.provider = {provider} \
         ORDER BY d.known DESC, d.customer LIMIT {MAX_DEALINGS}) AS d"
    )
}

/// What a provider did in one of several databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRecord {
    /// Who.
    pub provider: PublicKey,
    /// What.
    pub record: Record,
    /// The customers of the record's dealings, in their order.
    pub customers: Vec<PublicKey>,
}

/// What each of `keys` did as a provider, as far as a ranking looks; see [`decode_records`].
pub fn records(keys: &[PublicKey]) -> Statement {
    let sql = format!(
        "SELECT json_object('key', v.value, 'results', coalesce(p.results, 0), 'errors', coalesce(p.errors, 0), \
           'seen', p.seen, \
           'dealings', (SELECT json_group_array(json_array({customer}, d.known, d.results, d.errors, d.speed)) FROM {dealings})) AS r \
         FROM json_each(?1) AS v LEFT JOIN providers AS p ON p.pubkey = unhex(v.value)",
        customer = hex("d.customer"),
        dealings = dealings_of("unhex(v.value)"),
    );
    Statement::new(sql, vec![json(&keys)])
}

/// The answer to [`records`].
pub fn decode_records(rows: &Rows) -> Result<Vec<ProviderRecord>, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        key: PublicKey,
        results: u64,
        errors: u64,
        seen: Option<u64>,
        dealings: Vec<(PublicKey, u8, u64, u64, u64)>,
    }
    let record = |row: &String| {
        let row: Row = serde_json::from_str(row).map_err(|e| StoreError::new(format!("record row: {e}")))?;
        let Row { key: provider, results, errors, seen: last_active, dealings } = row;
        let (customers, dealings) = dealings
            .into_iter()
            .map(|(customer, known, results, errors, speed)| {
                (customer, Dealing { known: known == 1, results, errors, speed })
            })
            .unzip();
        Ok(ProviderRecord { provider, record: Record { results, errors, dealings, last_active }, customers })
    };
    rows.iter().flatten().map(record).collect()
}

/// Values of `k` tags, in the order of their text, of which [`announced`] looks at so many.
const MAX_ANNOUNCED: usize = 5000;
/// What tells that there are no more.
const NO_MORE: &str = "end";

/// Which kinds have a handler; decode with [`decode_announced`].
pub fn announced() -> Statement {
    // From one value to the next, whatever lies between: those that are no kind are passed by.
    let next = |after: &str| {
        format!("(SELECT t.tag FROM tags AS t WHERE t.tag {after} AND t.tag < x'6b3d3a' ORDER BY t.tag LIMIT 1)")
    };
    Statement::new(
        format!(
            "WITH RECURSIVE w(tag, n) AS (SELECT {}, 1 \
             UNION ALL SELECT {}, n + 1 FROM w WHERE w.tag IS NOT NULL AND n <= {MAX_ANNOUNCED}) \
             SELECT coalesce({}, '{NO_MORE}') AS r FROM w WHERE w.tag IS NULL \
               OR EXISTS (SELECT 1 FROM tags AS s WHERE s.tag = w.tag AND s.shelf = {})",
            next(">= x'6b3d30'"),
            next("> w.tag"),
            hex_or_null("w.tag"),
            kind::HANDLER
        ),
        vec![],
    )
}

/// The answer to [`announced`]: kinds, and whether these are all. More than 5,000 values may hide some.
pub fn decode_announced(rows: &[String]) -> (BTreeSet<u16>, bool) {
    let kind = |row: &String| {
        let text = String::from_utf8(::hex::decode(row.strip_prefix("6b3d")?).ok()?).ok()?;
        text.parse().ok()
    };
    let kinds = rows.iter().filter_map(kind);
    (kinds.gather(), rows.iter().any(|row| row == NO_MORE))
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// It has a live handler that can be ranked (NIP-89).
    pub handler: bool,
    /// It has given results to three customers.
    pub served: bool,
    /// It has given a result or was given one.
    pub dealt: bool,
}

/// What is known of `keys` at `now` (Unix seconds), a row for each of which anything is; see [`decode_known`].
pub fn known_of<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, now: u64) -> Statement {
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    // Errors alone are no dealing.
    let results = |of: &str, order: &str, count: usize| {
        format!(
            "(SELECT count(*) FROM (SELECT 1 FROM (SELECT d.results FROM dealings AS d WHERE d.{of} = unhex(v.value) {order} \
             LIMIT {MAX_SERVED}) AS d WHERE d.results > 0 LIMIT {count}))"
        )
    };
    Statement {
        sql: format!(
            "SELECT pubkey || ' ' || handler || ' ' || (served = {SERVED_AT}) || ' ' || (served > 0 OR bought) AS r FROM ( \
             SELECT v.value AS pubkey, EXISTS (SELECT 1 FROM (SELECT e.tags FROM events AS e \
               WHERE {is_by} AND e.shelf = {} AND (e.expires_at IS NULL OR e.expires_at > ?2) \
               ORDER BY e.created_at DESC LIMIT {MAX_OF_ONE}) AS e \
               WHERE {NAMED} AND EXISTS (SELECT 1 FROM json_each(e.tags) AS k WHERE k.value->>0 = 'k' AND k.value->1 IS NOT NULL)) AS handler, \
             {} AS served, {} AS bought FROM json_each(?1) AS v) WHERE handler OR served OR bought",
            kind::HANDLER,
            results("provider", "ORDER BY d.known DESC", SERVED_AT),
            results("customer", "", 1),
            is_by = is_by("e", "unhex(v.value)"),
        )
        .into(),
        params: vec![json(&keys), integer(now)],
    }
}

/// A row of the answer to [`known_of`].
pub fn decode_known(row: &str) -> Option<(PublicKey, Known)> {
    let flag = |text: &str| text == "1";
    match *row.split(' ').collect::<Vec<_>>().as_slice() {
        [key, handler, served, dealt] => {
            let known = Known { handler: flag(handler), served: flag(served), dealt: flag(dealt) };
            Some((PublicKey::parse(key)?, known))
        }
        _ => None,
    }
}

/// Notes that providers were here at `now` (Unix seconds), each once a minute at the most. Leaves the totals as they are.
pub fn seen<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, now: u64, write: &Write) -> Vec<Statement> {
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    let seen = Statement {
        sql: format!(
            "INSERT INTO providers (pubkey, results, errors, seen, active) \
             SELECT unhex(v.value), 0, 0, ?2, 0 FROM json_each(?1) AS v WHERE EXISTS (SELECT 1 FROM events AS e \
             WHERE {} AND e.shelf = {}) \
             ON CONFLICT (pubkey) DO UPDATE SET seen = excluded.seen WHERE excluded.seen >= providers.seen + 60",
            is_by("e", "unhex(v.value)"),
            kind::HANDLER
        )
        .into(),
        params: vec![json(&keys), integer(now)],
    };
    log::guarded(write, vec![seen])
}

/// Which providers have answered a job within the hour before `now` (Unix seconds), to five minutes; decode
/// with [`Active::add`].
pub fn active(now: u64) -> Statement {
    let sql =
        format!("SELECT {} || ' ' || active AS r FROM providers WHERE active > ?1 LIMIT {MAX_ACTIVE}", hex("pubkey"));
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

/// Whether the vote `v` stands at `?2` (Unix seconds): its event has not expired, and its author does not vanish.
fn stands(v: &str) -> String {
    format!(
        "({v}.expires_at IS NULL OR {v}.expires_at > ?2) \
         AND NOT EXISTS (SELECT 1 FROM vanishing AS w WHERE w.pubkey = {v}.voter AND w.until >= {v}.created_at)"
    )
}
