//! What a relay remembers besides its events, read out for an export and put into a database again: the deletions that
//! keep events out, and the jobs, whose requests may be gone before their answers are.
//!
//! What is read out here is in databases of all versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::{self, Write};
use super::{MAX_INTEGER, Param, Statement, counts, group, integer, jobs, json, vanish};
use crate::market::{JobProfile, State};
use crate::nostr::{EventId, PublicKey};

/// A line of an export that is no event: `{"deletion": …}` or `{"job": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remembered {
    /// What may not come back.
    Deletion(Deletion),
    /// A job that was asked.
    Job(Job),
}

/// A row of `deletions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// `PUBKEY ID`, `PUBKEY KIND:D`, `PUBKEY *` or `PUBKEY result JOB`; see [`deletion`](super::deletion).
    pub key: String,
    /// The `created_at` up to which it reaches.
    pub until: u64,
}

/// What is known of a job by its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Id of the request.
    pub id: EventId,
    /// Unix seconds until which it is remembered.
    pub until: u64,
    /// How far it has come: [`State::rank`](crate::market::State::rank).
    pub state: u8,
    /// The request's.
    pub kind: u16,
    /// Who asked.
    pub customer: PublicKey,
    /// Who was asked; everybody when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<PublicKey>>,
    /// Whether its answers are for its parties alone.
    pub encrypted: bool,
    /// When it was asked, Unix milliseconds.
    pub asked_ms: u64,
    /// Of keys that answer unasked, their feedbacks.
    pub unasked: BTreeMap<PublicKey, u64>,
}

impl Remembered {
    /// Whether it makes sense; an error names what does not. `profile` says what a job is.
    pub fn check(&self, profile: &JobProfile) -> Result<(), &'static str> {
        match self {
            Self::Deletion(deletion) => {
                let author = deletion.key.split_once(' ').and_then(|(key, _)| PublicKey::parse(key));
                author.map(drop).ok_or("key must begin with a public key, 64 lower-case hex digits, and a space")
            }
            Self::Job(job) if !profile.requests.contains(&job.kind) => Err("kind must be a job request's"),
            Self::Job(job) if job.state > State::Cancelled.rank() => Err("state must be that of a job"),
            Self::Job(_) => Ok(()),
        }
    }
}

/// At most `limit` events after number `after` that are served at `now` (Unix seconds), a row each: the number, a
/// space and the event.
pub fn read_events(after: u64, limit: u64, now: u64) -> Statement {
    Statement::new(
        format!(
            "SELECT e.seq || ' ' || e.json AS r FROM events AS e WHERE e.seq > ?1 \
             AND (e.expires_at IS NULL OR e.expires_at > ?2) AND {} ORDER BY e.seq LIMIT ?3",
            vanish::stays("e")
        ),
        vec![integer(after), integer(now), integer(limit)],
    )
}

/// At most `limit` deletions after one's key, each as a [`Remembered`] in JSON.
pub fn read_deletions(after: &str, limit: u64) -> Statement {
    let sql = "SELECT json_object('deletion', json_object('key', key, 'until', until)) AS r \
               FROM deletions WHERE key > ?1 ORDER BY key LIMIT ?2";
    Statement::new(sql, vec![Param::Text(after.into()), integer(limit)])
}

/// The same of jobs whose requests are known.
pub fn read_jobs(after: &str, limit: u64) -> Statement {
    // Databases of 0.1 have no column `unasked`: there the name is the constant's.
    let sql = "SELECT json_object('job', json_patch(json_object('id', id, 'until', until, 'state', state, 'kind', kind, \
                 'customer', customer, 'encrypted', json(iif(encrypted, 'true', 'false')), 'asked_ms', asked_ms, \
                 'unasked', json((SELECT unasked FROM jobs AS o WHERE o.id = j.id))), \
                 json_object('providers', json(providers)))) AS r \
               FROM (SELECT '{}' AS unasked) CROSS JOIN (SELECT id, until, state, kind, customer, encrypted, asked_ms, \
                 providers FROM jobs WHERE id > ?1 AND kind IS NOT NULL ORDER BY id LIMIT ?2) AS j";
    Statement::new(sql, vec![Param::Text(after.into()), integer(limit)])
}

/// The statements that remember jobs. Answers that are there already become theirs.
pub fn jobs(list: &[&Job], write: &Write) -> Vec<Statement> {
    let ids: Vec<&EventId> = list.iter().map(|job| &job.id).collect();
    let (list, ids) = (json(&list), json(&ids));
    let of = |sql: String, param: &Param| Statement::new(sql, vec![param.clone()]);
    let mut statements = vec![of(jobs::restore(), &list)];
    statements.extend(jobs::reconcile().into_iter().map(|(sql, params)| match params {
        group::Of::Nothing => Statement::new(sql, vec![]),
        _ => of(sql, &ids),
    }));
    statements.extend(counted("SELECT value AS job FROM json_each(?1)", &ids, write));
    log::guarded(write, statements)
}

/// The statements that remember deletions and remove what they keep out, vanishing keys excepted: that is the
/// sweep's. One whose key is none of the four sorts only remembers it.
pub fn deletions(list: &[&Deletion], write: &Write) -> Vec<Statement> {
    let list = json(&list.iter().map(|deletion| item(deletion)).collect::<Vec<_>>());
    let of = |sql: String| Statement::new(sql, vec![list.clone()]);
    let cancelled = "SELECT i.value AS job FROM json_each(?1) AS g CROSS JOIN json_each(g.value, '$.i') AS i";
    let mut statements: Vec<Statement> = group::deletions().into_iter().map(of).collect();
    statements.extend(counted(cancelled, &list, write));
    statements.push(Statement::new(jobs::forget("0"), vec![]));
    log::guarded(write, statements)
}

/// Counts jobs that were moved outside a group, those that `selected` has as `job`; the next group is not to take
/// them for its own.
fn counted(selected: &str, param: &Param, write: &Write) -> [Statement; 2] {
    let moved = jobs::moved(&format!("({selected}) AS e"), false);
    let count = format!("UPDATE totals SET {}, counts = {}", log::COUNT_WRITE, counts::plus(&moved));
    let leave = format!("UPDATE jobs SET batch = -1 WHERE id IN ({selected})");
    [Statement::new(count, vec![param.clone(), log::name(write)]), Statement::new(leave, vec![param.clone()])]
}

/// What a group knows of a deletion request; see [`item`](super::item::Item).
#[derive(Serialize)]
struct Item<'a> {
    pubkey: &'a str,
    created_at: u64,
    t: [(&'a str, u64); 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<[EventId; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<[(u16, &'a str); 1]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    v: bool,
}

fn item(deletion: &Deletion) -> Item<'_> {
    let (pubkey, what) = deletion.key.split_once(' ').unwrap_or((&deletion.key, ""));
    let until = deletion.until.min(MAX_INTEGER);
    let address = what.split_once(':').and_then(|(kind, d)| Some([(kind.parse().ok()?, d)]));
    Item {
        pubkey,
        created_at: until,
        t: [(&deletion.key, until)],
        i: EventId::parse(what).map(|id| [id]),
        a: address,
        v: what == "*",
    }
}
