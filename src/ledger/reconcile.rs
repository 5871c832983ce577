//! What follows for answers that came before their job's request: those that do not agree with it are no part of the job,
//! those to an encrypted one are hidden, and the others are counted as if they came after it. One that would have to be
//! hidden and is too long for that stays as public as it came, and is no part of the job.

use std::collections::BTreeSet;

use super::decide::{Deciding, reader};
use super::facts::Answer;
use super::job::Request;
use super::{Change, Job};
use crate::nostr::{EventId, PublicKey};

impl Deciding {
    /// The request of a job is known from now on.
    pub(super) fn reconcile(&mut self, id: &EventId) {
        let answers = self.facts.answers.remove(id).unwrap_or_default();
        let Some(job) = self.facts.jobs.get_mut(id) else { return };
        let Some(asked) = job.asked.clone() else { return };
        (job.state, job.reported_ms, job.answered_ms, job.first) = Default::default();
        let mut dealt = Vec::new();
        let changes = &mut self.decision.changes;
        for answer in answers {
            let is_result = answer.kind.is_some();
            // The first key that it names is its customer, whichever of the two comes first.
            let names_customer = answer.names == Some(asked.customer);
            let hides = asked.encrypted && !answer.held.private;
            if !asked.agrees(&answer.held.pubkey, is_result, names_customer, answer.kind) || hides && answer.is_long {
                changes.left.insert(answer.held.seq);
                job.held = job.held.saturating_sub(1);
                continue;
            }
            if hides {
                let readers = parties(&answer, &asked).iter().map(reader).collect();
                self.decision.events.push(Change::Hidden(answer.held.seq));
                changes.hidden.push((answer.held.clone(), readers));
            }
            let Some(state) = answer.state else { continue };
            if asked.counts(&answer.held.pubkey, is_result) {
                count(job, &answer, state);
                dealt.push((answer, state));
            } else {
                changes.unmoving.insert(answer.held.seq);
            }
        }
        for (answer, state) in dealt {
            self.deal(&asked, &answer.held.pubkey, state, answer.kind.is_some(), answer.came_ms);
        }
    }
}

/// Counts an answer; they come in the order of their numbers.
fn count(job: &mut Job, answer: &Answer, state: u8) {
    job.reach(state);
    let is_result = answer.kind.is_some();
    let first_ms = if is_result { &mut job.answered_ms } else { &mut job.reported_ms };
    *first_ms = Some(first_ms.map_or(answer.came_ms, |first| first.min(answer.came_ms)));
    if is_result && job.first.is_none() {
        job.first = Some(answer.held.pubkey);
    }
}

/// Whom an answer to an encrypted job is for: its author and the customer, of the customer's own the key that it names.
fn parties(answer: &Answer, asked: &Request) -> BTreeSet<PublicKey> {
    let author = answer.held.pubkey;
    let named = answer.names.filter(|_| author == asked.customer);
    BTreeSet::from([author, named.unwrap_or(asked.customer)])
}
