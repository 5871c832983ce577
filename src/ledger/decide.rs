//! The decision over a group. Its events are taken as if they came one by one, in this order: requests to vanish, deletion
//! requests, then what answers no job, newest first but for job requests, then answers in the order they came.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dealt::Dealt;
use super::facts::{Facts, Held, Place, Provider, Served, keys_of};
use super::job::{Job, Moved, Request};
use super::{Change, NewEvent, Outcome, Swept, Vote, counted, deletion, tag_key};
use crate::market::dealing::Dealing;
use crate::market::{JobRole, Part, State, privacy, reputation};
use crate::moderation::{Act, Rulings};
use crate::nostr::{EventId, MAX_INTEGER, PublicKey, kind};
use crate::trees::Gather;

/// Letter of the index keys that a private event has for its readers.
pub const READER: u8 = b'>';
/// Letter of the index keys that a label (NIP-32) has for the authors of the results it is about.
pub const RATED: u8 = b'@';

/// An event that is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Fresh {
    /// Its number.
    pub seq: u64,
    /// The event.
    pub new: Arc<NewEvent>,
    /// Index keys that it has besides those of its tags.
    pub extra: Vec<String>,
    /// What there is one of per author and kind: the index key of the `d` tag of replaceable and addressable events, that
    /// of the job of a result.
    pub place: Option<String>,
    /// Whether it is for its readers alone.
    pub private: bool,
    /// The job it belongs to.
    pub job: Option<EventId>,
    /// The state it brings the job to; `None` when it moves nothing.
    pub state: Option<u8>,
    /// Of a result: the kind of request it answers.
    pub asked: Option<u16>,
}

/// Which rows change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Events that go, with their tags and the votes they are.
    pub removed: Vec<Held>,
    /// Events that come, in the order of their numbers.
    pub fresh: Vec<Fresh>,
    /// Answers that are no part of a job any more.
    pub left: BTreeSet<u64>,
    /// Answers that move nothing any more.
    pub unmoving: BTreeSet<u64>,
    /// Answers that are for some readers alone from now on, with these readers' index keys.
    pub hidden: Vec<(Held, Vec<String>)>,
    /// Jobs as they are now; `None` is forgotten.
    pub jobs: BTreeMap<EventId, Option<Job>>,
    /// Providers as they are now.
    pub providers: BTreeMap<PublicKey, Provider>,
    /// Those of them who are active in a later slot than was known.
    pub active: BTreeSet<PublicKey>,
    /// What customers had of providers, as it is now.
    pub dealings: BTreeMap<(PublicKey, PublicKey), Dealing>,
    /// Customers of whom all dealings are known from now on.
    pub known: BTreeSet<PublicKey>,
    /// How well the customers of these dealings are known now. Their rows say it together: no row is for this alone.
    pub served: BTreeMap<PublicKey, Served>,
    /// Votes, each unless there is a newer one.
    pub votes: Vec<Vote>,
    /// Deletions to remember, each up to which `created_at` it reaches.
    pub deletions: BTreeMap<String, u64>,
    /// Keys that vanish, each up to when; what is known of them besides their events goes.
    pub vanishing: BTreeMap<PublicKey, u64>,
    /// What is counted: a key, the one that is used where there is no room for it, and what is added.
    pub counts: Vec<(String, String, i64)>,
    /// The latest time (Unix seconds) until which an answer may be held whose request is not known.
    pub early: u64,
    /// What the operator has done: each by the id that names it, and when (Unix seconds).
    pub acts: Vec<(EventId, u64, Arc<Act>)>,
    /// What is done with vanishing keys, and the time (Unix seconds) up to which jobs of which nothing is held are
    /// forgotten.
    pub swept: Swept,
}

impl Fresh {
    /// All its index keys, each once, in their order.
    pub fn keys(&self) -> Vec<String> {
        keys_of(&self.new.event.tags, &self.extra)
    }
}

impl Changes {
    /// Whether no row changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is decided of a group.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What becomes of each event.
    pub outcomes: BTreeMap<EventId, Outcome>,
    /// Jobs that are cancelled, each with one who had answered it.
    pub cancelled: Vec<(EventId, PublicKey)>,
    /// What happens to other events.
    pub events: Vec<Change>,
    /// What is stored in other partitions and was carried out here.
    pub elsewhere: Vec<Arc<NewEvent>>,
    /// The rows.
    pub changes: Changes,
}

/// How a group is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As clients send it.
    New,
    /// As an export has it, taken once already here or by another relay of the operator's: what limits the answers to a
    /// job keeps none out, and one that does not agree with its job is stored as no part of it.
    Restored,
}

/// Decides what `group` does, whose events have the numbers after `last_seq`; `facts` are all that is
/// [`Needed`](super::Needed).
pub(super) fn decide(group: &[Arc<NewEvent>], mode: Mode, last_seq: u64, facts: Facts) -> Decision {
    let mut deciding = Deciding::new(facts, mode);
    let is_answer = |new: &NewEvent| new.part.as_ref().is_some_and(Part::is_answer);
    deciding.delete_what_is_asked(group);
    let numbered = || (last_seq + 1..).zip(group.iter().filter(|new| !new.is_elsewhere));
    let mut others: Vec<(u64, &Arc<NewEvent>)> = numbered().filter(|(_, new)| !is_answer(new)).collect();
    // Of versions of one event the newest comes first, and of those of one second the lowest id.
    others.sort_by_key(|(seq, new)| match new.part {
        Some(_) => (false, Reverse(0), *seq, new.event.id),
        None => (true, Reverse(new.event.created_at), 0, new.event.id),
    });
    for (seq, new) in others {
        deciding.take_other(seq, new);
    }
    for (seq, new) in numbered().filter(|(_, new)| is_answer(new)) {
        deciding.take_answer(seq, new);
    }
    deciding.finish()
}

/// A decision that is being made.
pub(super) struct Deciding {
    pub facts: Facts,
    mode: Mode,
    pub decision: Decision,
    /// Jobs that are moved.
    pub moved: BTreeMap<EventId, Moved>,
    /// What answers say of their authors.
    pub dealt: BTreeMap<PublicKey, Dealt>,
    /// What the operator rules with this group; what was ruled before is in no group any more.
    pub ruled: Rulings,
}

impl Deciding {
    pub fn new(facts: Facts, mode: Mode) -> Self {
        let (decision, moved, dealt, ruled) = Default::default();
        Self { facts, mode, decision, moved, dealt, ruled }
    }

    /// The rows and what is told of them.
    pub fn finish(mut self) -> Decision {
        for (id, moved) in std::mem::take(&mut self.moved) {
            if let Some(job) = self.facts.jobs.get(&id) {
                counted::moved(moved.before.as_ref(), job, &mut self.decision.changes.counts);
            }
        }
        self.settle_dealings();
        let Decision { changes, .. } = &mut self.decision;
        for (id, job) in &mut changes.jobs {
            *job = self.facts.jobs.remove(id).filter(|job| !job.is_over());
        }
        changes.fresh.sort_by_key(|fresh| fresh.seq);
        counted::stored(&changes.fresh, &mut changes.counts);
        self.decision
    }

    pub(super) fn at(&self, place: &Place) -> Option<&Held> {
        self.facts.events.get(self.facts.places.get(place)?)
    }

    pub(super) fn remove(&mut self, held: &Held) {
        self.facts.events.remove(&held.id);
        if let Some(place) = &held.place {
            self.facts.places.remove(&(held.pubkey, held.kind, place.clone()));
        }
        self.decision.changes.removed.push(held.clone());
        self.decision.events.push(Change::Removed(held.seq));
        let Some(id) = held.job else { return };
        if let Some(answers) = self.facts.answers.get_mut(&id) {
            answers.retain(|answer| answer.held.seq != held.seq);
        }
        if let Some(job) = self.facts.jobs.get_mut(&id) {
            job.held = job.held.saturating_sub(1);
            self.decision.changes.jobs.insert(id, None);
        }
    }

    /// Says what becomes of an event that is here already or is kept out; none when it is to be looked at.
    fn is_settled(&mut self, new: &NewEvent) -> bool {
        let id = new.event.id;
        let outcome = if self.is_blocked(new) {
            Outcome::Deleted
        } else if let Some(held) = self.facts.events.get(&id) {
            Outcome::Stored { seq: held.seq, private: held.private, first: false }
        } else {
            return false;
        };
        self.decision.outcomes.insert(id, outcome);
        true
    }

    /// Takes an event that answers no job.
    fn take_other(&mut self, seq: u64, new: &Arc<NewEvent>) {
        if self.is_settled(new) {
            return;
        }
        let event = &new.event;
        let place = new.place();
        if let Some(held) = place.as_ref().and_then(|place| self.at(place)).cloned() {
            if (held.created_at, Reverse(held.id)) > (event.created_at, Reverse(event.id)) {
                self.decision.outcomes.insert(event.id, Outcome::Superseded);
                return;
            }
            self.remove(&held);
        }
        let readers = privacy::readers(event, new.part.as_ref(), false);
        let mut extra = reader_keys(readers.as_ref());
        if event.kind == kind::LABEL && !reputation::said(event).is_empty() {
            let rated = event.tag_values("e").filter_map(EventId::parse).filter_map(|id| self.facts.events.get(&id));
            extra.extend(rated.filter(|held| held.is_result).map(|held| tag_key::of(RATED, &held.pubkey.to_string())));
            self.vote(seq, new, &keys_of(&event.tags, &extra));
        }
        let first = new.part.as_ref().is_some_and(|part| self.request(new, part));
        let fresh = Fresh {
            seq,
            new: new.clone(),
            extra,
            place: None,
            private: readers.is_some(),
            job: new.part.as_ref().map(|part| part.job),
            state: new.part.as_ref().and_then(|part| part.state).map(|state| state.rank()),
            asked: None,
        };
        self.insert(fresh, place, first);
    }

    /// Opens a job; says whether nothing was known of it.
    fn request(&mut self, new: &NewEvent, part: &Part) -> bool {
        let before = self.facts.jobs.get(&part.job).cloned();
        let is_late = before.as_ref().is_some_and(|job| job.asked.is_none());
        let is_first = before.is_none();
        self.moved.entry(part.job).or_insert_with(|| Moved::from(before.as_ref()));
        let job = self.facts.jobs.entry(part.job).or_default();
        job.held += 1;
        job.until = new.remember_until;
        if job.is_cancelled() {
            // Not by its customer, who keeps it out: the operator has banned it, and let it in again.
            job.state = State::Open.rank();
        }
        job.asked = Some(Request::of(new, part));
        self.decision.changes.jobs.insert(part.job, None);
        if is_late {
            self.reconcile(&part.job);
        }
        is_first
    }

    /// Takes an answer to a job.
    fn take_answer(&mut self, seq: u64, new: &Arc<NewEvent>) {
        let Some(part) = new.part.as_ref().filter(|_| !self.is_settled(new)) else { return };
        let author = new.event.pubkey;
        let is_result = part.role == JobRole::Result;
        let mut job = self.facts.jobs.get(&part.job);
        let mut part_of_job = true;
        match self.mode {
            Mode::New => {
                let cancelled = deletion::of_event(&part.customer, &part.job);
                let refused = match job.and_then(|job| job.disagrees(&author, part)) {
                    Some(disagreement) => Some(Outcome::Disagrees(disagreement)),
                    None if is_result && self.facts.deletions.contains_key(&cancelled) => Some(Outcome::Cancelled),
                    None => None,
                };
                if let Some(outcome) = refused {
                    self.decision.outcomes.insert(new.event.id, outcome);
                    return;
                }
            }
            Mode::Restored => {
                let agrees = |job: &&Job| {
                    job.asked.as_ref().is_none_or(|asked| {
                        asked.agrees(&author, is_result, asked.customer == part.customer, part.kind)
                    })
                };
                part_of_job = job.as_ref().is_none_or(agrees);
                job = job.filter(agrees);
            }
        }
        let place = new.place();
        if place.as_ref().is_some_and(|place| self.facts.places.contains_key(place)) {
            self.decision.outcomes.insert(new.event.id, Outcome::Superseded);
            return;
        }
        let readers = privacy::readers(&new.event, new.part.as_ref(), job.is_some_and(Job::is_encrypted));
        let counts = job.and_then(|job| job.asked.as_ref()).is_none_or(|asked| asked.counts(&author, is_result));
        let fresh = Fresh {
            seq,
            new: new.clone(),
            extra: reader_keys(readers.as_ref()),
            place: None,
            private: readers.is_some(),
            job: part_of_job.then_some(part.job),
            state: part.state.map(|state| state.rank()).filter(|_| part_of_job && counts),
            asked: part.kind.filter(|_| part_of_job && is_result),
        };
        if part_of_job {
            self.move_job(&fresh, part);
        }
        self.insert(fresh, place, false);
    }

    /// An answer is a part of its job from now on.
    fn move_job(&mut self, fresh: &Fresh, part: &Part) {
        let (author, is_result) = (fresh.new.event.pubkey, part.role == JobRole::Result);
        let before = self.facts.jobs.get(&part.job);
        let moved = self.moved.entry(part.job).or_insert_with(|| Moved::from(before));
        let job = self.facts.jobs.entry(part.job).or_default();
        job.held += 1;
        if let Some(asked) = &job.asked
            && asked.did_not_ask(&author)
            && (is_result || asked.customer != author)
            && self.mode == Mode::New
        {
            *job.unasked.entry(author).or_default() += u64::from(!is_result);
        }
        if let Some(state) = fresh.state {
            job.reach(state);
            moved.came(job, fresh.new.came_ms, is_result.then_some(author));
        }
        self.decision.changes.jobs.insert(part.job, None);
        if job.asked.is_none() {
            let until = fresh.new.expires_at.unwrap_or(MAX_INTEGER);
            self.decision.changes.early = self.decision.changes.early.max(until);
        }
        if let (Some(asked), Some(state), false) = (job.asked.clone(), fresh.state, job.is_cancelled()) {
            self.deal(&asked, &author, state, is_result, fresh.new.came_ms);
        }
    }

    /// Stores an event.
    fn insert(&mut self, mut fresh: Fresh, place: Option<Place>, first: bool) {
        let event = &fresh.new.event;
        let held = Held {
            seq: fresh.seq,
            id: event.id,
            pubkey: event.pubkey,
            kind: event.kind,
            created_at: event.created_at,
            private: fresh.private,
            job: fresh.job,
            is_result: fresh.asked.is_some(),
            place: place.as_ref().map(|(.., key)| key.clone()),
            // Nothing of a group is removed by it.
            tags: Vec::new(),
            extra: Vec::new(),
        };
        let outcome = Outcome::Stored { seq: fresh.seq, private: fresh.private, first };
        self.decision.outcomes.insert(event.id, outcome);
        self.facts.events.insert(event.id, held);
        if let Some(place) = place {
            fresh.place = Some(place.2.clone());
            self.facts.places.insert(place, event.id);
        }
        self.decision.changes.fresh.push(fresh);
    }

    /// Takes what a label says of others (NIP-32).
    fn vote(&mut self, seq: u64, new: &NewEvent, keys: &[String]) {
        let author = new.event.pubkey;
        let named =
            |letter: u8| keys.iter().filter_map(move |key| tag_key::public_key(letter, key)).collect::<Vec<_>>();
        let mut about = BTreeSet::new();
        let mut targets: Vec<PublicKey> = named(RATED).into_iter().chain(named(b'p')).collect();
        targets.retain(|key| *key != author && about.insert(*key));
        targets.truncate(reputation::MAX_TARGETS);
        for provider in targets {
            for (namespace, labels) in reputation::said(&new.event) {
                self.decision.changes.votes.push(Vote {
                    provider,
                    voter: author,
                    namespace: namespace.to_owned(),
                    labels: labels.into_iter().map(str::to_owned).gather(),
                    created_at: new.event.created_at,
                    id: new.event.id,
                    seq,
                    expires_at: new.expires_at,
                });
            }
        }
    }
}

/// The index keys that a private event has for its readers.
fn reader_keys(readers: Option<&privacy::Readers>) -> Vec<String> {
    readers.into_iter().flatten().map(reader).collect()
}

/// The index key that a private event has for one who may read it.
pub fn reader(reader: &PublicKey) -> String {
    tag_key::of(READER, &reader.to_string())
}
