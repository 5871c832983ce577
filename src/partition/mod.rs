//! A partition: one database, and what is kept of it in memory.
//!
//! Owns the groups of events on their way to the database, the window of recent events, what is known of handlers, the
//! reading of what gateways ask, what is removed, what was counted, and the ceiling of rows. Takes what gateways tell it
//! and what the database answers, and says what to do next. Knows no connection, no session and no socket, and executes
//! nothing.

mod catch_up;
mod ceiling;
mod commit;
mod counters;
mod facts;
mod gateways;
mod handlers;
mod held;
mod landed;
mod log;
mod networks;
mod page;
mod publish;
mod queue;
mod reads;
mod recent;
mod rulings;
mod sweep;
mod writer;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::budget::{Budget, Share};
use crate::log::Level;
use crate::market::JobProfile;
use crate::market::retention::Kept;
use crate::message::{GatewayId, PartitionGauges, ToGateway, ToPartition};
use crate::nostr::auth::Authority;
use crate::seam::{Effect, Host, Millis, Ticket};
pub use crate::store::map::Place;
use crate::store::{Answer, Statement, StoreError};
use ceiling::NetworkRows;
use counters::Counters;
use facts::Known;
use gateways::Gateways;
use handlers::Handlers;
use log::Log;
use networks::Networks;
use reads::Reads;
use recent::Recent;
use rulings::Ruled;
use writer::Writer;

/// Who has asked: a gateway, by its own name for the question.
type Asker = (GatewayId, Ticket);

/// What a query was made for.
enum Purpose {
    /// To answer a gateway's question.
    Read(Asker),
    /// What a sweep finds to remove.
    Sweep,
    /// How far the log is.
    Position,
    /// What was stored without anybody's being told.
    CatchUp,
    /// What has to be known before something is written.
    Facts,
    /// What the operator has ruled.
    Rulings,
    /// What is known of keys.
    WhoIs(Asker),
    /// To answer over HTTP; how often the store had been written to when it was asked.
    Ask(Asker, u64),
}

/// The shares of memory that a partition reserves of, and that of what networks have taken.
const OWN_SHARES: [Share; 7] =
    [Share::Answers, Share::Events, Share::Answered, Share::Jobs, Share::Recent, Share::Handlers, Share::Quotas];

/// What a partition has to know of the settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which partition it is, of how many.
    pub place: Place,
    pub profile: JobProfile,
    pub kept: Kept,
    pub relays: Vec<Authority>,
    pub log_level: Level,
    pub rows_per_day: Option<u64>,
    pub max_database_bytes: Option<u64>,
}

/// One partition.
pub struct Partition {
    settings: Settings,
    host: Host,
    budget: Rc<Budget>,
    /// What gateways are to be told.
    messages: Vec<(GatewayId, ToGateway)>,
    gateways: Gateways,
    writer: Writer,
    log: Log,
    recent: Recent,
    handlers: Handlers,
    reads: Reads,
    networks: Networks,
    network_rows: NetworkRows,
    facts: Known,
    ruled: Ruled,
    queries: BTreeMap<Ticket, (Purpose, Millis)>,
    last_ticket: u64,
    /// The earliest alarm asked for since it woke.
    alarm: Option<Millis>,
    /// When the store is asked again that has failed, and when what was counted is saved.
    commit_due: Option<Millis>,
    save_due: Option<Millis>,
    /// Whether the host was asked to yield before the next group.
    yielding: bool,
    /// The minute of the last snapshot that is known to have landed.
    last_snapshot: Option<u64>,
    /// The time of the input that is being handled.
    now: Millis,
    /// Whether a sweep is being done.
    sweeping: bool,
    counters: Counters,
    /// When counts were last sent by themselves.
    saved_at: Option<Millis>,
}

impl Partition {
    /// A partition that knows nothing yet, and is called by a random number that no other has.
    pub fn new(settings: Settings, host: Host, incarnation: u64, budget: &Rc<Budget>, now: Millis) -> Self {
        Self {
            settings,
            host,
            messages: Vec::new(),
            gateways: Gateways::default(),
            writer: Writer::new(budget, host.group_max()),
            log: Log::new(incarnation, budget.max(Share::Jobs) / 2),
            recent: Recent::new(budget),
            handlers: Handlers::new(budget),
            reads: Reads::default(),
            networks: Networks::default(),
            network_rows: NetworkRows::new(budget),
            facts: Known::default(),
            ruled: Ruled::default(),
            queries: BTreeMap::new(),
            last_ticket: 0,
            alarm: None,
            commit_due: None,
            save_due: None,
            yielding: false,
            last_snapshot: None,
            now,
            sweeping: false,
            counters: Counters::default(),
            saved_at: None,
            budget: budget.clone(),
        }
    }

    /// Takes other settings.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Which partition it is, of how many.
    pub const fn place(&self) -> Place {
        self.settings.place
    }

    /// Its memory.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Up to which number gateways have been told of everything.
    pub fn told(&self) -> u64 {
        self.log.told()
    }

    /// Up to which number a gateway was told of everything, as far as is known and the log goes.
    pub fn told_of(&self, gateway: GatewayId) -> Option<u64> {
        Some(self.gateways.told(gateway)?.min(self.end()?))
    }

    /// The number of the last event, if it is known.
    pub fn end(&self) -> Option<u64> {
        self.log.end()
    }

    /// What gateways are to be told, in order.
    pub fn take_messages(&mut self) -> Vec<(GatewayId, ToGateway)> {
        self.tell_rulings();
        std::mem::take(&mut self.messages)
    }

    fn tell(&mut self, gateway: GatewayId, message: ToGateway) {
        self.messages.push((gateway, message));
    }

    /// Takes what a gateway tells.
    pub fn hear(&mut self, from: GatewayId, message: ToPartition, now: Millis, out: &mut Vec<Effect>) {
        self.now = now;
        self.gateways.meet(from);
        match message {
            ToPartition::Woke(told) => {
                // A database that was set back has less.
                self.gateways.woke(from, told, self.log.end().unwrap_or(u64::MAX));
                self.position_asked(from, now, out);
            }
            ToPartition::Interest(interest) => self.gateways.note(from, interest),
            ToPartition::Ephemeral { from: publisher, event } => self.pass(from, publisher, &event),
            ToPartition::Publish(publish) => self.publish(from, *publish, now, out),
            ToPartition::Read { ticket, question, when } => self.read((from, ticket), question, when, now, out),
            ToPartition::Go(ticket) => self.go((from, ticket), now, out),
            ToPartition::Drop(ticket) => self.reads.drop((from, ticket)),
            ToPartition::WhoIs { ticket, keys } => self.who_is((from, ticket), &keys, now, out),
            ToPartition::Left { keys, network } => self.left(&keys, network, now, out),
            ToPartition::Counted(counts) => self.counters.counted(counts),
            ToPartition::Gauges(gauges) => self.gateways.gauge(from, gauges),
            ToPartition::Present { came, went } => self.gateways.present(from, came, &went),
            ToPartition::Ask { ticket, asked, database } => self.asked((from, ticket), asked, database, now, out),
            ToPartition::Position => self.position_asked(from, now, out),
        }
    }

    /// Takes the answer to [`Effect::Commit`].
    pub fn commit_answered(
        &mut self,
        ticket: Ticket,
        result: Result<Answer, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        self.now = now;
        let own = self.log.is_saving();
        let result = result.map(|answer| self.metered(answer, own, now).rows);
        self.written(ticket, result, now, out);
    }

    /// Takes the answer to [`Effect::Query`].
    pub fn query_answered(
        &mut self,
        ticket: Ticket,
        result: Result<Answer, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        self.now = now;
        let own = matches!(self.queries.get(&ticket), Some((Purpose::Position, _)));
        let result = result.map(|answer| self.metered(answer, own, now));
        let Some((purpose, asked_at)) = self.queries.remove(&ticket) else { return };
        let rows_read = result.as_ref().map_or(0, |answer| answer.bill.read.max(answer.looked_at));
        let result = result.map(|answer| answer.rows);
        self.counters.storage.answered(now.saturating_sub(asked_at), result.as_ref().err());
        let own = matches!(
            purpose,
            Purpose::Sweep | Purpose::Position | Purpose::CatchUp | Purpose::Facts | Purpose::Rulings
        );
        if let (Err(error), true) = (&result, own) {
            self.log_failed(error, out);
        }
        match purpose {
            Purpose::Read(asker) => self.read_answered(asker, rows_read, result, now, out),
            Purpose::Sweep => self.sweep_found(result, now, out),
            Purpose::Position => self.position_answered(result, now, out),
            Purpose::CatchUp => self.log_read(result, now, out),
            Purpose::Facts => self.facts_read(result, now, out),
            Purpose::Rulings => self.rulings_read(result, now, out),
            Purpose::WhoIs(asker) => self.known(asker, result),
            Purpose::Ask(of, writes) => self.ask_answered(of, writes, asked_at, rows_read, result, now),
        }
    }

    /// Time has passed: does what is due.
    pub fn timed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.now = now;
        if self.commit_due.take_if(|at| *at <= now).is_some() {
            self.commit_again(now, out);
        }
        if self.save_due.take_if(|at| *at <= now).is_some() {
            self.save_now(now, out);
        }
        self.commit_due.into_iter().chain(self.save_due).for_each(|at| out.push(Effect::TimerAt { at }));
    }

    /// Everything of an input was handled.
    pub fn finish(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.save_soon(now, out);
    }

    /// What is known beside the database.
    pub fn gauges(&self) -> PartitionGauges {
        let used = |share| match share {
            // These are bounded in number.
            Share::Jobs => self.writer.jobs_bytes(),
            Share::Quotas => self.network_rows.memory_bytes(),
            _ => self.budget.used(share),
        };
        let name = |share| Share::ALL.iter().find(|(known, _)| *known == share).map_or("", |(_, name)| *name);
        let memory = OWN_SHARES.map(|share| (name(share), (used(share), self.budget.max(share))));
        PartitionGauges {
            rows_per_day: self.settings.rows_per_day,
            rows_today: self.spent_today(),
            memory: memory.into(),
            ..self.counters.gauges()
        }
    }

    /// Counts what an answer has cost. What saving the counts and waking up cost is `own`: it is saved with what comes
    /// next, or an idle relay would never be done.
    fn metered(&mut self, answer: Answer, own: bool, now: Millis) -> Answer {
        self.counters.metered(&answer, own, now);
        answer
    }

    fn query(&mut self, purpose: Purpose, statements: Vec<Statement>, now: Millis, out: &mut Vec<Effect>) {
        let ticket = self.next_ticket();
        let may_wait = matches!(purpose, Purpose::Read(_) | Purpose::WhoIs(_) | Purpose::Ask(..));
        self.queries.insert(ticket, (purpose, now));
        out.push(Effect::Query { ticket, statements, may_wait });
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    fn log(&self, level: Level, what: &str, fields: &[(&str, String)], out: &mut Vec<Effect>) {
        crate::log::write(self.settings.log_level, level, what, fields, out);
    }

    fn log_failed(&self, error: &StoreError, out: &mut Vec<Effect>) {
        let fields = [("error", error.to_string()), ("kind", error.kind.as_str().to_owned())];
        self.log(Level::Error, "query failed", &fields, out);
    }
}
