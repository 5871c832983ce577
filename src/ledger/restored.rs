//! What an export remembers besides its events: deletions that keep events out, and jobs whose requests may be gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decide::Deciding;
use super::job::{Moved, Request};
use super::{Decision, Facts, Mode, Needed, Place, deletion, tag_key};
use crate::market::{JobProfile, State};
use crate::nostr::deletion::Target;
use crate::nostr::{EventId, MAX_INTEGER, PublicKey};

/// A line of an export that is no event: `{"deletion": …}` or `{"job": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remembered {
    /// What may not come back.
    Deletion(RememberedDeletion),
    /// A job that was asked.
    Job(RememberedJob),
}

/// A deletion that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedDeletion {
    /// `PUBKEY ID`, `PUBKEY KIND:D`, `PUBKEY *` or `PUBKEY result JOB`; see [`deletion`](super::deletion).
    pub key: String,
    /// The `created_at` up to which it reaches.
    pub until: u64,
}

/// What is known of a job by its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedJob {
    /// Id of the request.
    pub id: EventId,
    /// Unix seconds until which it is remembered.
    pub until: u64,
    /// How far it has come: [`State::rank`].
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

/// What a deletion's key says that is deleted.
enum Deleted {
    Event(PublicKey, EventId),
    At(Place),
    Everything(PublicKey),
}

impl RememberedDeletion {
    /// What it deletes; none if its key only keeps out what may come.
    fn deleted(&self) -> Option<Deleted> {
        let (author, what) = self.key.split_once(' ')?;
        let author = PublicKey::parse(author)?;
        if what == "*" {
            return Some(Deleted::Everything(author));
        }
        if let Some(id) = EventId::parse(what) {
            return Some(Deleted::Event(author, id));
        }
        let (kind, place) = what.split_once(':')?;
        Some(Deleted::At((author, kind.parse().ok()?, tag_key::of_text(place)?)))
    }
}

impl Needed {
    /// What has to be known before deletions are remembered.
    pub(super) fn by_deletions<'a>(deletions: impl IntoIterator<Item = &'a RememberedDeletion>) -> Self {
        let mut needed = Self { is_likely: true, ..Self::default() };
        for deletion in deletions {
            needed.deletions.insert(deletion.key.clone());
            match deletion.deleted() {
                Some(Deleted::Event(author, id)) => needed.deleted(Some(&author), id),
                Some(Deleted::At(place)) => needed.place(place, deletion.until),
                Some(Deleted::Everything(_)) | None => {}
            }
        }
        needed
    }

    /// What has to be known before jobs are remembered.
    pub(super) fn by_jobs<'a>(jobs: impl IntoIterator<Item = &'a RememberedJob>) -> Self {
        let mut needed = Self { is_likely: true, ..Self::default() };
        for job in jobs {
            needed.jobs.insert(job.id);
            // No deletion keeps it out.
            needed.requests.insert((job.id, job.customer, u64::MAX));
            needed.deletions.insert(deletion::key_of(&job.customer, &Target::Everything));
        }
        needed
    }
}

/// Remembers deletions, and removes what they keep out but for what vanishing keys have left: that is swept.
pub(super) fn restore_deletions(deletions: &[RememberedDeletion], facts: Facts) -> Decision {
    let mut deciding = Deciding::new(facts, Mode::Restored);
    for deletion in deletions {
        let until = deletion.until.min(MAX_INTEGER);
        deciding.remember_key(deletion.key.clone(), until);
        match deletion.deleted() {
            Some(Deleted::Event(author, id)) => deciding.delete_event(Some(&author), &id),
            Some(Deleted::At(place)) => deciding.delete_at(&place, until),
            Some(Deleted::Everything(author)) => deciding.vanish(author, until),
            None => {}
        }
    }
    deciding.finish()
}

/// Remembers jobs. Answers that are there already become theirs; a job whose request is known stays as it is.
pub(super) fn restore_jobs(jobs: &[RememberedJob], facts: Facts) -> Decision {
    let mut deciding = Deciding::new(facts, Mode::Restored);
    jobs.iter().for_each(|job| deciding.remember_job(job));
    deciding.finish()
}

impl Deciding {
    fn remember_job(&mut self, remembered: &RememberedJob) {
        let id = remembered.id;
        let before = self.facts.jobs.get(&id).cloned();
        if before.as_ref().is_some_and(|job| job.asked.is_some()) {
            return;
        }
        self.moved.entry(id).or_insert_with(|| Moved::from(before.as_ref()));
        let job = self.facts.jobs.entry(id).or_default();
        // 0 is for one whose request was never seen.
        job.until = remembered.until.max(1);
        job.unasked.clone_from(&remembered.unasked);
        job.asked = Some(Request {
            kind: remembered.kind,
            customer: remembered.customer,
            providers: remembered.providers.clone(),
            encrypted: remembered.encrypted,
            came_ms: remembered.asked_ms,
        });
        self.decision.changes.jobs.insert(id, None);
        self.reconcile(&id);
        if let Some(job) = self.facts.jobs.get_mut(&id) {
            job.reach(remembered.state);
        }
    }
}
