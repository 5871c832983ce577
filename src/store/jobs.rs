//! What is known of one job, to be shown: what it was asked, and who answered when. No content is read, and no tag but what
//! says how an answer stands and what it costs.
//!
//! What is read is bounded, however many have answered: the newest of each sort.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PRIVATE, Param, Rows, Statement, StoreError, hex, hex_or_null, integer, is_id, vanish};
use crate::market::retention::Kept;
use crate::market::{JobProfile, State};
use crate::nostr::{EventId, PublicKey, kind};
use crate::trees::in_order;

/// Results that are read, feedbacks, and as many of each that are not for everybody.
const MAX_ANSWERS: usize = 50;
/// Deletion requests that name a job, of which its customer's is looked for.
const MAX_DELETIONS: usize = 100;
/// Characters of the value of a tag that are looked at: no status is longer, and no number.
const MAX_VALUE: usize = 24;

/// What a database knows of a job, in the rows that it leaves it in; [read](Self::read) where it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRows {
    /// Of the job.
    pub known: String,
    /// Of its answers.
    pub answers: Vec<String>,
    /// When its customer deleted the request, where another database has that.
    pub cancelled_ms: Option<u64>,
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFound {
    /// How far it has come.
    pub state: State,
    /// What its request says; none before that was seen, and when its customer has vanished.
    pub asked: Option<JobAsked>,
    /// Whether answers are for their parties alone, once its request was seen.
    pub encrypted: Option<bool>,
    /// When its request came, Unix milliseconds.
    pub asked_ms: Option<u64>,
    /// When the first feedback came that moves it.
    pub reported_ms: Option<u64>,
    /// When the first result came that moves it.
    pub answered_ms: Option<u64>,
    /// When its customer deleted the request, if the deletion is here.
    pub cancelled_ms: Option<u64>,
    /// Unix seconds until which its request is served, while that is here.
    pub until: Option<u64>,
    /// Whose result came first.
    pub first: Option<PublicKey>,
    /// Its answers, in the order they came.
    pub answers: Vec<JobAnswer>,
    /// Whether there are more answers.
    pub more: bool,
}

/// What a job's request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobAsked {
    /// Its kind.
    pub kind: u16,
    /// Who asks.
    pub customer: PublicKey,
    /// Who is asked; none is everybody.
    pub providers: Option<Vec<PublicKey>>,
    /// What is offered, in millisatoshis, while the request is here.
    pub bid_msats: Option<u64>,
}

/// An answer to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobAnswer {
    /// Of the event.
    pub id: EventId,
    /// Its kind.
    pub kind: u16,
    /// Its author.
    pub by: PublicKey,
    /// When it came, Unix milliseconds.
    pub at_ms: u64,
    /// What feedback says of the job, if NIP-90 knows it.
    pub status: Option<State>,
    /// What it asks for, in millisatoshis.
    pub amount_msats: Option<u64>,
    /// The state that it brings the job to; none when it moves nothing.
    pub moves: Option<State>,
    /// Whether it is for its parties alone.
    pub private: bool,
}

/// The value of the first tag called `name` of the event `e`, and what follows it: no string in JSON has an unescaped quote in
/// it, so what is looked for stands where a tag begins.
fn value(e: &str, name: &str) -> String {
    let begins = format!("[\"{name}\",\"");
    format!("substr({e}.tags, nullif(instr({e}.tags, '{begins}'), 0) + {}, {MAX_VALUE})", begins.len())
}

/// Whether a key has vanished, or did once.
fn vanished(key: &str) -> String {
    format!("EXISTS (SELECT 1 FROM deletions AS d WHERE d.key = {} || ' *')", hex(key))
}

/// When a key deleted the job ?1.
fn cancelled_ms(by: &str) -> String {
    format!(
        "(SELECT min(e.created_at * 1000 + e.delay_ms) FROM (SELECT t.seq FROM tags AS t \
           WHERE t.tag = unhex('6500' || ?1) AND t.shelf = {} ORDER BY t.created_at DESC LIMIT {MAX_DELETIONS}) AS n \
         CROSS JOIN events AS e ON e.seq = n.seq AND e.pubkey = {by})",
        kind::DELETION
    )
}

/// Asks what is known of a job at `now` (Unix seconds); decode with [`decode`].
pub fn find(job: &EventId, profile: &JobProfile, now: u64) -> Vec<Statement> {
    let [customer, providers, first] = ["j.customer", "j.providers", "j.first"].map(hex_or_null);
    let known = format!(
        "SELECT json_array(j.state, j.kind, {customer}, {providers}, j.encrypted, j.asked_ms, j.reported_ms, j.answered_ms, \
           {first}, {}, {}, e.created_at, e.expires_at, {}, iif(j.state = {}, {}, NULL)) AS r \
         FROM jobs AS j LEFT JOIN events AS e ON {} AND {} WHERE j.id = unhex(?1)",
        vanished("j.customer"),
        vanished("j.first"),
        value("e", "bid"),
        State::Cancelled.rank(),
        cancelled_ms("j.customer"),
        is_id("e", "j.id"),
        vanish::stays("e"),
    );
    // Of results those that answer its kind, once that is known: nothing else that names it stands before them.
    let result = |kind: u16| {
        let (offset, kind) = (profile.result_offset, kind + profile.result_offset);
        move |shelves: u32| {
            format!("(SELECT coalesce(kind + {offset}, {kind}) + {shelves} FROM jobs WHERE id = unhex(?1))")
        }
    };
    let (from, to) = (result(*profile.requests.start()), result(*profile.requests.end()));
    let feedback = |shelves: u32| (u32::from(profile.feedback) + shelves).to_string();
    let sorts = [0, PRIVATE]
        .into_iter()
        .flat_map(|shelves| [(from(shelves), to(shelves)), (feedback(shelves), feedback(shelves))]);
    let named = sorts.enumerate().map(|(sort, (from, to))| {
        format!(
            "SELECT * FROM (SELECT {sort} AS sort, t.seq FROM tags AS t WHERE t.tag = unhex('6500' || ?1) \
             AND t.shelf BETWEEN {from} AND {to} LIMIT {})",
            MAX_ANSWERS + 1
        )
    });
    let named: Vec<String> = named.collect();
    let [id, pubkey] = ["e.id", "e.pubkey"].map(hex);
    let answers = format!(
        "SELECT n.sort || ' ' || iif(e.seq IS NULL, '', json_array({id}, e.kind, {pubkey}, e.created_at, \
           e.created_at * 1000 + e.delay_ms, {}, {}, e.step, e.shelf >= {PRIVATE})) AS r \
         FROM ({}) AS n LEFT JOIN events AS e ON e.seq = n.seq AND e.job = unhex(?1) AND e.id <> e.job \
           AND (e.expires_at IS NULL OR e.expires_at > ?2) AND {}",
        value("e", "status"),
        value("e", "amount"),
        named.join(" UNION ALL "),
        vanish::stays("e"),
    );
    let id = || Param::Text(job.to_string().into());
    vec![Statement::new(known, vec![id()]), Statement::new(answers, vec![id(), integer(now)])]
}

/// When `customer` deleted a job, for databases that have not the job; decode with [`decode_cancelled`].
pub fn cancelled(job: &EventId, customer: &PublicKey) -> Statement {
    let sql = format!("SELECT r FROM (SELECT cast({} AS TEXT) AS r) WHERE r IS NOT NULL", cancelled_ms("unhex(?2)"));
    Statement::new(sql, vec![Param::Text(job.to_string().into()), Param::Text(customer.to_string().into())])
}

/// The answer to [`cancelled`].
pub fn decode_cancelled(rows: &Rows) -> Option<u64> {
    rows.first()?.first()?.parse().ok()
}

/// The answer to [`find`]; none when nothing is known of the job.
pub fn decode(mut rows: Rows) -> Result<Option<JobRows>, StoreError> {
    let [known, answers] = rows.as_mut_slice() else {
        return Err(StoreError::new("a job was answered with another number of results"));
    };
    Ok(known.pop().map(|known| JobRows { known, answers: std::mem::take(answers), cancelled_ms: None }))
}

/// A row, by its places.
struct Row(Vec<Value>);

impl Row {
    fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.0.get(at)?.as_u64()
    }

    fn text(&self, at: usize) -> Option<&str> {
        self.0.get(at)?.as_str()
    }

    fn kind(&self, at: usize) -> Option<u16> {
        self.number(at)?.try_into().ok()
    }

    fn key(&self, at: usize) -> Option<PublicKey> {
        PublicKey::parse(self.text(at)?)
    }

    fn state(&self, at: usize) -> Option<State> {
        State::ALL.get(usize::try_from(self.number(at)?).ok()?).copied()
    }

    fn is(&self, at: usize) -> bool {
        self.number(at) == Some(1)
    }

    fn msats(&self, at: usize) -> Option<u64> {
        let text = quoted(self.text(at)?);
        text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl JobRows {
    /// Who has cancelled it, where it is not known when.
    pub fn cancelled_by(&self) -> Option<PublicKey> {
        let row = Row::of(&self.known)?;
        let is_unknown = row.state(0)? == State::Cancelled && row.number(14).or(self.cancelled_ms).is_none();
        row.key(2).filter(|_| is_unknown)
    }

    /// What they say at `now` (Unix seconds), where events of jobs are `kept` for some time; nothing when they are no such rows.
    pub fn read(&self, kept: &Kept, now: u64) -> Option<JobFound> {
        let row = Row::of(&self.known)?;
        let (kind, created_at) = (row.kind(1), row.number(11));
        let until = created_at.and_then(|created_at| row.number(12).or_else(|| kept.until(kind?, created_at)));
        // While the request is here nobody has vanished who asked it.
        let is_named = !row.is(9) || created_at.is_some();
        let asked = kind.zip(row.key(2)).filter(|_| is_named).map(|(kind, customer)| JobAsked {
            kind,
            customer,
            providers: row.text(3).map(|all| each_key(all).collect()),
            bid_msats: row.msats(13).filter(|_| until.is_none_or(|until| until > now)),
        });
        let mut found = JobFound {
            state: row.state(0)?,
            asked,
            encrypted: row.number(4).map(|encrypted| encrypted == 1),
            asked_ms: row.number(5),
            reported_ms: row.number(6),
            answered_ms: row.number(7),
            cancelled_ms: row.number(14).or(self.cancelled_ms),
            until,
            first: row.key(8).filter(|_| !row.is(10)),
            answers: Vec::new(),
            more: false,
        };
        let mut counts = [0_usize; 4];
        for row in &self.answers {
            let (sort, answer) = row.split_once(' ')?;
            let count = counts.get_mut(sort.parse::<usize>().ok()?)?;
            *count += 1;
            if *count > MAX_ANSWERS {
                found.more = true;
            } else if !answer.is_empty() {
                let row = Row::of(answer)?;
                let (kind, created_at) = (row.kind(1)?, row.number(3)?);
                if kept.until(kind, created_at).is_none_or(|until| until > now) {
                    found.answers.push(JobAnswer {
                        id: row.key(0)?,
                        kind,
                        by: row.key(2)?,
                        at_ms: row.number(4)?,
                        status: row.text(5).map(quoted).and_then(State::of_status),
                        amount_msats: row.msats(6),
                        moves: row.state(7),
                        private: row.is(8),
                    });
                }
            }
        }
        found.answers = in_order(found.answers, |answer| answer.at_ms);
        Some(found)
    }
}

/// What stands before the next quote.
fn quoted(text: &str) -> &str {
    text.split('"').next().unwrap_or_default()
}

/// Keys that stand one after the other.
pub(super) fn each_key(all: &str) -> impl Iterator<Item = PublicKey> {
    all.as_bytes().chunks(64).filter_map(|key| PublicKey::parse(str::from_utf8(key).ok()?))
}
