//! What a group of events does: which of them are stored, and what follows for deletions, jobs, providers and counts.
//!
//! Owns the decision. It is made of what the database knows that concerns the group ([`Facts`]) and says which rows change
//! ([`Changes`]); a write that finds the log where the facts were read makes exactly these changes, or none. Knows no SQL,
//! reads no clock, and does no IO.

mod counted;
mod dealt;
mod decide;
mod delete;
pub mod deletion;
mod facts;
mod job;
mod memory;
mod reconcile;
mod removal;
mod restored;
pub mod tag_key;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use dealt::ACTIVE_SLOT;
pub use decide::{Changes, Decision, Fresh, Mode, RATED, READER, reader};
pub use facts::{Answer, Facts, Held, Needed, Place, Provider, Served};
pub use job::{Disagreement, Job, MAX_EARLY, MAX_UNASKED_FEEDBACK, MAX_UNASKED_KEYS, Request};
pub use memory::{Assumed, Memory};
pub use removal::Swept;
pub use restored::{Remembered, RememberedDeletion, RememberedJob};
pub use work::Work;

use crate::market::{JobRole, Part};
use crate::moderation::Act;
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, PublicKey, Signature, Tag, kind};

/// Bytes an event takes in memory besides its text and fields.
const LISTED: usize = 850;

/// An event on its way into the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Told")]
pub struct NewEvent {
    /// Verified.
    pub event: Event,
    /// Its canonical text, which is kept and sent to clients; who is told of the event makes it again.
    #[serde(skip_serializing)]
    pub text: Arc<str>,
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
    /// It is stored in another partition, and this one has a tombstone of it: here it deletes what it deletes, and no more.
    /// A partition is never sent a request in both ways at once.
    pub is_elsewhere: bool,
    /// It is no client's: it does what the operator has done, and leaves no event.
    pub act: Option<Arc<Act>>,
}

/// A [`NewEvent`] as it is told: without its text.
#[derive(Deserialize)]
struct Told {
    event: Event,
    came_ms: u64,
    expires_at: Option<u64>,
    deletes: Vec<Target>,
    part: Option<Part>,
    remember_until: u64,
    is_elsewhere: bool,
    act: Option<Arc<Act>>,
}

impl From<Told> for NewEvent {
    fn from(told: Told) -> Self {
        let Told { event, came_ms, expires_at, deletes, part, remember_until, is_elsewhere, act } = told;
        let text = event.to_json().into();
        Self { text, event, came_ms, expires_at, deletes, part, remember_until, is_elsewhere, act }
    }
}

impl NewEvent {
    /// Bytes it takes in memory at most: the text, the event it was parsed into, what a string takes besides its
    /// characters for each two quotes, and the lists it is in.
    pub fn memory_bytes(&self) -> usize {
        let quotes = self.text.bytes().filter(|byte| *byte == b'"').count();
        LISTED + 2 * self.text.len() + 20 * quotes + self.deletes.len() * size_of::<Target>()
    }

    /// Whether it asks that everything of its author goes (NIP-62).
    pub fn vanishes(&self) -> bool {
        self.deletes.contains(&Target::Everything)
    }

    /// Its tombstone, for each partition that has events of jobs alone; none when it deletes none of these, and itself where
    /// it is an act, which all of them do. What has an address is no event of a job. It has nothing but what it deletes, as it
    /// goes to many.
    pub fn tombstone(&self) -> Option<Self> {
        if self.act.is_some() {
            return Some(self.clone());
        }
        let of_jobs = |target: &&Target| !matches!(target, Target::Address { .. });
        let deletes: Vec<Target> = self.deletes.iter().filter(of_jobs).cloned().collect();
        if deletes.is_empty() {
            return None;
        }
        let tag = |target: &Target| match target {
            Target::Event(id) => Tag::new(["e".to_owned(), id.to_string()]),
            Target::Address { .. } | Target::Everything => None,
        };
        let tags = deletes.iter().filter_map(tag).collect();
        let Event { id, pubkey, created_at, kind, sig, .. } = self.event;
        let event = Event { id, pubkey, created_at, kind, tags, content: String::new(), sig };
        Some(Self {
            text: event.to_json().into(),
            event,
            came_ms: self.came_ms,
            expires_at: self.expires_at,
            deletes,
            part: None,
            remember_until: self.remember_until,
            is_elsewhere: true,
            act: None,
        })
    }

    /// What the operator has done: `id` names it, and `removes` is what goes, of one key or, of an event, whosever it is; of
    /// a key also what is dated up to so many seconds ahead.
    pub fn of_act(
        id: EventId,
        act: Act,
        removes: Option<(Option<PublicKey>, Target)>,
        (now_ms, ahead): (u64, u64),
    ) -> Self {
        let (author, deletes) = match removes {
            Some((author, target)) => (author.unwrap_or(act.by), vec![target]),
            None => (act.by, Vec::new()),
        };
        // No deletion keeps a request to vanish out.
        let (kind, sig) = (kind::VANISH, Signature::new([0; 64]));
        let (created_at, tags, content) = (now_ms / 1000 + ahead, Vec::new(), String::new());
        let event = Event { id, pubkey: author, created_at, kind, tags, content, sig };
        Self {
            text: event.to_json().into(),
            event,
            came_ms: now_ms,
            expires_at: None,
            deletes,
            part: None,
            remember_until: 0,
            is_elsewhere: true,
            act: Some(Arc::new(act)),
        }
    }

    /// The place of which its author has one event: by its `d` tag, or as the result of a job.
    pub fn place(&self) -> Option<Place> {
        let key = match &self.part {
            Some(part) if part.role == JobRole::Result => tag_key::of(b'e', &part.job.to_string()),
            _ => deletion::place_of(self.event.replacement_key()?),
        };
        Some((self.event.pubkey, self.event.kind, key))
    }
}

/// What becomes of an event of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the database.
    Stored {
        /// Its number.
        seq: u64,
        /// Whether it is for its readers alone.
        private: bool,
        /// Whether it is a job request, and no answer to it was stored before its group.
        first: bool,
    },
    /// It is stored in another partition, and what it deletes is not here any more.
    Elsewhere,
    /// A newer event has its place; of results, another one of the same provider.
    Superseded,
    /// Its author has deleted it, before or after it came.
    Deleted,
    /// It answers a job whose customer has cancelled it.
    Cancelled,
    /// It does not agree with the job request it answers.
    Disagrees(Disagreement),
    /// It concerns more than can be looked at at once.
    TooMuch,
}

/// What a transaction does to an event that was stored before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The event of this number is not stored any more.
    Removed(u64),
    /// The event of this number is for its parties alone from now on.
    Hidden(u64),
}

/// What a key says of a provider in a namespace (NIP-32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Of whom.
    pub provider: PublicKey,
    /// Who says it.
    pub voter: PublicKey,
    /// The namespace.
    pub namespace: String,
    /// What.
    pub labels: BTreeSet<String>,
    /// Of the event that says so: Unix seconds.
    pub created_at: u64,
    /// Its id.
    pub id: EventId,
    /// Its number.
    pub seq: u64,
    /// Unix seconds from which on it is not served.
    pub expires_at: Option<u64>,
}
