//! Questions that the store failed to answer: each is asked again until it is answered or its time is over.
//!
//! Many clients take CLOSED for the end and never ask again, so a fault of the store that passes is not theirs to
//! hear of. What waits here is the question alone: its statements are made when it is asked again, from the
//! filters of its subscription. Live events wait meanwhile in the subscription. One pause is for all that wait,
//! as it is one store: it grows with each repeat that fails, and a success makes it short again.

use std::collections::VecDeque;
use std::rc::Rc;

use super::asking::{Question, no_room};
use super::count::Counting;
use super::keeper::Ranges;
use super::timer::Due;
use super::{ConnId, Gateway};
use crate::budget::{Reservation, Share};
use crate::message::{self, MISSED_MAX, StoreError, ToPartition};
use crate::nostr::refusal;
use crate::seam::{Effect, Millis};

/// Milliseconds until a question is asked again: at first, and at most.
const PAUSE_MIN_MS: Millis = 500;
const PAUSE_MAX_MS: Millis = 5000;
/// Milliseconds from the first failure until a question is given up.
const GIVE_UP_MS: Millis = 30_000;
/// Repeats the store is asked at the same time, of all questions it is asked.
const MAX_REPEATS: usize = 4;
/// Bytes a question takes that waits to be asked again, besides what it asks.
const REPEAT_BYTES: usize = 200;

/// What waits to be asked again.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    waiting: VecDeque<Repeat>,
    pause: Millis,
    /// Nothing is repeated before.
    not_before: Millis,
    /// What the store said last.
    error: Option<StoreError>,
}

#[derive(Debug)]
struct Repeat {
    conn: ConnId,
    until: Millis,
    asked: Asked,
    /// What it takes while it waits.
    memory: Reservation,
}

#[derive(Debug)]
enum Asked {
    /// The stored events of a subscription that is open.
    Stored(Rc<str>),
    Count(Counting),
}

impl Repeats {
    /// The store has answered well.
    pub fn succeeded(&mut self) {
        self.pause = 0;
    }

    /// The store has failed: the pause begins, unless it goes on.
    fn failed(&mut self, error: StoreError, now: Millis) {
        self.error = Some(error);
        if now >= self.not_before {
            self.pause = (2 * self.pause).clamp(PAUSE_MIN_MS, PAUSE_MAX_MS);
            self.not_before = now + self.pause;
        }
    }

    /// How many questions of a connection wait.
    pub fn of(&self, conn: ConnId) -> usize {
        self.waiting.iter().filter(|repeat| repeat.conn == conn).count()
    }

    /// Drops what a subscription asks.
    pub fn drop_subscription(&mut self, conn: ConnId, subscription: &str) {
        self.waiting.retain(|repeat| {
            !(repeat.conn == conn && matches!(&repeat.asked, Asked::Stored(id) if &**id == subscription))
        });
    }

    /// Drops all that a connection asks.
    pub fn drop_connection(&mut self, conn: ConnId) {
        self.waiting.retain(|repeat| repeat.conn != conn);
    }
}

impl Gateway {
    /// The stored events of a subscription could not be read: they are read again, unless the time is over.
    pub(super) fn repeat_stored(
        &mut self,
        conn: ConnId,
        subscription: &Rc<str>,
        error: StoreError,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(backlog) = self.sub_mut(conn, subscription).and_then(|sub| sub.reading.as_mut()) else { return };
        let first = backlog.failed_at.is_none();
        let until = *backlog.failed_at.get_or_insert(now) + GIVE_UP_MS;
        if now >= until {
            return self.refuse_stored(conn, subscription, &refusal::unreadable(error.cause()), out);
        }
        match self.reserve_question(conn, REPEAT_BYTES) {
            Ok(memory) => {
                let asked = Asked::Stored(subscription.clone());
                self.repeat(Repeat { conn, until, asked, memory }, error, now, out);
            }
            Err(full) => return self.refuse_stored(conn, subscription, &no_room(full), out),
        }
        if first {
            self.remember(conn);
        }
    }

    /// The same of a COUNT.
    pub(super) fn repeat_count(
        &mut self,
        mut counting: Counting,
        error: StoreError,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let until = *counting.failed_at.get_or_insert(now) + GIVE_UP_MS;
        if now >= until {
            return self.refuse_count(&counting, &refusal::unreadable(error.cause()), out);
        }
        match self.reserve_question(counting.conn, REPEAT_BYTES + counting.memory_bytes()) {
            Ok(memory) => {
                let repeat = Repeat { conn: counting.conn, until, asked: Asked::Count(counting), memory };
                self.repeat(repeat, error, now, out);
            }
            Err(full) => self.refuse_count(&counting, &no_room(full), out),
        }
    }

    fn repeat(&mut self, repeat: Repeat, error: StoreError, now: Millis, out: &mut Vec<Effect>) {
        self.repeats.failed(error, now);
        self.do_at(Due::Repeat, self.repeats.not_before.min(repeat.until), out);
        self.repeats.waiting.push_back(repeat);
    }

    /// Reads the stored events of a subscription that memory was lost of; `since` is when that was first.
    pub(super) fn read_again(&mut self, conn: ConnId, subscription: Rc<str>, since: Millis, out: &mut Vec<Effect>) {
        let until = since + GIVE_UP_MS;
        // It waited before memory was lost.
        let memory = self.budget.hold(self.network_use(conn).as_ref(), Share::Questions, REPEAT_BYTES);
        self.repeats.waiting.push_back(Repeat { conn, until, asked: Asked::Stored(subscription), memory });
        self.do_at(Due::Repeat, until, out);
    }

    /// How far the log is could not be read, without which nothing is repeated.
    pub(super) fn position_failed(&mut self, error: StoreError, now: Millis, out: &mut Vec<Effect>) {
        if !self.repeats.waiting.is_empty() {
            self.repeats.failed(error, now);
            self.do_at(Due::Repeat, self.repeats.not_before, out);
        }
    }

    /// The pause is over, or the time of a question.
    pub(super) fn repeat_due(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let (over, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut self.repeats.waiting).into_iter().partition(|repeat| repeat.until <= now);
        self.repeats.waiting = waiting;
        if !over.is_empty() {
            let reason = match &self.repeats.error {
                Some(error) => refusal::unreadable(error.cause()),
                None => refusal::lost_request(),
            };
            for Repeat { conn, asked, .. } in over {
                match asked {
                    Asked::Stored(subscription) => self.refuse_stored(conn, &subscription, &reason, out),
                    Asked::Count(counting) => self.refuse_count(&counting, &reason, out),
                }
            }
        }
        if now >= self.repeats.not_before && !self.repeats.waiting.is_empty() {
            self.partitions.tell_all(&ToPartition::Position);
        }
        self.ask_next(now, out);
        // What waits for an answer goes on when that comes.
        let until = self.repeats.waiting.iter().map(|repeat| repeat.until).min();
        let pause = Some(self.repeats.not_before).filter(|at| *at > now);
        if let Some(until) = until {
            self.do_at(Due::Repeat, pause.map_or(until, |at| at.min(until)), out);
        }
    }

    /// Has the database asked the next question that may be asked again now; says whether there was one.
    pub(super) fn repeat_next(&mut self, now: Millis, out: &mut Vec<Effect>) -> bool {
        if now < self.repeats.not_before || !self.position.is_known() || self.queries.repeats() >= MAX_REPEATS {
            return false;
        }
        if !self.partitions.has_room() {
            return false;
        }
        let free = |repeat: &Repeat| !self.queries.is_asking(repeat.conn) && !self.queries.has_to_read(repeat.conn);
        let Some(at) = self.repeats.waiting.iter().position(free) else { return false };
        let Some(Repeat { conn, asked, until, memory }) = self.repeats.waiting.remove(at) else { return false };
        if self.has_to_read(conn, now, out) {
            self.queries.waits_for_reader(conn);
            self.repeats.waiting.insert(at, Repeat { conn, asked, until, memory });
            return true;
        }
        let payer = self.payer(conn, None);
        if let Some(reason) = self.in_debt(payer, now) {
            self.refuse_asked(conn, Some(asked.into()), &reason, out);
            return true;
        }
        let question = match &asked {
            Asked::Count(counting) => self.count_question(counting).map(|question| (question, Ranges::new())),
            Asked::Stored(subscription) => self.stored_again(conn, subscription, out),
        };
        if let Some(question) = question {
            self.ask_again(conn, asked.into(), question, payer);
        }
        true
    }

    /// What a subscription asks again, from its beginning.
    fn stored_again(
        &mut self,
        conn: ConnId,
        subscription: &Rc<str>,
        out: &mut Vec<Effect>,
    ) -> Option<(message::Question, Ranges)> {
        let backlog = self.sub_mut(conn, subscription)?.reading.as_ref();
        let after = backlog.filter(|backlog| backlog.lost).map(|backlog| backlog.after.clone()).unwrap_or_default();
        let missed = self.position.before_and_after(&after);
        if missed.iter().flatten().any(|(after, upto)| upto - after > MISSED_MAX) {
            self.refuse_stored(conn, subscription, &refusal::lost_request(), out);
            return None;
        }
        Some((self.stored_question(conn, subscription)?, missed))
    }
}

impl From<Asked> for Question {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Stored(subscription) => Self::Stored(subscription),
            Asked::Count(counting) => Self::Count(counting),
        }
    }
}
