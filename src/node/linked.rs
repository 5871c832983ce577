//! A gateway and a partition that are in different objects, each with its end of the [link](crate::link) to the other.
//!
//! Beside what a node owns, each knows what it has asked, or was asked, of an incarnation of the other: when there is
//! another one, that has no answer any more. A gateway then says again what it cares for and how far its clients were told,
//! and what was not acknowledged; what was, it takes for failed. A partition forgets the gateway that was.

use std::collections::{BTreeMap, BTreeSet};

use super::{GatewayNode, PartitionNode, Timer};
use crate::link::{Batch, Heard, Incarnation, Link, Sender, Weigh};
use crate::message::{
    Answer, GatewayId, Interest, NewEvent, Outcome, Part, Publisher, Push, Question, StoreError, Text, ToGateway,
    ToPartition, Verdict, When,
};
use crate::nostr::{EventId, Filter, refusal};
use crate::seam::{Effect, Input, Millis, Ticket};

/// Milliseconds for which a gateway waits until its partition has taken anything at all.
const STUCK_MS: Millis = 15_000;
/// Bytes of a message besides what it carries.
const MESSAGE_BYTES: usize = 100;

/// Names a gateway whatever its incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u32);

/// What a gateway has asked and was not answered.
#[derive(Debug, Default)]
struct Asked {
    /// Events, and how often each.
    events: BTreeMap<(EventId, Publisher), usize>,
    /// Questions, and whether the database is asked: those are answered although nobody wants the answer any more.
    reads: BTreeMap<Ticket, bool>,
    keys: BTreeSet<Ticket>,
    facts: BTreeSet<Ticket>,
}

impl Asked {
    /// The partition is told something.
    fn note(&mut self, message: &ToPartition) {
        match message {
            ToPartition::Publish(publish) => self.publish(publish.new.event.id, publish.from),
            ToPartition::Ephemeral { from: Some(from), event } => self.publish(event.id, *from),
            ToPartition::Read { ticket, when, .. } => drop(self.reads.insert(*ticket, *when == When::Now)),
            ToPartition::Go(ticket) => {
                self.reads.entry(*ticket).and_modify(|begun| *begun = true);
            }
            ToPartition::WhoIs { ticket, .. } => drop(self.keys.insert(*ticket)),
            ToPartition::Ask { ticket, .. } => drop(self.facts.insert(*ticket)),
            ToPartition::Drop(ticket) => {
                if self.reads.get(ticket) == Some(&false) {
                    self.reads.remove(ticket);
                }
            }
            ToPartition::Woke(_)
            | ToPartition::Interest(_)
            | ToPartition::Ephemeral { from: None, .. }
            | ToPartition::Left { .. }
            | ToPartition::Counted(_)
            | ToPartition::Position => {}
        }
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
            ToGateway::Answer { ticket, .. } => drop(self.reads.remove(ticket)),
            ToGateway::Known { ticket, .. } => drop(self.keys.remove(ticket)),
            ToGateway::Facts { ticket, .. } => drop(self.facts.remove(ticket)),
            ToGateway::Position(_) | ToGateway::Ephemeral(_) | ToGateway::Later { .. } => {}
        }
    }

    /// The partition has not heard something: that is not lost.
    fn unheard(&mut self, message: &ToPartition) {
        match message {
            ToPartition::Publish(publish) => self.decided(publish.new.event.id, publish.from),
            ToPartition::Ephemeral { from: Some(from), event } => self.decided(event.id, *from),
            ToPartition::Read { ticket, .. } => drop(self.reads.remove(ticket)),
            ToPartition::WhoIs { ticket, .. } => drop(self.keys.remove(ticket)),
            ToPartition::Ask { ticket, .. } => drop(self.facts.remove(ticket)),
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
        self.events.is_empty() && self.reads.is_empty() && self.keys.is_empty() && self.facts.is_empty()
    }

    /// Nothing of it will be answered: what is said instead. Whether events are stored is not known.
    fn lost(&mut self) -> Vec<ToGateway> {
        let Self { events, reads, keys, facts } = std::mem::take(self);
        let error = || StoreError::new("the part of the relay that was asked has started anew");
        let refused = |((id, to), times)| {
            let verdict = Verdict::Refused(refusal::lost_request());
            std::iter::repeat_n(ToGateway::Verdict(Outcome { to, id, verdict }), times)
        };
        let read = |ticket| ToGateway::Answer { ticket, answer: Err(error()), rows_read: 0, from_memory: false };
        let key = |ticket| ToGateway::Known { ticket, known: Err(error()) };
        let fact =
            |ticket| ToGateway::Facts { ticket, facts: Some(Err(error())), rows_read: 0, gauges: Box::default() };
        let events = events.into_iter().flat_map(refused);
        let (reads, keys) = (reads.into_keys().map(read), keys.into_iter().map(key));
        events.chain(reads).chain(keys).chain(facts.into_iter().map(fact)).collect()
    }
}

/// A gateway whose partition is in another object.
pub struct LinkedGateway {
    node: GatewayNode,
    link: Link<ToPartition>,
    asked: Asked,
    /// What is to be sent.
    batches: Vec<Batch<ToPartition>>,
    timer: Timer,
}

impl LinkedGateway {
    /// A gateway that has yet to wake, of an incarnation above all before.
    pub fn new(node: GatewayNode, own: Incarnation) -> Self {
        Self { node, link: Link::new(own), asked: Asked::default(), batches: Vec::new(), timer: Timer::default() }
    }

    /// Takes one input; returns what the host must now do, in order. What is to be sent is [taken](Self::take_batches)
    /// afterwards.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
        }
        let out = self.node.handle(input, now);
        self.finish(out, now)
    }

    /// Takes what the partition has sent; returns what the host must now do, in order.
    pub fn receive(&mut self, batch: &Batch<ToGateway>, now: Millis) -> Vec<Effect> {
        let Heard { sender, messages } = self.link.take(batch, now);
        let mut out = Vec::new();
        if sender == Sender::Another {
            let unheard = self.link.take_unheard();
            out = self.lose(unheard, now);
        }
        messages.iter().for_each(|message| self.asked.heard(message));
        out.extend(self.node.hear(messages, now));
        self.finish(out, now)
    }

    /// What is to be sent to the partition.
    pub fn take_batches(&mut self) -> Vec<Batch<ToPartition>> {
        std::mem::take(&mut self.batches)
    }

    /// Whether nothing is on its way, and nothing awaited.
    pub fn is_idle(&self) -> bool {
        self.link.is_idle() && self.asked.is_empty()
    }

    /// The node.
    pub fn node(&mut self) -> &mut GatewayNode {
        &mut self.node
    }

    /// The partition knows nothing any more of what it was told, and has not heard some of it.
    fn lose(&mut self, unheard: Vec<ToPartition>, now: Millis) -> Vec<Effect> {
        let mut asked = std::mem::take(&mut self.asked);
        self.node.introduce();
        self.tell(now);
        for message in unheard {
            let is_said_again = match &message {
                ToPartition::Woke(_) | ToPartition::Interest(_) => false,
                // The question may have been heard.
                ToPartition::Go(ticket) | ToPartition::Drop(ticket) => self.asked.reads.contains_key(ticket),
                _ => true,
            };
            if is_said_again {
                asked.unheard(&message);
                self.asked.note(&message);
                self.link.send([message], now);
            }
        }
        self.node.hear(asked.lost(), now)
    }

    fn tell(&mut self, now: Millis) {
        let messages = self.node.take_messages();
        messages.iter().for_each(|message| self.asked.note(message));
        self.link.send(messages, now);
    }

    fn finish(&mut self, mut out: Vec<Effect>, now: Millis) -> Vec<Effect> {
        self.tell(now);
        if self.link.is_full() || self.link.stuck_since().is_some_and(|since| now >= since + STUCK_MS) {
            self.link.start_over();
            out.extend(self.lose(Vec::new(), now));
            self.tell(now);
        }
        self.batches.extend(std::iter::from_fn(|| self.link.next(now)));
        let stuck_at = self.link.stuck_since().map(|since| since + STUCK_MS);
        out.extend(self.link.due().into_iter().chain(stuck_at).map(|at| Effect::TimerAt { at: at.max(now) }));
        self.timer.merge(&mut out);
        out
    }
}

/// A gateway of a partition's.
struct Peer {
    link: Link<ToGateway>,
    /// What the partition calls this incarnation.
    id: GatewayId,
    /// Whether it has yet to say what it cares for: until then it may be everything, and what is not stored goes to it.
    is_stranger: bool,
    /// What it reads.
    reads: BTreeSet<Ticket>,
}

/// A partition whose gateways are in other objects.
pub struct LinkedPartition {
    node: PartitionNode,
    own: Incarnation,
    peers: BTreeMap<Address, Peer>,
    places: BTreeMap<GatewayId, Address>,
    last_id: u32,
    /// What is to be sent.
    batches: Vec<(Address, Batch<ToGateway>)>,
    timer: Timer,
}

impl LinkedPartition {
    /// A partition that knows nothing yet, of an incarnation above all before. It greets the gateways there are, so that
    /// they tell it what they care for.
    pub fn new(
        node: PartitionNode,
        own: Incarnation,
        gateways: impl IntoIterator<Item = Address>,
        now: Millis,
    ) -> Self {
        let (peers, places, batches, timer) = Default::default();
        let mut partition = Self { node, own, peers, places, last_id: 0, batches, timer };
        gateways.into_iter().for_each(|address| partition.meet(address, now));
        partition
    }

    /// Takes one input; returns what the host must now do, in order. What is to be sent is [taken](Self::take_batches)
    /// afterwards.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
        }
        let out = self.node.handle(input, now);
        self.finish(out, now)
    }

    /// Takes what a gateway has sent; returns what the host must now do, in order.
    pub fn receive(&mut self, from: Address, batch: &Batch<ToPartition>, now: Millis) -> Vec<Effect> {
        if !self.peers.contains_key(&from) {
            self.meet(from, now);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        let Heard { sender, messages } = peer.link.take(batch, now);
        if sender == Sender::Another {
            // What is not stored is found nowhere else.
            let unheard = peer.link.take_unheard();
            peer.link.send(unheard.into_iter().filter(|message| matches!(message, ToGateway::Ephemeral(_))), now);
            self.forget(from, true, now);
        }
        if !messages.is_empty() && self.peers.get(&from).is_some_and(|peer| peer.is_stranger) {
            self.forget(from, false, now);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        for message in &messages {
            match message {
                ToPartition::Read { ticket, .. } => drop(peer.reads.insert(*ticket)),
                ToPartition::Drop(ticket) => drop(peer.reads.remove(ticket)),
                _ => {}
            }
        }
        let id = peer.id;
        let out = if messages.is_empty() { Vec::new() } else { self.node.hear(id, messages, now) };
        self.finish(out, now)
    }

    /// What is to be sent to gateways.
    pub fn take_batches(&mut self) -> Vec<(Address, Batch<ToGateway>)> {
        std::mem::take(&mut self.batches)
    }

    /// Whether nothing is on its way to a gateway.
    pub fn is_idle(&self) -> bool {
        self.peers.values().all(|peer| peer.link.is_idle())
    }

    /// There is a gateway.
    fn meet(&mut self, address: Address, now: Millis) {
        let peer = Peer { link: Link::new(self.own), id: GatewayId(0), is_stranger: true, reads: BTreeSet::new() };
        self.peers.insert(address, peer);
        self.forget(address, true, now);
    }

    /// What a gateway has asked, and was told, does not count any more: another one comes under its address.
    fn forget(&mut self, address: Address, is_stranger: bool, now: Millis) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        self.last_id += 1;
        let id = GatewayId(self.last_id);
        let gone = std::mem::replace(&mut peer.id, id);
        let reads = std::mem::take(&mut peer.reads);
        peer.is_stranger = is_stranger;
        self.places.remove(&gone);
        self.places.insert(id, address);
        self.node.forget(gone, reads, now);
        if is_stranger {
            self.node.hear(id, [ToPartition::Interest(Interest::Everything)], now);
        }
    }

    fn tell(&mut self, now: Millis) {
        for (id, message) in self.node.take_messages() {
            // Of one that is gone nobody waits.
            let Some(peer) = self.places.get(&id).and_then(|address| self.peers.get_mut(address)) else { continue };
            match &message {
                ToGateway::Answer { ticket, .. } => drop(peer.reads.remove(ticket)),
                ToGateway::Ephemeral(_) => {}
                // It is told when it has said how far it was.
                _ if peer.is_stranger => continue,
                _ => {}
            }
            peer.link.send([message], now);
        }
    }

    fn finish(&mut self, mut out: Vec<Effect>, now: Millis) -> Vec<Effect> {
        self.tell(now);
        let full: Vec<Address> =
            self.peers.iter().filter(|(_, peer)| peer.link.is_full()).map(|(address, _)| *address).collect();
        for address in full {
            self.peers.get_mut(&address).into_iter().for_each(|peer| peer.link.start_over());
            self.forget(address, true, now);
        }
        for (address, peer) in &mut self.peers {
            self.batches.extend(std::iter::from_fn(|| peer.link.next(now)).map(|batch| (*address, batch)));
        }
        let due = self.peers.values().filter_map(|peer| peer.link.due());
        out.extend(due.map(|at| Effect::TimerAt { at: at.max(now) }));
        self.timer.merge(&mut out);
        out
    }
}

impl Weigh for ToPartition {
    fn weight(&self) -> usize {
        let filters = |filters: &[Filter]| filters.iter().map(Filter::memory_bytes).sum::<usize>();
        let carries = match self {
            Self::Publish(publish) => publish.new.memory_bytes(),
            Self::Ephemeral { event, .. } => event.content.len() + 100 * event.tags.len(),
            Self::Read {
                question: Question::Stored { filters: asked, .. } | Question::Count { filters: asked, .. },
                ..
            } => filters(asked),
            Self::Interest(Interest::Keys { came, went }) => 8 * (came.len() + went.len()),
            Self::WhoIs { keys, .. } | Self::Left { keys, .. } => 32 * keys.len(),
            _ => 0,
        };
        MESSAGE_BYTES + carries
    }
}

impl Weigh for ToGateway {
    fn weight(&self) -> usize {
        let text = |text: &Text| match text {
            Text::Json(json) => json.len(),
            Text::Large(_) => 0,
        };
        let carries = match self {
            Self::Push(Push { parts, .. }) => parts.iter().map(part_bytes).sum(),
            Self::Answer { answer: Ok(Ok(Answer::Stored(page))), .. } => {
                let events: usize = page.events.iter().map(|event| MESSAGE_BYTES + text(&event.text)).sum();
                events + page.missed.iter().map(|(new, _)| event_bytes(new)).sum::<usize>()
            }
            Self::Ephemeral(event) => event.content.len() + 100 * event.tags.len(),
            _ => 0,
        };
        MESSAGE_BYTES + carries
    }
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Event((new, _)) => event_bytes(new),
        Part::Outcome(_) | Part::Cancelled(..) => MESSAGE_BYTES,
    }
}

fn event_bytes(new: &NewEvent) -> usize {
    MESSAGE_BYTES + 2 * new.text.len()
}
