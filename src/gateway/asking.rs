//! Questions on their way to the partition's database: one of a connection at a time, a few of all, the rest in line,
//! where networks take turns. What the partition knows without its database it answers before.
//!
//! So who asks much waits for himself alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::charge::Payer;
use super::count::Counting;
use super::keeper::Ranges;
use super::quota::Net;
use super::{ConnId, Gateway};
use crate::budget::{Full, Reservation, Share};
use crate::log::Level;
use crate::message::{self, Answer, StoreError, When};
use crate::nostr::{Reason, refusal};
use crate::seam::{Effect, Millis, Ticket};

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
    Stored(Rc<str>),
    /// A COUNT.
    Count(Counting),
}

/// A question that the partition was told and has not answered.
#[derive(Debug)]
struct Asked {
    conn: ConnId,
    /// Who pays for what the database reads, once it is asked.
    payer: Option<Payer>,
    /// None when nobody wants the answer any more.
    question: Option<Question>,
}

/// A question in line, and what it takes.
#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    /// Where that comes from.
    net: Net,
    payer: Payer,
    ticket: Ticket,
    _memory: Reservation,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct QueryQueue {
    /// What the partition has not answered, in line or not.
    asked: BTreeMap<Ticket, Asked>,
    /// By network, in the order they came.
    waiting: BTreeMap<Net, VecDeque<Waiting>>,
    /// Networks with questions in line, each once; the next one first.
    turns: VecDeque<Net>,
    /// Connections whose question the store is being asked, and whether it was asked that before.
    asking: BTreeMap<ConnId, bool>,
    /// Connections that have to read what they were sent before they ask more.
    reading: BTreeSet<ConnId>,
}

impl QueryQueue {
    /// Whether the store is being asked a question of this connection.
    pub fn is_asking(&self, conn: ConnId) -> bool {
        self.asking.contains_key(&conn)
    }

    /// How many questions the store is being asked again.
    pub fn repeats(&self) -> usize {
        self.asking.values().filter(|again| **again).count()
    }

    /// Whether a connection has to read what it was sent before it asks more.
    pub fn has_to_read(&self, conn: ConnId) -> bool {
        self.reading.contains(&conn)
    }

    /// It has.
    pub fn waits_for_reader(&mut self, conn: ConnId) {
        self.reading.insert(conn);
    }

    /// Takes the next question whose connection is free, of the next network that has one.
    fn next(&mut self) -> Option<Waiting> {
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
        self.waiting.retain(|_, own| {
            own.retain(&stays);
            !own.is_empty()
        });
        self.turns.retain(|net| self.waiting.contains_key(net));
    }
}

impl Gateway {
    /// Why this connection may ask no more for now, if so.
    pub(super) fn too_many_questions(&self, conn: ConnId) -> Option<Reason> {
        let own = self.queries.of(self.net(conn), conn) + self.repeats.of(conn);
        (own >= MAX_IN_LINE).then(|| refusal::too_many_questions(MAX_IN_LINE))
    }

    /// Tells the partition a question.
    pub(super) fn ask(&mut self, conn: ConnId, question: Question, asked: message::Question, when: When) {
        let ticket = self.next_ticket();
        self.queries.asked.insert(ticket, Asked { conn, payer: None, question: Some(question) });
        self.partitions.read(&self.config.profile, ticket, asked, when, &[]);
    }

    /// Has the database asked a question again, and for what was live at the numbers of each partition's log that were
    /// `missed`.
    pub(super) fn ask_again(
        &mut self,
        conn: ConnId,
        question: Question,
        (asked, missed): (message::Question, Ranges),
        payer: Payer,
    ) {
        let ticket = self.next_ticket();
        self.queries.asked.insert(ticket, Asked { conn, payer: Some(payer), question: Some(question) });
        self.queries.asking.insert(conn, true);
        self.partitions.read(&self.config.profile, ticket, asked, When::Now, &missed);
    }

    /// The database has to be asked a question, which takes so many bytes until then.
    pub(super) fn put_in_line(&mut self, ticket: Ticket, bytes: usize, now: Millis, out: &mut Vec<Effect>) {
        let Some(conn) = self.queries.asked.get(&ticket).map(|asked| asked.conn) else { return };
        let (net, payer) = (self.net(conn), self.payer(conn, None));
        match self.reserve_question(conn, bytes) {
            Ok(memory) => self.queries.push_back(Waiting { conn, net, payer, ticket, _memory: memory }),
            Err(full) => return self.refuse_question(ticket, &no_room(full), out),
        }
        self.ask_next(now, out);
    }

    /// Reserves what a question of `conn` takes while it waits.
    pub(super) fn reserve_question(&self, conn: ConnId, bytes: usize) -> Result<Reservation, Full> {
        self.budget.reserve(self.network_use(conn).as_ref(), Share::Questions, bytes)
    }

    /// The partition has answered.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: Result<Result<Answer, Reason>, StoreError>,
        rows_read: u64,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(Asked { conn, payer, question }) = self.queries.asked.remove(&ticket) else { return };
        if let Some(payer) = payer {
            self.queries.asking.remove(&conn);
            self.pay_rows(payer, rows_read, now);
        }
        match &answer {
            Err(error) => self.log_failed(error, ("connection", conn.to_string()), out),
            Ok(_) if payer.is_some() => self.repeats.succeeded(),
            Ok(_) => {}
        }
        match question {
            Some(Question::Stored(subscription)) => {
                let page = answer.map(|answer| answer.map(Answer::stored));
                self.stored_answered(conn, &subscription, page, now, out);
            }
            Some(Question::Count(counting)) => self.count_answered(counting, answer, now, out),
            None => {}
        }
        if payer.is_some() {
            // Whether a connection may ask on depends on what it was just sent.
            self.count_sent(out);
            self.ask_next(now, out);
        }
    }

    /// The partition could not read what was asked of it.
    pub(super) fn log_failed(&self, error: &StoreError, of: (&str, String), out: &mut Vec<Effect>) {
        let fields = [("error", error.to_string()), ("kind", error.kind.as_str().to_owned()), of];
        self.log(Level::Error, "query failed", &fields, out);
    }

    /// A connection has read what it was sent, or may have paid for it.
    pub(super) fn go_on_asking(&mut self, conn: ConnId, now: Millis, out: &mut Vec<Effect>) {
        if self.queries.reading.remove(&conn) {
            self.ask_next(now, out);
        }
    }

    /// Has the database asked whatever may be asked now.
    pub(super) fn ask_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        while self.queries.asking.len() < MAX_AT_ONCE {
            if self.repeat_next(now, out) {
                continue;
            }
            let Some(waiting) = self.queries.next() else { return };
            let Waiting { conn, payer, ticket, .. } = waiting;
            if self.has_to_read(conn, now, out) {
                self.queries.waits_for_reader(conn);
                self.queries.put_back(waiting);
                continue;
            }
            if let Some(reason) = self.in_debt(payer, now) {
                self.refuse_question(ticket, &reason, out);
                continue;
            }
            if let Some(asked) = self.queries.asked.get_mut(&ticket) {
                if !self.partitions.go(ticket) {
                    // An answer that is to come makes room.
                    return self.queries.put_back(waiting);
                }
                asked.payer = Some(payer);
                self.queries.asking.insert(conn, false);
            }
        }
    }

    /// Answers a question that the database will not be asked.
    fn refuse_question(&mut self, ticket: Ticket, reason: &Reason, out: &mut Vec<Effect>) {
        self.partitions.drop(ticket);
        let Some(Asked { conn, question, .. }) = self.queries.asked.remove(&ticket) else { return };
        self.refuse_asked(conn, question, reason, out);
    }

    /// Answers somebody whose question is not asked.
    pub(super) fn refuse_asked(
        &mut self,
        conn: ConnId,
        question: Option<Question>,
        reason: &Reason,
        out: &mut Vec<Effect>,
    ) {
        self.counters.refused_reqs += 1;
        match question {
            Some(Question::Stored(subscription)) => self.refuse_stored(conn, &subscription, reason, out),
            Some(Question::Count(counting)) => self.refuse_count(&counting, reason, out),
            None => {}
        }
    }

    /// Drops what a subscription still asks; what the store is working on is answered to nobody.
    pub(super) fn drop_question(&mut self, conn: ConnId, subscription: &str) {
        let same = |question: &Question| matches!(question, Question::Stored(id) if &**id == subscription);
        self.drop_asked(|asked| asked.conn == conn && asked.question.as_ref().is_some_and(same));
        self.repeats.drop_subscription(conn, subscription);
    }

    /// Drops all that a connection asks.
    pub(super) fn drop_questions(&mut self, conn: ConnId) {
        self.queries.reading.remove(&conn);
        self.drop_asked(|asked| asked.conn == conn);
        self.repeats.drop_connection(conn);
    }

    fn drop_asked(&mut self, gone: impl Fn(&Asked) -> bool) {
        let mut tickets = BTreeSet::new();
        for (ticket, asked) in self.queries.asked.iter_mut().filter(|(_, asked)| gone(asked)) {
            asked.question = None;
            tickets.insert(*ticket);
        }
        if tickets.is_empty() {
            return;
        }
        // Somebody pays for what the database is asked already.
        self.queries.asked.retain(|ticket, asked| asked.payer.is_some() || !tickets.contains(ticket));
        self.queries.retain(|waiting| !tickets.contains(&waiting.ticket));
        tickets.into_iter().for_each(|ticket| self.partitions.drop(ticket));
    }
}

/// Why a question cannot wait.
pub(super) fn no_room(full: Full) -> Reason {
    if full.for_network { refusal::network_questions(RETRY_S) } else { refusal::no_room_for_questions() }
}
