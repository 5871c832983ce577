//! What follows when events are removed that may no longer be kept: they have expired (NIP-40, retention), or their authors
//! vanish (NIP-62). A job that loses its request unanswered has expired, and one whose customer vanishes is not remembered.

use super::decide::Deciding;
use super::job::Moved;
use super::{Decision, Facts, Mode, Needed};
use crate::market::State;
use crate::nostr::PublicKey;
use crate::trees::Gather;

/// What a step of a sweep does besides removing events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Unix seconds up to which jobs need not be remembered of which nothing is held; 0 when there are none.
    pub forget: u64,
    /// Keys that are done with vanishing, each with the time it vanished at.
    pub vanished: Vec<(PublicKey, u64)>,
    /// Keys of which nothing is left on the shelves before one, each with the time it vanished at.
    pub walked: Vec<(PublicKey, u64, u64)>,
}

impl Swept {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.forget == 0 && self.vanished.is_empty() && self.walked.is_empty()
    }
}

impl Needed {
    /// What has to be known to remove events by number.
    pub(super) fn removing(seqs: impl IntoIterator<Item = u64>) -> Self {
        Self { seqs: seqs.into_iter().gather(), is_likely: true, ..Self::default() }
    }
}

/// Removes the events that were asked for by number.
pub(super) fn remove(swept: Swept, facts: Facts) -> Decision {
    let mut deciding = Deciding::new(facts, Mode::New);
    for held in deciding.facts.events.values().cloned().collect::<Vec<_>>() {
        if held.job == Some(held.id)
            && let Some(job) = deciding.facts.jobs.get_mut(&held.id)
        {
            deciding.moved.entry(held.id).or_insert_with(|| Moved::from(Some(&*job)));
            job.reach(State::Expired.rank());
            if deciding.facts.vanishing.contains(&held.pubkey) {
                // Nothing is noted of who has asked.
                job.cancel();
                job.until = 0;
            }
        }
        deciding.remove(&held);
    }
    deciding.decision.changes.swept = swept;
    deciding.finish()
}
