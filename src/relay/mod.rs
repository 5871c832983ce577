//! The engine: one relay without a host.
//!
//! [`Relay::handle`] takes what happened and the time, and returns what to do about it, at once and
//! without waiting. It owns connections, authentication, subscriptions and their index, admission,
//! groups of events on their way to the store, and counters. It never awaits, reads a clock, makes
//! random numbers or knows which host performs its effects.
//!
//! The contract with a host: perform the effects in order; feed every answer back as an input, once
//! or late or never; feed [`Input::Woke`] first after any loss of memory.

mod accept;
mod admit;
mod api;
mod asking;
mod attachment;
mod ban;
mod bucket;
mod budget;
mod ceiling;
mod charge;
mod class;
mod commit;
mod config;
mod conn;
mod count;
mod counters;
mod door;
mod ending;
mod frames;
mod gauges;
mod handlers;
pub mod http;
mod http_rate;
mod kept;
pub mod log;
mod metrics;
mod missed;
mod networks;
mod page;
mod publish;
mod queue;
mod quota;
mod recent;
mod repeat;
mod report;
mod seam;
mod session;
mod share;
mod stored;
mod subs;
mod subscribe;
mod sweep;
mod timer;
mod turn;
mod unheard;
mod vanished;
mod writer;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub use api::{Api, RequestId, Requests};
pub use attachment::MAX_ATTACHED;
pub use ban::{Bans, Range};
pub use config::{Config, ConfigError, Limits, SETTINGS, Setting};
pub use conn::{ConnId, network};
pub use door::TurnedAway;
pub use frames::MAX_FRAME_BYTES;
pub use gauges::Gauges;
pub use http_rate::{HttpRate, Sort};
pub use kept::Kept;
pub use log::Level;
pub use seam::{Breach, Effect, Host, Input, Millis, NO_CLOSE_FRAME, News, Ticket};

use crate::store::{Answer, Rows, Statement, StoreError};
use api::Desk;
use asking::{Line, Question};
use budget::{Budget, Reservation};
use ceiling::NetworkRows;
use charge::Payer;
use conn::Conn;
use counters::Counters;
use ending::Ending;
use handlers::Handlers;
use missed::Log;
use networks::Networks;
use publish::Passing;
use quota::Quotas;
use recent::Recent;
use repeat::Repeats;
use subs::SubIndex;
use timer::Timer;
use turn::Turns;
use unheard::Held;
use writer::Writer;

/// What a query was made for.
enum Purpose {
    /// To answer a client's question: who pays for it, the question unless nobody wants the answer any more, and the
    /// memory of that.
    Answer(ConnId, Payer, Option<Question>, Reservation),
    /// What a sweep finds to remove.
    Sweep,
    /// The totals, before the first group.
    Totals,
    /// Events that landed although their commit was reported as failed.
    Missed,
    /// Whether a commit that was reported as failed landed.
    Landed,
    /// What is known of the keys of a connection.
    Known(ConnId),
    /// To answer over HTTP; the log when it was asked.
    Api(Api, u64),
}

/// One relay.
pub struct Relay {
    config: Rc<Config>,
    host: Host,
    conns: BTreeMap<ConnId, Box<Conn>>,
    /// The memory there is.
    budget: Rc<Budget>,
    networks: Networks,
    subs: SubIndex,
    writer: Writer,
    line: Line,
    /// Questions that the store failed to answer.
    repeats: Repeats,
    held: Held,
    queries: BTreeMap<Ticket, (Purpose, Millis)>,
    last_ticket: u64,
    /// The earliest alarm asked for since the relay woke.
    alarm: Option<Millis>,
    log: Log,
    recent: Recent,
    handlers: Handlers,
    quotas: Quotas,
    network_rows: NetworkRows,
    desk: Desk,
    /// Connections that end when their events were answered.
    ending: BTreeMap<ConnId, Ending>,
    /// Ephemeral events that other shards pass on, too.
    passing: BTreeMap<Ticket, Passing>,
    timer: Timer,
    /// Messages that wait for their turn.
    turns: Turns,
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
    /// The counts on their way to the store by themselves: their ticket, since when.
    saving: Option<(Ticket, Millis)>,
    /// When counts were last sent by themselves.
    saved_at: Option<Millis>,
}

impl Relay {
    /// A relay that knows nothing yet; `now` begins its uptime.
    pub fn new(config: Rc<Config>, host: Host, now: Millis) -> Self {
        let budget = Budget::new(host.memory_bytes());
        Self {
            config,
            host,
            conns: BTreeMap::new(),
            networks: Networks::default(),
            subs: SubIndex::default(),
            writer: Writer::new(&budget),
            line: Line::default(),
            repeats: Repeats::default(),
            held: Held::default(),
            queries: BTreeMap::new(),
            last_ticket: 0,
            alarm: None,
            log: Log::default(),
            recent: Recent::new(&budget),
            handlers: Handlers::new(&budget),
            quotas: Quotas::new(&budget),
            network_rows: NetworkRows::new(&budget),
            desk: Desk::default(),
            ending: BTreeMap::new(),
            passing: BTreeMap::new(),
            timer: Timer::default(),
            turns: Turns::default(),
            doubt_until: now + host.doubt(),
            yielding: false,
            last_snapshot: None,
            now,
            sweeping: false,
            removing: None,
            counters: Counters::new(now),
            saving: None,
            saved_at: None,
            budget,
        }
    }

    /// Takes one input; returns what the host must now do, in order.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        self.now = now;
        self.held.counted = 0;
        let mut out = Vec::new();
        match input {
            Input::Opened { conn, challenge, ip } => self.opened(conn, challenge, ip.as_deref(), now, &mut out),
            Input::Received { conn, text } => self.received(conn, &text, now, &mut out),
            Input::ReceivedBinary { conn, length } => self.received_binary(conn, length, now, &mut out),
            Input::Unread { conn, length } => self.unread(conn, length, now, &mut out),
            Input::Broken { conn, breach } => self.broken(conn, breach, now, &mut out),
            Input::Taken { conn } => self.has_read(conn, now, &mut out),
            Input::Closed { conn } => self.closed(conn, now, &mut out),
            Input::Committed { ticket, result } => {
                let own = self.saving.is_some_and(|(saving, _)| saving == ticket);
                let result = result.map(|answer| self.metered(answer, own, now).rows);
                self.committed(ticket, result, now, &mut out);
                self.end_whose_events_are_answered(now, &mut out);
            }
            Input::Answered { ticket, result } => {
                let own = matches!(self.queries.get(&ticket), Some((Purpose::Totals, _)));
                let result = result.map(|answer| self.metered(answer, own, now));
                self.answered(ticket, result, now, &mut out);
                self.end_whose_events_are_answered(now, &mut out);
            }
            Input::Requested { request, api, ip, elsewhere } => {
                self.requested(request, api, ip.as_deref(), elsewhere, now, &mut out);
            }
            Input::Told { news, rows } => self.told(&news, &rows, now, &mut out),
            Input::Passed { event, from, ticket } => self.passed(&event, from, ticket, &mut out),
            Input::Heard { ticket, listeners } => {
                self.heard(ticket, listeners, &mut out);
                self.end_whose_events_are_answered(now, &mut out);
            }
            Input::Configured { config } => {
                self.config = Rc::new(*config);
                self.end_blocked(&mut out);
            }
            Input::Leaving => self.leave(&mut out),
            Input::Alarm => self.alarmed(now, &mut out),
            Input::Timer => {
                self.timed(now, &mut out);
                self.end_whose_events_are_answered(now, &mut out);
            }
            Input::Yielded => self.yielded(now, &mut out),
            Input::Woke { conns } => self.woke(conns, now, &mut out),
        }
        self.replace_keeper(&mut out);
        self.count_sent(&mut out);
        self.save_soon(now, &mut out);
        out
    }

    /// Counts what an answer has cost. What saving the counts and waking up cost is `own`: it is saved with what comes
    /// next, or an idle relay would never be done.
    fn metered(&mut self, answer: Answer, own: bool, now: Millis) -> Answer {
        self.counters.metered(&answer, own, now);
        answer
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let Some((purpose, asked)) = self.queries.remove(&ticket) else { return };
        let read = result.as_ref().map_or(0, |answer| answer.bill.read.max(answer.looked_at));
        let result = result.map(|answer| answer.rows);
        self.counters.storage.answered(now.saturating_sub(asked), result.as_ref().err());
        if let Err(error) = &result {
            let mut fields = vec![("error", error.to_string()), ("kind", error.kind.as_str().to_owned())];
            fields.extend(match &purpose {
                Purpose::Answer(conn, ..) | Purpose::Known(conn) => Some(("connection", conn.to_string())),
                Purpose::Api(api, _) => self.desk.asked_by(*api).map(|request| ("request", request.to_string())),
                Purpose::Sweep | Purpose::Totals | Purpose::Missed | Purpose::Landed => None,
            });
            self.log(Level::Error, "query failed", &fields, out);
        }
        match purpose {
            Purpose::Answer(conn, payer, question, memory) => {
                self.asked(conn);
                self.pay_rows(payer, read, now);
                match question {
                    Some(Question::Stored(reading)) => self.stored_answered(*reading, result, now, out),
                    Some(Question::Count(counting)) => self.count_answered(counting, result, now, out),
                    None => {}
                }
                drop(memory);
                // Whether a connection may ask on depends on what it was just sent.
                self.count_sent(out);
                self.ask_next(now, out);
            }
            Purpose::Sweep => self.sweep_found(result, now, out),
            Purpose::Totals => {
                self.note_schema(result.as_ref().unwrap_or(&Rows::new()), out);
                self.totals_answered(result, now, out);
            }
            Purpose::Missed => self.found_missed(result, now, out),
            Purpose::Landed => self.landed_after_all(result, now, out),
            Purpose::Known(conn) => self.keys_known(conn, result, now, out),
            Purpose::Api(api, upto) => self.api_answered((api, upto, asked), read, result, now, out),
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

    fn send(&self, conn: ConnId, text: impl Into<Arc<str>>, out: &mut Vec<Effect>) {
        if self.conns.contains_key(&conn) {
            out.push(Effect::Send { conn, text: text.into() });
        }
    }
}
