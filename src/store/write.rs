//! Writing: what was decided as one atomic list of statements.
//!
//! The rows travel as a few parameters, so the number of statements does not grow with them. The statements decide nothing:
//! the facts were read of the log's last version, and a write that does not find that version any more changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::counts::{Flush, Position};
use super::log::Write;
use super::rows::{self, Columns, Row, Rows, Sort};
use super::{PRIVATE, Param, Statement, form, integer, json_text, rulings};
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
    list.extend(rulings::put(&changes.acts));
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

const EVENTS: Columns = &[
    ("id", Sort::Bytes(64)),
    ("seq", Sort::Number(19)),
    ("tie", Sort::Number(19)),
    ("pubkey", Sort::Bytes(64)),
    ("sig", Sort::Bytes(128)),
    ("kind", Sort::Number(5)),
    ("shelf", Sort::Number(6)),
    ("created_at", Sort::Number(19)),
    ("expires_at", Sort::MaybeNumber(19)),
    ("place", Sort::LongBytes),
    ("extra", Sort::MaybeText),
    ("job", Sort::Bytes(64)),
    ("step", Sort::MaybeNumber(2)),
    ("asked", Sort::MaybeNumber(5)),
    ("delay_ms", Sort::Number(20)),
    ("tags", Sort::Text),
    ("content", Sort::Text),
];

const JOBS: Columns = &[
    ("id", Sort::Bytes(64)),
    ("held", Sort::Number(19)),
    ("until", Sort::Number(19)),
    ("state", Sort::Number(3)),
    ("kind", Sort::MaybeNumber(5)),
    ("customer", Sort::Bytes(64)),
    ("providers", Sort::LongBytes),
    ("encrypted", Sort::MaybeNumber(2)),
    ("unasked", Sort::Text),
    ("asked_ms", Sort::MaybeNumber(19)),
    ("reported_ms", Sort::MaybeNumber(19)),
    ("answered_ms", Sort::MaybeNumber(19)),
    ("first", Sort::Bytes(64)),
];

/// The digits of what there may be, as hex.
fn digits(bytes: Option<&EventId>) -> String {
    bytes.map(ToString::to_string).unwrap_or_default()
}

fn shelf(kind: u16, private: bool) -> u32 {
    u32::from(kind) + if private { PRIVATE } else { 0 }
}

fn insert(fresh: &[Fresh], kept: &Kept, list: &mut Vec<Statement>) {
    if fresh.is_empty() {
        return;
    }
    let mut rows = Rows::new(EVENTS);
    fresh.iter().for_each(|fresh| put_event(fresh, kept, &mut rows.row()));
    let sql = format!("INSERT INTO events ({}) {}", rows::names(EVENTS), rows::select(EVENTS));
    list.push(Statement::new(sql, rows.params()));
    let tags: Vec<String> = fresh.iter().flat_map(|fresh| entries(fresh.seq, fresh.keys())).collect();
    with(list, &tags, &insert_entries());
}

/// The columns of [`EVENTS`].
fn put_event<'a>(fresh: &'a Fresh, kept: &Kept, row: &mut Row<'a>) {
    let event = &fresh.new.event;
    // An event's text is canonical.
    let parts = form::Parts::of(&fresh.new.text, fresh.job.as_ref()).unwrap_or_default();
    row.bytes(parts.id)
        .natural(fresh.seq)
        .natural(tie(&event.id))
        .bytes(parts.pubkey)
        .bytes(parts.sig)
        .natural(event.kind.into())
        .natural(shelf(event.kind, fresh.private).into())
        .natural(event.created_at)
        .maybe(kept.own_expiry(event, fresh.new.expires_at))
        .long(fresh.place.as_deref().unwrap_or_default())
        .long(if fresh.extra.is_empty() { String::new() } else { json_text(&fresh.extra) })
        .bytes(&digits(fresh.job.as_ref()))
        .maybe(fresh.state.map(u64::from))
        .maybe(fresh.asked.map(u64::from))
        .number(delay_ms(&fresh.new))
        .long(parts.tags)
        .long(parts.content)
        .end();
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

/// Makes exact again what orders events of one second, where numbers have been through 64-bit floats, as in what D1 exports.
pub fn exact_ties() -> Vec<Statement> {
    let digit = |n: u32| format!("instr('123456789ABCDEF', substr(hex(e.id), {}, 1)) << {}", n + 1, 4 * (14 - n));
    let tie = (0..15).map(|n| format!("({})", digit(n))).collect::<Vec<_>>().join(" + ");
    let of_events = format!("UPDATE events AS e SET tie = {tie} WHERE tie IS NOT {tie}");
    let of = |table: &str| {
        let tie = format!("(SELECT e.tie FROM events AS e WHERE e.seq = {table}.seq)");
        format!("UPDATE {table} SET tie = {tie} WHERE tie <> {tie}")
    };
    [of_events, of("tags"), of("votes")].map(|sql| Statement::new(sql, vec![])).into()
}

/// The columns of [`JOBS`].
fn put_job(id: &EventId, job: &Job, row: &mut Row) {
    let asked = job.asked.as_ref();
    let providers = asked.and_then(|asked| asked.providers.as_ref());
    row.bytes(&id.to_string())
        .natural(job.held)
        .natural(job.until)
        .natural(job.state.into())
        .maybe(asked.map(|asked| asked.kind.into()))
        .bytes(&digits(asked.map(|asked| &asked.customer)))
        .long(providers.map(|keys| keys.iter().map(ToString::to_string).collect::<String>()).unwrap_or_default())
        .maybe(asked.map(|asked| asked.encrypted.into()))
        .long(json_text(&job.unasked))
        .maybe(asked.map(|asked| asked.came_ms))
        .maybe(job.reported_ms)
        .maybe(job.answered_ms)
        .bytes(&digits(job.first.as_ref()))
        .end();
}

fn put_jobs(jobs: &BTreeMap<EventId, Option<Job>>, list: &mut Vec<Statement>) {
    let mut held = jobs.iter().filter_map(|(id, job)| Some((id, job.as_ref()?))).peekable();
    let columns = JOBS.iter().skip(1).map(|(name, _)| format!("{name} = excluded.{name}"));
    let sql = format!(
        "INSERT INTO jobs ({}) {} WHERE true ON CONFLICT (id) DO UPDATE SET {}",
        rows::names(JOBS),
        rows::select(JOBS),
        columns.collect::<Vec<_>>().join(", ")
    );
    while held.peek().is_some() {
        let mut rows = Rows::new(JOBS);
        while rows.bytes() < LIST
            && let Some((id, job)) = held.next()
        {
            put_job(id, job, &mut rows.row());
        }
        list.push(Statement::new(sql.as_str(), rows.params()));
    }
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
