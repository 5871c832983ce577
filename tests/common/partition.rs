//! A host of one partition, and its one gateway, which says what a test has it say. What the database is asked waits until
//! a test lets it happen.

use std::collections::VecDeque;
use std::sync::Arc;

use nexus::ledger::NewEvent;
use nexus::message::{
    Allowance, Asked, Facts, GatewayId, Interest, Part, PartitionId, Publish, Publisher, Question, ToGateway,
    ToPartition, Verdict, When,
};
use nexus::node::PartitionNode;
use nexus::nostr::{EventId, Filter, PublicKey, Values};
use nexus::seam::{Effect, Host, Input, Ticket};
use nexus::store::{Answer, Rows, Statement, StoreError};
use serde_json::Value;

use super::Database;
use super::events::NOW;
use super::host::Fault;
use super::sqlite::Sqlite;
use super::world::config;

/// What the partition wants the database to do.
struct Run {
    commit: bool,
    ticket: Ticket,
    statements: Vec<Statement>,
}

pub struct OnePartition {
    node: PartitionNode,
    pub db: Sqlite,
    runs: VecDeque<Run>,
    /// Applied to the next commits, in order.
    pub faults: VecDeque<Fault>,
    /// What was reported as failed and has yet to land.
    late: Vec<Vec<Statement>>,
    /// Times something was written, or was to be.
    pub commits: u64,
    /// When it wants to be woken, in milliseconds.
    pub alarm: Option<u64>,
    timer: Option<u64>,
    pub now: u64,
    publishers: u64,
    told: Vec<ToGateway>,
    /// The events it has pushed.
    pub pushed: Vec<Arc<NewEvent>>,
    /// The jobs it has said to be cancelled, each with who had answered.
    pub cancelled: Vec<(EventId, PublicKey)>,
    /// What it said became of events, in order.
    pub verdicts: Vec<(Publisher, Verdict)>,
}

const GATEWAY: GatewayId = GatewayId(0);

impl OnePartition {
    /// A partition with a gateway that cares for everything.
    pub fn new() -> Self {
        let mut new = Self {
            node: PartitionNode::new(&config(&[]), PartitionId::HOME, Host::OBJECT, 1, NOW * 1000),
            db: Sqlite::new(),
            runs: VecDeque::new(),
            faults: VecDeque::new(),
            late: Vec::new(),
            commits: 0,
            alarm: None,
            timer: None,
            now: NOW * 1000,
            publishers: 0,
            told: Vec::new(),
            pushed: Vec::new(),
            cancelled: Vec::new(),
            verdicts: Vec::new(),
        };
        new.say(ToPartition::Interest(Interest::Everything));
        new.say(ToPartition::Woke(None));
        new.settle();
        new
    }

    pub fn say(&mut self, message: ToPartition) {
        let effects = self.node.hear(GATEWAY, [message], self.now);
        self.perform(effects);
    }

    pub fn input(&mut self, input: Input) {
        let effects = self.node.handle(input, self.now);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let earlier = |set: Option<u64>, at| Some(set.map_or(at, |set| set.min(at)));
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => self.runs.push_back(Run { commit: true, ticket, statements }),
                Effect::Query { ticket, statements, .. } => {
                    self.runs.push_back(Run { commit: false, ticket, statements });
                }
                Effect::Yield => self.input(Input::Yielded),
                Effect::WakeAt { at } => self.alarm = earlier(self.alarm, at),
                Effect::TimerAt { at } => self.timer = earlier(self.timer, at),
                Effect::Log { .. } => {}
                other => panic!("the partition wants {other:?}"),
            }
        }
        for (_, message) in self.node.take_messages() {
            match message {
                ToGateway::Push(push) => push.parts.into_iter().for_each(|part| self.hear(part)),
                ToGateway::Verdict(outcome) => self.hear(Part::Outcome(outcome)),
                message => self.told.push(message),
            }
        }
    }

    fn hear(&mut self, part: Part) {
        match part {
            Part::Event((new, _)) => self.pushed.push(new),
            Part::Outcome(outcome) => self.verdicts.push((outcome.to, outcome.verdict)),
            Part::Cancelled(job, key) => self.cancelled.push((job, key)),
        }
    }

    /// Does the oldest of what the database is asked, and tells the answer; says whether there was any.
    pub fn step(&mut self) -> bool {
        let Some(Run { commit, ticket, statements }) = self.runs.pop_front() else { return false };
        self.now += 1;
        let fault = if commit { self.faults.pop_front() } else { None };
        let result = self.store(statements, fault).map(Answer::from);
        self.commits += u64::from(commit);
        self.input(match commit {
            true => Input::Committed { ticket, result },
            false => Input::Answered { ticket, result },
        });
        true
    }

    fn store(&mut self, statements: Vec<Statement>, fault: Option<Fault>) -> Result<Rows, StoreError> {
        match fault {
            None => return self.db.run(&statements),
            Some(Fault::Fails) => {}
            Some(Fault::LandsAndFails) => drop(self.db.run(&statements)?),
            Some(Fault::FailsAndLandsLate) => self.late.push(statements),
        }
        Err(StoreError::new("disk on fire"))
    }

    /// Everything that the database is asked happens, and no time passes.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// Does what is asked before the next commit, and that; what follows waits.
    pub fn commit(&mut self) {
        let commits = self.commits;
        while self.commits == commits {
            assert!(self.step() || self.timer_comes(), "nothing is written");
        }
    }

    /// Does what the database was asked last; the answer waits to be told.
    pub fn last(&mut self) -> Input {
        let Run { ticket, statements, .. } = self.runs.pop_back().unwrap();
        Input::Answered { ticket, result: self.db.run(&statements).map(Answer::from) }
    }

    /// What was reported as failed lands after all, if it is the next write yet.
    pub fn land(&mut self) {
        for statements in std::mem::take(&mut self.late) {
            self.db.run(&statements).unwrap();
        }
    }

    /// Whether a commit waits.
    pub fn is_writing(&self) -> bool {
        self.runs.iter().any(|run| run.commit)
    }

    /// Time passes until the timer comes; says whether it was set.
    pub fn timer_comes(&mut self) -> bool {
        let Some(at) = self.timer.take() else { return false };
        self.now = self.now.max(at);
        self.input(Input::Timer);
        true
    }

    /// Everything that the database is asked happens, and what is asked again after it has failed.
    pub fn settle(&mut self) {
        while self.step() || self.timer_comes() {}
    }

    /// Time passes until the alarm; everything happens.
    pub fn alarm_comes(&mut self) {
        self.now = self.now.max(self.alarm.take().expect("an alarm is set"));
        self.input(Input::Alarm);
        self.settle();
    }

    /// Sends an event; what became of it is told later, by a name.
    pub fn send(&mut self, new: NewEvent) -> Publisher {
        self.publishers += 1;
        let (from, allowance) = (Publisher(self.publishers), Allowance::Everybody);
        let new = NewEvent { came_ms: self.now, ..new };
        let publish = Publish { from, new, network: None, is_limited: false, allowance };
        self.say(ToPartition::Publish(Box::new(publish)));
        from
    }

    /// What was said of an event: once, or not yet.
    pub fn verdict(&self, of: Publisher) -> Option<&Verdict> {
        let mut said = self.verdicts.iter().filter(|(to, _)| *to == of).map(|(_, verdict)| verdict);
        let first = said.next();
        assert!(said.next().is_none(), "{of} is told twice");
        first
    }

    /// Sends an event and lets everything happen; what became of it.
    pub fn put(&mut self, new: NewEvent) -> Verdict {
        let from = self.send(new);
        self.settle();
        self.verdict(from).expect("nobody was told").clone()
    }

    /// Asks for what a filter finds.
    pub fn ask(&mut self, filter: &Value, when: When) {
        let filters = Arc::from([Filter::parse(&filter.to_string()).unwrap()]);
        let keys = Values::default();
        let question = Question::Stored { filters, limits: (1000, 1000), event_bytes_max: 100_000, keys, missed: None };
        self.say(ToPartition::Read { ticket: ticket(), question, when });
    }

    /// What the question was answered, by content.
    pub fn answer(&mut self) -> Vec<String> {
        let answer = self.told.drain(..).find_map(|told| match told {
            ToGateway::Answer { answer, .. } => Some(answer.unwrap().unwrap().stored()),
            _ => None,
        });
        let text = |event: nexus::store::read::StoredEvent| match event.text {
            nexus::store::read::Text::Json(json) => json,
            nexus::store::read::Text::Large(_) => panic!("an event is large"),
        };
        let content =
            |json: Arc<str>| serde_json::from_str::<Value>(&json).unwrap()["content"].as_str().unwrap().to_owned();
        answer.expect("no answer").events.into_iter().map(text).map(content).collect()
    }

    /// The contents of what a filter finds in the database. Nothing else happens.
    pub fn find(&mut self, filter: &Value) -> Vec<String> {
        let waiting = std::mem::take(&mut self.runs);
        self.ask(filter, When::Now);
        self.run();
        self.runs = waiting;
        self.answer()
    }

    /// The same of what is remembered; none when that may not be all.
    pub fn remembered(&mut self, filter: &Value) -> Option<Vec<String>> {
        self.ask(filter, When::Known);
        if self.told.iter().any(|told| matches!(told, ToGateway::Later { .. })) {
            self.told.clear();
            self.say(ToPartition::Drop(ticket()));
            return None;
        }
        Some(self.answer())
    }

    /// What was counted under a key, and how many providers are active.
    pub fn counts(&mut self, key: &str) -> (i64, u64) {
        self.say(ToPartition::Ask { ticket: ticket(), asked: Asked::Counts, database: true });
        self.settle();
        let facts = self.told.drain(..).find_map(|told| match told {
            ToGateway::Facts { facts: Some(Ok(Facts::Counts(counts, active, _))), .. } => Some((counts, active)),
            _ => None,
        });
        let (counts, active) = facts.expect("no counts");
        (counts.counts.get(key).copied().unwrap_or_default(), active)
    }

    /// One text column of the database.
    pub fn column(&self, sql: &str) -> Vec<String> {
        let mut query = self.db.0.prepare(sql).unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

/// What questions are called.
fn ticket() -> Ticket {
    serde_json::from_str("1").unwrap()
}
