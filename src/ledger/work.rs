//! What is to be done to a database, each sort with what has to be known for it and how it is decided.

use std::sync::Arc;

use super::decide::{Mode, decide};
use super::removal::{Swept, remove};
use super::restored::{restore_deletions, restore_jobs};
use super::{Decision, Facts, Needed, NewEvent, RememberedDeletion, RememberedJob};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Work {
    /// A group of events is taken.
    Events(Vec<Arc<NewEvent>>, Mode),
    /// Events are removed by number.
    Removal(Vec<u64>, Swept),
    /// Deletions are remembered.
    Deletions(Vec<RememberedDeletion>),
    /// Jobs are remembered.
    Jobs(Vec<RememberedJob>),
}

impl Work {
    /// What has to be known before it can be decided.
    pub fn needed(&self) -> Needed {
        match self {
            Self::Events(group, _) => Needed::by(group.iter().map(|new| &**new)),
            Self::Removal(seqs, _) => Needed::removing(seqs.iter().copied()),
            Self::Deletions(deletions) => Needed::by_deletions(deletions),
            Self::Jobs(jobs) => Needed::by_jobs(jobs),
        }
    }

    /// What it does, of a database whose last event has the number `last_seq`; `facts` are all that is
    /// [needed](Self::needed).
    pub fn decide(&self, last_seq: u64, facts: Facts) -> Decision {
        match self {
            Self::Events(group, mode) => decide(group, *mode, last_seq, facts),
            Self::Removal(_, swept) => remove(swept.clone(), facts),
            Self::Deletions(deletions) => restore_deletions(deletions, facts),
            Self::Jobs(jobs) => restore_jobs(jobs, facts),
        }
    }
}
