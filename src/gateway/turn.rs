//! Messages that wait for their turn: what a proven key sends faster than it may is not refused at once, but done when
//! its rate has it, if that is soon. What a connection says later waits behind it; only answers to jobs, which have a
//! rate of their own, pass by what is no answer. Guests never wait.
//!
//! What waits has been paid. It is kept as it came, in bounded memory, and lost with its connection.

use std::collections::{BTreeSet, VecDeque};

use super::charge::FRAME_BYTES;
use super::quota::PATIENCE;
use super::timer::Due;
use super::{ConnId, Effect, Gateway, Millis};
use crate::budget::{Reservation, Share};
use crate::nostr::{ClientMessage, Reason, refusal};

/// Bytes of messages of one connection that wait.
const MAX_LINE: usize = 500_000;

/// What one connection has said and waits.
#[derive(Debug, Default)]
pub struct MessageQueue {
    /// In the order of their turns.
    messages: VecDeque<Waiting>,
    /// What they take.
    memory: Option<Reservation>,
}

/// A message.
#[derive(Debug)]
struct Waiting {
    /// When it is its turn.
    at: Millis,
    text: Box<str>,
    /// Whether it is an answer to a job.
    answer: bool,
    /// The subscription a REQ is to open.
    opens: Option<Box<str>>,
}

impl Waiting {
    /// What it takes of the memory there is.
    const fn bytes(&self) -> usize {
        bytes(self.text.len())
    }
}

impl MessageQueue {
    fn bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, Reservation::bytes)
    }

    /// Counts what waits less so many bytes.
    fn shrink(&mut self, bytes: usize) {
        if let Some(memory) = &mut self.memory {
            memory.shrink(bytes);
        }
    }
}

/// The connections whose messages wait.
#[derive(Debug, Default)]
pub(super) struct MessageTurns {
    /// When it is the turn of the first message of each; some may be gone.
    next: BTreeSet<(Millis, ConnId)>,
}

impl Gateway {
    /// Milliseconds a message of so many bytes may wait, or why there is no room behind what waits.
    pub(super) fn patience(&self, conn: ConnId, length: usize) -> Result<Millis, Reason> {
        let Some(state) = self.conns.get(&conn).filter(|state| !state.keys.is_empty()) else { return Ok(0) };
        let queue = &state.waiting;
        let has_room = || self.budget.reserve(self.network_use(conn).as_ref(), Share::Turns, bytes(length)).is_ok();
        if queue.bytes() + bytes(length) <= MAX_LINE && has_room() {
            Ok(PATIENCE)
        } else if queue.messages.is_empty() {
            Ok(0)
        } else {
            Err(refusal::no_room_to_wait(PATIENCE / 1000))
        }
    }

    /// Does what a message says, once it is paid in `wait` ms and what the connection has said before is done.
    pub(super) fn in_turn(
        &mut self,
        conn: ConnId,
        (message, text): (ClientMessage, &str),
        wait: Millis,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let network = self.network_use(conn);
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let answer = matches!(&message, ClientMessage::Event(event) if self.config.profile.is_answer(event.kind));
        let queue = &mut state.waiting;
        let before = queue.messages.iter().rfind(|waiting| waiting.answer || !answer).map(|waiting| waiting.at);
        if wait == 0 && before.is_none() {
            return self.understood(conn, message, now, out);
        }
        let at = now.saturating_add(wait).max(before.unwrap_or_default());
        let opens = match message {
            ClientMessage::Req { subscription, .. } => Some(subscription.into()),
            _ => None,
        };
        let memory = queue.memory.get_or_insert_with(|| self.budget.nothing(network.as_ref(), Share::Turns));
        memory.set(memory.bytes() + bytes(text.len()));
        let place = queue.messages.partition_point(|waiting| waiting.at <= at);
        queue.messages.insert(place, Waiting { at, text: text.into(), answer, opens });
        if place == 0 {
            self.turns.next.insert((at, conn));
            self.do_at(Due::Turns, at, out);
        }
    }

    /// Does what has waited long enough.
    pub(super) fn take_turns(&mut self, now: Millis, out: &mut Vec<Effect>) {
        while let Some((at, conn)) = self.turns.next.first().copied() {
            if at > now {
                return self.do_at(Due::Turns, at, out);
            }
            self.turns.next.pop_first();
            while let Some(text) = self.next_in_line(conn, now) {
                // It was understood when it came.
                if let Ok(message) = ClientMessage::parse(&text) {
                    self.understood(conn, message, now, out);
                }
            }
            let head = self.conns.get(&conn).and_then(|state| state.waiting.messages.front());
            self.turns.next.extend(head.map(|waiting| (waiting.at, conn)));
        }
    }

    fn next_in_line(&mut self, conn: ConnId, now: Millis) -> Option<Box<str>> {
        let queue = &mut self.conns.get_mut(&conn)?.waiting;
        queue.messages.front().filter(|waiting| waiting.at <= now)?;
        let next = queue.messages.pop_front()?;
        queue.shrink(next.bytes());
        Some(next.text)
    }

    /// Drops REQs that wait and are not to open their subscription, as a later one of its name was refused.
    pub(super) fn drop_from_line(&mut self, conn: ConnId, subscription: &str) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let stays = |waiting: &Waiting| waiting.opens.as_deref() != Some(subscription);
        state.waiting.messages.retain(stays);
        let left: usize = state.waiting.messages.iter().map(Waiting::bytes).sum();
        state.waiting.shrink(state.waiting.bytes().saturating_sub(left));
    }
}

/// What a message of so many bytes takes of the memory there is.
const fn bytes(length: usize) -> usize {
    length + FRAME_BYTES as usize
}
