//! One run: objects, the network between them and their databases, as a plan and its seed say, on a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nexus::gateway::{Config, ConnId};
use nexus::link::{Batch, Incarnation};
use nexus::message::{ToGateway, ToPartition};
use nexus::seam::{Input, Ticket};
use nexus::store::Statement;

use crate::check::{self, Check};
use crate::common::events::NOW;
use crate::common::sqlite::Sqlite;
use crate::common::world::config;
use crate::marks::{Mark, Marks};
use crate::mutate::{Mutation, Mutator};
use crate::object::{GatewayObject, PartitionObject};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::rng::Rng;
use crate::seen::{Facts, Seen};
use crate::trace::Trace;

/// Milliseconds for which what is on its way may take to arrive when nothing goes wrong any more.
const HEALS_MS: u64 = 150_000;

/// Between which gateway and which partition something is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub gateway: usize,
    pub partition: usize,
}

/// Statements on their way.
pub struct Run {
    pub partition: usize,
    /// For which life of it.
    pub number: u64,
    pub commit: bool,
    pub ticket: Ticket,
    pub statements: Vec<Statement>,
    /// Whether it was answered already, with an error.
    pub is_late: bool,
}

/// What happens at a time.
pub enum Due {
    Step(usize),
    Fault(usize),
    ToPartition(Way, Batch<ToPartition>),
    ToGateway(Way, Batch<ToGateway>),
    /// Of a life, by its number.
    GatewayTimer(usize, u64),
    GatewaySleeps(usize, u64),
    WakeGateway(usize),
    PartitionTimer(usize, u64),
    PartitionSleeps(usize, u64),
    OldPartitionEnds(usize, u64),
    WakePartition(usize),
    Alarm(usize),
    Yielded(usize, u64),
    Run(Run),
    Answer(usize, u64, Input),
    /// What a partition has stored is seen, if a mutation has it seen late.
    Look(usize),
}

/// What a run has come to.
pub struct Outcome {
    /// The rule that was broken, and how.
    pub broken: Option<String>,
    pub marks: Marks,
    /// A number that is the same when all that happened was.
    pub hash: u64,
    pub trace: Vec<String>,
}

pub struct Sim<'a> {
    pub plan: &'a Plan,
    pub rng: Rng,
    /// Milliseconds since the start; Unix time is later.
    pub now: u64,
    pub config: Rc<Config>,
    pub queue: BTreeMap<(u64, u64), Due>,
    pub queued: u64,
    pub gateways: Vec<GatewayObject>,
    pub partitions: Vec<PartitionObject>,
    pub lives: u64,
    pub facts: Facts<'a>,
    checks: Vec<(&'static str, Box<dyn Check>)>,
    pub broken: Option<String>,
    pub trace: Trace,
    pub marks: Marks,
    pub mutator: Mutator,
    pub conns: u64,
    pub asked: u64,
    /// Batches that were sent or came: whether from a gateway, which way, by whom, for whom, number.
    pub sent: BTreeSet<Passed>,
    pub came: BTreeSet<Passed>,
}

/// A batch on its way.
pub type Passed = (bool, Way, Incarnation, Option<Incarnation>, u64);

/// Plays a plan on empty databases, one for each partition, which are given back.
pub fn run(
    plan: &Plan,
    pool: &Pool,
    dbs: Vec<Sqlite>,
    mutation: Option<Mutation>,
    is_read: bool,
) -> (Outcome, Vec<Sqlite>) {
    let mut sim = Sim::new(plan, pool, dbs, mutation, is_read);
    sim.play();
    sim.end()
}

impl<'a> Sim<'a> {
    pub fn new(plan: &'a Plan, pool: &'a Pool, dbs: Vec<Sqlite>, mutation: Option<Mutation>, is_read: bool) -> Self {
        assert_eq!(dbs.len(), plan.partitions);
        let (locked, partitions) = (plan.locked.to_string(), plan.partitions.to_string());
        let config = config(&[("AUTH_REQUIRED", &locked), ("PARTITIONS", &partitions)]);
        let (queue, marks, sent, came) = Default::default();
        Self {
            plan,
            rng: Rng::new(plan.seed ^ 0x5eed),
            now: 0,
            config: Rc::new(config),
            queue,
            queued: 0,
            gateways: (0..plan.gateways).map(|_| GatewayObject::default()).collect(),
            partitions: dbs.into_iter().map(PartitionObject::new).collect(),
            lives: 0,
            facts: Facts::new(pool, plan),
            checks: check::all(),
            broken: None,
            trace: Trace::new(is_read),
            marks,
            mutator: Mutator::new(mutation),
            conns: 0,
            asked: 0,
            sent,
            came,
        }
    }

    /// Unix time in milliseconds.
    pub fn clock(&self) -> u64 {
        NOW * 1000 + self.now
    }

    pub fn push(&mut self, at: u64, due: Due) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), due);
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now, self.facts.pool, line);
    }

    /// Something is seen: all rules look at it.
    pub fn see(&mut self, seen: Seen) {
        if self.broken.is_some() {
            return;
        }
        self.facts.now = self.now;
        self.note(|| match &seen {
            Seen::Stored { partition, log, .. } => format!("partition {partition} has {log:?}"),
            seen => format!("{seen:?}"),
        });
        match &seen {
            Seen::Ok { accepted: false, why, .. } if why.contains("lost this request") => {
                self.marks.hit(Mark::NotKnown);
            }
            Seen::Closed { why, .. } if why.contains("could not be read") => self.marks.hit(Mark::GivenUp),
            _ => {}
        }
        for (name, check) in &mut self.checks {
            if let Err(why) = check.see(&seen, &self.facts) {
                self.broken = Some(format!("{name}: {why}"));
                return;
            }
        }
        self.facts.note(&seen);
    }

    /// What it has come to, and the databases.
    pub fn end(self) -> (Outcome, Vec<Sqlite>) {
        let Self { broken, trace, marks, partitions, .. } = self;
        let (hash, trace) = trace.end();
        (Outcome { broken, marks, hash, trace }, partitions.into_iter().map(|partition| partition.db).collect())
    }

    /// One more rule looks.
    pub fn watch(&mut self, name: &'static str, check: Box<dyn Check>) {
        self.checks.push((name, check));
    }

    /// What is planned is to happen.
    pub fn begin(&mut self) {
        for (n, (at, _)) in self.plan.steps.iter().enumerate() {
            self.push(*at, Due::Step(n));
        }
        for (n, (at, _)) in self.plan.faults.iter().enumerate() {
            self.push(*at, Due::Fault(n));
        }
    }

    fn play(&mut self) {
        self.begin();
        self.go_on_until(self.plan.end());
        self.heal();
        self.go_on_until(self.now + HEALS_MS);
        self.publish_last();
        self.go_on_until(self.now + HEALS_MS);
        self.see(Seen::Quiet);
    }

    /// Whatever is due happens, up to a time.
    pub fn go_on_until(&mut self, end: u64) {
        while self.broken.is_none()
            && let Some(((at, _), _)) = self.queue.first_key_value()
            && *at <= end
            && let Some(((at, _), due)) = self.queue.pop_first()
        {
            self.now = at;
            self.happen(due);
        }
        self.now = end;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Step(n) => self.step(n),
            Due::Fault(n) => self.fault(n),
            Due::ToPartition(way, batch) => self.partition_receives(way, batch),
            Due::ToGateway(way, batch) => self.gateway_receives(way, batch),
            Due::GatewayTimer(gateway, number) => self.gateway_timer(gateway, number),
            Due::GatewaySleeps(gateway, number) => self.gateway_sleeps(gateway, number),
            Due::WakeGateway(gateway) => drop(self.gateway(gateway)),
            Due::PartitionTimer(partition, number) => self.partition_timer(partition, number),
            Due::PartitionSleeps(partition, number) => self.partition_sleeps(partition, number),
            Due::OldPartitionEnds(partition, number) => {
                self.partitions[partition].old.retain(|life| life.number != number);
            }
            Due::WakePartition(partition) => drop(self.living_partition(partition)),
            Due::Alarm(partition) => self.alarm(partition),
            Due::Yielded(partition, number) => self.partition_input(partition, number, Input::Yielded),
            Due::Run(run) => self.run(run),
            Due::Answer(partition, number, input) => self.answer(partition, number, input),
            Due::Look(partition) => self.look(partition),
        }
    }

    /// Nothing goes wrong any more; what was reset wakes.
    pub fn heal(&mut self) {
        self.note(|| "all is well from now on".to_owned());
        self.partitions.iter_mut().for_each(|partition| partition.fate = None);
        self.see(Seen::Healed);
        for gateway in 0..self.gateways.len() {
            self.gateways[gateway].cut_until.clear();
            // As a client says something.
            self.push(self.now, Due::WakeGateway(gateway));
        }
        for partition in 0..self.partitions.len() {
            self.push(self.now, Due::WakePartition(partition));
        }
    }

    /// Connections of people who look whether all is well.
    pub fn fresh_conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }
}
