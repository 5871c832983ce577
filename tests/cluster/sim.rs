//! One run: objects, the network between them and the database, as a plan and its seed say, on a clock of its own.

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
use crate::plan::{Fate, Plan};
use crate::pool::Pool;
use crate::rng::Rng;
use crate::seen::{Facts, Seen};
use crate::trace::Trace;

/// Milliseconds for which what is on its way may take to arrive when nothing goes wrong any more.
const HEALS_MS: u64 = 150_000;

/// Statements on their way.
pub struct Run {
    /// For which life of the partition.
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
    ToPartition(usize, Batch<ToPartition>),
    ToGateway(usize, Batch<ToGateway>),
    /// Of a life, by its number.
    GatewayTimer(usize, u64),
    GatewaySleeps(usize, u64),
    WakeGateway(usize),
    PartitionTimer(u64),
    PartitionSleeps(u64),
    OldPartitionEnds(u64),
    WakePartition,
    Alarm,
    Yielded(u64),
    Run(Run),
    Answer(u64, Input),
    /// What is stored is seen, if a mutation has it seen late.
    Look,
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
    pub partition: PartitionObject,
    pub lives: u64,
    pub db: Sqlite,
    /// What becomes of statements, of how many of a hundred, until when.
    pub fate: Option<(Fate, usize, u64)>,
    pub facts: Facts<'a>,
    checks: Vec<(&'static str, Box<dyn Check>)>,
    pub broken: Option<String>,
    pub trace: Trace,
    pub marks: Marks,
    pub mutator: Mutator,
    pub conns: u64,
    pub asked: u64,
    /// Batches that were sent or came: whether from a gateway, which, by whom, for whom, number.
    pub sent: BTreeSet<Passed>,
    pub came: BTreeSet<Passed>,
    /// Lives of the partition that have failed to write.
    pub failed: BTreeSet<u64>,
    /// The last life that has written.
    pub writer: u64,
}

/// A batch on its way.
pub type Passed = (bool, usize, Incarnation, Option<Incarnation>, u64);

/// Plays a plan on an empty database.
pub fn run(plan: &Plan, pool: &Pool, db: Sqlite, mutation: Option<Mutation>, is_read: bool) -> (Outcome, Sqlite) {
    let mut sim = Sim::new(plan, pool, db, mutation, is_read);
    sim.play();
    let Sim { broken, trace, marks, db, .. } = sim;
    let (hash, trace) = trace.end();
    (Outcome { broken, marks, hash, trace }, db)
}

impl<'a> Sim<'a> {
    fn new(plan: &'a Plan, pool: &'a Pool, db: Sqlite, mutation: Option<Mutation>, is_read: bool) -> Self {
        let config = config(&[("AUTH_REQUIRED", if plan.locked { "true" } else { "false" })]);
        let (queue, partition, marks, sent, came, failed) = Default::default();
        Self {
            plan,
            rng: Rng::new(plan.seed ^ 0x5eed),
            now: 0,
            config: Rc::new(config),
            queue,
            queued: 0,
            gateways: (0..plan.gateways).map(|_| GatewayObject::default()).collect(),
            partition,
            lives: 0,
            db,
            fate: None,
            facts: Facts::new(pool, plan.is_calm()),
            checks: check::all(),
            broken: None,
            trace: Trace::new(is_read),
            marks,
            mutator: Mutator::new(mutation),
            conns: 0,
            asked: 0,
            sent,
            came,
            failed,
            writer: 0,
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
        self.trace.note(self.now, self.facts.pool, || format!("{seen:?}"));
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

    fn play(&mut self) {
        for (n, (at, _)) in self.plan.steps.iter().enumerate() {
            self.push(*at, Due::Step(n));
        }
        for (n, (at, _)) in self.plan.faults.iter().enumerate() {
            self.push(*at, Due::Fault(n));
        }
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
            Due::ToPartition(gateway, batch) => self.partition_receives(gateway, batch),
            Due::ToGateway(gateway, batch) => self.gateway_receives(gateway, batch),
            Due::GatewayTimer(gateway, number) => self.gateway_timer(gateway, number),
            Due::GatewaySleeps(gateway, number) => self.gateway_sleeps(gateway, number),
            Due::WakeGateway(gateway) => drop(self.gateway(gateway)),
            Due::PartitionTimer(number) => self.partition_timer(number),
            Due::PartitionSleeps(number) => self.partition_sleeps(number),
            Due::OldPartitionEnds(number) => self.partition.old.retain(|life| life.number != number),
            Due::WakePartition => drop(self.living_partition()),
            Due::Alarm => self.alarm(),
            Due::Yielded(number) => self.partition_input(number, Input::Yielded),
            Due::Run(run) => self.run(run),
            Due::Answer(number, input) => self.answer(number, input),
            Due::Look => self.look(),
        }
    }

    /// Nothing goes wrong any more; what was reset wakes.
    fn heal(&mut self) {
        self.note(|| "all is well from now on".to_owned());
        self.fate = None;
        self.see(Seen::Healed);
        for gateway in 0..self.gateways.len() {
            self.gateways[gateway].cut_until = 0;
            // As a client says something.
            self.push(self.now, Due::WakeGateway(gateway));
        }
        self.push(self.now, Due::WakePartition);
    }

    /// Connections of people who look whether all is well.
    pub fn fresh_conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }
}
