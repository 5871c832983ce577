//! The partitions of a relay as one: what the gateway tells goes to those that it concerns, and what they answer is put
//! together.
//!
//! Events of a job are in the partition of the job, all others at home. A question goes to every partition that may have
//! an event for it, and is answered when all of them have answered; when one has failed, it has failed. Where there is
//! one partition all of this is a queue.

mod facts;
mod pages;
mod reads;
mod tombstones;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::budget::Budget;
use crate::message::{
    GatewayGauges, Known, Part, PartitionGauges, PartitionId, Publish, StoreError, ToGateway, ToPartition,
};
use crate::nostr::PublicKey;
use crate::seam::Ticket;
use crate::trees::Gather;
use facts::Asking;
use reads::Reads;
use tombstones::Tombstones;

/// Keys that partitions were asked of, and what they have said by now.
#[derive(Debug)]
struct Who {
    waits_for: BTreeSet<PartitionId>,
    known: Result<BTreeMap<PublicKey, Known>, StoreError>,
}

/// The partitions.
#[derive(Debug)]
pub(super) struct Partitions {
    count: u32,
    budget: Rc<Budget>,
    /// What each is to be told, in order.
    messages: Vec<(PartitionId, ToPartition)>,
    reads: Reads,
    who: BTreeMap<Ticket, Who>,
    asking: BTreeMap<Ticket, Asking>,
    tombstones: Tombstones,
    /// What each has told of itself last.
    gauges: BTreeMap<PartitionId, PartitionGauges>,
    /// Partitions beside home that know of clients here.
    greeted: BTreeSet<PartitionId>,
}

impl Partitions {
    /// So many partitions, to which nothing was said.
    pub fn new(count: u32, budget: &Rc<Budget>) -> Self {
        let (messages, reads, who, asking, tombstones, gauges, greeted) = Default::default();
        Self { count: count.max(1), budget: budget.clone(), messages, reads, who, asking, tombstones, gauges, greeted }
    }

    /// Whether there is more than one.
    pub const fn are_several(&self) -> bool {
        self.count > 1
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = PartitionId> + use<> {
        PartitionId::all(self.count)
    }

    /// What each is to be told, in order.
    pub fn take_messages(&mut self) -> Vec<(PartitionId, ToPartition)> {
        std::mem::take(&mut self.messages)
    }

    /// Tells one partition something.
    pub fn tell(&mut self, to: PartitionId, message: ToPartition) {
        self.messages.push((to, message));
    }

    /// Tells home something.
    pub fn tell_home(&mut self, message: ToPartition) {
        self.tell(PartitionId::HOME, message);
    }

    /// Tells all partitions something.
    pub fn tell_all(&mut self, message: &ToPartition) {
        self.messages.extend(PartitionId::all(self.count).map(|to| (to, message.clone())));
    }

    /// Tells all partitions something before whatever they have yet to be told.
    pub fn tell_all_first(&mut self, message: &ToPartition) {
        self.messages.splice(0..0, PartitionId::all(self.count).map(|to| (to, message.clone())));
    }

    /// Tells home what is known of the clients here, and another partition when the first has come or the last has gone:
    /// it greets gateways with clients alone.
    pub fn tell_gauges(&mut self, to: PartitionId, gauges: Box<GatewayGauges>) {
        let has_clients = gauges.open > 0;
        let is_news = if has_clients { self.greeted.insert(to) } else { self.greeted.remove(&to) };
        if is_news || to == PartitionId::HOME {
            self.tell(to, ToPartition::Gauges(gauges));
        }
    }

    /// A partition knows nothing any more of the clients here.
    pub fn forget_greeting(&mut self, of: PartitionId) {
        self.greeted.remove(&of);
    }

    /// Has an event stored where it belongs; what it deletes elsewhere goes first.
    pub fn publish(&mut self, publish: Box<Publish>) {
        if self.count > 1
            && let Some(tombstone) = publish.new.tombstone()
        {
            let told = self.tombstones.begin(publish, tombstone, self.count);
            return self.messages.extend(told);
        }
        self.tell(PartitionId::of_event(&publish.new, self.count), ToPartition::Publish(publish));
    }

    /// Asks what is known of keys.
    pub fn who_is(&mut self, ticket: Ticket, keys: Vec<PublicKey>) {
        if self.count > 1 {
            let waits_for = self.all().gather();
            self.who.insert(ticket, Who { waits_for, known: Ok(BTreeMap::new()) });
        }
        self.tell_all(&ToPartition::WhoIs { ticket, keys });
    }

    /// Takes what one of several tells; returns what all of them tell by that.
    pub fn hear(&mut self, from: PartitionId, message: ToGateway) -> Vec<ToGateway> {
        match message {
            ToGateway::Answer { ticket, answer, rows_read, from_memory } => {
                self.read_answered((ticket, from), answer, rows_read, from_memory).into_iter().collect()
            }
            ToGateway::Later { ticket, bytes } => self.read_waits((ticket, from), bytes).into_iter().collect(),
            ToGateway::Known { ticket, known } => self.keys_known(ticket, from, known).into_iter().collect(),
            ToGateway::Facts { ticket, facts, rows_read, gauges } => {
                self.gauges.insert(from, *gauges);
                self.facts_told(ticket, from, facts, rows_read).into_iter().collect()
            }
            ToGateway::Verdict(outcome) => {
                let decided = self.tombstones.decided(from, outcome, &mut self.messages);
                decided.map(ToGateway::Verdict).into_iter().collect()
            }
            ToGateway::Push(mut push) => {
                let parts = std::mem::take(&mut push.parts);
                push.parts = parts
                    .into_iter()
                    .filter_map(|part| match part {
                        Part::Outcome(outcome) => {
                            self.tombstones.decided(from, outcome, &mut self.messages).map(Part::Outcome)
                        }
                        part => Some(part),
                    })
                    .collect();
                vec![ToGateway::Push(push)]
            }
            message @ (ToGateway::Position(_)
            | ToGateway::Ephemeral(_)
            | ToGateway::Rulings(_)
            | ToGateway::Acted(_)) => {
                vec![message]
            }
        }
    }

    fn keys_known(
        &mut self,
        ticket: Ticket,
        from: PartitionId,
        known: Result<Vec<(PublicKey, Known)>, StoreError>,
    ) -> Option<ToGateway> {
        let who = self.who.get_mut(&ticket)?;
        who.waits_for.remove(&from);
        match (&mut who.known, known) {
            (Ok(all), Ok(known)) => {
                for (key, known) in known {
                    let all = all.entry(key).or_default();
                    all.handler |= known.handler;
                    all.served |= known.served;
                    all.dealt |= known.dealt;
                }
            }
            (all @ Ok(_), Err(error)) => *all = Err(error),
            (Err(_), _) => {}
        }
        if !who.waits_for.is_empty() {
            return None;
        }
        let known = self.who.remove(&ticket)?.known.map(|known| known.into_iter().collect());
        Some(ToGateway::Known { ticket, known })
    }
}
