//! A gateway whose partitions are in other objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::link::{Batch, GATHERED_BYTES_MAX, Heard, Incarnation, Link, Sender};
use crate::message::{Outcome, Part, PartitionId, Publisher, StoreError, ToGateway, ToPartition, Verdict, When};
use crate::node::{GatewayNode, Timer};
use crate::nostr::{EventId, refusal};
use crate::seam::{Effect, Input, Millis, Ticket};

/// Milliseconds for which a gateway waits until its partition has taken anything at all.
const STUCK_MS: Millis = 15_000;
/// Milliseconds of silence after which a partition that owes an answer is told something, and by that woken: it may have
/// lost its memory, and who asked waits.
const SILENT_MS: Millis = 5000;

/// What a gateway has asked and was not answered.
#[derive(Debug, Default)]
struct Asked {
    /// Events, and how often each.
    events: BTreeMap<(EventId, Publisher), usize>,
    /// What is answered to a ticket.
    tickets: BTreeMap<Ticket, Sort>,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// A question of a client's, and whether the database is asked: then it is answered although nobody wants the answer
    /// any more.
    Read { begun: bool },
    /// What is known of keys.
    Keys,
    /// Something that was asked over HTTP.
    Facts,
}

impl Asked {
    /// The partition is told something.
    fn note(&mut self, message: &ToPartition) {
        match message {
            ToPartition::Publish(publish) => self.publish(publish.new.event.id, publish.from),
            ToPartition::Ephemeral { from: Some(from), event } => self.publish(event.id, *from),
            ToPartition::Read { ticket, when, .. } => self.ask(*ticket, Sort::Read { begun: *when == When::Now }),
            ToPartition::Go(ticket) if self.tickets.contains_key(ticket) => {
                self.ask(*ticket, Sort::Read { begun: true })
            }
            ToPartition::WhoIs { ticket, .. } => self.ask(*ticket, Sort::Keys),
            ToPartition::Ask { ticket, .. } => self.ask(*ticket, Sort::Facts),
            ToPartition::Drop(ticket) if self.tickets.get(ticket) == Some(&Sort::Read { begun: false }) => {
                self.tickets.remove(ticket);
            }
            ToPartition::Woke(_)
            | ToPartition::Interest(_)
            | ToPartition::Go(_)
            | ToPartition::Drop(_)
            | ToPartition::Ephemeral { from: None, .. }
            | ToPartition::Left { .. }
            | ToPartition::Counted(_)
            | ToPartition::Gauges(_)
            | ToPartition::Present { .. }
            | ToPartition::Position => {}
        }
    }

    fn ask(&mut self, ticket: Ticket, sort: Sort) {
        self.tickets.insert(ticket, sort);
    }

    fn publish(&mut self, id: EventId, from: Publisher) {
        *self.events.entry((id, from)).or_default() += 1;
    }

    /// The partition has told something.
    fn heard(&mut self, message: &ToGateway) {
        match message {
            ToGateway::Verdict(outcome) => self.decided(outcome.id, outcome.to),
            ToGateway::Push(push) => push.parts.iter().for_each(|part| {
                if let Part::Outcome(outcome) = part {
                    self.decided(outcome.id, outcome.to);
                }
            }),
            ToGateway::Answer { ticket, .. } | ToGateway::Known { ticket, .. } | ToGateway::Facts { ticket, .. } => {
                self.tickets.remove(ticket);
            }
            ToGateway::Position(_)
            | ToGateway::Ephemeral(_)
            | ToGateway::Later { .. }
            | ToGateway::Rulings(_)
            | ToGateway::Acted(_) => {}
        }
    }

    /// The partition has not heard something: that is not lost.
    fn unheard(&mut self, message: &ToPartition) {
        match message {
            ToPartition::Publish(publish) => self.decided(publish.new.event.id, publish.from),
            ToPartition::Ephemeral { from: Some(from), event } => self.decided(event.id, *from),
            ToPartition::Read { ticket, .. } | ToPartition::WhoIs { ticket, .. } | ToPartition::Ask { ticket, .. } => {
                self.tickets.remove(ticket);
            }
            _ => {}
        }
    }

    fn decided(&mut self, id: EventId, to: Publisher) {
        let key = (id, to);
        if let Some(times) = self.events.get_mut(&key) {
            *times -= 1;
            if *times == 0 {
                self.events.remove(&key);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.tickets.is_empty()
    }

    /// Nothing of it will be answered: what is said instead. Whether events are stored is not known.
    fn lost(&mut self) -> Vec<ToGateway> {
        let Self { events, tickets } = std::mem::take(self);
        let error = || StoreError::new("the part of the relay that was asked has started anew");
        let refused = |((id, to), times)| {
            let verdict = Verdict::Refused(refusal::lost_request());
            std::iter::repeat_n(ToGateway::Verdict(Outcome { to, id, verdict }), times)
        };
        let failed = |(ticket, sort)| match sort {
            Sort::Read { .. } => ToGateway::Answer { ticket, answer: Err(error()), rows_read: 0, from_memory: false },
            Sort::Keys => ToGateway::Known { ticket, known: Err(error()) },
            Sort::Facts => ToGateway::Facts { ticket, facts: Some(Err(error())), rows_read: 0, gauges: Box::default() },
        };
        events.into_iter().flat_map(refused).chain(tickets.into_iter().map(failed)).collect()
    }
}

/// A partition of a gateway's.
struct Peer {
    link: Link<ToPartition>,
    asked: Asked,
    /// When it was heard, or told something that it has to take notice of.
    heard_at: Millis,
    /// Bytes that waited when it had been told what it must know in any case: less than these there cannot be.
    introduced: usize,
}

impl Peer {
    fn tell(&mut self, message: Arc<ToPartition>, now: Millis) {
        self.asked.note(&message);
        self.link.send([message], now);
    }

    /// When it has been silent for long although it owes an answer; if it has been, it is told something.
    fn silent_at(&mut self, now: Millis) -> Option<Millis> {
        if self.asked.is_empty() {
            return None;
        }
        if self.heard_at == 0 || now >= self.heard_at + SILENT_MS {
            if self.heard_at > 0 {
                self.link.knock();
            }
            self.heard_at = now;
        }
        Some(self.heard_at + SILENT_MS)
    }

    /// Bytes that wait for it beside those.
    fn behind(&self) -> usize {
        self.link.gathered_bytes().saturating_sub(self.introduced)
    }

    fn is_stuck(&self, now: Millis) -> bool {
        self.link.stuck_since().is_some_and(|since| now >= since + STUCK_MS)
    }
}

/// A gateway whose partitions are in other objects.
pub struct LinkedGateway {
    node: GatewayNode,
    /// By the number of the partition.
    peers: Vec<Peer>,
    /// What is to be sent.
    batches: Vec<(PartitionId, Batch<Arc<ToPartition>>)>,
    timer: Timer,
}

impl LinkedGateway {
    /// A gateway that has yet to wake, of an incarnation above all before.
    pub fn new(node: GatewayNode, own: Incarnation) -> Self {
        let peer = |_| Peer { link: Link::new(own), asked: Asked::default(), heard_at: 0, introduced: 0 };
        let (batches, timer) = Default::default();
        let peers = node.partitions().map(peer).collect();
        Self { node, peers, batches, timer }
    }

    /// Takes one input; returns what the host must now do, in order. What is to be sent is [taken](Self::take_batches)
    /// afterwards.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
        }
        let wakes = matches!(input, Input::Woke { .. });
        let out = self.node.handle(input, now);
        if wakes {
            self.tell(now);
            self.peers.iter_mut().for_each(|peer| peer.introduced = peer.link.gathered_bytes());
        }
        self.finish(out, now)
    }

    /// Takes what a partition has sent; returns what the host must now do, in order.
    pub fn receive(&mut self, from: PartitionId, batch: Batch<ToGateway>, now: Millis) -> Vec<Effect> {
        let Some(peer) = self.peers.get_mut(from.0 as usize) else { return Vec::new() };
        let Heard { sender, messages } = peer.link.take(batch, now);
        peer.heard_at = now;
        let mut out = Vec::new();
        if sender == Sender::Another {
            let unheard = peer.link.take_unheard();
            out = self.lose(from, unheard, now);
        }
        if let Some(peer) = self.peers.get_mut(from.0 as usize) {
            messages.iter().for_each(|message| peer.asked.heard(message));
        }
        out.extend(self.node.hear(from, messages, now));
        self.finish(out, now)
    }

    /// What is to be sent to partitions.
    pub fn take_batches(&mut self) -> Vec<(PartitionId, Batch<Arc<ToPartition>>)> {
        std::mem::take(&mut self.batches)
    }

    /// Whether nothing is on its way, and nothing awaited.
    pub fn is_idle(&self) -> bool {
        self.peers.iter().all(|peer| peer.link.is_idle() && peer.asked.is_empty())
    }

    /// The node.
    pub fn node(&mut self) -> &mut GatewayNode {
        &mut self.node
    }

    /// A partition knows nothing any more of what it was told, and has not heard some of it.
    fn lose(&mut self, partition: PartitionId, unheard: Vec<Arc<ToPartition>>, now: Millis) -> Vec<Effect> {
        let Some(peer) = self.peers.get_mut(partition.0 as usize) else { return Vec::new() };
        let mut asked = std::mem::take(&mut peer.asked);
        self.node.introduce(partition);
        self.tell(now);
        let Some(peer) = self.peers.get_mut(partition.0 as usize) else { return Vec::new() };
        peer.introduced = peer.link.gathered_bytes();
        for message in unheard {
            let is_said_again = match &*message {
                ToPartition::Woke(_)
                | ToPartition::Interest(_)
                | ToPartition::Gauges(_)
                | ToPartition::Present { .. } => false,
                // The question may have been heard.
                ToPartition::Go(ticket) | ToPartition::Drop(ticket) => peer.asked.tickets.contains_key(ticket),
                _ => true,
            };
            if is_said_again {
                asked.unheard(&message);
                peer.tell(message, now);
            }
        }
        self.node.hear(partition, asked.lost(), now)
    }

    fn tell(&mut self, now: Millis) {
        for (to, message) in self.node.take_messages() {
            if let Some(peer) = self.peers.get_mut(to.0 as usize) {
                peer.tell(Arc::new(message), now);
            }
        }
    }

    /// The partition that is to be begun anew with, if one is: one that takes nothing, or the one that is furthest behind of
    /// too much that waits.
    fn to_start_over(&self, now: Millis) -> Option<PartitionId> {
        let is_too_much = self.peers.iter().map(Peer::behind).sum::<usize>() > GATHERED_BYTES_MAX;
        let all = || self.peers.iter().zip(0..);
        let behind = all().max_by_key(|(peer, _)| peer.behind()).filter(|_| is_too_much);
        all().find(|(peer, _)| peer.is_stuck(now)).or(behind).map(|(_, n)| PartitionId(n))
    }

    /// Sends what may be sent: it waits no more.
    fn send(&mut self, now: Millis) {
        for (peer, n) in self.peers.iter_mut().zip(0..) {
            self.batches.extend(std::iter::from_fn(|| peer.link.next(now)).map(|batch| (PartitionId(n), batch)));
            if peer.link.gathered_bytes() == 0 {
                peer.introduced = 0;
            }
        }
    }

    fn finish(&mut self, mut out: Vec<Effect>, now: Millis) -> Vec<Effect> {
        self.tell(now);
        self.send(now);
        // Each once at the most.
        for _ in 0..self.peers.len() {
            let Some(partition) = self.to_start_over(now) else { break };
            if let Some(peer) = self.peers.get_mut(partition.0 as usize) {
                peer.link.start_over();
            }
            out.extend(self.lose(partition, Vec::new(), now));
            self.tell(now);
        }
        let silent_at: Vec<Option<Millis>> = self.peers.iter_mut().map(|peer| peer.silent_at(now)).collect();
        self.send(now);
        for (peer, silent_at) in self.peers.iter().zip(silent_at) {
            let stuck_at = peer.link.stuck_since().map(|since| since + STUCK_MS);
            let due = peer.link.due().into_iter().chain(stuck_at).chain(silent_at);
            out.extend(due.map(|at| Effect::TimerAt { at: at.max(now) }));
        }
        self.timer.merge(&mut out);
        out
    }
}
