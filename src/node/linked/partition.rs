//! A partition whose gateways are in other objects.
//!
//! Which gateways have clients, and up to which number all have been told, is kept by its host: whoever comes next
//! begins with that.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Address;
use crate::link::{Batch, GATHERED_BYTES_MAX, Heard, Incarnation, Link, Sender};
use crate::message::{GatewayId, Interest, MISSED_MAX, ToGateway, ToPartition};
use crate::node::{PartitionNode, Timer};
use crate::seam::{Effect, Input, Millis, Ticket};
use crate::trees::Gather;

/// Milliseconds after which it is kept how far gateways have been told, and numbers after which at the latest: of more
/// than [`MISSED_MAX`] numbers nobody would be told.
const SAVE_AFTER_MS: Millis = 2000;
const SAVE_EVERY: u64 = MISSED_MAX / 2;

/// Bytes that wait for gateways above which nobody is answered more who has yet to take some of them: with what the database
/// is asked at once less than [`GATHERED_BYTES_MAX`].
const ANSWERS_BYTES: usize = 2_000_000;

/// A gateway of a partition's.
struct Peer {
    address: Address,
    link: Link<ToGateway>,
    /// What the partition calls this incarnation.
    id: GatewayId,
    /// Whether it has yet to say what it cares for: until then it may be everything, and what is not stored goes to it.
    is_stranger: bool,
    /// Whether it is kept that it has clients.
    is_kept: bool,
    /// What it reads.
    reads: BTreeSet<Ticket>,
    /// Pushes that it may not have: which message of the link each is, and up to which number it had all before.
    pushed: VecDeque<(u64, u64)>,
    /// Up to which number it was told all that is for it, those pushes among it.
    told: u64,
}

impl Peer {
    /// Up to which number it has had all that is for it.
    fn has(&self) -> u64 {
        self.pushed.front().map_or(self.told, |(_, before)| *before)
    }
}

/// What the host keeps of a partition, as it must outlive its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All gateways have been told of everything up to this number.
    Told(u64),
    /// There is a gateway with clients: whoever comes next has to greet it.
    Gateway(Address),
    /// Nobody has to greet it any more.
    Gone(Address),
}

/// Whether a gateway that tells this has clients, if that can be seen.
fn says_of_clients(message: &ToPartition) -> Option<bool> {
    match message {
        ToPartition::Gauges(gauges) => Some(gauges.open > 0),
        ToPartition::Interest(Interest::Keys { came, .. }) => (!came.is_empty()).then_some(true),
        ToPartition::Publish(_) | ToPartition::Read { .. } | ToPartition::WhoIs { .. } => Some(true),
        _ => None,
    }
}

/// A partition whose gateways are in other objects.
pub struct LinkedPartition {
    node: PartitionNode,
    own: Incarnation,
    /// A few hundred at the most.
    peers: Vec<Peer>,
    last_id: u32,
    /// What is to be sent.
    batches: Vec<(Address, Batch<Arc<ToGateway>>)>,
    /// What is to be kept, and up to which number it is kept that all had been told.
    keep: Vec<Keep>,
    saved: u64,
    /// When it is looked whether all have been told.
    look_at: Option<Millis>,
    timer: Timer,
}

impl LinkedPartition {
    /// A partition that knows nothing yet, of an incarnation above all before. It greets the `gateways` that were kept, so
    /// that they tell it what they care for; up to the number `saved` they have been told.
    pub fn new(
        node: PartitionNode,
        own: Incarnation,
        gateways: impl IntoIterator<Item = Address>,
        saved: u64,
        now: Millis,
    ) -> Self {
        let (peers, batches, keep, timer) = Default::default();
        let (last_id, look_at) = (0, None);
        let mut partition = Self { node, own, peers, last_id, batches, keep, saved, look_at, timer };
        gateways.into_iter().for_each(|address| partition.meet(address, true, now));
        partition
    }

    /// Takes one input; returns what the host must now do, in order. What is to be sent is [taken](Self::take_batches)
    /// afterwards.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
            self.save(now);
        }
        let out = self.node.handle(input, now);
        self.finish(out, now)
    }

    /// Takes what a gateway has sent; returns what the host must now do, in order.
    pub fn receive(&mut self, from: Address, batch: Batch<ToPartition>, now: Millis) -> Vec<Effect> {
        if self.peer(from).is_none() {
            self.meet(from, false, now);
        }
        let Some(peer) = self.peer(from) else { return Vec::new() };
        let Heard { sender, messages } = peer.link.take(batch, now);
        if sender == Sender::Another {
            // What is not stored is found nowhere else.
            let unheard = peer.link.take_unheard();
            peer.link.send(unheard.into_iter().filter(|message| matches!(**message, ToGateway::Ephemeral(_))), now);
            self.forget(from, true, now);
        }
        if !messages.is_empty() && self.peer(from).is_some_and(|peer| peer.is_stranger) {
            self.forget(from, false, now);
        }
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == from) else { return Vec::new() };
        for message in &messages {
            match message {
                ToPartition::Read { ticket, .. } => drop(peer.reads.insert(*ticket)),
                ToPartition::Drop(ticket) => drop(peer.reads.remove(ticket)),
                _ => {}
            }
        }
        let has_clients = messages.iter().rev().find_map(says_of_clients);
        if let Some(has_clients) = has_clients.filter(|has_clients| *has_clients != peer.is_kept) {
            peer.is_kept = has_clients;
            self.keep.push(if has_clients { Keep::Gateway(from) } else { Keep::Gone(from) });
        }
        let id = peer.id;
        let out = if messages.is_empty() { Vec::new() } else { self.node.hear(id, messages, now) };
        self.finish(out, now)
    }

    /// What is to be sent to gateways.
    pub fn take_batches(&mut self) -> Vec<(Address, Batch<Arc<ToGateway>>)> {
        std::mem::take(&mut self.batches)
    }

    /// So many objects share the memory of this one.
    pub fn share_memory(&self, objects: usize) {
        self.node.share_memory(objects);
    }

    /// What is to be kept, in order, before anything is sent.
    pub fn take_kept(&mut self) -> Vec<Keep> {
        std::mem::take(&mut self.keep)
    }

    /// There is no such gateway any more.
    pub fn gone(&mut self, address: Address, now: Millis) -> Vec<Effect> {
        if let Some(place) = self.peers.iter().position(|peer| peer.address == address) {
            let peer = self.peers.remove(place);
            self.node.forget(peer.id, peer.reads, now);
            self.keep.extend(peer.is_kept.then_some(Keep::Gone(address)));
        }
        self.finish(Vec::new(), now)
    }

    /// Bytes of what waits for gateways that have yet to take what was told them before.
    pub fn gathered_bytes(&self) -> usize {
        self.peers.iter().map(|peer| peer.link.gathered_bytes()).sum()
    }

    /// Whether nothing is on its way to a gateway.
    pub fn is_idle(&self) -> bool {
        self.peers.iter().all(|peer| peer.link.is_idle())
    }

    fn peer(&mut self, address: Address) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.address == address)
    }

    /// There is a gateway.
    fn meet(&mut self, address: Address, is_kept: bool, now: Millis) {
        let (reads, pushed) = Default::default();
        let (link, id, told) = (Link::new(self.own), GatewayId(0), self.saved);
        self.peers.push(Peer { address, link, id, is_stranger: true, is_kept, reads, pushed, told });
        self.forget(address, true, now);
    }

    /// What a gateway has asked, and was told, does not count any more: another one comes under its address.
    fn forget(&mut self, address: Address, is_stranger: bool, now: Millis) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == address) else { return };
        self.last_id += 1;
        let id = GatewayId(self.last_id);
        let gone = std::mem::replace(&mut peer.id, id);
        let reads = std::mem::take(&mut peer.reads);
        peer.told = peer.has();
        peer.pushed.clear();
        peer.is_stranger = is_stranger;
        let had = peer.told;
        self.node.forget(gone, reads, now);
        self.node.partition.had(id, had);
        if is_stranger {
            self.node.hear(id, [ToPartition::Interest(Interest::Everything)], now);
        }
    }

    /// A database that was set back has less than gateways were told of before.
    fn take_back(&mut self) {
        let Some(end) = self.node.partition.end().filter(|end| *end < self.saved) else { return };
        self.saved = end;
        self.keep.push(Keep::Told(end));
        for peer in &mut self.peers {
            peer.told = peer.told.min(end);
            peer.pushed.iter_mut().for_each(|(_, before)| *before = end.min(*before));
            self.node.partition.had(peer.id, peer.has());
        }
    }

    fn tell(&mut self, now: Millis) {
        for (id, message) in self.node.take_messages() {
            // Of one that is gone nobody waits.
            let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == id) else { continue };
            match &message {
                ToGateway::Answer { ticket, .. } => drop(peer.reads.remove(ticket)),
                ToGateway::Ephemeral(_) => {}
                // It is told when it has said how far it was.
                _ if peer.is_stranger => continue,
                // It may have been told of more by another database.
                ToGateway::Position(Ok(upto)) => peer.told = *upto,
                _ => {}
            }
            let is_push = matches!(message, ToGateway::Push(_));
            peer.link.send([Arc::new(message)], now);
            if is_push {
                peer.pushed.push_back((peer.link.progress().0, peer.told));
            }
        }
        for peer in self.peers.iter_mut().filter(|peer| !peer.is_stranger) {
            let told = self.node.partition.told_of(peer.id).unwrap_or_default();
            peer.told = peer.told.max(told);
        }
    }

    /// Keeps up to which number all gateways have been told, where that is not yet.
    fn save(&mut self, now: Millis) {
        if self.look_at.take_if(|at| *at <= now).is_some() && self.have_all() > self.saved {
            self.saved = self.have_all();
            self.keep.push(Keep::Told(self.saved));
        }
    }

    /// Up to which number all gateways have had all that is for them.
    fn have_all(&self) -> u64 {
        self.peers.iter().map(Peer::has).min().unwrap_or(self.node.partition.told())
    }

    /// Has it kept in a while how far all gateways are; before much more has come since, at once.
    fn save_soon(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for peer in &mut self.peers {
            let (_, settled) = peer.link.progress();
            while peer.pushed.front().is_some_and(|(message, _)| *message <= settled) {
                peer.pushed.pop_front();
            }
        }
        let have_all = self.have_all();
        if have_all >= self.saved + SAVE_EVERY {
            self.look_at = Some(now);
            self.save(now);
        } else if have_all > self.saved {
            let at = *self.look_at.get_or_insert(now + SAVE_AFTER_MS);
            out.push(Effect::TimerAt { at });
        }
    }

    /// Has questions of those wait who have yet to take answers, where more of these would be too much.
    fn hold_back(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.send(now);
        let room = ANSWERS_BYTES.saturating_sub(self.gathered_bytes());
        let is_much = room == 0;
        let slow = self.peers.iter().filter(|peer| is_much && peer.link.gathered_bytes() > 0);
        let slow = slow.map(|peer| peer.id).gather();
        self.node.partition.hold_back(slow, room, now, out);
        self.tell(now);
        self.send(now);
    }

    fn send(&mut self, now: Millis) {
        for peer in &mut self.peers {
            self.batches.extend(std::iter::from_fn(|| peer.link.next(now)).map(|batch| (peer.address, batch)));
        }
    }

    fn finish(&mut self, mut out: Vec<Effect>, now: Millis) -> Vec<Effect> {
        self.take_back();
        self.tell(now);
        // What may be sent waits no more.
        self.send(now);
        while self.gathered_bytes() > GATHERED_BYTES_MAX {
            let Some(behind) = self.peers.iter_mut().max_by_key(|peer| peer.link.gathered_bytes()) else { break };
            behind.link.start_over();
            let address = behind.address;
            self.forget(address, true, now);
        }
        self.hold_back(now, &mut out);
        let due = self.peers.iter().filter_map(|peer| peer.link.due());
        out.extend(due.map(|at| Effect::TimerAt { at: at.max(now) }));
        self.save_soon(now, &mut out);
        self.timer.merge(&mut out);
        out
    }
}
