//! Writing: a group of events as one atomic list of statements, and what became of each event.
//!
//! The group travels as one JSON parameter, so the number of statements does not grow with it. Every
//! statement is idempotent: a group that landed although it was reported as failed may be written
//! again, and counts nothing twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Param, Rows, Statement, StoreError, deletion, key};
use crate::market::JobRole;
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId};

/// An event on its way into the database.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Verified.
    pub event: Event,
    /// Unix seconds from which on it is not served.
    pub expires_at: Option<u64>,
    /// What it asks to be rid of (NIP-09, NIP-62).
    pub deletes: Vec<Target>,
    /// The job it belongs to and its part in it.
    pub job: Option<(EventId, JobRole)>,
}

/// What became of an event of a committed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the database under this number.
    Stored(u64),
    /// A newer event has its place.
    Superseded,
    /// Its author has deleted it, before or after it came.
    Deleted,
}

/// What the database knows about itself, kept in one row so that reading it costs one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The highest number given to an event.
    pub last_seq: u64,
    /// Events ever stored.
    pub stored: u64,
    /// Jobs whose request was stored.
    pub requested: u64,
    /// Of those, jobs with feedback.
    pub with_feedback: u64,
    /// Of those, jobs with a result.
    pub with_result: u64,
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// [`Totals::last_seq`] before the group: every event above it is new to the reader.
    pub base: u64,
    /// By event id.
    pub outcomes: BTreeMap<EventId, Outcome>,
    /// After the group.
    pub totals: Totals,
}

/// One element of the group parameter.
#[derive(Serialize)]
struct Item<'a> {
    /// The event's canonical text.
    e: &'a RawValue,
    /// Key of its `d` value, when newer events replace it.
    d: Option<String>,
    /// Keys of its tags, each once.
    k: Vec<String>,
    /// Unix seconds it expires at.
    x: Option<u64>,
    /// Keys of deletions that would keep it out.
    b: Vec<String>,
    /// Deletions it makes: key and the `created_at` it reaches to.
    t: Vec<(String, u64)>,
    /// Ids it deletes.
    i: Vec<EventId>,
    /// Kind and `d` key of the coordinates it deletes.
    a: Vec<(u16, String)>,
    /// Whether it makes its author vanish.
    v: bool,
    /// Job id and role.
    j: Option<EventId>,
    r: Option<&'static str>,
}

const TOTALS_JSON: &str = "json_object('last_seq', last_seq, 'stored', stored, 'requested', requested, \
                           'with_feedback', with_feedback, 'with_result', with_result)";

/// Whether a deletion keeps the group's event out.
const BLOCKED: &str = "EXISTS (SELECT 1 FROM json_each(g.value, '$.b') AS b CROSS JOIN deletions AS t \
    ON t.key = b.value AND t.until >= g.value->>'$.e.created_at')";

/// The events that those of the group replace (NIP-01: older, or as old with a larger id).
const REPLACED: &str = "SELECT e.seq FROM json_each(?1) AS g CROSS JOIN events AS e \
    ON e.pubkey = g.value->>'$.e.pubkey' AND e.kind = g.value->>'$.e.kind' AND e.d = g.value->>'$.d' \
    AND (e.created_at < g.value->>'$.e.created_at' \
      OR e.created_at = g.value->>'$.e.created_at' AND e.id > g.value->>'$.e.id')";

/// The events that deletion requests of the group delete, unless something keeps the request itself
/// out: by id, the author's own or gift wraps to them; or by coordinates.
fn deleted() -> String {
    let requests = format!("(SELECT g.value FROM json_each(?1) AS g WHERE NOT {BLOCKED}) AS g");
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

/// Reads [`Totals`]; see [`decode_totals`].
pub fn read_totals() -> Vec<Statement> {
    vec![Statement { sql: format!("SELECT {TOTALS_JSON} AS r FROM totals"), params: vec![] }]
}

/// Decodes the answer to [`read_totals`].
pub fn decode_totals(rows: &Rows) -> Result<Totals, StoreError> {
    rows.first().and_then(|rows| rows.first()).map_or_else(
        || Err(StoreError::new("the totals row is missing; apply the migrations")),
        |row| serde_json::from_str(row).map_err(|e| StoreError::new(format!("totals row: {e}"))),
    )
}

/// Bytes `new` takes in the parameter of its group, about.
pub fn parameter_size(new: &NewEvent) -> usize {
    let text = RawValue::from_string(new.event.to_json());
    text.ok().and_then(|text| serde_json::to_string(&item(new, &text)).ok()).map_or(0, |json| json.len())
}

/// The statements that store `group` atomically. Decode their answer with [`decode`].
pub fn statements(group: &[NewEvent]) -> Vec<Statement> {
    let texts: Vec<Option<Box<RawValue>>> =
        group.iter().map(|new| RawValue::from_string(new.event.to_json()).ok()).collect();
    let items: Vec<Item> =
        group.iter().zip(&texts).filter_map(|(new, text)| Some(item(new, text.as_deref()?))).collect();
    let json = serde_json::to_string(&items).unwrap_or_default();
    let with_group = |sql: String| Statement { sql, params: vec![Param::Text(json.clone())] };

    let any = |has: fn(&Item) -> bool| items.iter().any(has);
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
    if any(|item| !item.v && !item.t.is_empty()) {
        list.push(remember(&format!("NOT g.value->>'$.v' AND NOT {BLOCKED}")));
        list.extend(remove(&deleted()).map(with_group));
    }
    if any(|item| item.v) {
        list.push(with_group(
            "INSERT INTO vanishing (pubkey, until) SELECT g.value->>'$.e.pubkey', max(g.value->>'$.e.created_at') \
             FROM json_each(?1) AS g WHERE g.value->>'$.v' GROUP BY g.value->>'$.e.pubkey' \
             ON CONFLICT (pubkey) DO UPDATE SET until = max(until, excluded.until)"
                .to_owned(),
        ));
    }
    if any(|item| item.d.is_some()) {
        list.extend(remove(&format!("{REPLACED} AND NOT {BLOCKED}")).map(with_group));
    }
    // The winner among replaceable events of one group comes first; the unique index ignores the rest.
    list.push(with_group(format!(
        "INSERT OR IGNORE INTO events (seq, id, pubkey, kind, created_at, expires_at, d, keys, json) \
         SELECT t.last_seq + g.key + 1, g.value->>'$.e.id', g.value->>'$.e.pubkey', g.value->>'$.e.kind', \
                g.value->>'$.e.created_at', g.value->>'$.x', g.value->>'$.d', g.value->'$.k', g.value->'$.e' \
         FROM json_each(?1) AS g CROSS JOIN totals AS t WHERE NOT {BLOCKED} \
         ORDER BY g.value->>'$.e.created_at' DESC, g.value->>'$.e.id'"
    )));
    list.push(with_group(format!(
        "INSERT OR IGNORE INTO tags (tag, kind, created_at, id, seq, expires_at) \
         SELECT k.value, e.kind, e.created_at, e.id, e.seq, e.expires_at \
         FROM {FRESH} CROSS JOIN json_each(e.keys) AS k"
    )));
    if items.iter().any(|item| item.j.is_some()) {
        // The jobs the group touches leave the totals before they change and come back after it.
        list.push(with_group(format!(
            "UPDATE totals SET requested = totals.requested - c.asked, \
             with_feedback = totals.with_feedback - c.reported, with_result = totals.with_result - c.answered \
             FROM {JOB_COUNTS} WHERE c.asked > 0 AND EXISTS (SELECT 1 FROM {FRESH})"
        )));
        list.push(with_group(format!(
            "INSERT INTO jobs (id, requested, feedback, result) \
             SELECT g.value->>'$.j', max(g.value->>'$.r' = 'request'), max(g.value->>'$.r' = 'feedback'), \
                    max(g.value->>'$.r' = 'result') \
             FROM {FRESH} WHERE g.value->>'$.j' IS NOT NULL GROUP BY g.value->>'$.j' \
             ON CONFLICT (id) DO UPDATE SET requested = max(requested, excluded.requested), \
             feedback = max(feedback, excluded.feedback), result = max(result, excluded.result)"
        )));
    }
    list.push(with_group(format!(
        "UPDATE totals SET stored = totals.stored + (SELECT count(*) FROM {FRESH}), \
         last_seq = (SELECT max(e.seq) FROM {FRESH}), requested = totals.requested + c.asked, \
         with_feedback = totals.with_feedback + c.reported, with_result = totals.with_result + c.answered \
         FROM {JOB_COUNTS} WHERE EXISTS (SELECT 1 FROM {FRESH})"
    )));
    list.push(with_group(format!(
        "SELECT (g.value->>'$.e.id') || ' ' || CASE WHEN {BLOCKED} THEN 'deleted' WHEN e.seq IS NOT NULL THEN e.seq \
         ELSE 'superseded' END AS r FROM json_each(?1) AS g LEFT JOIN events AS e ON e.id = g.value->>'$.e.id'"
    )));
    list.extend(read_totals());
    list
}

/// How many of the jobs the group touches count in each of the totals.
const JOB_COUNTS: &str = "(SELECT count(*) AS asked, coalesce(sum(feedback), 0) AS reported, \
    coalesce(sum(result), 0) AS answered \
    FROM jobs WHERE requested AND id IN (SELECT value->>'$.j' FROM json_each(?1))) AS c";

/// Deletes the events `victims` selects by number, and their tags.
fn remove(victims: &str) -> [String; 2] {
    [
        format!(
            "DELETE FROM tags WHERE (tag, kind, created_at, id) IN (SELECT k.value, e.kind, e.created_at, e.id \
             FROM events AS e CROSS JOIN json_each(e.keys) AS k WHERE e.seq IN ({victims}))"
        ),
        format!("DELETE FROM events WHERE seq IN ({victims})"),
    ]
}

fn item<'a>(new: &NewEvent, text: &'a RawValue) -> Item<'a> {
    let event = &new.event;
    let mut keys: Vec<String> =
        event.tags.iter().filter_map(|tag| tag.indexed()).map(|(letter, value)| key::of(letter, value)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut item = Item {
        e: text,
        d: event.replacement_key().map(|d| key::of(b'd', d)),
        k: keys,
        x: new.expires_at,
        b: deletion::keeping_out(event),
        t: Vec::new(),
        i: Vec::new(),
        a: Vec::new(),
        v: false,
        j: new.job.map(|(id, _)| id),
        r: new.job.map(|(_, role)| role.as_str()),
    };
    for target in &new.deletes {
        item.t.push((deletion::key(&event.pubkey, target), deletion::reach(event, target)));
        match target {
            Target::Event(id) => item.i.push(*id),
            Target::Address { kind, d } => item.a.push((*kind, key::of(b'd', d))),
            Target::Everything => item.v = true,
        }
    }
    item
}

/// What the answer to [`statements`] says of the events with `ids`.
pub fn decode(ids: &[EventId], rows: &Rows) -> Result<Committed, StoreError> {
    let base = decode_totals(rows)?.last_seq;
    let [.., stored, totals] = rows.as_slice() else {
        return Err(StoreError::new("the commit was answered with too few results"));
    };
    let totals = decode_totals(&vec![totals.clone()])?;
    let mut outcomes = BTreeMap::new();
    for row in stored {
        let outcome = row.split_once(' ').and_then(|(id, fate)| {
            let outcome = match fate {
                "superseded" => Outcome::Superseded,
                "deleted" => Outcome::Deleted,
                seq => Outcome::Stored(seq.parse().ok()?),
            };
            Some((EventId::parse(id)?, outcome))
        });
        let (id, outcome) = outcome.ok_or_else(|| StoreError::new(format!("outcome row: {row}")))?;
        outcomes.insert(id, outcome);
    }
    if ids.iter().any(|id| !outcomes.contains_key(id)) {
        return Err(StoreError::new("the commit was answered for a part of its group"));
    }
    Ok(Committed { base, outcomes, totals })
}
