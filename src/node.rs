//! Nodes: what one object or thread runs, a gateway, a partition or both, and the messages between them.
//!
//! Each takes what happened and the time, and returns what to do about it, at once and without waiting. It decides
//! nothing: what one half tells the other is moved, or handed to the host for another thread.
//!
//! The contract with a host: perform the effects in order; feed every answer back as an input, once or late or never;
//! deliver messages in their order; feed [`Input::Woke`] first after any loss of memory.

mod linked;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub use linked::{Address, Keep, LinkedGateway, LinkedPartition};

use crate::budget::Budget;
use crate::gateway::{Config, Gateway, TurnedAway};
use crate::message::{GatewayId, PartitionId, ToGateway, ToPartition};
use crate::partition::{Partition, Place, Settings};
use crate::seam::{Effect, Host, Input, Millis, Ticket};

/// A gateway by itself; its partitions are elsewhere.
pub struct GatewayNode {
    gateway: Gateway,
    timer: Timer,
}

impl GatewayNode {
    /// A gateway that knows nothing yet; `now` begins its uptime, and `alone` says that its partitions have no other.
    pub fn new(config: Rc<Config>, host: Host, alone: bool, now: Millis) -> Self {
        let budget = Budget::new(host.memory_bytes());
        Self { gateway: Gateway::new(config, host, alone, &budget, now), timer: Timer::default() }
    }

    /// Takes one input; returns what the host must now do, in order. What partitions are to be told is
    /// [taken](Self::take_messages) afterwards.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
        }
        self.gateway.begin(now);
        let mut out = Vec::new();
        self.gateway.take(input, now, &mut out);
        self.finish(out, now)
    }

    /// Has partitions told at once what they would be told in a while.
    pub fn tell_known(&mut self) {
        self.gateway.tell_known();
    }

    /// Takes what a partition tells; returns what the host must now do, in order.
    pub fn hear(
        &mut self,
        from: PartitionId,
        messages: impl IntoIterator<Item = ToGateway>,
        now: Millis,
    ) -> Vec<Effect> {
        self.gateway.begin(now);
        let mut out = Vec::new();
        for message in messages {
            self.gateway.hear(from, message, now, &mut out);
        }
        self.finish(out, now)
    }

    fn finish(&mut self, mut out: Vec<Effect>, now: Millis) -> Vec<Effect> {
        self.gateway.finish(now, &mut out);
        self.timer.merge(&mut out);
        out
    }

    /// The partitions there are.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.gateway.partitions()
    }

    /// What partitions are to be told, each in order.
    pub fn take_messages(&mut self) -> Vec<(PartitionId, ToPartition)> {
        self.gateway.take_messages()
    }

    /// A partition knows nothing any more of what it was told: it is told again what this gateway cares for.
    fn introduce(&mut self, to: PartitionId) {
        self.gateway.introduce(to);
    }

    /// So many objects share the memory of this one.
    pub fn share_memory(&self, objects: usize) {
        self.gateway.budget().divide(objects);
    }

    /// Whether one more connection from this address may be opened; a host asks before it accepts one.
    pub fn may_open(&mut self, ip: &str, now: Millis) -> Result<(), TurnedAway> {
        self.gateway.may_open(ip, now)
    }
}

/// A partition by itself; its gateways are elsewhere.
pub struct PartitionNode {
    partition: Partition,
    timer: Timer,
}

impl PartitionNode {
    /// A partition that knows nothing yet; `incarnation` is a random number by which its writes are known.
    pub fn new(config: &Config, id: PartitionId, host: Host, incarnation: u64, now: Millis) -> Self {
        let budget = Budget::new(host.memory_bytes());
        Self {
            partition: Partition::new(settings(config, id.0), host, incarnation, &budget, now),
            timer: Timer::default(),
        }
    }

    /// Takes one input; returns what the host must now do, in order. What gateways are to be told is
    /// [taken](Self::take_messages) afterwards.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
        }
        let mut out = Vec::new();
        take(&mut self.partition, input, now, &mut out);
        self.finish(out, now)
    }

    /// Takes what a gateway tells; returns what the host must now do, in order.
    pub fn hear(
        &mut self,
        from: GatewayId,
        messages: impl IntoIterator<Item = ToPartition>,
        now: Millis,
    ) -> Vec<Effect> {
        let mut out = Vec::new();
        for message in messages {
            self.partition.hear(from, message, now, &mut out);
        }
        self.finish(out, now)
    }

    fn finish(&mut self, mut out: Vec<Effect>, now: Millis) -> Vec<Effect> {
        self.partition.finish(now, &mut out);
        self.timer.merge(&mut out);
        out
    }

    /// So many objects share the memory of this one.
    pub fn share_memory(&self, objects: usize) {
        self.partition.budget().divide(objects);
    }

    /// A gateway is gone, and nobody waits for the answers to what it has asked.
    fn forget(&mut self, gone: GatewayId, reads: BTreeSet<Ticket>, now: Millis) {
        let mut out = Vec::new();
        for ticket in reads {
            self.partition.hear(gone, ToPartition::Drop(ticket), now, &mut out);
        }
        self.partition.forget(gone);
    }

    /// What gateways are to be told, each in order.
    pub fn take_messages(&mut self) -> Vec<(GatewayId, ToGateway)> {
        self.partition.take_messages()
    }
}

/// A gateway and the partition that has no other: what one says the other hears within the same input.
pub struct Node {
    gateway: Gateway,
    partition: Partition,
    timer: Timer,
}

/// The gateway of a [`Node`].
const OWN: GatewayId = GatewayId(0);

impl Node {
    /// A node that knows nothing yet; `incarnation` is a random number by which its writes are known, and `now` begins its
    /// uptime.
    pub fn new(config: Rc<Config>, host: Host, incarnation: u64, now: Millis) -> Self {
        let budget = Budget::new(host.memory_bytes());
        Self {
            partition: Partition::new(settings(&config, PartitionId::HOME.0), host, incarnation, &budget, now),
            gateway: Gateway::new(config, host, true, &budget, now),
            timer: Timer::default(),
        }
    }

    /// Takes one input; returns what the host must now do, in order.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        if matches!(input, Input::Timer) {
            self.timer.came();
        }
        let mut out = Vec::new();
        self.gateway.begin(now);
        let leaves = matches!(input, Input::Leaving);
        if let Some(input) = take(&mut self.partition, input, now, &mut out) {
            if leaves {
                self.exchange(now, &mut out);
            }
            self.gateway.take(input, now, &mut out);
        }
        self.exchange(now, &mut out);
        self.timer.merge(&mut out);
        out
    }

    /// Moves what the halves tell each other until there is nothing more.
    fn exchange(&mut self, now: Millis, out: &mut Vec<Effect>) {
        loop {
            let to_partition = self.gateway.take_messages();
            let mut quiet = to_partition.is_empty();
            for (_, message) in to_partition {
                self.partition.hear(OWN, message, now, out);
            }
            for (_, message) in self.partition.take_messages() {
                quiet = false;
                self.gateway.hear(PartitionId::HOME, message, now, out);
            }
            if quiet {
                self.gateway.finish(now, out);
                let last = self.gateway.take_messages();
                if last.is_empty() {
                    break;
                }
                last.into_iter().for_each(|(_, message)| self.partition.hear(OWN, message, now, out));
            }
        }
        self.partition.finish(now, out);
    }

    /// Whether one more connection from this address may be opened; a host asks before it accepts one.
    pub fn may_open(&mut self, ip: &str, now: Millis) -> Result<(), TurnedAway> {
        self.gateway.may_open(ip, now)
    }

    /// Bytes in use and at the most, by share of the memory.
    pub fn memory(&self) -> BTreeMap<&'static str, (usize, usize)> {
        self.partition.gauges().memory_with(&self.gateway.gauges())
    }
}

/// Gives a partition what is for it; what a gateway has to know is given back.
fn take(partition: &mut Partition, input: Input, now: Millis, out: &mut Vec<Effect>) -> Option<Input> {
    match input {
        Input::Committed { ticket, result } => partition.commit_answered(ticket, result, now, out),
        Input::Answered { ticket, result } => partition.query_answered(ticket, result, now, out),
        Input::Alarm => partition.alarmed(now, out),
        Input::Yielded => partition.yielded(now, out),
        Input::Timer => {
            partition.timed(now, out);
            return Some(input);
        }
        Input::Configured { ref config } => {
            partition.configure(settings(config, partition.place().own));
            return Some(input);
        }
        Input::Leaving => {
            partition.leave(now, out);
            return Some(input);
        }
        input => return Some(input),
    }
    None
}

/// The time a host was asked for, which has one for all that a node has to do later.
#[derive(Debug, Default)]
struct Timer(Option<Millis>);

impl Timer {
    /// The time has come.
    const fn came(&mut self) {
        self.0 = None;
    }

    /// Leaves one effect of those that ask for a time, and that only when it is earlier than what was asked for.
    fn merge(&mut self, out: &mut Vec<Effect>) {
        let asked = out.iter().filter_map(|effect| match effect {
            Effect::TimerAt { at } => Some(*at),
            _ => None,
        });
        let earliest = asked.min().filter(|at| self.0.is_none_or(|set| *at < set));
        out.retain(|effect| !matches!(effect, Effect::TimerAt { .. }));
        if let Some(at) = earliest {
            self.0 = Some(at);
            out.push(Effect::TimerAt { at });
        }
    }
}

/// What the partition of a number has to know of the settings.
fn settings(config: &Config, own: u32) -> Settings {
    Settings {
        place: Place { own, count: config.partitions },
        profile: config.profile.clone(),
        relays: config.relays.clone(),
        log_level: config.log_level,
        kept: config.retention.of_jobs(&config.profile),
        rows_per_day: config.rows_per_day.map(|rows| rows / u64::from(config.partitions)),
        max_database_bytes: config.max_database_bytes,
    }
}
