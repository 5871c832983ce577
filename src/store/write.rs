//! Writing: a group of events as one atomic list of statements, and what became of each event.
//!
//! The group travels as one JSON parameter, so the number of statements does not grow with it. Every
//! statement is idempotent: a group that landed although it was reported as failed may be written
//! again, and counts nothing twice.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::counts::{self, Flush, Totals, decode_totals, read_totals};
use super::item::{Item, item};
use super::{PRIVATE, Rows, Statement, StoreError, jobs};
use crate::market::Part;
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, PublicKey};

/// An event on its way into the database.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Verified.
    pub event: Event,
    /// When it came, Unix milliseconds.
    pub came_ms: u64,
    /// Unix seconds from which on it is not served.
    pub expires_at: Option<u64>,
    /// What it asks to be rid of (NIP-09, NIP-62).
    pub deletes: Vec<Target>,
    /// Its part in a job.
    pub part: Option<Part>,
    /// Of a job request: Unix seconds until which the job is remembered.
    pub remember_until: u64,
}

/// What became of an event of a committed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the database.
    Stored {
        /// Its number.
        seq: u64,
        /// Whether it is for its readers alone.
        private: bool,
    },
    /// A newer event has its place; of results, another one of the same provider.
    Superseded,
    /// Its author has deleted it, before or after it came.
    Deleted,
    /// It answers a job whose customer has cancelled it.
    Cancelled,
    /// It does not agree with the job request it answers.
    Disagrees(Disagreement),
}

/// What an answer and its job's request do not agree in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// Another key asked.
    Customer,
    /// A request of another kind is answered like this.
    Kind,
    /// Others were asked.
    Provider,
    /// The request is not known, and many answers to it are here.
    Early,
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// [`Totals::last_seq`] before the group: every event above it is new to the reader.
    pub base: u64,
    /// By event id.
    pub outcomes: BTreeMap<EventId, Outcome>,
    /// Jobs that the group cancelled, each with one who had answered it.
    pub cancelled: Vec<(EventId, PublicKey)>,
    /// After the group.
    pub totals: Totals,
}

/// Whether a deletion keeps the group's event out.
const BLOCKED: &str = "EXISTS (SELECT 1 FROM json_each(g.value, '$.b') AS b CROSS JOIN deletions AS t \
    ON t.key = b.value AND t.until >= g.value->>'$.e.created_at')";

/// The events that those of the group replace (NIP-01: older, or as old with a larger id).
const REPLACED: &str = "SELECT e.seq FROM json_each(?1) AS g CROSS JOIN events AS e \
    ON e.pubkey = g.value->>'$.e.pubkey' AND e.kind = g.value->>'$.e.kind' AND e.d = g.value->>'$.d' \
    AND (e.created_at < g.value->>'$.e.created_at' \
      OR e.created_at = g.value->>'$.e.created_at' AND e.id > g.value->>'$.e.id') \
    WHERE g.value->>'$.j' IS NULL";

/// The deletion requests of the group that nothing keeps out.
fn requests() -> String {
    format!("(SELECT g.value FROM json_each(?1) AS g WHERE json_array_length(g.value, '$.t') AND NOT {BLOCKED}) AS g")
}

/// The events that deletion requests of the group delete: by id, the author's own or gift wraps to
/// them; or by coordinates.
fn deleted() -> String {
    let requests = requests();
    format!(
        "SELECT e.seq FROM {requests} CROSS JOIN json_each(g.value, '$.i') AS i CROSS JOIN events AS e \
         ON e.id = i.value AND e.kind NOT IN (5, 62) AND (e.pubkey = g.value->>'$.e.pubkey' \
           OR e.kind = 1059 AND EXISTS (SELECT 1 FROM json_each(e.keys) AS k \
             WHERE k.value = 'p=' || (g.value->>'$.e.pubkey'))) \
         UNION ALL \
         SELECT e.seq FROM {requests} CROSS JOIN json_each(g.value, '$.a') AS a CROSS JOIN events AS e \
         ON e.pubkey = g.value->>'$.e.pubkey' AND e.kind = a.value->>0 AND e.d = a.value->>1 \
         AND e.created_at <= g.value->>'$.e.created_at'"
    )
}

/// The events of the group that this batch has put in: above every number given before it.
const FRESH: &str = "json_each(?1) AS g CROSS JOIN events AS e \
    ON e.id = g.value->>'$.e.id' AND e.seq > (SELECT last_seq FROM totals)";

/// Bytes `new` takes in the parameter of its group, about.
pub fn parameter_size(new: &NewEvent) -> usize {
    let text = RawValue::from_string(new.event.to_json());
    text.ok().and_then(|text| serde_json::to_string(&item(new, &text)).ok()).map_or(0, |json| json.len())
}

/// Puts events of the group in. The winner among replaceable events of one group comes first, and of
/// results of one provider the one that came first; the unique index ignores the rest.
///
/// A label (NIP-32) of a result that is held gets a tag `@=PUBKEY` for the result's author.
fn insert(private: &str, labels: bool, which: &str) -> String {
    let keys = if labels {
        "CASE WHEN g.value->>'$.l' IS NULL THEN g.value->'$.k' ELSE (SELECT json_group_array(k) FROM ( \
           SELECT value AS k FROM json_each(g.value, '$.k') UNION \
           SELECT '@=' || r.pubkey FROM json_each(g.value, '$.l') AS l CROSS JOIN events AS r \
             ON r.id = l.value AND r.asked IS NOT NULL)) END"
            .to_owned()
    } else if private == "false" {
        "g.value->'$.k'".to_owned()
    } else {
        format!(
            "CASE WHEN {private} THEN (SELECT json_group_array(k) FROM (SELECT value AS k \
             FROM json_each(g.value, '$.k') UNION SELECT value FROM json_each(g.value, '$.j.w'))) \
             ELSE g.value->'$.k' END"
        )
    };
    format!(
        "INSERT OR IGNORE INTO events \
         (seq, id, pubkey, kind, shelf, created_at, expires_at, d, keys, job, step, asked, came_ms, json) \
         SELECT t.last_seq + g.key + 1, g.value->>'$.e.id', g.value->>'$.e.pubkey', g.value->>'$.e.kind', \
           g.value->>'$.s' + ({private}) * {PRIVATE}, g.value->>'$.e.created_at', g.value->>'$.x', g.value->>'$.d', \
           {keys}, g.value->>'$.j.i', g.value->>'$.j.z', iif(g.value->>'$.j.r', g.value->>'$.j.n', NULL), \
           g.value->>'$.m', g.value->'$.f' \
         FROM json_each(?1) AS g CROSS JOIN totals AS t WHERE {which} AND NOT {BLOCKED} \
         ORDER BY iif(g.value->>'$.j' IS NULL, -(g.value->>'$.e.created_at'), g.key), g.value->>'$.e.id'"
    )
}

/// The statements that store `group` atomically, and add `flush` to the totals; `early` says whether
/// answers may be here whose request is among the group ([`Totals::early`]). Decode their answer with
/// [`decode`].
pub fn statements(group: &[NewEvent], flush: &Flush, early: bool) -> Vec<Statement> {
    let texts: Vec<Option<Box<RawValue>>> =
        group.iter().map(|new| RawValue::from_string(new.event.to_json()).ok()).collect();
    let items: Vec<Item> =
        group.iter().zip(&texts).filter_map(|(new, text)| Some(item(new, text.as_deref()?))).collect();
    let whole = super::json(&items);
    // The texts are most of it, and all but one or two statements can do without.
    let items: Vec<Item> = items.into_iter().map(Item::without_text).collect();
    let json = super::json(&items);
    let with_group = |sql: String| Statement { sql, params: vec![json.clone()] };
    let with_texts = |sql: String| Statement { sql, params: vec![whole.clone()] };

    let any = |has: fn(&Item) -> bool| items.iter().any(has);
    let (requested, answers, deletes) =
        (any(|item| item.is_request()), any(|item| item.is_answer()), any(|item| !item.v && !item.t.is_empty()));
    let mut list = read_totals();
    let remember = |which: &str| {
        with_group(format!(
            "INSERT INTO deletions (key, until) SELECT t.value->>0, max(t.value->>1) \
             FROM json_each(?1) AS g CROSS JOIN json_each(g.value, '$.t') AS t WHERE {which} GROUP BY t.value->>0 \
             ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE excluded.until > until"
        ))
    };
    // Who vanishes takes his deletion requests with him, so these come second and only if they stand.
    if any(|item| item.v) {
        list.push(remember("g.value->>'$.v'"));
    }
    if deletes {
        list.push(with_group(jobs::cancelled(&requests())));
        list.push(remember(&format!("NOT g.value->>'$.v' AND NOT {BLOCKED}")));
        list.push(with_group(jobs::cancel(&requests())));
        list.push(with_group(jobs::spent(&requests())));
        list.extend(jobs::remove(&deleted()).map(with_group));
    }
    if any(|item| item.v) {
        list.push(with_group(
            "INSERT INTO vanishing (pubkey, until) SELECT g.value->>'$.e.pubkey', max(g.value->>'$.e.created_at') \
             FROM json_each(?1) AS g WHERE g.value->>'$.v' \
             AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = g.value->>'$.e.id') GROUP BY g.value->>'$.e.pubkey' \
             ON CONFLICT (pubkey) DO UPDATE SET until = max(until, excluded.until)"
                .to_owned(),
        ));
        list.extend(jobs::vanish().map(with_group));
    }
    if any(|item| item.is_replaceable()) {
        let replaced = format!("{REPLACED} AND NOT {BLOCKED}");
        list.push(with_group(jobs::delete_tags(&replaced)));
        list.push(with_group(format!("DELETE FROM events WHERE seq IN ({replaced})")));
    }
    if !items.iter().all(Item::is_answer) {
        let others = if answers { "g.value->>'$.j.a' IS NOT 1" } else { "true" };
        list.push(with_texts(insert("false", any(|item| item.l.is_some()), others)));
    }
    if requested {
        list.push(with_group(jobs::request(FRESH)));
    }
    if requested && early {
        let ids: Vec<EventId> =
            group.iter().filter_map(|new| new.part.as_ref()).filter(|p| !p.is_answer()).map(|p| p.job).collect();
        list.extend(jobs::reconcile(&ids));
    }
    if answers {
        let agree = format!(
            "g.value->>'$.j.a' AND {} IS NULL AND NOT (g.value->>'$.j.r' AND {})",
            jobs::disagrees(),
            jobs::CANCELLED
        );
        list.push(with_texts(insert(jobs::ENCRYPTED, false, &agree)));
        list.push(with_group(jobs::answer(FRESH)));
        let dealt = jobs::dealt(FRESH);
        list.extend([jobs::providers(&dealt), jobs::active(&dealt), jobs::dealings(&dealt)].map(with_group));
    }
    list.push(with_group(format!(
        "INSERT OR IGNORE INTO tags (tag, shelf, created_at, id, seq, expires_at) \
         SELECT k.value, e.shelf, e.created_at, e.id, e.seq, e.expires_at \
         FROM {FRESH} CROSS JOIN json_each(e.keys) AS k"
    )));
    let moved = (requested || answers || deletes).then(jobs::moved);
    list.push(counts::count_group(json.clone(), flush, FRESH, moved.as_deref(), answers));
    if deletes || requested && early {
        list.push(jobs::forget(0));
    }
    let refused = if answers {
        format!(
            "WHEN e.seq IS NULL AND g.value->>'$.j.a' AND {disagrees} IS NOT NULL THEN {disagrees} \
             WHEN e.seq IS NULL AND g.value->>'$.j.r' AND {cancelled} THEN 'cancelled'",
            disagrees = jobs::disagrees(),
            cancelled = jobs::CANCELLED
        )
    } else {
        String::new()
    };
    list.push(with_group(format!(
        "SELECT (g.value->>'$.e.id') || ' ' || CASE WHEN {BLOCKED} THEN 'deleted' {refused} \
         WHEN e.seq IS NULL THEN 'superseded' WHEN e.shelf < {PRIVATE} THEN e.seq ELSE e.seq || ' private' END AS r \
         FROM json_each(?1) AS g LEFT JOIN events AS e ON e.id = g.value->>'$.e.id'"
    )));
    list.extend(read_totals());
    list
}

/// What the answer to [`statements`] says of the events with `ids`.
pub fn decode(ids: &[EventId], rows: &Rows) -> Result<Committed, StoreError> {
    let base = decode_totals(rows)?.last_seq;
    let [.., stored, totals] = rows.as_slice() else {
        return Err(StoreError::new("the commit was answered with too few results"));
    };
    let totals = decode_totals(&vec![totals.clone()])?;
    let outcomes: BTreeMap<EventId, Outcome> = stored
        .iter()
        .map(|row| outcome(row).ok_or_else(|| StoreError::new(format!("outcome row: {row}"))))
        .collect::<Result<_, _>>()?;
    if ids.iter().any(|id| !outcomes.contains_key(id)) {
        return Err(StoreError::new("the commit was answered for a part of its group"));
    }
    // Of the statements between the first and the last two, one selects something, if any.
    let cancelled = rows.iter().skip(1).take(rows.len().saturating_sub(3)).flatten().filter_map(|row| {
        let (job, key) = row.split_once(' ')?;
        Some((EventId::parse(job)?, PublicKey::parse(key)?))
    });
    Ok(Committed { base, outcomes, cancelled: cancelled.collect(), totals })
}

fn outcome(row: &str) -> Option<(EventId, Outcome)> {
    let (id, fate) = row.split_once(' ')?;
    let outcome = match fate {
        "superseded" => Outcome::Superseded,
        "deleted" => Outcome::Deleted,
        "cancelled" => Outcome::Cancelled,
        "customer" => Outcome::Disagrees(Disagreement::Customer),
        "kind" => Outcome::Disagrees(Disagreement::Kind),
        "provider" => Outcome::Disagrees(Disagreement::Provider),
        "early" => Outcome::Disagrees(Disagreement::Early),
        stored => {
            let seq = stored.strip_suffix(" private");
            Outcome::Stored { seq: seq.unwrap_or(stored).parse().ok()?, private: seq.is_some() }
        }
    };
    Some((EventId::parse(id)?, outcome))
}
