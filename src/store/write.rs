//! Writing: what was decided as one atomic list of statements.
//!
//! The rows travel as a few parameters, so the number of statements does not grow with them. The statements decide nothing:
//! the facts were read of the log's last version, and a write that does not find that version any more changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::counts::{Flush, Position};
use super::log::Write;
use super::{PRIVATE, Param, Statement, form, integer, json, json_text};
use crate::ledger::{Changes, Fresh, Held, Job, NewEvent, RATED, Swept, Vote, tag_key};
use crate::market::dealing::Dealing;
use crate::market::retention::Kept;
use crate::nostr::{EventId, PublicKey, kind};

/// Bytes of what a row has besides its tags, and of a deletion.
const ROW: usize = 1000;
const DELETION: usize = 300;
/// Bytes of a list in one parameter, if it has several rows: a database takes 2 MB.
const LIST: usize = 1_000_000;

/// Bytes `new` takes in the parameters of its group, about.
pub fn parameter_size(new: &NewEvent) -> usize {
    // Besides the text, a row has the event's tags and the deletions that concern it, and little else.
    2 * new.text.len() + ROW + DELETION * new.deletes.len()
}

/// The statements that make `changes`, of a log that is at `before`, and add `flush` to the totals; and where the log is
/// after them. They answer nothing. `kept` says how long events of jobs are kept: it need not be written.
pub fn statements(
    changes: &Changes,
    before: &Position,
    flush: &Flush,
    kept: &Kept,
    write: &Write,
) -> (Vec<Statement>, Position) {
    let after = before.after(write, changes, flush);
    let mut list = vec![after.put(write)];
    remove(changes, &mut list);
    correct(changes, &mut list);
    insert(&changes.fresh, kept, &mut list);
    put_jobs(&changes.jobs, &mut list);
    put_providers(changes, &mut list);
    put_dealings(changes, &mut list);
    put_votes(&changes.votes, &mut list);
    put_deletions(&changes.deletions, &mut list);
    sweep(&changes.swept, &mut list);
    (list, after)
}

/// Adds a statement with a list as its parameter, unless that is empty.
fn with<T: Serialize>(list: &mut Vec<Statement>, rows: &[T], sql: &str) {
    with_all(list, rows, &[sql]);
}

/// Adds statements that share such a list; one that is too long for a parameter goes in parts.
fn with_all<T: Serialize>(list: &mut Vec<Statement>, rows: &[T], sql: &[&str]) {
    if rows.is_empty() {
        return;
    }
    let text = json_text(&rows);
    let (first, rest) = rows.split_at(rows.len() / 2);
    if text.len() > LIST && !first.is_empty() {
        with_all(list, first, sql);
        return with_all(list, rest, sql);
    }
    let rows = Param::Text(text.into());
    list.extend(sql.iter().map(|sql| Statement::new(*sql, vec![rows.clone()])));
}

/// Index entries of an event, each as its number, a space and the key.
fn entries(seq: u64, keys: Vec<String>) -> impl Iterator<Item = String> {
    keys.into_iter().map(move |key| format!("{seq} {key}"))
}

/// Where the entries of the list ?1 are in the index: their events have the rest.
const ENTRIES: &str = "unhex(substr(v.value, instr(v.value, ' ') + 1)), e.shelf, e.created_at, e.tie, e.seq";
const OF_EVENTS: &str = "json_each(?1) AS v CROSS JOIN events AS e ON e.seq = CAST(v.value AS INTEGER)";

/// Puts the entries of the list ?1.
fn insert_entries() -> String {
    format!(
        "INSERT INTO tags (tag, shelf, created_at, tie, seq, expires_at) SELECT {ENTRIES}, e.expires_at FROM {OF_EVENTS}"
    )
}

/// Deletes them.
fn delete_entries() -> String {
    format!("DELETE FROM tags WHERE (tag, shelf, created_at, tie, seq) IN (SELECT {ENTRIES} FROM {OF_EVENTS})")
}

fn remove(changes: &Changes, list: &mut Vec<Statement>) {
    let votes: Vec<_> = changes.removed.iter().filter(|held| held.kind == kind::LABEL).flat_map(votes_of).collect();
    let remove = "DELETE FROM votes WHERE (provider, voter, namespace) IN ( \
        SELECT v.provider, v.voter, v.namespace FROM json_each(?1) AS n CROSS JOIN votes AS v \
        ON v.provider = unhex(n.value->>0) AND v.voter = unhex(n.value->>1) AND v.seq = n.value->>2)";
    with(list, &votes, remove);
    let gone: Vec<String> = changes.removed.iter().flat_map(|held| entries(held.seq, held.keys())).collect();
    with(list, &gone, &delete_entries());
    let seqs: Vec<u64> = changes.removed.iter().map(|held| held.seq).collect();
    with(list, &seqs, "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?1))");
    let vanishing: Vec<(&PublicKey, &u64)> = changes.vanishing.iter().collect();
    let statements = [
        "INSERT INTO vanishing (pubkey, until) SELECT unhex(value->>0), value->>1 FROM json_each(?1) WHERE true \
         ON CONFLICT (pubkey) DO UPDATE SET until = max(until, excluded.until), shelf = 0",
        "DELETE FROM providers WHERE pubkey IN (SELECT unhex(value->>0) FROM json_each(?1))",
        "DELETE FROM dealings WHERE customer IN (SELECT unhex(value->>0) FROM json_each(?1))",
        "DELETE FROM dealings WHERE provider IN (SELECT unhex(value->>0) FROM json_each(?1))",
    ];
    with_all(list, &vanishing, &statements);
}

/// What may be the votes of a label event: of whom, whose, and its number.
fn votes_of(held: &Held) -> Vec<(PublicKey, PublicKey, u64)> {
    let about = |key: &String| [RATED, b'p'].iter().find_map(|letter| tag_key::public_key(*letter, key));
    held.keys().iter().filter_map(about).map(|provider| (provider, held.pubkey, held.seq)).collect()
}

/// What is corrected of answers when the request of their job is known.
fn correct(changes: &Changes, list: &mut Vec<Statement>) {
    let numbers = |set: &BTreeSet<u64>| set.iter().copied().collect::<Vec<u64>>();
    let left = format!(
        "UPDATE events SET tags = {}, job = NULL, step = NULL, asked = NULL WHERE seq IN (SELECT value FROM json_each(?1))",
        form::tags("events")
    );
    with(list, &numbers(&changes.left), &left);
    let unmoving = "UPDATE events SET step = NULL WHERE seq IN (SELECT value FROM json_each(?1))";
    with(list, &numbers(&changes.unmoving), unmoving);
    let public: Vec<String> = changes.hidden.iter().flat_map(|(held, _)| entries(held.seq, held.keys())).collect();
    with(list, &public, &delete_entries());
    let (mut rows, mut private) = (Vec::new(), Vec::new());
    for (held, readers) in &changes.hidden {
        let extra = [held.extra.as_slice(), readers].concat();
        let hidden = Held { private: true, extra, ..held.clone() };
        private.extend(entries(held.seq, hidden.keys()));
        rows.push((held.seq, hidden.extra));
    }
    let update = format!(
        "UPDATE events SET shelf = shelf + {PRIVATE}, extra = v.value->1 FROM json_each(?1) AS v \
         WHERE events.seq = v.value->>0"
    );
    with(list, &rows, &update);
    with(list, &private, &insert_entries());
}

/// A row of `events`.
#[derive(Serialize)]
struct EventRow<'a> {
    seq: u64,
    tie: u64,
    kind: u16,
    shelf: u32,
    created_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    extra: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<u16>,
    delay_ms: i64,
    /// Where its id, key, signature, tags and content stand in the texts' parameter, one after the other, from 1; and how
    /// many bytes the last two have.
    from: usize,
    tags: usize,
    content: usize,
}

fn shelf(kind: u16, private: bool) -> u32 {
    u32::from(kind) + if private { PRIVATE } else { 0 }
}

/// The list ?1, with every row taken apart once.
const ROWS: &str = "WITH g AS MATERIALIZED (SELECT jsonb(value) AS v FROM json_each(?1)) ";

fn insert(fresh: &[Fresh], kept: &Kept, list: &mut Vec<Statement>) {
    if fresh.is_empty() {
        return;
    }
    let mut texts = String::with_capacity(fresh.iter().map(|fresh| fresh.new.text.len()).sum());
    let rows: Vec<EventRow> = fresh.iter().map(|fresh| event_row(fresh, kept, &mut texts)).collect();
    let rows = json(&rows);
    let text = |at: &str, bytes: &str| format!("substr(CAST(?2 AS BLOB), (g.v->>'$.from'){at}, {bytes})");
    let tags_bytes = "g.v->>'$.tags'";
    let events = format!(
        "{ROWS}INSERT INTO events \
         (seq, id, tie, pubkey, sig, kind, shelf, created_at, expires_at, place, extra, job, step, asked, delay_ms, tags, content) \
         SELECT g.v->>'$.seq', unhex({}), g.v->>'$.tie', unhex({}), unhex({}), \
           g.v->>'$.kind', g.v->>'$.shelf', g.v->>'$.created_at', g.v->>'$.expires_at', unhex(g.v->>'$.place'), \
           g.v->'$.extra', unhex(g.v->>'$.job'), g.v->>'$.step', g.v->>'$.asked', g.v->>'$.delay_ms', \
           CAST({} AS TEXT), CAST({} AS TEXT) FROM g",
        text("", "64"),
        text(" + 64", "64"),
        text(" + 128", "128"),
        text(" + 256", tags_bytes),
        text(&format!(" + 256 + ({tags_bytes})"), "g.v->>'$.content'"),
    );
    list.push(Statement::new(events, vec![rows, Param::Text(texts.into())]));
    let tags: Vec<String> = fresh.iter().flat_map(|fresh| entries(fresh.seq, fresh.keys())).collect();
    with(list, &tags, &insert_entries());
}

/// A row; what it has of texts is put with the others.
fn event_row<'a>(fresh: &'a Fresh, kept: &Kept, texts: &mut String) -> EventRow<'a> {
    let event = &fresh.new.event;
    let from = texts.len() + 1;
    for hex in [event.id.to_string(), event.pubkey.to_string(), event.sig.to_string()] {
        texts.push_str(&hex);
    }
    let (tags, content) = (form::tags_of(event, fresh.job.as_ref()), json_text(&event.content));
    texts.push_str(&tags);
    texts.push_str(&content);
    EventRow {
        seq: fresh.seq,
        tie: tie(&event.id),
        kind: event.kind,
        shelf: shelf(event.kind, fresh.private),
        created_at: event.created_at,
        expires_at: kept.own_expiry(event, fresh.new.expires_at),
        place: fresh.place.as_deref(),
        extra: &fresh.extra,
        job: fresh.job.as_ref(),
        step: fresh.state,
        asked: fresh.asked,
        delay_ms: delay_ms(&fresh.new),
        from,
        tags: tags.len(),
        content: content.len(),
    }
}

/// When an event came, in milliseconds after it was made.
fn delay_ms(new: &NewEvent) -> i64 {
    let made_ms = new.event.created_at.saturating_mul(1000);
    let bounded = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    bounded(new.came_ms).saturating_sub(bounded(made_ms))
}

/// The first 60 bits of an id, by which events of one second are ordered (NIP-01: the lowest id first).
fn tie(id: &EventId) -> u64 {
    id.as_bytes().iter().take(8).fold(0, |tie, byte| tie << 8 | u64::from(*byte)) >> 4
}

/// A row of `jobs`.
#[derive(Serialize)]
struct JobRow<'a> {
    id: &'a EventId,
    held: u64,
    until: u64,
    state: u8,
    kind: Option<u16>,
    customer: Option<&'a PublicKey>,
    providers: Option<String>,
    encrypted: Option<u8>,
    unasked: &'a BTreeMap<PublicKey, u64>,
    asked_ms: Option<u64>,
    reported_ms: Option<u64>,
    answered_ms: Option<u64>,
    first: Option<&'a PublicKey>,
}

fn job_row<'a>(id: &'a EventId, job: &'a Job) -> JobRow<'a> {
    let asked = job.asked.as_ref();
    let providers = asked.and_then(|asked| asked.providers.as_ref());
    JobRow {
        id,
        held: job.held,
        until: job.until,
        state: job.state,
        kind: asked.map(|asked| asked.kind),
        customer: asked.map(|asked| &asked.customer),
        providers: providers.map(|keys| keys.iter().map(ToString::to_string).collect()),
        encrypted: asked.map(|asked| u8::from(asked.encrypted)),
        unasked: &job.unasked,
        asked_ms: asked.map(|asked| asked.came_ms),
        reported_ms: job.reported_ms,
        answered_ms: job.answered_ms,
        first: job.first.as_ref(),
    }
}

fn put_jobs(jobs: &BTreeMap<EventId, Option<Job>>, list: &mut Vec<Statement>) {
    let rows: Vec<JobRow> = jobs.iter().filter_map(|(id, job)| Some(job_row(id, job.as_ref()?))).collect();
    let sql = format!(
        "{ROWS}INSERT INTO jobs (id, held, until, state, kind, customer, providers, encrypted, unasked, asked_ms, \
           reported_ms, answered_ms, first) \
         SELECT unhex(g.v->>'$.id'), g.v->>'$.held', g.v->>'$.until', g.v->>'$.state', g.v->>'$.kind', \
           unhex(g.v->>'$.customer'), \
           unhex(g.v->>'$.providers'), g.v->>'$.encrypted', g.v->>'$.unasked', g.v->>'$.asked_ms', g.v->>'$.reported_ms', \
           g.v->>'$.answered_ms', unhex(g.v->>'$.first') FROM g WHERE true \
         ON CONFLICT (id) DO UPDATE SET held = excluded.held, until = excluded.until, state = excluded.state, \
           kind = excluded.kind, customer = excluded.customer, providers = excluded.providers, \
           encrypted = excluded.encrypted, unasked = excluded.unasked, asked_ms = excluded.asked_ms, \
           reported_ms = excluded.reported_ms, answered_ms = excluded.answered_ms, first = excluded.first"
    );
    with(list, &rows, &sql);
    let forgotten: Vec<&EventId> = jobs.iter().filter(|(_, job)| job.is_none()).map(|(id, _)| id).collect();
    with(list, &forgotten, "DELETE FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?1))");
}

/// The index of `active` is only written where it changes: it is a row more.
fn put_providers(changes: &Changes, list: &mut Vec<Statement>) {
    let rows = |later: bool| -> Vec<_> {
        let those = changes.providers.iter().filter(|(key, _)| changes.active.contains(*key) == later);
        those.map(|(key, p)| (key, p.results, p.errors, p.seen, p.active)).collect()
    };
    with(
        list,
        &rows(true),
        "INSERT INTO providers (pubkey, results, errors, seen, active) \
         SELECT unhex(value->>0), value->>1, value->>2, value->>3, value->>4 FROM json_each(?1) WHERE true \
         ON CONFLICT (pubkey) DO UPDATE SET results = excluded.results, errors = excluded.errors, seen = excluded.seen, \
           active = excluded.active",
    );
    with(
        list,
        &rows(false),
        "UPDATE providers SET results = v.value->>1, errors = v.value->>2, seen = v.value->>3 FROM json_each(?1) AS v \
         WHERE providers.pubkey = unhex(v.value->>0)",
    );
}

fn put_dealings(changes: &Changes, list: &mut Vec<Statement>) {
    let row = |((customer, provider), d): (&'_ (PublicKey, PublicKey), &'_ Dealing)| {
        (*customer, *provider, d.results, d.errors, d.speed, u8::from(d.known))
    };
    let rows: Vec<_> = changes.dealings.iter().map(row).collect();
    with(
        list,
        &rows,
        "INSERT INTO dealings (customer, provider, results, errors, speed, known) \
         SELECT unhex(value->>0), unhex(value->>1), value->>2, value->>3, value->>4, value->>5 FROM json_each(?1) WHERE true \
         ON CONFLICT (customer, provider) DO UPDATE SET results = excluded.results, errors = excluded.errors, \
           speed = excluded.speed",
    );
    let known: Vec<&PublicKey> = changes.known.iter().collect();
    with(list, &known, "UPDATE dealings SET known = 1 WHERE customer IN (SELECT unhex(value) FROM json_each(?1))");
}

fn put_votes(votes: &[Vote], list: &mut Vec<Statement>) {
    let row = |vote: &'_ Vote| {
        let Vote { provider, voter, namespace, labels, created_at, id, seq, expires_at } = vote.clone();
        (provider, voter, namespace, labels, created_at, tie(&id), seq, expires_at)
    };
    let rows: Vec<_> = votes.iter().map(row).collect();
    with(
        list,
        &rows,
        "INSERT INTO votes (provider, voter, namespace, labels, created_at, tie, seq, expires_at) \
         SELECT unhex(value->>0), unhex(value->>1), value->>2, value->>3, value->>4, value->>5, value->>6, value->>7 \
         FROM json_each(?1) WHERE true \
         ON CONFLICT (provider, voter, namespace) DO UPDATE SET labels = excluded.labels, \
           created_at = excluded.created_at, tie = excluded.tie, seq = excluded.seq, expires_at = excluded.expires_at \
         WHERE excluded.created_at > votes.created_at \
           OR excluded.created_at = votes.created_at AND excluded.tie < votes.tie",
    );
}

fn put_deletions(deletions: &BTreeMap<String, u64>, list: &mut Vec<Statement>) {
    let rows: Vec<(&String, &u64)> = deletions.iter().collect();
    with(
        list,
        &rows,
        "INSERT INTO deletions (key, until) SELECT value->>0, value->>1 FROM json_each(?1) WHERE true \
         ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE excluded.until > deletions.until",
    );
}

fn sweep(swept: &Swept, list: &mut Vec<Statement>) {
    if swept.forget > 0 {
        let sql = "DELETE FROM jobs WHERE held <= 0 AND until <= ?1";
        list.push(Statement::new(sql, vec![integer(swept.forget)]));
    }
    with(
        list,
        &swept.walked,
        "UPDATE vanishing SET shelf = w.value->>2 FROM json_each(?1) AS w \
         WHERE vanishing.pubkey = unhex(w.value->>0) AND vanishing.until = w.value->>1",
    );
    let vanished =
        "DELETE FROM vanishing WHERE (pubkey, until) IN (SELECT unhex(value->>0), value->>1 FROM json_each(?1))";
    with(list, &swept.vanished, vanished);
}
