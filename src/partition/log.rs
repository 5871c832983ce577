//! The log of the database, which only its owner extends: every write goes through one queue, one at a time, and says
//! which version of the log it expects ([`store::log`](crate::store::log)).
//!
//! After any failure, whatever its text, the position of the log is read, and then it is known what became of the write:
//! it has not landed and is sent again; it has landed, and what an outcome says is asked afterwards; or another
//! incarnation has the log, and this one ends and never takes it again.
//!
//! An incarnation takes the log with its first write. What its predecessor wrote without its being told lies between what
//! gateways had been told of and the version that is found then: one bounded read, after which they have been told of it.

use std::collections::VecDeque;

use super::catch_up::{CatchUp, Step};
use super::commit::not_stored;
use super::{Partition, Purpose};
use crate::log::Level;
use crate::message::ToGateway;
use crate::nostr::PublicKey;
use crate::seam::{Effect, Millis, Ticket};
use crate::store::counts::{self, Totals};
use crate::store::log::{self, Landing, Write, WriteName};
use crate::store::sweep::Sweep;
use crate::store::{Rows, StoreError};

/// Keys of providers that left and wait to be noted; of more the oldest are forgotten.
const MAX_SEEN: usize = 1000;

/// What a write is for.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The [group](super::writer::Writer::group) of the writer.
    Group,
    /// What may no longer be kept.
    Removal(Sweep),
    /// What was counted.
    Counts,
    /// Providers that left.
    Seen(Vec<PublicKey>),
}

/// The write that is on its way, or whose fate is not known.
#[derive(Debug)]
struct Writing {
    what: What,
    /// The number of its first attempt.
    first: u64,
    /// None from a failure until it is sent again.
    ticket: Option<Ticket>,
    since: Millis,
}

/// Why nothing is stored any more.
pub(super) fn fenced() -> StoreError {
    StoreError::new("another relay writes to the database")
}

/// What is known of the log.
#[derive(Debug)]
pub(super) struct Log {
    incarnation: u64,
    /// The number of the last write.
    writes: u64,
    /// As of the last answer.
    totals: Option<Totals>,
    /// Up to which number gateways have been told of everything.
    told: u64,
    /// When it was known how far the log is.
    known_at: Millis,
    /// Whether this incarnation has written, and whether it may have, as far as it knows.
    taken: bool,
    may_be_taken: bool,
    /// Whether it is being asked how far the log is.
    asking: bool,
    fenced: bool,
    writing: Option<Writing>,
    /// What has to be found out before anything is written.
    pub catching_up: Option<CatchUp>,
    /// What is to be removed next, and whether that goes before the next group.
    pub removal: Option<Sweep>,
    removes_next: bool,
    /// Whether what was counted is to be saved by itself.
    pub saves: bool,
    /// Providers that left.
    seen: VecDeque<PublicKey>,
}

impl Log {
    /// A log of which nothing is known yet.
    pub fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            writes: 0,
            totals: None,
            told: 0,
            known_at: 0,
            taken: false,
            may_be_taken: false,
            asking: false,
            fenced: false,
            writing: None,
            catching_up: None,
            removal: None,
            removes_next: false,
            saves: false,
            seen: VecDeque::new(),
        }
    }

    /// The totals as of the last answer.
    pub fn totals(&self) -> Option<Totals> {
        self.totals
    }

    /// Up to which number gateways have been told of everything.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Gateways have been told of everything up to a number.
    pub fn caught_up(&mut self, upto: u64) {
        self.told = upto;
    }

    /// Whether it is known how far the log is.
    pub fn is_known(&self) -> bool {
        self.totals.is_some()
    }

    /// Whether this incarnation has taken the log: nothing is stored that it does not know of.
    pub fn is_taken(&self) -> bool {
        self.taken
    }

    /// When it was known how far the log is, for one that has been taken since.
    pub fn known_at(&self) -> Option<Millis> {
        self.taken.then_some(self.known_at)
    }

    /// Whether another incarnation has the log.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Whether it is not known what became of a write.
    pub fn is_unresolved(&self) -> bool {
        self.writing.is_some() && !self.is_on_its_way()
    }

    /// Whether the store is working on something.
    pub fn is_on_its_way(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.ticket.is_some())
    }

    /// Whether it is being found out what gateways have missed.
    pub fn is_catching_up(&self) -> bool {
        self.catching_up.is_some()
    }

    /// Whether what was counted is on its way by itself.
    pub fn is_saving(&self) -> bool {
        matches!(self.writing, Some(Writing { what: What::Counts, .. }))
    }

    /// Notes that providers left.
    pub fn note_seen(&mut self, keys: &[PublicKey]) {
        self.seen.extend(keys);
        while self.seen.len() > MAX_SEEN {
            self.seen.pop_front();
        }
    }
}

impl Partition {
    /// Asks how far the log is, unless it is being asked.
    pub(super) fn ask_position(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.log.asking, true) {
            let statements = if self.log.is_known() { vec![log::position()] } else { self.waking_statements() };
            self.query(Purpose::Position, statements, now, out);
        }
    }

    /// Does what is next: finds out what is not known, tells gateways what they have missed, or sends a write on its way.
    pub(super) fn go_on(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.log.fenced || self.log.is_on_its_way() {
            return;
        }
        if self.writer.is_paused(now) {
            return self.look_later(now, out);
        }
        if self.log.catching_up.is_some() {
            self.take_step(now, out);
        } else if !self.log.is_known() || self.log.writing.is_some() {
            self.ask_position(now, out);
        } else if self.gateways.behind(self.log.told).is_some() {
            self.catch_up(self.log.told, None, now, out);
        } else {
            self.write_next(now, out);
        }
    }

    /// Sends the next write on its way.
    fn write_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        // Groups and removals take turns.
        let waiting = self.writer.is_waiting();
        let removal = self.log.removal.take_if(|_| self.log.removes_next || !waiting);
        self.log.removes_next = removal.is_none();
        let what = if let Some(removal) = removal {
            What::Removal(removal)
        } else if self.writer.next_group() {
            What::Group
        } else if std::mem::take(&mut self.log.saves) {
            What::Counts
        } else if !self.log.seen.is_empty() {
            What::Seen(std::mem::take(&mut self.log.seen).into())
        } else {
            return;
        };
        self.send(what, None, now, out);
    }

    /// Sends a write; `first` is the number of its first attempt.
    fn send(&mut self, what: What, first: Option<u64>, now: Millis, out: &mut Vec<Effect>) {
        let Some(totals) = self.log.totals else { return };
        self.log.writes += 1;
        let name = WriteName { incarnation: self.log.incarnation, number: self.log.writes };
        let write = Write { expected: totals.version, name };
        let statements = self.statements_to_write(&what, &write, totals, now);
        let ticket = self.next_ticket();
        let first = first.unwrap_or(name.number);
        self.log.writing = Some(Writing { what, first, ticket: Some(ticket), since: now });
        out.push(Effect::Commit { ticket, statements });
        self.look_later(now, out);
    }

    /// The store has answered a write.
    pub(super) fn written(
        &mut self,
        ticket: Ticket,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(writing) = self.log.writing.take_if(|writing| writing.ticket == Some(ticket)) else { return };
        let before = self.log.totals.unwrap_or_default();
        let done = result.and_then(|rows| self.decode(&writing.what, rows, before));
        let error = done.as_ref().err().cloned();
        match writing.what {
            What::Group => self.counters.storage.committed(now.saturating_sub(writing.since), error.as_ref()),
            _ => self.counters.storage.failed(error.as_ref()),
        }
        match done {
            Ok(done) => {
                self.writer.works();
                self.follow(writing.what, done, writing.since, now, out);
                // One that changed nothing has not taken the log: a predecessor's may land yet.
                self.log.taken |= self.log.totals.is_some_and(|totals| totals.version > before.version);
                self.go_on(now, out);
            }
            Err(error) => {
                self.log_failed_write(&writing.what, &error, out);
                if matches!(writing.what, What::Removal(_)) {
                    self.removal_failed(now, out);
                }
                self.log.writing = Some(Writing { ticket: None, ..writing });
                if error.is_fenced() {
                    // The store works: whose the log is can be asked at once.
                    return self.ask_position(now, out);
                }
                self.log.may_be_taken = true;
                self.store_failed(&error, now, out);
            }
        }
    }

    /// The store has said how far the log is, and at first what there will be to remove and what schema it has.
    pub(super) fn position_answered(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        if !self.log.is_known() {
            self.note_schema(result.as_ref().unwrap_or(&Rows::new()), out);
            self.due_found(result.as_ref().ok().and_then(|rows| rows.get(1)).map(Vec::as_slice), now, out);
        }
        let found = result.and_then(|rows| counts::decode_totals(&rows));
        self.located(found, now, out);
    }

    fn located(&mut self, result: Result<Totals, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        self.log.asking = false;
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                self.refuse_held(&error);
                self.tell_all(&ToGateway::Position(Err(error.clone())));
                return self.store_failed(&error, now, out);
            }
        };
        let Some(known) = self.log.totals else {
            self.writer.works();
            (self.log.totals, self.log.known_at) = (Some(found), now);
            return self.catch_up(found.last_seq, None, now, out);
        };
        if self.log.fenced || self.log.is_on_its_way() || self.log.catching_up.is_some() {
            // An answer that is to come says more.
            return;
        }
        let mine = |name: &WriteName| name.incarnation == self.log.incarnation;
        let last = WriteName { incarnation: self.log.incarnation, number: self.log.writes };
        // Whichever of this incarnation's: they are sent one after the other until one has landed.
        let name = found.writer.filter(mine).unwrap_or(last);
        match (Write { expected: known.version, name }).landing(&found) {
            Landing::NotLanded => self.send_again(now, out),
            Landing::Landed => {
                self.log.taken = true;
                self.writer.works();
                match self.log.writing.take_if(|writing| name.number >= writing.first) {
                    Some(writing) => self.has_landed(writing.what, known, found, now, out),
                    // One that nobody waits for any more.
                    None => self.adopt(found, now, out),
                }
            }
            // The predecessor's last write has landed late, and so this incarnation's first has not.
            Landing::Fenced if !self.log.taken && found.version == known.version + 1 => self.adopt(found, now, out),
            Landing::Fenced if !self.log.taken && !self.log.may_be_taken => self.adopt(found, now, out),
            Landing::Fenced => self.fence(found, out),
        }
    }

    /// Sends the write again that has not landed; of a group those that somebody waits for yet.
    fn send_again(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(writing) = self.log.writing.take() else { return self.go_on(now, out) };
        match writing.what {
            What::Group if self.writer.group.as_ref().is_some_and(|group| !group.is_empty()) => {
                return self.send(What::Group, Some(writing.first), now, out);
            }
            What::Group => self.writer.group = None,
            // What is to be removed is looked for anew, counts are kept, and who left is forgotten.
            What::Removal(_) | What::Counts | What::Seen(_) => {}
        }
        self.go_on(now, out);
    }

    /// Something was stored without this partition's being told what: it is found in the log.
    fn adopt(&mut self, found: Totals, now: Millis, out: &mut Vec<Effect>) {
        (self.log.totals, self.log.known_at) = (Some(found), now);
        // What may be on its way yet expects what is past.
        self.log.may_be_taken = false;
        self.forget_what_is_stored();
        self.catch_up(found.last_seq, None, now, out);
    }

    /// Something was added or removed of which nothing is known.
    fn forget_what_is_stored(&mut self) {
        self.recent.start_over(self.log.totals.map_or(u64::MAX, |totals| totals.newest));
        self.handlers.clear();
        self.facts.forget();
    }

    /// A write has landed that was reported as failed, or that nobody waited for any more.
    pub(super) fn has_landed(&mut self, what: What, before: Totals, found: Totals, now: Millis, out: &mut Vec<Effect>) {
        self.log.totals = Some(found);
        self.forget_what_is_stored();
        self.counters.flushed(found);
        match what {
            What::Group if self.writer.group.as_ref().is_none_or(Vec::is_empty) => {
                self.writer.group = None;
                return self.catch_up(found.last_seq, None, now, out);
            }
            What::Group => {
                let step = Step::Fates(before);
                self.log.catching_up = Some(CatchUp { upto: found.last_seq, step, asked: false, landed: None });
            }
            What::Removal(_) | What::Counts | What::Seen(_) => {}
        }
        self.go_on(now, out);
    }

    /// A group has been pushed, or counts were saved: the log is so far.
    pub(super) fn advance(&mut self, totals: Totals) {
        self.log.totals = Some(totals);
        self.log.told = totals.last_seq;
        self.release_held();
    }

    /// Another incarnation has the log: nothing is written here any more, and this one ends.
    fn fence(&mut self, found: Totals, out: &mut Vec<Effect>) {
        self.log.fenced = true;
        self.log.writing = None;
        let writer = found.writer.map(|writer| writer.to_string()).unwrap_or_default();
        let fields = [("version", found.version.to_string()), ("writer", writer)];
        self.log(Level::Error, "another relay writes to this database; this one starts anew", &fields, out);
        let error = fenced();
        let events = self.writer.drain(true);
        self.refuse_all(events, &not_stored(&error));
        self.refuse_held(&error);
        out.push(Effect::Restart);
    }
}
