//! A host of several gateways and their partitions. Messages between two keep their order; those of different pairs
//! overtake each other, as a test or chance says.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use nexus::gateway::{Api, Config, ConnId, RequestId};
use nexus::message::{GatewayId, PartitionId, ToGateway, ToPartition};
use nexus::node::{GatewayNode, PartitionNode};
use nexus::nostr::Event;
use nexus::seam::{Effect, Host, Input, Ticket};
use nexus::store::{Answer, Statement, StoreError, read};
use serde_json::{Value, json};

use super::Database;
use super::chance::Chance;
use super::events::{Author, NOW};
use super::ledger::asks_facts;
use super::refusals;
use super::sqlite::Sqlite;
use super::world::{RELAY, config};

/// What a partition wants its database to do.
struct Run {
    commit: bool,
    /// Whether it writes, or asks what has to be known for that.
    writes: bool,
    ticket: Ticket,
    statements: Vec<Statement>,
}

/// One gateway, what it has told and not been heard of, and what it has yet to hear, by partition.
pub struct Member {
    pub node: GatewayNode,
    to_partition: Vec<VecDeque<ToPartition>>,
    pub to_gateway: Vec<VecDeque<ToGateway>>,
    /// What its host has for it.
    inputs: VecDeque<Input>,
    /// When it wants to be woken, in milliseconds.
    pub timer: Option<u64>,
}

/// One partition.
pub struct Partition {
    node: PartitionNode,
    /// Writes are done in the order they were asked for, reads at any time.
    runs: VecDeque<Run>,
    /// What its host has for it: answers to writes come in order, those to reads at any time.
    pub inputs: Vec<Input>,
    db: Sqlite,
    /// Whether the database fails.
    pub broken: bool,
    /// When it wants to be woken, in milliseconds.
    timer: Option<u64>,
}

/// Gateways and their partitions.
pub struct Gateways {
    config: Rc<Config>,
    pub members: Vec<Member>,
    pub partitions: Vec<Partition>,
    frames: BTreeMap<(usize, ConnId), Vec<Value>>,
    pub answers: Vec<Value>,
    pub now: u64,
}

/// The connection that each gateway has from the beginning.
pub const CONN: ConnId = ConnId(1);

/// Something that may happen next.
#[derive(Clone, Copy)]
pub enum Step {
    /// A partition hears a gateway.
    Partition(usize, usize),
    /// A gateway hears a partition.
    Gateway(usize, usize),
    OfGateway(usize),
    OfPartition(usize),
    Write(usize),
    Read(usize),
}

impl Gateways {
    /// So many gateways of one partition that have woken, each with one connection.
    pub fn new(count: usize) -> Self {
        Self::with(count, 1, &[])
    }

    /// The same of so many partitions, with settings.
    pub fn with(count: usize, partitions: usize, settings: &[(&str, &str)]) -> Self {
        Self::on(count, (0..partitions).map(|_| Sqlite::new()).collect(), settings)
    }

    /// The same on databases that are there, one for each partition.
    pub fn on(count: usize, databases: Vec<Sqlite>, settings: &[(&str, &str)]) -> Self {
        let number = databases.len().to_string();
        let own = [("AUTH_REQUIRED", "false"), ("PARTITIONS", &*number)];
        let config = Rc::new(config(&[&own, settings].concat()));
        let partition = |(n, db): (usize, Sqlite)| Partition {
            node: PartitionNode::new(&config, PartitionId(n as u32), Host::PROCESS, 1 + n as u64, NOW * 1000),
            runs: VecDeque::new(),
            inputs: Vec::new(),
            db,
            broken: false,
            timer: None,
        };
        let mut all = Self {
            members: Vec::new(),
            partitions: databases.into_iter().enumerate().map(partition).collect(),
            config,
            frames: BTreeMap::new(),
            answers: Vec::new(),
            now: NOW * 1000,
        };
        (0..count).for_each(|_| all.join());
        all.settle(&mut Chance::new(0));
        all.frames.clear();
        all
    }

    /// One more gateway, which wakes.
    pub fn join(&mut self) {
        let node = GatewayNode::new(self.config.clone(), Host::PROCESS, false, self.now);
        let to_partition = self.partitions.iter().map(|_| VecDeque::new()).collect();
        let to_gateway = self.partitions.iter().map(|_| VecDeque::new()).collect();
        self.members.push(Member { node, to_partition, to_gateway, inputs: VecDeque::new(), timer: None });
        let n = self.members.len() - 1;
        self.input(n, Input::Woke { conns: vec![] });
        self.open(n, CONN);
    }

    pub fn open(&mut self, n: usize, conn: ConnId) {
        self.input(n, Input::Opened { conn, challenge: challenge(n, conn), ip: None });
        self.take(n, conn);
    }

    pub fn input(&mut self, n: usize, input: Input) {
        let effects = self.members[n].node.handle(input, self.now);
        self.perform(n, effects);
    }

    /// Does what a gateway wants done.
    fn perform(&mut self, n: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { conn, text } => {
                    let frame = serde_json::from_str(&text).unwrap();
                    refusals::check_frame(&frame);
                    self.frames.entry((n, conn)).or_default().push(frame);
                }
                Effect::Mark { conn } => self.members[n].inputs.push_back(Input::Taken { conn }),
                Effect::Respond { body, .. } => self.answers.push(serde_json::from_str(&body).unwrap()),
                Effect::TimerAt { at } => self.members[n].timer = Some(self.members[n].timer.map_or(at, |t| t.min(at))),
                Effect::Close { conn, code, reason } => {
                    self.frames.entry((n, conn)).or_default().push(json!(["(closed)", code, reason]));
                }
                Effect::Log { .. } => {}
                other => panic!("a gateway wants {other:?}"),
            }
        }
        for (PartitionId(to), message) in self.members[n].node.take_messages() {
            self.members[n].to_partition[to as usize].push_back(message);
        }
    }

    /// Does what a partition wants done.
    fn perform_partition(&mut self, p: usize, effects: Vec<Effect>) {
        let partition = &mut self.partitions[p];
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => {
                    partition.runs.push_back(Run { commit: true, writes: true, ticket, statements });
                }
                Effect::Query { ticket, statements, .. } => {
                    let writes = asks_facts(&statements);
                    partition.runs.push_back(Run { commit: false, writes, ticket, statements });
                }
                Effect::Yield => partition.inputs.push(Input::Yielded),
                Effect::TimerAt { at } => partition.timer = Some(partition.timer.map_or(at, |timer| timer.min(at))),
                Effect::WakeAt { .. } | Effect::Log { .. } => {}
                other => panic!("a partition wants {other:?}"),
            }
        }
        for (GatewayId(n), message) in partition.node.take_messages() {
            self.members[n as usize].to_gateway[p].push_back(message);
        }
    }

    /// What may happen next.
    pub fn possible(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (n, member) in self.members.iter().enumerate() {
            for p in 0..self.partitions.len() {
                steps.extend((!member.to_partition[p].is_empty()).then_some(Step::Partition(p, n)));
                steps.extend((!member.to_gateway[p].is_empty()).then_some(Step::Gateway(n, p)));
            }
            steps.extend((!member.inputs.is_empty()).then_some(Step::OfGateway(n)));
        }
        for (p, partition) in self.partitions.iter().enumerate() {
            steps.extend((!partition.inputs.is_empty()).then_some(Step::OfPartition(p)));
            steps.extend(partition.runs.iter().any(|run| run.writes).then_some(Step::Write(p)));
            steps.extend(partition.runs.iter().any(|run| !run.writes).then_some(Step::Read(p)));
        }
        steps
    }

    pub fn step(&mut self, step: Step, chance: &mut Chance) {
        match step {
            Step::Partition(p, n) => {
                let waiting = &mut self.members[n].to_partition[p];
                let some = 1 + chance.below(waiting.len() as u64) as usize;
                let messages: Vec<ToPartition> = waiting.drain(..some).collect();
                let effects = self.partitions[p].node.hear(GatewayId(n as u32), messages, self.now);
                self.perform_partition(p, effects);
            }
            Step::Gateway(n, p) => {
                let waiting = &mut self.members[n].to_gateway[p];
                let some = 1 + chance.below(waiting.len() as u64) as usize;
                let messages: Vec<ToGateway> = waiting.drain(..some).collect();
                let effects = self.members[n].node.hear(PartitionId(p as u32), messages, self.now);
                self.perform(n, effects);
            }
            Step::OfGateway(n) => {
                let input = self.members[n].inputs.pop_front().unwrap();
                self.input(n, input);
            }
            Step::OfPartition(p) => {
                let inputs = &mut self.partitions[p].inputs;
                let is_write = |input: &Input| matches!(input, Input::Committed { .. });
                let mut at = chance.below(inputs.len() as u64) as usize;
                if is_write(&inputs[at]) {
                    at = inputs.iter().position(is_write).unwrap();
                }
                let input = inputs.remove(at);
                let effects = self.partitions[p].node.handle(input, self.now);
                self.perform_partition(p, effects);
            }
            Step::Write(p) => self.partitions[p].run(true),
            Step::Read(p) => self.partitions[p].run(false),
        }
    }

    /// Takes steps in some order, as long as there are any or so many.
    pub fn steps(&mut self, chance: &mut Chance, most: usize) {
        for _ in 0..most {
            let possible = self.possible();
            if possible.is_empty() {
                return;
            }
            let step = *chance.pick(&possible);
            self.step(step, chance);
        }
    }

    pub fn settle(&mut self, chance: &mut Chance) {
        self.steps(chance, usize::MAX);
    }

    /// Everything happens but reads.
    pub fn settle_writes(&mut self, chance: &mut Chance) {
        loop {
            let possible = self.possible();
            let Some(step) = possible.iter().find(|step| !matches!(step, Step::Read(_))) else { return };
            self.step(*step, chance);
        }
    }

    /// Everything happens but that clients read what they are sent.
    pub fn settle_unread(&mut self, chance: &mut Chance) {
        loop {
            let possible: Vec<Step> =
                self.possible().into_iter().filter(|step| !matches!(step, Step::OfGateway(_))).collect();
            if possible.is_empty() {
                return;
            }
            let step = *chance.pick(&possible);
            self.step(step, chance);
        }
    }

    /// Everything happens but that a gateway hears a partition.
    pub fn settle_but(&mut self, chance: &mut Chance, (gateway, partition): (usize, usize)) {
        let is_held = |step: &Step| matches!(step, Step::Gateway(n, p) if (*n, *p) == (gateway, partition));
        loop {
            let possible: Vec<Step> = self.possible().into_iter().filter(|step| !is_held(step)).collect();
            if possible.is_empty() {
                return;
            }
            let step = *chance.pick(&possible);
            self.step(step, chance);
        }
    }

    /// Everything happens of which a gateway said it to partitions, but what databases do.
    pub fn hear_all(&mut self, n: usize) {
        for p in 0..self.partitions.len() {
            let messages: Vec<ToPartition> = self.members[n].to_partition[p].drain(..).collect();
            let effects = self.partitions[p].node.hear(GatewayId(n as u32), messages, self.now);
            self.perform_partition(p, effects);
        }
    }

    pub fn say(&mut self, n: usize, message: Value) {
        self.say_on(n, CONN, message);
    }

    pub fn say_on(&mut self, n: usize, conn: ConnId, message: Value) {
        self.input(n, Input::Received { conn, text: message.to_string() });
    }

    /// Says something and lets everything happen; what the connection is sent.
    pub fn ask(&mut self, n: usize, message: Value) -> Vec<Value> {
        self.say(n, message);
        self.settle(&mut Chance::new(2));
        self.take(n, CONN)
    }

    /// Proves a key on a connection.
    pub fn prove(&mut self, n: usize, author: &Author) {
        let challenge = challenge(n, CONN);
        let event = author.sign(22_242, NOW, &[&["relay", RELAY], &["challenge", &challenge]], "");
        assert_eq!(self.ask(n, json!(["AUTH", event]))[0], json!(["OK", event.id, true, ""]));
    }

    pub fn take(&mut self, n: usize, conn: ConnId) -> Vec<Value> {
        self.frames.remove(&(n, conn)).unwrap_or_default()
    }

    /// What the relay tells over HTTP, asked of one gateway a second after all that was done.
    pub fn http(&mut self, n: usize, api: Api) -> Value {
        self.now += 1000;
        (0..self.members.len()).for_each(|n| self.timers(n));
        self.settle(&mut Chance::new(1));
        self.input(n, Input::Requested { request: RequestId(1), api, ip: None });
        self.settle(&mut Chance::new(1));
        self.answers.pop().unwrap()
    }

    /// What a gateway, and each partition, wanted to do by now.
    pub fn timers(&mut self, n: usize) {
        if self.members[n].timer.take_if(|at| *at <= self.now).is_some() {
            self.input(n, Input::Timer);
        }
        for p in 0..self.partitions.len() {
            if self.partitions[p].timer.take_if(|at| *at <= self.now).is_some() {
                let effects = self.partitions[p].node.handle(Input::Timer, self.now);
                self.perform_partition(p, effects);
            }
        }
    }

    pub fn stats(&mut self, n: usize) -> Value {
        self.http(n, Api::Stats)
    }

    /// The databases of a relay that has ended.
    pub fn into_databases(self) -> Vec<Sqlite> {
        self.partitions.into_iter().map(|partition| partition.db).collect()
    }

    /// What is stored, by the databases' own word.
    pub fn stored(&mut self) -> Vec<Event> {
        self.partitions.iter_mut().flat_map(Partition::stored).collect()
    }
}

impl Partition {
    /// Runs the oldest statements that write, or that read; the answer waits.
    fn run(&mut self, writes: bool) {
        let at = self.runs.iter().position(|run| run.writes == writes).unwrap();
        let Run { commit, ticket, statements, .. } = self.runs.remove(at).unwrap();
        let broken = || Err(StoreError::new("disk on fire"));
        let result = if self.broken { broken() } else { self.db.run(&statements).map(Answer::from) };
        self.inputs.push(match commit {
            true => Input::Committed { ticket, result },
            false => Input::Answered { ticket, result },
        });
    }

    /// What is stored here.
    pub fn stored(&mut self) -> Vec<Event> {
        let rows = self.db.run(&[read::log(0, 1_000_000)]).unwrap();
        let events = rows.into_iter().flat_map(|rows| read::decode(rows).unwrap().unwrap());
        let parsed = events.filter_map(|event| match &event.text {
            read::Text::Json(json) => Event::parse(json).ok(),
            read::Text::Large(_) => None,
        });
        parsed.collect()
    }
}

/// What an AUTH event must repeat.
fn challenge(n: usize, conn: ConnId) -> String {
    format!("{n} {conn}")
}
