//! The engine: one relay without a host.
//!
//! [`Relay::handle`] takes what happened and the time, and returns what to do about it, at once and
//! without waiting. It owns connections, authentication, subscriptions and their index, admission,
//! groups of events on their way to the store, and counters. It never awaits, reads a clock, makes
//! random numbers or knows which host performs its effects.
//!
//! The contract with a host: perform the effects in order; feed every answer back as an input, once
//! or late or never; feed [`Input::Woke`] first after any loss of memory.

mod admit;
mod api;
mod asking;
mod attachment;
mod charge;
mod class;
mod config;
mod conn;
mod count;
mod counters;
mod gauges;
mod handlers;
pub mod http;
mod kept;
pub mod log;
mod metrics;
mod missed;
mod publish;
mod quota;
mod recent;
mod report;
mod seam;
mod session;
mod stored;
mod subs;
mod subscribe;
mod sweep;
mod timer;
mod writer;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub use api::{Api, RequestId, Requests};
pub use config::{Config, ConfigError, Limits, SETTINGS, Setting};
pub use conn::{ConnId, network};
pub use gauges::Gauges;
pub use kept::Kept;
pub use log::Level;
pub use seam::{Effect, Host, Input, Millis, News, Ticket};

use crate::nostr::client_msg::{self, Refusal};
use crate::nostr::relay_msg;
use crate::nostr::{ClientMessage, Prefix, Reason};
use crate::store::{Answer, Bill, Statement, StoreError, counts};
use api::Desk;
use asking::{Line, Question};
use charge::Payer;
use conn::Conn;
use counters::Counters;
use handlers::Handlers;
use missed::Log;
use publish::Passing;
use quota::Quotas;
use recent::Recent;
use subs::SubIndex;
use timer::Timer;
use writer::Writer;

/// WebSocket close code for a connection that breaks a rule (RFC 6455).
const POLICY_VIOLATION: u16 = 1008;

/// What a query was made for.
enum Purpose {
    /// To answer a client's question, who pays for it; nothing when nobody wants the answer any more.
    Answer(ConnId, Payer, Option<Question>),
    /// What a sweep finds to remove.
    Sweep,
    /// The totals, before the first group.
    Totals,
    /// Events that landed although their commit was reported as failed.
    Missed,
    /// Whether a commit that was reported as failed landed.
    Landed,
    /// Which keys of a connection are providers'.
    Providers(ConnId),
    /// To answer over HTTP; the log when it was asked.
    Api(Api, u64),
}

/// One relay.
pub struct Relay {
    config: Rc<Config>,
    host: Host,
    conns: BTreeMap<ConnId, Conn>,
    subs: SubIndex,
    writer: Writer,
    line: Line,
    queries: BTreeMap<Ticket, (Purpose, Millis)>,
    last_ticket: u64,
    /// The earliest alarm asked for since the relay woke.
    alarm: Option<Millis>,
    log: Log,
    recent: Recent,
    handlers: Handlers,
    quotas: Quotas,
    desk: Desk,
    /// Ephemeral events that other shards pass on, too.
    passing: BTreeMap<Ticket, Passing>,
    timer: Timer,
    /// Until when the totals are in doubt: after memory was lost, too, a commit may land yet.
    doubt_until: Millis,
    /// Whether the host was asked to yield before the next group.
    yielding: bool,
    /// The minute of the last snapshot.
    last_snapshot: Option<u64>,
    /// The time of the input that is being handled.
    now: Millis,
    /// Whether a sweep is being done.
    sweeping: bool,
    /// The removal in flight: its ticket, whether more is to be removed, when the next event expires.
    removing: Option<(Ticket, bool, Option<u64>)>,
    counters: Counters,
}

impl Relay {
    /// A relay that knows nothing yet; `now` begins its uptime.
    pub fn new(config: Rc<Config>, host: Host, now: Millis) -> Self {
        Self {
            config,
            host,
            conns: BTreeMap::new(),
            subs: SubIndex::default(),
            writer: Writer::default(),
            line: Line::default(),
            queries: BTreeMap::new(),
            last_ticket: 0,
            alarm: None,
            log: Log::default(),
            recent: Recent::default(),
            handlers: Handlers::default(),
            quotas: Quotas::default(),
            desk: Desk::default(),
            passing: BTreeMap::new(),
            timer: Timer::default(),
            doubt_until: now + host.doubt(),
            yielding: false,
            last_snapshot: None,
            now,
            sweeping: false,
            removing: None,
            counters: Counters::new(now),
        }
    }

    /// Takes one input; returns what the host must now do, in order.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        self.now = now;
        let mut out = Vec::new();
        match input {
            Input::Opened { conn, challenge, ip } => self.opened(conn, challenge, ip.as_deref(), now, &mut out),
            Input::Received { conn, text } => self.received(conn, &text, now, &mut out),
            Input::ReceivedBinary { conn, length } => {
                self.counters.bytes_received += length as u64;
                let reason = Reason::new(Prefix::Invalid, "binary frames are not part of the protocol; send text");
                self.send(conn, relay_msg::notice(&reason), &mut out);
            }
            Input::Closed { conn } => self.closed(conn, now, &mut out),
            Input::Committed { ticket, result } => {
                let result = result.map(|answer| self.metered(answer, now).rows);
                self.committed(ticket, result, now, &mut out);
            }
            Input::Answered { ticket, result } => {
                let result = result.map(|answer| self.metered(answer, now));
                self.answered(ticket, result, now, &mut out);
            }
            Input::Requested { request, api, elsewhere } => self.requested(request, api, elsewhere, now, &mut out),
            Input::Told { news, rows } => self.told(&news, &rows, now, &mut out),
            Input::Passed { event, from, ticket } => self.passed(&event, from, ticket, &mut out),
            Input::Heard { ticket, listeners } => self.heard(ticket, listeners, &mut out),
            Input::Configured { config } => self.config = Rc::new(*config),
            Input::Leaving => self.leave(&mut out),
            Input::Alarm => self.alarmed(now, &mut out),
            Input::Timer => self.timed(now, &mut out),
            Input::Yielded => self.yielded(now, &mut out),
            Input::Woke { conns } => self.woke(conns, now, &mut out),
        }
        self.count_sent(&mut out);
        out
    }

    /// Whether one more connection from this address may be opened; a host asks before it accepts one.
    pub fn may_open(&self, ip: &str, now: Millis) -> bool {
        let (Some(network), true) = (conn::network(ip), self.config.quotas.is_some()) else { return true };
        let limits = &self.config.limits;
        let same = self.conns.values().filter(|state| state.network.as_ref() == Some(&network)).count() as u64;
        let guests: Vec<Millis> = self.guests(&network).map(|(opened_at, _)| opened_at).collect();
        // Who has had the time to prove a key makes room.
        let room = (guests.len() as u64) < limits.max_guests_per_ip
            || guests.iter().any(|opened_at| now.saturating_sub(*opened_at) >= conn::GRACE);
        room && same < limits.max_connections_per_ip
    }

    fn metered(&mut self, answer: Answer, now: Millis) -> Answer {
        self.counters.metered(&answer, now);
        answer
    }

    fn received(&mut self, conn: ConnId, text: &str, now: Millis, out: &mut Vec<Effect>) {
        self.counters.bytes_received += text.len() as u64;
        let Some(state) = self.conns.get_mut(&conn) else { return };
        state.unheard = 0;
        let max = self.config.limits.max_message_length;
        if text.len() as u64 > max {
            let why = format!("message of {} bytes is over the limit of {max}", text.len());
            return self.refuse(conn, client_msg::refuse(text, Reason::new(Prefix::Restricted, why)), out);
        }
        if let Err(reason) = self.pay_bytes(conn, text.len(), now) {
            return self.refuse(conn, client_msg::refuse(text, reason), out);
        }
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Event(event)) => self.publish(conn, *event, now, out),
            Ok(ClientMessage::Req { subscription, filters }) => self.subscribe(conn, subscription, filters, now, out),
            Ok(ClientMessage::Count { query, filters }) => self.count(conn, query, filters, now, out),
            Ok(ClientMessage::Close(subscription)) => self.unsubscribe(conn, &subscription, out),
            Ok(ClientMessage::Auth(event)) => self.authenticate(conn, &event, now, out),
            Err(refusal) => self.refuse(conn, refusal, out),
        }
        let payer = self.holder(conn, None);
        self.remember_levels(conn, &payer, now, out);
    }

    fn refuse(&mut self, conn: ConnId, refusal: Refusal, out: &mut Vec<Effect>) {
        match refusal {
            Refusal::Ok(id, reason) => self.reject(conn, &id, &reason, out),
            Refusal::Closed(subscription, reason) => {
                self.unsubscribe(conn, &subscription, out);
                self.send(conn, relay_msg::closed(&subscription, &reason), out);
            }
            Refusal::Uncounted(query, reason) => self.send(conn, relay_msg::closed(&query, &reason), out),
            Refusal::NegErr(id, reason) => self.send(conn, relay_msg::neg_err(&id, &reason), out),
            Refusal::Notice(reason) => self.send(conn, relay_msg::notice(&reason), out),
        }
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let Some((purpose, asked)) = self.queries.remove(&ticket) else { return };
        let bill = result.as_ref().map_or(Bill::default(), |answer| answer.bill);
        let result = result.map(|answer| answer.rows);
        self.counters.storage.answered(now.saturating_sub(asked), result.is_ok());
        if let Err(error) = &result {
            let mut fields = vec![("error", error.to_string())];
            fields.extend(match &purpose {
                Purpose::Answer(conn, ..) | Purpose::Providers(conn) => Some(("connection", conn.to_string())),
                Purpose::Api(api, _) => self.desk.asked_by(*api).map(|request| ("request", request.to_string())),
                Purpose::Sweep | Purpose::Totals | Purpose::Missed | Purpose::Landed => None,
            });
            self.log(Level::Error, "query failed", &fields, out);
        }
        match purpose {
            Purpose::Answer(conn, payer, question) => {
                self.asked(conn);
                self.pay_rows(&payer, bill.read, now);
                match question {
                    Some(Question::Stored(reading)) => self.stored_answered(reading, result, now, out),
                    Some(Question::Count(counting)) => self.count_answered(counting, result, out),
                    None => {}
                }
                self.ask_next(now, out);
            }
            Purpose::Sweep => self.sweep_found(result, now, out),
            Purpose::Totals => {
                self.totals_answered(result.and_then(|rows| counts::decode_totals(&rows, self.host.shard)), now, out)
            }
            Purpose::Missed => self.found_missed(result, now, out),
            Purpose::Landed => self.landed_after_all(result, now, out),
            Purpose::Providers(conn) => self.providers_found(conn, result, now, out),
            Purpose::Api(api, upto) => self.api_answered(api, upto, result, now, out),
        }
    }

    fn query(&mut self, purpose: Purpose, statements: Vec<Statement>, now: Millis, out: &mut Vec<Effect>) {
        let ticket = self.next_ticket();
        self.queries.insert(ticket, (purpose, now));
        out.push(Effect::Query { ticket, statements });
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Answers `OK false` and counts it.
    fn reject(&mut self, conn: ConnId, id: &str, reason: &Reason, out: &mut Vec<Effect>) {
        self.counters.rejected(reason.prefix);
        self.send(conn, relay_msg::ok(id, false, &reason.to_string()), out);
    }

    fn send(&self, conn: ConnId, text: impl Into<Arc<str>>, out: &mut Vec<Effect>) {
        if self.conns.contains_key(&conn) {
            out.push(Effect::Send { conn, text: text.into() });
        }
    }

    /// Counts what is sent, and closes connections that are sent much and say nothing: nobody may be
    /// reading there, and what is not read stays in memory.
    fn count_sent(&mut self, out: &mut Vec<Effect>) {
        let max = self.config.limits.max_unheard_bytes;
        let mut silent = Vec::new();
        for effect in out.iter() {
            let Effect::Send { conn, text } = effect else { continue };
            self.counters.bytes_sent += text.len() as u64;
            if let Some(state) = self.conns.get_mut(conn) {
                let before = state.unheard;
                state.unheard += text.len() as u64;
                if before <= max && state.unheard > max {
                    silent.push(*conn);
                }
            }
        }
        for conn in silent {
            self.forget(conn);
            let reason = format!("{max} bytes sent and nothing heard; send a message now and then");
            out.push(Effect::Close { conn, code: POLICY_VIOLATION, reason });
        }
    }
}
