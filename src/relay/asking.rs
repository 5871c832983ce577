//! Questions on their way to the store: one of a connection at a time, a few of all, the rest in line.
//!
//! So what is being answered takes bounded memory, and who asks much waits for himself alone. What waits is the
//! question alone: its statements are made when the store is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::budget::{Full, Reservation, Share};
use super::charge::Payer;
use super::count::Counting;
use super::page::Reading;
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
    pub payer: Payer,
    pub question: Question,
    /// Of the questions that wait; when it goes on, of the part of the answer that is here.
    pub memory: Reservation,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiting>,
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

    /// Takes the next question whose connection is free.
    fn next(&mut self) -> Option<Waiting> {
        let free = |conn: &ConnId| !self.is_asking(*conn) && !self.reading.contains(conn);
        let at = self.waiting.iter().position(|waiting| free(&waiting.conn))?;
        self.waiting.remove(at)
    }
}

impl Relay {
    /// Why this connection may ask no more for now, if so.
    pub(super) fn too_many_questions(&self, conn: ConnId) -> Option<Reason> {
        let own = self.line.waiting.iter().filter(|waiting| waiting.conn == conn).count() + self.repeats.of(conn);
        (own >= MAX_IN_LINE).then(|| refusal::too_many_questions(MAX_IN_LINE))
    }

    /// Puts a question in line, or at its head when it goes on with one that was just answered.
    pub(super) fn ask(&mut self, conn: ConnId, question: Question, now: Millis, out: &mut Vec<Effect>) {
        let payer = self.payer(conn, None);
        let network = self.network_use(conn);
        if question.goes_on() {
            // Its part of the answer is here already.
            let mut memory = self.budget.nothing(None, Share::Answers);
            memory.set(question.held_bytes());
            self.line.waiting.push_front(Waiting { conn, payer, question, memory });
        } else {
            match self.budget.reserve(network.as_ref(), Share::Questions, question.memory_bytes()) {
                Ok(memory) => self.line.waiting.push_back(Waiting { conn, payer, question, memory }),
                Err(full) => return self.refuse_question(question, &no_room(full), out),
            }
        }
        self.ask_next(now, out);
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
                self.line.waiting.push_front(waiting);
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
                    return self.line.waiting.push_front(waiting);
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
        let waiting = self.line.waiting.iter_mut().map(|waiting| &mut waiting.question);
        asked.chain(waiting.filter(|question| question.goes_on()))
    }

    /// Drops what a subscription still asks; what the store is working on is answered to nobody.
    pub(super) fn drop_question(&mut self, conn: ConnId, subscription: &str) {
        let same = |question: &Question| matches!(question, Question::Stored(reading) if reading.conn == conn && &*reading.subscription == subscription);
        self.line.waiting.retain(|waiting| !same(&waiting.question));
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
        self.line.waiting.retain(|waiting| waiting.conn != conn);
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
