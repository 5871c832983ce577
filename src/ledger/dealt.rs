//! Who has worked for whom, and what providers have done together.
//!
//! A dealing is noted from the first result or error on. A customer is known when it has had results of [`KNOWN_AT`]
//! providers: then all its dealings say so, those to come from their beginning. What somebody asks himself says nothing.

use super::decide::Deciding;
use super::deletion;
use super::job::Request;
use crate::market::State;
use crate::market::dealing::{Dealing, HALF_SPEED_MS, KNOWN_AT, SPEED_MAX};
use crate::nostr::PublicKey;
use crate::nostr::deletion::Target;
use crate::trees::Gather;

/// Seconds of one unit of [`Provider::active`].
pub const ACTIVE_SLOT: u64 = 300;
/// The same in milliseconds.
const SLOT_MS: u64 = 1000 * ACTIVE_SLOT;

/// What the answers of a group say of one provider.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dealt {
    results: u64,
    errors: u64,
    /// When the last one came, Unix milliseconds.
    came_ms: u64,
}

impl Deciding {
    /// An answer that counts brings a job to a state.
    pub(super) fn deal(&mut self, asked: &Request, author: &PublicKey, state: u8, is_result: bool, came_ms: u64) {
        if *author == asked.customer || self.has_vanished(&asked.customer) {
            return;
        }
        let is_error = state == State::Error.rank();
        let dealt = self.dealt.entry(*author).or_default();
        dealt.results += u64::from(is_result);
        dealt.errors += u64::from(is_error);
        dealt.came_ms = dealt.came_ms.max(came_ms);
        if !is_result && !is_error {
            return;
        }
        let served = self.facts.served.entry(asked.customer).or_default();
        let pair = (asked.customer, *author);
        let dealing = self.facts.dealings.entry(pair).or_insert(Dealing { known: served.known, ..Dealing::default() });
        dealing.results += u64::from(is_result);
        dealing.errors += u64::from(is_error);
        if is_result {
            dealing.speed += SPEED_MAX * HALF_SPEED_MS / (HALF_SPEED_MS + came_ms.saturating_sub(asked.came_ms));
            served.by.insert(*author);
        }
        self.decision.changes.dealings.insert(pair, *dealing);
    }

    /// Whether the customer has ever vanished: nothing is noted of him any more. What he asked before may come after that,
    /// as may its answers.
    fn has_vanished(&self, customer: &PublicKey) -> bool {
        self.facts.deletions.contains_key(&deletion::key_of(customer, &Target::Everything))
    }

    /// Notes what was dealt.
    pub(super) fn settle_dealings(&mut self) {
        for (key, dealt) in std::mem::take(&mut self.dealt) {
            let (slot, seen) = (dealt.came_ms / SLOT_MS, dealt.came_ms / 1000);
            let known = self.facts.providers.get(&key).copied();
            let is_later = known.is_none_or(|known| known.active < slot);
            // A row is only written when it has something to say.
            if is_later || dealt.results > 0 || dealt.errors > 0 {
                let provider = self.facts.providers.entry(key).or_default();
                provider.results += dealt.results;
                provider.errors += dealt.errors;
                provider.seen = provider.seen.max(seen);
                provider.active = provider.active.max(slot);
                self.decision.changes.providers.insert(key, *provider);
            }
            if is_later {
                self.decision.changes.active.insert(key);
            }
        }
        let Self { facts, decision, .. } = self;
        let customers = decision.changes.dealings.keys().map(|(customer, _)| *customer);
        let known = customers.filter(|customer| {
            facts.served.get(customer).is_some_and(|served| !served.known && served.by.len() as u64 >= KNOWN_AT)
        });
        decision.changes.known = known.gather();
        for (customer, _) in decision.changes.dealings.keys() {
            if let Some(served) = facts.served.get_mut(customer) {
                served.known |= decision.changes.known.contains(customer);
                if served.known {
                    // Whose results they were does not matter any more.
                    served.by.clear();
                }
                decision.changes.served.insert(*customer, served.clone());
            }
        }
    }
}
