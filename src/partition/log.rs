//! The log of the database, which only its owner extends: every write goes through one queue, one at a time, and says
//! which version of the log it expects ([`store::log`](crate::store::log)).
//!
//! A group of events and a removal are decided by facts that are read before: the version says that they hold still when
//! the write is made. So what a write does is known when it is sent.
//!
//! After any failure, whatever its text, the position of the log is read, and then it is known what became of the write:
//! it has not landed, and the facts are read again; it has landed as it was sent; or another incarnation has the log, and
//! this one ends and never takes it again.
//!
//! An incarnation takes the log with its first write. What its predecessor wrote without its being told lies between what
//! gateways had been told of and the version that is found then: one bounded read, after which they have been told of it.

mod located;

use std::collections::VecDeque;
use std::sync::Arc;

use super::catch_up::CatchUp;
use super::commit::not_stored;
use super::{Partition, Purpose};
use crate::ledger::{Assumed, Decision, Memory, Needed};
use crate::log::Level;
use crate::nostr::PublicKey;
use crate::seam::{Effect, Millis, Ticket};
use crate::store::counts::{Position, Totals};
use crate::store::log::{Write, WriteName};
use crate::store::sweep::Sweep;
use crate::store::{Rows, StoreError, facts};

/// Groups that facts are read for after something was there that was assumed not to be.
const CAREFUL: u32 = 16;
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

/// What is to be written when the facts are there that were asked for.
#[derive(Debug)]
pub(super) struct Deciding {
    pub what: What,
    pub needed: Needed,
    /// Whether answers may be held whose request is not known.
    pub early: bool,
}

/// What a write does.
#[derive(Debug)]
pub(super) struct Decided {
    pub decision: Decision,
    /// Where the log is after it.
    pub after: Arc<Position>,
}

/// The write that is on its way, or whose fate is not known.
#[derive(Debug)]
struct Writing {
    what: What,
    decided: Decided,
    /// Its number.
    number: u64,
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
    position: Option<Arc<Position>>,
    /// Up to which number gateways have been told of everything.
    told: u64,
    /// When it was known how far the log is.
    known_at: Millis,
    /// Whether this incarnation has written, and whether it may have, as far as it knows.
    taken: bool,
    may_be_taken: bool,
    /// Whether it is being asked how far the log is, and how far gateways were told when it was.
    asking: bool,
    asked_of: Option<u64>,
    /// The number of the last event when it was known first.
    began: u64,
    fenced: bool,
    /// What facts are being read for.
    deciding: Option<Deciding>,
    /// Groups that facts are read for although they might be assumed, as the last assumption was wrong.
    careful: u32,
    /// What is remembered of facts.
    memory: Memory,
    writing: Option<Writing>,
    /// What gateways have missed, and is told before anything is written.
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
    /// A log of which nothing is known yet, and that remembers facts in so many bytes.
    pub fn new(incarnation: u64, memory_bytes: usize) -> Self {
        Self {
            incarnation,
            writes: 0,
            position: None,
            told: 0,
            known_at: 0,
            taken: false,
            may_be_taken: false,
            asking: false,
            asked_of: None,
            began: 0,
            fenced: false,
            deciding: None,
            careful: 0,
            memory: Memory::new(memory_bytes),
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
        self.position.as_ref().map(|position| position.totals)
    }

    /// Up to which number gateways have been told of everything.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// The number of the last event, if it is known.
    pub fn end(&self) -> Option<u64> {
        self.totals().map(|totals| totals.last_seq)
    }

    /// The same when it was known first.
    pub fn began(&self) -> u64 {
        self.began
    }

    /// Gateways have been told of everything up to a number.
    pub fn caught_up(&mut self, upto: u64) {
        self.told = upto;
    }

    /// Whether it is known how far the log is.
    pub fn is_known(&self) -> bool {
        self.position.is_some()
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
        self.writing.as_ref().is_some_and(|writing| writing.ticket.is_none())
    }

    /// Whether the store is working on a write, or on what has to be known for one.
    pub fn is_on_its_way(&self) -> bool {
        self.deciding.is_some() || self.is_being_written()
    }

    /// Whether the store is working on a write.
    pub fn is_being_written(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.ticket.is_some())
    }

    /// What is remembered of facts.
    pub fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// What was to be decided is not written.
    pub fn give_up_deciding(&mut self) {
        self.deciding = None;
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
    /// Does what is next: finds out what is not known, tells gateways what they have missed, or sends a write on its way.
    pub(super) fn go_on(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.log.fenced || self.log.is_on_its_way() {
            return;
        }
        if self.writer.is_paused(now) {
            return self.look_later(now, out);
        }
        if self.log.catching_up.is_some() {
            self.read_log(now, out);
        } else if !self.log.is_known() || self.log.writing.is_some() {
            self.ask_position(now, out);
        } else if self.gateways.furthest() > Some(self.log.told) {
            self.told_of_more(now, out);
        } else if self.gateways.behind(self.log.told).is_some() {
            self.catch_up(self.log.told, now, out);
        } else if !self.ruled.is_known() {
            self.ask_rulings(now, out);
        } else {
            self.write_next(now, out);
        }
    }

    /// Sends the next write on its way, or asks what has to be known for it.
    fn write_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        // Groups and removals take turns.
        let waiting = self.writer.is_waiting();
        let removal = self.log.removal.take_if(|_| self.log.removes_next || !waiting);
        self.log.removes_next = removal.is_none();
        if let Some(removal) = removal {
            let needed = removal.work().needed();
            self.ask_facts(What::Removal(removal), needed, now, out);
        } else if self.writer.next_group() {
            self.write_group(now, out);
        } else if std::mem::take(&mut self.log.saves) {
            self.send(What::Counts, Decision::default(), None, now, out);
        } else if !self.log.seen.is_empty() {
            let seen = std::mem::take(&mut self.log.seen).into();
            self.send(What::Seen(seen), Decision::default(), None, now, out);
        }
    }

    /// Decides what the group does by what is remembered, and assumes of the rest that it is not there, which the write
    /// makes sure of; if that is not likely, asks what has to be known.
    fn write_group(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let work = self.group_work();
        let mut needed = work.needed();
        if self.log.careful > 0 {
            self.log.careful -= 1;
        } else {
            needed = match self.log.memory.facts(needed) {
                Ok((facts, assumed)) => {
                    let decision = work.decide(self.last_seq(), facts);
                    if !decision.changes.is_empty() {
                        return self.send(What::Group, decision, Some(assumed), now, out);
                    }
                    // No write would make sure of what is assumed.
                    work.needed()
                }
                Err(needed) => *needed,
            };
        }
        self.ask_facts(What::Group, needed, now, out);
    }

    /// Asks what has to be known for a write.
    pub(super) fn ask_facts(&mut self, what: What, needed: Needed, now: Millis, out: &mut Vec<Effect>) {
        // Since they came it may have been set that answers are kept for longer.
        let upto = |early: u64| early.saturating_add(self.settings.kept.answers_max());
        let early = self.log.totals().is_some_and(|totals| totals.early > 0 && upto(totals.early) > now / 1000);
        let statements = facts::statements(&needed, early);
        self.log.deciding = Some(Deciding { what, needed, early });
        if statements.is_empty() {
            return self.facts_read(Ok(Rows::new()), now, out);
        }
        self.query(Purpose::Facts, statements, now, out);
    }

    /// The store has told what has to be known for a write.
    pub(super) fn facts_read(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let Some(Deciding { what, needed, early }) = self.log.deciding.take() else { return };
        match result.and_then(|rows| facts::decode(&needed, early, &rows)) {
            Ok(Some(facts)) => {
                self.log.memory.learn(&facts);
                let decision = self.decide(&what, facts);
                if !decision.changes.is_empty() {
                    return self.send(what, decision, None, now, out);
                }
                self.nothing_to_write(what, decision, now, out);
            }
            Ok(None) => self.decide_less(what, now, out),
            Err(error) => {
                if matches!(what, What::Removal(_)) {
                    self.removal_failed(now, out);
                }
                self.store_failed(&error, now, out);
            }
        }
    }

    /// A decision changes no row.
    pub(super) fn nothing_to_write(&mut self, what: What, decision: Decision, now: Millis, out: &mut Vec<Effect>) {
        self.writer.works();
        if let Some(after) = self.log.position.clone() {
            self.follow(what, Decided { decision, after }, now, now, out);
        }
        self.go_on(now, out);
    }

    /// Sends a write, which makes sure of what is assumed.
    fn send(&mut self, what: What, decision: Decision, assumed: Option<Assumed>, now: Millis, out: &mut Vec<Effect>) {
        let Some(before) = self.log.position.clone() else { return };
        self.log.writes += 1;
        let number = self.log.writes;
        let write =
            Write { expected: before.totals.version, name: WriteName { incarnation: self.log.incarnation, number } };
        let (statements, after) = self.statements_to_write(&what, (&decision, assumed.as_ref()), &before, &write, now);
        let decided = Decided { decision, after: Arc::new(after) };
        let ticket = self.next_ticket();
        self.log.writing = Some(Writing { what, decided, number, ticket: Some(ticket), since: now });
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
        if result.as_ref().is_err_and(StoreError::is_surprise) {
            self.log.careful = CAREFUL;
            self.writer.works();
            return self.go_on(now, out);
        }
        let error = result.as_ref().err().cloned();
        match writing.what {
            What::Group => self.counters.storage.committed(now.saturating_sub(writing.since), error.as_ref()),
            _ => self.counters.storage.failed(error.as_ref()),
        }
        match result {
            Ok(_) => {
                self.writer.works();
                let before = self.log.totals().map(|totals| totals.version);
                // One that changed nothing has not taken the log: a predecessor's may land yet.
                self.log.taken |= before.is_some_and(|before| writing.decided.after.totals.version > before);
                self.take_back_if_taken();
                self.follow(writing.what, writing.decided, writing.since, now, out);
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

    /// A group has been pushed, or something else was written: the log is so far.
    pub(super) fn advance(&mut self, after: Arc<Position>) {
        self.log.told = after.totals.last_seq;
        self.counters.flushed(after.totals);
        self.log.position = Some(after);
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
