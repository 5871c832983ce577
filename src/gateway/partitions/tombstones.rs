//! What is deleted in several partitions. A request to delete (NIP-09) or to vanish (NIP-62) is stored at home, last: before
//! that each other partition has taken it as a tombstone, which deletes what it has there and keeps it from coming back.
//! Taking it again changes nothing, so a request that failed halfway is sent again.

use std::collections::{BTreeMap, BTreeSet};

use crate::message::{NewEvent, Outcome, PartitionId, Publish, Publisher, ToPartition, Verdict};
use crate::nostr::{EventId, Reason};

/// A request that other partitions have yet to take.
#[derive(Debug)]
struct Burial {
    publish: Box<Publish>,
    waits_for: BTreeSet<PartitionId>,
    /// Why one of them has not taken it.
    refused: Option<Reason>,
}

/// All of them, by the event and who waits for it; who sends it twice has two.
#[derive(Debug, Default)]
pub struct Tombstones(BTreeMap<(EventId, Publisher), Vec<Burial>>);

impl Tombstones {
    /// Has the partitions beside home take the tombstone of an event first; returns what they are to be told.
    pub fn begin(
        &mut self,
        publish: Box<Publish>,
        tombstone: NewEvent,
        partitions: u32,
    ) -> Vec<(PartitionId, ToPartition)> {
        let waits_for: BTreeSet<PartitionId> = PartitionId::all(partitions).skip(1).collect();
        let tombstone = Publish { new: tombstone, ..(*publish).clone() };
        let told = waits_for.iter().map(|to| (*to, ToPartition::Publish(Box::new(tombstone.clone())))).collect();
        let waiting = self.0.entry((publish.new.event.id, publish.from)).or_default();
        waiting.push(Burial { publish, waits_for, refused: None });
        told
    }

    /// A partition has said what became of an event: when that was the last tombstone of one, home is told. Gives back what
    /// the publisher is to be told.
    pub fn decided(
        &mut self,
        from: PartitionId,
        outcome: Outcome,
        messages: &mut Vec<(PartitionId, ToPartition)>,
    ) -> Option<Outcome> {
        let key = (outcome.id, outcome.to);
        let Some(waiting) = self.0.get_mut(&key) else { return Some(outcome) };
        // Home is told of none that waits here.
        let Some(at) = waiting.iter().position(|burial| burial.waits_for.contains(&from)) else { return Some(outcome) };
        let burial = waiting.get_mut(at)?;
        burial.waits_for.remove(&from);
        if let Verdict::Refused(reason) = outcome.verdict {
            burial.refused.get_or_insert(reason);
        }
        if !burial.waits_for.is_empty() {
            return None;
        }
        let Burial { publish, refused, .. } = waiting.remove(at);
        if waiting.is_empty() {
            self.0.remove(&key);
        }
        match refused {
            Some(reason) => Some(Outcome { verdict: Verdict::Refused(reason), ..outcome }),
            None => {
                messages.push((PartitionId::HOME, ToPartition::Publish(publish)));
                None
            }
        }
    }
}
