//! Questions on their way to the store: one of a connection at a time, a few of all, the rest in line, where networks
//! take turns.
//!
//! So what is being answered takes bounded memory, and who asks much waits for himself alone. What waits is the
//! question alone: its statements are made when the store is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::budget::{Full, Reservation, Share};
use super::charge::Payer;
use super::count::Counting;
use super::page::Reading;
use super::quota::Net;
use super::{ConnId, Effect, Limits, Millis, Purpose, Relay};
use crate::nostr::{Reason, refusal};

/// Questions the store is asked at the same time; an answer is at most some megabytes.
const MAX_AT_ONCE: usize = 16;
/// Questions of one connection that wait.
const MAX_IN_LINE: usize = 128;
/// Seconds after which a network that has too many of them is told to try again.
const RETRY_S: u64 = 2;

/// Something a client asked.
#[derive(Debug)]
pub(super) enum Question {
    /// The stored events of a subscription.
    Stored(Box<Reading>),
    /// A COUNT.
    Count(Counting),
}

impl Question {
    /// Whether a part of its answer is there already.
    fn goes_on(&self) -> bool {
        matches!(self, Self::Stored(reading) if reading.goes_on())
    }

    /// Bytes it takes while it waits.
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Stored(reading) => reading.memory_bytes(),
            Self::Count(counting) => counting.memory_bytes(),
        }
    }

    /// Bytes of the part of its answer that is here.
    fn held_bytes(&self) -> usize {
        match self {
            Self::Stored(reading) => reading.held_bytes(),
            Self::Count(_) => 0,
        }
    }

    /// Bytes that what the store is asked next may bring at most.
    fn answer_bytes(&self, limits: &Limits) -> usize {
        match self {
            Self::Stored(reading) => reading.answer_bytes(limits.max_message_length),
            Self::Count(counting) => counting.answer_bytes(),
        }
    }
}

/// A question in line, and what it takes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub conn: ConnId,
    /// Where that comes from.
    pub net: Net,
    pub payer: Payer,
    pub question: Question,
    /// Of the questions that wait; when it goes on, of the part of the answer that is here.
    pub memory: Reservation,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those of which a part is answered; they go before all others.
    going_on: VecDeque<Waiting>,
    /// By network, in the order they came.
    waiting: BTreeMap<Net, VecDeque<Waiting>>,
    /// Networks with questions in line, each once; the next one first.
    turns: VecDeque<Net>,
    /// Connections whose question the store is being asked, and whether it was asked that before.
    asking: BTreeMap<ConnId, bool>,
    /// Connections that have to read what they were sent before they ask more.
    reading: BTreeSet<ConnId>,
}

impl Line {
    /// Whether the store is being asked a question of this connection.
    pub fn is_asking(&self, conn: ConnId) -> bool {
        self.asking.contains_key(&conn)
    }

    /// How many questions the store is being asked again.
    pub fn repeats(&self) -> usize {
        self.asking.values().filter(|again| **again).count()
    }

    /// Takes the next question whose connection is free, of the next network that has one.
    fn next(&mut self) -> Option<Waiting> {
        if let Some(next) = self.going_on.pop_front() {
            return Some(next);
        }
        let free =
            |waiting: &Waiting| !self.asking.contains_key(&waiting.conn) && !self.reading.contains(&waiting.conn);
        let next = self.turns.iter().enumerate().find_map(|(turn, net)| {
            let at = self.waiting.get(net)?.iter().position(free)?;
            Some((turn, at))
        });
        let (turn, at) = next?;
        let net = self.turns.remove(turn)?;
        let own = self.waiting.get_mut(&net)?;
        let next = own.remove(at);
        if own.is_empty() {
            self.waiting.remove(&net);
        } else {
            self.turns.push_back(net);
        }
        next
    }

    /// Puts a question behind the others of its network.
    fn push_back(&mut self, waiting: Waiting) {
        let own = self.waiting.entry(waiting.net).or_default();
        if own.is_empty() {
            self.turns.push_back(waiting.net);
        }
        own.push_back(waiting);
    }

    /// Puts a question back that could not be asked, so that it is the next one.
    fn put_back(&mut self, waiting: Waiting) {
        if waiting.question.goes_on() {
            return self.going_on.push_front(waiting);
        }
        self.turns.retain(|net| *net != waiting.net);
        self.turns.push_front(waiting.net);
        self.waiting.entry(waiting.net).or_default().push_front(waiting);
    }

    /// How many questions of a connection wait.
    fn of(&self, net: Net, conn: ConnId) -> usize {
        let own = self.waiting.get(&net).into_iter().flatten();
        own.filter(|waiting| waiting.conn == conn).count()
    }

    /// Drops questions.
    fn retain(&mut self, stays: impl Fn(&Waiting) -> bool) {
        self.going_on.retain(&stays);
        self.waiting.retain(|_, own| {
            own.retain(&stays);
            !own.is_empty()
        });
        self.turns.retain(|net| self.waiting.contains_key(net));
    }
}

impl Relay {
    /// Why this connection may ask no more for now, if so.
    pub(super) fn too_many_questions(&self, conn: ConnId) -> Option<Reason> {
        let own = self.line.of(self.net(conn), conn) + self.repeats.of(conn);
        (own >= MAX_IN_LINE).then(|| refusal::too_many_questions(MAX_IN_LINE))
    }

    /// Puts a question in line, or at its head when it goes on with one that was just answered.
    pub(super) fn ask(&mut self, conn: ConnId, question: Question, now: Millis, out: &mut Vec<Effect>) {
        let (net, payer) = (self.net(conn), self.payer(conn, None));
        if question.goes_on() {
            // Its part of the answer is here already.
            let memory = self.budget.hold(None, Share::Answers, question.held_bytes());
            self.line.going_on.push_back(Waiting { conn, net, payer, question, memory });
        } else {
            match self.reserve_question(conn, question.memory_bytes()) {
                Ok(memory) => self.line.push_back(Waiting { conn, net, payer, question, memory }),
                Err(full) => return self.refuse_question(question, &no_room(full), out),
            }
        }
        self.ask_next(now, out);
    }

    /// Reserves what a question of `conn` takes while it waits.
    pub(super) fn reserve_question(&self, conn: ConnId, bytes: usize) -> Result<Reservation, Full> {
        self.budget.reserve(self.network_use(conn).as_ref(), Share::Questions, bytes)
    }

    /// The store has answered a question of `conn`.
    pub(super) fn asked(&mut self, conn: ConnId) {
        self.line.asking.remove(&conn);
    }

    /// A connection has read what it was sent, or may have paid for it.
    pub(super) fn go_on_asking(&mut self, conn: ConnId, now: Millis, out: &mut Vec<Effect>) {
        if self.line.reading.remove(&conn) {
            self.ask_next(now, out);
        }
    }

    /// Asks the store whatever may be asked now.
    pub(super) fn ask_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        while self.line.asking.len() < MAX_AT_ONCE {
            let repeat = self.next_repeat(now, out);
            let again = repeat.is_some();
            let Some(mut waiting) = repeat.or_else(|| self.line.next()) else { return };
            let conn = waiting.conn;
            if !waiting.question.goes_on() && self.has_to_read(conn, now, out) {
                self.line.reading.insert(conn);
                self.line.put_back(waiting);
                continue;
            }
            let bytes = waiting.question.answer_bytes(&self.config.limits);
            let mut memory = self.budget.nothing(None, Share::Answers);
            if waiting.question.goes_on() {
                std::mem::swap(&mut memory, &mut waiting.memory);
            }
            if memory.grow(bytes).is_err() {
                if !self.line.asking.is_empty() {
                    if waiting.question.goes_on() {
                        waiting.memory = memory;
                    }
                    return self.line.put_back(waiting);
                }
                // What takes the memory waits for this one.
                memory.set(memory.bytes() + bytes);
            }
            let Waiting { payer, mut question, .. } = waiting;
            if let Some(reason) = self.in_debt(payer, now) {
                self.refuse_question(question, &reason, out);
                continue;
            }
            let statements = self.viewed(conn, now, |viewer| match &mut question {
                Question::Stored(reading) => reading.statements(viewer),
                Question::Count(counting) => counting.statements(viewer),
            });
            self.line.asking.insert(conn, again);
            self.query(Purpose::Answer(conn, payer, Some(question), memory), statements, now, out);
        }
    }

    /// Answers a question that will not be asked.
    fn refuse_question(&mut self, question: Question, reason: &Reason, out: &mut Vec<Effect>) {
        self.counters.refused_reqs += 1;
        match question {
            Question::Stored(reading) => self.refuse_stored(reading.conn, &reading.subscription, reason, out),
            Question::Count(counting) => self.refuse_count(&counting, reason, out),
        }
    }

    /// The questions that the store is being asked, or was and will be asked more of.
    pub(super) fn questions_mut(&mut self) -> impl Iterator<Item = &mut Question> {
        let asked = self.queries.values_mut().filter_map(|(purpose, _)| match purpose {
            Purpose::Answer(_, _, question, _) => question.as_mut(),
            _ => None,
        });
        asked.chain(self.line.going_on.iter_mut().map(|waiting| &mut waiting.question))
    }

    /// Drops what a subscription still asks; what the store is working on is answered to nobody.
    pub(super) fn drop_question(&mut self, conn: ConnId, subscription: &str) {
        let same = |question: &Question| matches!(question, Question::Stored(reading) if reading.conn == conn && &*reading.subscription == subscription);
        self.line.retain(|waiting| !same(&waiting.question));
        self.repeats.drop_subscription(conn, subscription);
        for (purpose, _) in self.queries.values_mut() {
            if let Purpose::Answer(_, _, question, _) = purpose {
                question.take_if(|question| same(question));
            }
        }
    }

    /// Drops all that a connection asks.
    pub(super) fn drop_questions(&mut self, conn: ConnId) {
        self.line.reading.remove(&conn);
        self.line.retain(|waiting| waiting.conn != conn);
        self.repeats.drop_connection(conn);
        for (purpose, _) in self.queries.values_mut() {
            if let Purpose::Answer(who, _, question, _) = purpose
                && *who == conn
            {
                *question = None;
            }
        }
    }
}

/// Why a question cannot wait.
pub(super) fn no_room(full: Full) -> Reason {
    if full.for_network { refusal::network_questions(RETRY_S) } else { refusal::no_room_for_questions() }
}
