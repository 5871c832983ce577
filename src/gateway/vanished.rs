//! What goes at once when a key vanishes (NIP-62): what was live before and has yet to be sent. What is stored or being
//! read is the partition's; of several, home alone tells of it, and what another one has said before may come later.

use std::collections::{BTreeMap, VecDeque};

use super::Gateway;
use super::conn::LIVE_BYTES;
use crate::budget::Share;
use crate::nostr::deletion::Vanished;
use crate::nostr::{Event, PublicKey, kind};
use crate::seam::Millis;

/// Milliseconds for which a key is remembered, until all that partitions had said before has come, and keys that are.
const LATE_MS: Millis = 60_000;
const LATE_MAX: usize = 10_000;
/// What stands before the author in a canonical text, and in that of a gift wrap.
const AUTHOR: &str = "\"pubkey\":\"";
const WRAP: &str = "\"kind\":1059,";

/// The keys that have vanished lately, where there are several partitions: up to which `created_at` each, and when it did
/// last.
#[derive(Debug, Default)]
pub(super) struct Late {
    until: BTreeMap<PublicKey, (u64, Millis)>,
    /// When they did, the first one first.
    since: VecDeque<(Millis, PublicKey)>,
}

impl Late {
    fn note(&mut self, request: &Event, now: Millis) {
        while let Some((at, key)) = self.since.front().copied()
            && (self.since.len() >= LATE_MAX || now > at + LATE_MS)
        {
            self.since.pop_front();
            // It may have vanished again since.
            if self.until.get(&key).is_some_and(|(_, since)| *since == at) {
                self.until.remove(&key);
            }
        }
        let (until, since) = self.until.entry(request.pubkey).or_default();
        (*until, *since) = (request.created_at.max(*until), now);
        self.since.push_back((now, request.pubkey));
    }

    /// Whether an event is of a key that has vanished since it was told, or a gift wrap (NIP-59) for one.
    pub fn takes(&self, event: &Event) -> bool {
        let has_vanished = |key: &PublicKey| self.until.get(key).is_some_and(|(until, _)| event.created_at <= *until);
        if self.until.is_empty() || event.kind == kind::VANISH {
            return false;
        }
        let is_for = || event.tag_values("p").filter_map(PublicKey::parse).any(|key| has_vanished(&key));
        has_vanished(&event.pubkey) || event.kind == kind::GIFT_WRAP && is_for()
    }

    /// The same of its canonical text, which begins with its id and its author.
    pub fn takes_text(&self, json: &str) -> bool {
        if self.until.is_empty() {
            return false;
        }
        let author = || PublicKey::parse(json.split_once(AUTHOR)?.1.get(..64)?);
        let may_be = author().is_some_and(|author| self.until.contains_key(&author)) || json.contains(WRAP);
        may_be && Event::parse(json).is_ok_and(|event| self.takes(&event))
    }
}

impl Gateway {
    /// A request to vanish was stored, and its OK is to come: nothing that it takes is sent any more.
    pub(super) fn vanish(&mut self, request: &Event) {
        let vanished = Vanished::by(request);
        if self.partitions.are_several() {
            self.late.note(request, self.now);
        }
        if self.budget.used(Share::Backlogs) == 0 {
            return;
        }
        for backlog in
            self.conns.values_mut().flat_map(|state| state.subs.values_mut()).filter_map(|sub| sub.reading.as_mut())
        {
            let gone = backlog.live.extract_if(.., |(_, json)| vanished.takes_text(json));
            let bytes: usize = gone.map(|(_, json)| json.len() + LIVE_BYTES).sum();
            if let Some(memory) = &mut backlog.memory {
                memory.shrink(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{EventId, Signature};

    fn event(author: [u8; 32], kind: u16, created_at: u64) -> Event {
        let (id, sig) = (EventId::new([0; 32]), Signature::new([0; 64]));
        Event { id, pubkey: PublicKey::new(author), created_at, kind, tags: vec![], content: String::new(), sig }
    }

    #[test]
    fn a_key_that_vanishes_again_is_remembered_from_then_on() {
        let (mut late, own) = (Late::default(), [1; 32]);
        late.note(&event(own, kind::VANISH, 10), 0);
        late.note(&event(own, kind::VANISH, 20), LATE_MS - 1);
        late.note(&event([2; 32], kind::VANISH, 20), LATE_MS + 1);
        assert!(late.takes(&event(own, 1, 20)));
        late.note(&event([3; 32], kind::VANISH, 20), 3 * LATE_MS);
        assert!(!late.takes(&event(own, 1, 20)) && late.takes(&event([3; 32], 1, 20)));
    }

    #[test]
    fn no_network_has_a_key_forgotten_by_vanishing_much() {
        // As many a second as one may send at the most, for as long as what was said before may take.
        let mut late = Late::default();
        late.note(&event([255; 32], kind::VANISH, 10), 0);
        for n in 0..2000 + 200 * 30_u32 {
            let mut other = [0; 32];
            other[..4].copy_from_slice(&n.to_be_bytes());
            late.note(&event(other, kind::VANISH, 10), Millis::from(n) * 5);
        }
        assert!(late.takes(&event([255; 32], 1, 10)));
    }
}
