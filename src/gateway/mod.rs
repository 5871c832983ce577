//! A gateway: the clients of a node.
//!
//! Owns connections, authentication, admission, quotas, subscriptions and their index, the order in which questions are
//! asked, and what clients are sent. What is stored it asks its partitions, by messages. Knows no SQL and no database. It
//! never awaits, reads a clock, makes random numbers or knows which host performs its effects.

mod accept;
pub mod access;
mod admit;
mod api;
mod asking;
mod attachment;
mod ban;
mod bucket;
mod charge;
mod class;
mod config;
mod conn;
mod count;
mod counters;
mod door;
mod ending;
mod frames;
mod gauges;
mod hear;
pub mod http;
mod http_rate;
mod job_report;
mod keeper;
mod manage;
mod metrics;
mod networks;
mod partitions;
mod presence;
mod publish;
mod quota;
mod repeat;
mod report;
mod seen;
mod session;
mod settings;
mod share;
mod shared_answers;
mod stored;
mod subs;
mod subscribe;
mod timer;
mod turn;
mod unheard;
mod unruled;
mod vanished;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

pub use api::{Api, RequestId, Requests};
pub use attachment::MAX_ATTACHED;
pub use ban::Bans;
pub use config::{Config, ConfigError, Limits, PARTITIONS_MAX};
pub use conn::{ConnId, MAX_REMEMBERED, network};
pub use door::TurnedAway;
pub use frames::MAX_FRAME_BYTES;
pub use http_rate::{HttpRate, Sort};
pub use settings::{SETTINGS, Setting};
pub use shared_answers::SharedAnswers;

use crate::budget::Budget;
use crate::log::{self, Level};
use crate::message::{Counted, Interest, PartitionId, Seen, ToPartition};
use crate::moderation::Rulings;
use crate::seam::{Effect, Host, Input, Millis, Ticket};
use api::HttpRequests;
use asking::QueryQueue;
use conn::Conn;
use counters::Untold;
use ending::Ending;
use keeper::Position;
use manage::Managing;
use networks::Networks;
use partitions::Partitions;
use presence::Presence;
use quota::Quotas;
use repeat::Repeats;
use subs::SubIndex;
use timer::Timer;
use turn::MessageTurns;
use unheard::UnreadBytes;
use unruled::Unruled;
use vanished::Late;

/// One gateway.
pub struct Gateway {
    config: Rc<Config>,
    host: Host,
    /// Whether the partition has no other gateway.
    alone: bool,
    conns: BTreeMap<ConnId, Box<Conn>>,
    /// The memory there is.
    budget: Rc<Budget>,
    partitions: Partitions,
    networks: Networks,
    subs: SubIndex,
    queries: QueryQueue,
    /// Questions that the store failed to answer.
    repeats: Repeats,
    held: UnreadBytes,
    last_ticket: u64,
    position: Position,
    quotas: Quotas,
    requests: HttpRequests,
    /// Connections whose keys the partition was asked of.
    asked_of: BTreeMap<Ticket, ConnId>,
    /// Connections that end when their events were answered.
    ending: BTreeMap<ConnId, Ending>,
    timer: Timer,
    /// Messages that wait for their turn.
    turns: MessageTurns,
    /// Connections that what they are remembered by has changed of.
    changed: BTreeSet<ConnId>,
    /// The time of the input that is being handled.
    now: Millis,
    woke_at: Millis,
    /// What was counted since.
    counters: Counted,
    untold: Untold,
    presence: Presence,
    late: Late,
    /// What was refused, and who sends most.
    seen: Seen,
    /// What the operator has ruled.
    rulings: Rulings,
    managing: Managing,
    /// What waits until that is known.
    unruled: Vec<Unruled>,
}

impl Gateway {
    /// A gateway without clients; `now` begins its uptime, and `alone` says that the partition has no other.
    pub(crate) fn new(config: Rc<Config>, host: Host, alone: bool, budget: &Rc<Budget>, now: Millis) -> Self {
        let mut subs = SubIndex::default();
        let mut partitions = Partitions::new(config.partitions, budget);
        if alone {
            partitions.tell_all(&ToPartition::Interest(Interest::Everything));
        } else {
            subs.watch();
        }
        let position = Position::new(config.partitions);
        Self {
            config,
            host,
            alone,
            conns: BTreeMap::new(),
            partitions,
            networks: Networks::default(),
            subs,
            queries: QueryQueue::default(),
            repeats: Repeats::default(),
            held: UnreadBytes::default(),
            last_ticket: 0,
            position,
            quotas: Quotas::new(budget),
            requests: HttpRequests::default(),
            asked_of: BTreeMap::new(),
            ending: BTreeMap::new(),
            timer: Timer::default(),
            turns: MessageTurns::default(),
            changed: BTreeSet::new(),
            now,
            woke_at: now,
            counters: Counted::default(),
            untold: Untold::default(),
            presence: Presence::default(),
            late: Late::default(),
            seen: Seen::default(),
            rulings: Rulings::default(),
            managing: Managing::default(),
            unruled: Vec::new(),
            budget: budget.clone(),
        }
    }

    /// Its memory.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// An input begins.
    pub(crate) fn begin(&mut self, now: Millis) {
        self.now = now;
        self.held.counted = 0;
    }

    /// Takes what a client did, or what the host says.
    pub(crate) fn take(&mut self, input: Input, now: Millis, out: &mut Vec<Effect>) {
        self.now = now;
        self.untold.changed |= !matches!(input, Input::Timer | Input::Requested { .. } | Input::Managed { .. });
        match input {
            Input::Opened { conn, challenge, ip } => self.opened(conn, challenge, ip.as_deref(), now, out),
            Input::Received { conn, text } => self.received(conn, &text, now, out),
            Input::ReceivedBinary { conn, length } => self.received_binary(conn, length, now, out),
            Input::Unread { conn, length } => self.unread(conn, length, now, out),
            Input::Broken { conn, breach } => self.broken(conn, breach, now, out),
            Input::Taken { conn } => self.has_read(conn, now, out),
            Input::Closed { conn } => self.closed(conn, out),
            Input::Requested { request, api, ip } => self.requested(request, api, ip.as_deref(), now, out),
            Input::Managed { request, signed, body } => self.managed(request, signed, &body, now, out),
            Input::Configured { config } => {
                self.config = Rc::new(*config);
                self.end_blocked((true, true), out);
            }
            Input::Leaving => self.leave(out),
            Input::Timer => self.timed(now, out),
            Input::Woke { conns } => self.woke(conns, now, out),
            // These are the partition's.
            Input::Committed { .. } | Input::Answered { .. } | Input::Alarm | Input::Yielded => {}
        }
    }

    /// The partitions there are.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.partitions.all()
    }

    /// What partitions are to be told, each in order.
    pub(crate) fn take_messages(&mut self) -> Vec<(PartitionId, ToPartition)> {
        let (came, went) = self.subs.take_changed();
        if !came.is_empty() || !went.is_empty() {
            // What is asked after it must not be answered before it is known.
            self.partitions
                .tell_all_first(&ToPartition::Interest(Interest::Keys { came: came.into(), went: went.into() }));
        }
        self.partitions.take_messages()
    }

    /// Everything of an input was handled.
    pub(crate) fn finish(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.end_whose_events_are_answered(now, out);
        self.replace_keeper();
        self.count_sent(out);
        self.keep_changed(out);
        self.tell_presence();
        self.tell_soon(now, out);
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    fn send(&self, conn: ConnId, text: impl Into<Arc<str>>, out: &mut Vec<Effect>) {
        if self.conns.contains_key(&conn) {
            out.push(Effect::Send { conn, text: text.into() });
        }
    }

    fn log(&self, level: Level, what: &str, fields: &[(&str, String)], out: &mut Vec<Effect>) {
        log::write(self.config.log_level, level, what, fields, out);
    }
}
