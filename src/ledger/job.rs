//! A job as it is remembered, and what its events do to it.
//!
//! A job is remembered while some event of it is held, and as long as a result would be kept: so a late answer is held to
//! what was asked, and to who may read it. Its state only grows, so any order of arrival ends in the same one. What came
//! before the request and does not agree with it is no part of the job from then on.

use std::collections::BTreeMap;

use super::NewEvent;
use crate::market::{JobRole, Part, State};
use crate::nostr::PublicKey;

/// Feedback of one key that was not asked, that a job holds.
pub const MAX_UNASKED_FEEDBACK: u64 = 3;
/// Keys that were not asked and whose answers a job holds.
pub const MAX_UNASKED_KEYS: u64 = 20;
/// Answers that are held of one job whose request is not known.
pub const MAX_EARLY: u64 = 1000;

/// What is remembered of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// How many events of it are held.
    pub held: u64,
    /// Unix seconds until which it is remembered although nothing is held; 0 while the request has not been seen.
    pub until: u64,
    /// [`State::rank`].
    pub state: u8,
    /// What its request says, once that has been seen.
    pub asked: Option<Request>,
    /// Of keys that answer unasked, their feedbacks.
    pub unasked: BTreeMap<PublicKey, u64>,
    /// When the first feedback came, Unix milliseconds.
    pub reported_ms: Option<u64>,
    /// When the first result came, Unix milliseconds.
    pub answered_ms: Option<u64>,
    /// Whose result came first.
    pub first: Option<PublicKey>,
}

/// What a job's request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its kind.
    pub kind: u16,
    /// Who asks.
    pub customer: PublicKey,
    /// Who is asked; `None` is everybody.
    pub providers: Option<Vec<PublicKey>>,
    /// Whether answers are for their parties alone.
    pub encrypted: bool,
    /// When it came, Unix milliseconds.
    pub came_ms: u64,
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
    /// Its author was not asked and has given as much feedback as such a key may.
    Feedbacks,
    /// Its author was not asked, and as many such keys as may have answered.
    Keys,
}

impl Request {
    /// What an event says that asks.
    pub(super) fn of(new: &NewEvent, part: &Part) -> Self {
        Self {
            kind: new.event.kind,
            customer: new.event.pubkey,
            providers: (!part.providers.is_empty()).then(|| part.providers.clone()),
            encrypted: part.encrypted,
            came_ms: new.came_ms,
        }
    }

    /// Whether a key was not asked.
    pub(super) fn did_not_ask(&self, key: &PublicKey) -> bool {
        self.providers.as_ref().is_some_and(|asked| !asked.contains(key))
    }

    /// Whether an answer moves the job: its author was asked, and is not the customer who speaks of the work.
    pub(super) fn counts(&self, by: &PublicKey, is_result: bool) -> bool {
        !self.did_not_ask(by) && (is_result || self.customer != *by)
    }

    /// Whether an answer that says what it does of its request belongs to the job.
    pub(super) fn agrees(&self, by: &PublicKey, is_result: bool, names_customer: bool, kind: Option<u16>) -> bool {
        let by_customer = !is_result && *by == self.customer;
        by_customer
            || names_customer && kind.is_none_or(|kind| kind == self.kind) && !(self.encrypted && self.did_not_ask(by))
    }
}

impl Job {
    /// What keeps an answer out, if its job's request is known; while it is not, that there are enough.
    pub(super) fn disagrees(&self, by: &PublicKey, part: &Part) -> Option<Disagreement> {
        let Some(asked) = &self.asked else { return (self.held >= MAX_EARLY).then_some(Disagreement::Early) };
        let is_result = part.role == JobRole::Result;
        if !is_result && asked.customer == *by {
            None
        } else if asked.customer != part.customer {
            Some(Disagreement::Customer)
        } else if part.kind.is_some_and(|kind| kind != asked.kind) {
            Some(Disagreement::Kind)
        } else if !asked.did_not_ask(by) {
            None
        } else if asked.encrypted {
            Some(Disagreement::Provider)
        } else {
            match self.unasked.get(by) {
                Some(said) if !is_result && *said >= MAX_UNASKED_FEEDBACK => Some(Disagreement::Feedbacks),
                None if self.unasked.len() as u64 >= MAX_UNASKED_KEYS => Some(Disagreement::Keys),
                _ => None,
            }
        }
    }

    /// Whether its answers are for its parties alone.
    pub(super) fn is_encrypted(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.encrypted)
    }

    /// Its customer cancels it.
    pub(super) fn cancel(&mut self) {
        self.state = State::Cancelled.rank();
    }

    /// It comes to a state, unless it is further.
    pub(super) fn reach(&mut self, state: u8) {
        self.state = self.state.max(state);
    }

    /// Bytes of its lists in memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let providers = self.asked.as_ref().and_then(|asked| asked.providers.as_ref()).map_or(0, Vec::len);
        size_of::<Self>() + providers * size_of::<PublicKey>() + self.unasked.len() * 80
    }

    /// Nothing is held of it any more, and answers would not be kept either.
    pub(super) fn is_over(&self) -> bool {
        self.held == 0 && self.until == 0
    }

    /// Whether its customer has cancelled it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state >= State::Cancelled.rank()
    }
}

/// A job that a group moves.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// What it was before; none when nothing was known of it.
    pub before: Option<Job>,
    /// Whether the first feedback and the first result are of the group.
    reported: bool,
    answered: bool,
}

impl Moved {
    /// A job that is about to be moved.
    pub fn from(before: Option<&Job>) -> Self {
        Self { before: before.cloned(), reported: false, answered: false }
    }

    /// An answer that counts came at a time: a result of somebody's, or feedback.
    pub fn came(&mut self, job: &mut Job, at_ms: u64, result_of: Option<PublicKey>) {
        let (first_ms, is_of_group) = match result_of {
            Some(_) => (&mut job.answered_ms, &mut self.answered),
            None => (&mut job.reported_ms, &mut self.reported),
        };
        match first_ms {
            Some(first) if *is_of_group => *first = at_ms.min(*first),
            Some(_) => {}
            None => (*first_ms, *is_of_group) = (Some(at_ms), true),
        }
        job.first = job.first.or(result_of);
    }
}
