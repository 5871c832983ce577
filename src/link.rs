//! The link between a gateway and a partition that are in different objects: what one tells the other arrives in order and
//! once, whatever the network loses, repeats or delays, for as long as neither loses its memory.
//!
//! Each end has an incarnation, a number that grows with every loss of memory. A batch says whose it is, for whom, and
//! which one it is; one is in flight, the next one gathers. What is said to an incarnation is heard by that one alone:
//! when there is another one, the end is told, with what was not acknowledged, as it has to begin anew. An object sleeps
//! when all is acknowledged, so what wakes it up is among that.
//!
//! Owns numbers and times; reads no clock, sends nothing, and does not know what messages say.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::seam::Millis;

/// Messages and bytes in one batch.
const BATCH_MESSAGES_MAX: usize = 1000;
const BATCH_BYTES_MAX: usize = 1_000_000;
/// Bytes that gather at the most, on all links of an object together: the end that is furthest behind begins anew.
pub const GATHERED_BYTES_MAX: usize = 16_000_000;
/// Milliseconds until a batch that was not acknowledged is sent again: at first, and at the most.
const RESEND_MIN_MS: Millis = 250;
const RESEND_MAX_MS: Millis = 5000;

/// One life of an end, from one loss of memory to the next: the later one has the higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// What knows how much memory it takes.
pub trait Weigh {
    /// Bytes, about.
    fn weight(&self) -> usize;

    /// How many of them others have at the time, too, who hold the same.
    fn shared(&self) -> usize {
        0
    }
}

/// What travels at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch<T> {
    /// Whose it is.
    pub from: Incarnation,
    /// For whom, as far as that is known.
    pub to: Option<Incarnation>,
    /// Whether the sender has yet to hear that it is known.
    pub asks: bool,
    /// Which batch of its sender's to this incarnation it is; 0 when it only says what was received.
    pub number: u64,
    /// The last batch that its sender has taken.
    pub received: u64,
    /// What it brings, in order.
    pub messages: Vec<T>,
}

/// Who has sent a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Who sent the last one, or nobody who is to be listened to.
    Known,
    /// The first one there is.
    First,
    /// Another incarnation than before, which knows nothing of what was said.
    Another,
}

/// What a batch has brought.
#[derive(Debug)]
pub struct Heard<T> {
    /// Of whom.
    pub sender: Sender,
    /// What is to be taken now, in order.
    pub messages: Vec<T>,
}

/// One end.
#[derive(Debug)]
pub struct Link<T> {
    own: Incarnation,
    peer: Option<Incarnation>,
    /// Whether the peer has shown that it knows this incarnation.
    is_known: bool,
    /// Each with the bytes that it takes for itself.
    gathering: VecDeque<(Arc<T>, usize)>,
    gathered_bytes: usize,
    in_flight: Option<Vec<Arc<T>>>,
    lost: Vec<Arc<T>>,
    /// How many messages were ever to be sent, and of how many the other end has said that it has them, or will never.
    queued: u64,
    settled: u64,
    /// The last batch that was sent, and the last one that was taken.
    sent: u64,
    received: u64,
    /// Whether the peer waits to hear what was received, or who is here.
    owes: bool,
    resend_at: Option<Millis>,
    pause: Millis,
    /// Since when something is not acknowledged although nothing else was meanwhile.
    stuck_since: Option<Millis>,
}

impl<T: Weigh> Link<T> {
    /// An end of which nobody knows.
    pub fn new(own: Incarnation) -> Self {
        Self {
            own,
            peer: None,
            is_known: false,
            gathering: VecDeque::new(),
            gathered_bytes: 0,
            in_flight: None,
            lost: Vec::new(),
            queued: 0,
            settled: 0,
            sent: 0,
            received: 0,
            owes: false,
            resend_at: None,
            pause: RESEND_MIN_MS,
            stuck_since: None,
        }
    }

    /// Has something told to the other end, behind what waits.
    pub fn send(&mut self, messages: impl IntoIterator<Item = Arc<T>>, now: Millis) {
        for message in messages {
            let own = message.weight().saturating_sub(message.shared());
            self.gathered_bytes += own;
            self.gathering.push_back((message, own));
            self.queued += 1;
        }
        if self.has_more() {
            self.stuck_since.get_or_insert(now);
        }
    }

    /// Bytes of what waits behind the batch that is in flight.
    pub const fn gathered_bytes(&self) -> usize {
        self.gathered_bytes
    }

    /// Since when nothing was acknowledged of what waits.
    pub const fn stuck_since(&self) -> Option<Millis> {
        self.stuck_since
    }

    /// Has the other end shown whether it is still the one that was known.
    pub const fn knock(&mut self) {
        self.owes = true;
    }

    /// How many messages were ever to be sent, and how many of them, the first ones, are not waited for any more: the other
    /// end has them, or is not there.
    pub const fn progress(&self) -> (u64, u64) {
        (self.queued, self.settled)
    }

    /// Whether nothing is on its way from here.
    pub fn is_idle(&self) -> bool {
        self.is_known && !self.owes && !self.has_more()
    }

    fn has_more(&self) -> bool {
        self.in_flight.is_some() || !self.gathering.is_empty()
    }

    /// Begins anew as another incarnation: what waits is dropped, and the other end will know.
    pub fn start_over(&mut self) {
        self.own = Incarnation(self.own.0 + 1);
        self.forget();
        self.lost.clear();
    }

    /// Takes back what was not sent, and what the incarnation of the other end that was there before has not acknowledged.
    pub fn take_unheard(&mut self) -> Vec<Arc<T>> {
        self.gathered_bytes = 0;
        let mut unheard = std::mem::take(&mut self.lost);
        unheard.extend(self.gathering.drain(..).map(|(message, _)| message));
        self.settled = self.queued;
        unheard
    }

    fn forget(&mut self) {
        self.lost = self.in_flight.take().unwrap_or_default();
        self.lost.extend(self.gathering.drain(..).map(|(message, _)| message));
        self.settled = self.queued;
        (self.gathered_bytes, self.sent, self.received) = (0, 0, 0);
        (self.is_known, self.resend_at, self.stuck_since) = (false, None, None);
    }

    /// Takes a batch.
    pub fn take<U>(&mut self, batch: Batch<U>, now: Millis) -> Heard<U> {
        let mut heard = Heard { sender: Sender::Known, messages: Vec::new() };
        if self.peer.is_some_and(|peer| batch.from < peer) {
            return heard;
        }
        match self.peer.replace(batch.from) {
            None => heard.sender = Sender::First,
            Some(peer) if peer != batch.from => {
                self.forget();
                heard.sender = Sender::Another;
            }
            Some(_) => {}
        }
        self.owes |= batch.asks;
        if batch.to != Some(self.own) {
            // It is for nobody who is here; its sender has yet to know that.
            self.owes = true;
            return heard;
        }
        self.is_known = true;
        if batch.received == self.sent
            && let Some(had) = self.in_flight.take()
        {
            self.settled += had.len() as u64;
            self.stuck_since = self.has_more().then_some(now);
        }
        self.owes |= batch.number > 0;
        if batch.number == self.received + 1 {
            self.received = batch.number;
            heard.messages = batch.messages;
        }
        heard
    }

    /// What is to be sent now, if anything; to be asked until there is nothing.
    pub fn next(&mut self, now: Millis) -> Option<Batch<Arc<T>>> {
        let is_due = self.resend_at.is_some_and(|at| at <= now);
        if self.in_flight.is_none() && self.peer.is_some() && !self.gathering.is_empty() {
            self.in_flight = Some(self.gather());
            self.sent += 1;
            self.wait(RESEND_MIN_MS, now);
        } else if !self.is_known && self.resend_at.is_none() {
            self.wait(RESEND_MIN_MS, now);
        } else if is_due && (self.in_flight.is_some() || !self.is_known) {
            self.wait((2 * self.pause).min(RESEND_MAX_MS), now);
        } else if self.owes {
            self.owes = false;
            return Some(self.batch(0, Vec::new()));
        } else {
            return None;
        }
        self.owes = false;
        Some(match &self.in_flight {
            Some(messages) => self.batch(self.sent, messages.clone()),
            None => self.batch(0, Vec::new()),
        })
    }

    /// When [`next`](Self::next) is to be asked again, if nothing happens before.
    pub fn due(&self) -> Option<Millis> {
        self.resend_at.filter(|_| self.in_flight.is_some() || !self.is_known)
    }

    fn wait(&mut self, pause: Millis, now: Millis) {
        (self.pause, self.resend_at) = (pause, Some(now + pause));
    }

    fn gather(&mut self) -> Vec<Arc<T>> {
        let (mut count, mut bytes, mut own) = (0, 0, 0);
        while let Some((message, takes)) = self.gathering.get(count).filter(|_| count < BATCH_MESSAGES_MAX) {
            bytes += message.weight();
            if count > 0 && bytes > BATCH_BYTES_MAX {
                break;
            }
            own += takes;
            count += 1;
        }
        self.gathered_bytes -= own;
        self.gathering.drain(..count).map(|(message, _)| message).collect()
    }

    fn batch(&self, number: u64, messages: Vec<Arc<T>>) -> Batch<Arc<T>> {
        let (from, to, received) = (self.own, self.peer, self.received);
        Batch { from, to, asks: !self.is_known, number, received, messages }
    }
}
