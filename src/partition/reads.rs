//! Questions of gateways: from memory when that is proven to be the whole answer, else step by step from the database.
//! What an answer is made of is [`page`](super::page)'s to know. Gateways say when the database is asked; how much
//! memory its answers take at once is bounded here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::handlers::Handlers;
use super::page::Reading;
use super::{Asker, Partition, Purpose};
use crate::budget::{Reservation, Share};
use crate::message::{Answer, GatewayId, Page, Question, ToGateway, When};
use crate::nostr::deletion::Vanished;
use crate::nostr::hll::Registers;
use crate::nostr::{Filter, PublicKey, Reason, Values, refusal};
use crate::seam::{Effect, Millis};
use crate::store::read::{self, Viewer};
use crate::store::{Rows, Statement, StoreError};

/// Bytes that a COUNT takes besides its filters.
const COUNTING_BYTES: usize = 500;
/// Bytes of an event that is counted, and of its number and its author in the answer of the store.
const COUNTED_BYTES: usize = 70;
const NUMBER_BYTES: usize = 9;
const AUTHOR_BYTES: usize = 65;

/// What is being answered.
#[derive(Debug)]
enum Of {
    Stored(Box<Reading>),
    Count(Arc<[Filter]>),
}

/// A question.
#[derive(Debug)]
struct Read {
    of: Of,
    keys: Values<PublicKey>,
    event_bytes_max: u64,
    /// What its answer takes.
    memory: Reservation,
    rows_read: u64,
    /// Whether the database is asked, or was.
    begun: bool,
    /// Whether nobody wants the answer.
    dropped: bool,
}

impl Read {
    /// Bytes it takes while it waits.
    fn waiting_bytes(&self) -> usize {
        match &self.of {
            Of::Stored(reading) => reading.memory_bytes(),
            Of::Count(filters) => COUNTING_BYTES + filters.iter().map(Filter::memory_bytes).sum::<usize>(),
        }
    }

    /// Bytes that what the database is asked next may bring at most.
    fn answer_bytes(&self) -> usize {
        match &self.of {
            Of::Stored(reading) => reading.answer_bytes(self.event_bytes_max),
            Of::Count(filters) => {
                let rows = usize::try_from(read::MAX_ENTRIES).unwrap_or(usize::MAX);
                let authors = if registers(filters).is_some() { AUTHOR_BYTES } else { 0 };
                rows * (COUNTED_BYTES + authors + 2 * NUMBER_BYTES * filters.len())
            }
        }
    }
}

/// Registers, if NIP-45 defines them for what is counted.
fn registers(filters: &[Filter]) -> Option<Registers> {
    match filters {
        [filter] => Registers::of(filter),
        _ => None,
    }
}

/// An answer, the number up to which its gateway has to be told before, and what it takes.
type Held = (u64, Asker, ToGateway, Reservation);

/// The questions.
#[derive(Debug, Default)]
pub(super) struct Reads {
    by_asker: BTreeMap<Asker, Read>,
    /// Those that wait for memory; those of which a part is answered go first.
    ready: VecDeque<Asker>,
    /// How many the database is being asked.
    asked: usize,
    /// Gateways that have yet to take what was answered before: their questions wait.
    slow: BTreeSet<GatewayId>,
    /// Bytes that may be answered from memory until these have taken some, where answers wait for them.
    room: Option<usize>,
    /// Answers that show what gateways have not been told of yet, each with the number up to which they have to be.
    held: Vec<Held>,
}

impl Reads {
    /// The place of the next that the database may be asked.
    fn next(&self) -> Option<usize> {
        self.ready.iter().position(|(gateway, _)| !self.slow.contains(gateway))
    }

    /// Whether a gateway may be answered from memory.
    fn may_tell(&self, gateway: GatewayId) -> bool {
        self.room != Some(0) && !self.slow.contains(&gateway)
    }

    /// Nobody wants the answer any more; what the database is working on is still answered, as somebody pays for it.
    pub fn drop(&mut self, asker: Asker) {
        match self.by_asker.get_mut(&asker) {
            Some(read) if read.begun => read.dropped = true,
            _ => drop(self.by_asker.remove(&asker)),
        }
    }

    /// Nothing is answered any more that a key which vanished takes.
    pub fn vanish(&mut self, vanished: &Vanished) {
        for read in self.by_asker.values_mut().filter(|read| read.begun) {
            if let Of::Stored(reading) = &mut read.of {
                reading.vanished.push(vanished.clone());
            }
        }
    }
}

impl Partition {
    /// Takes a question.
    pub(super) fn read(&mut self, asker: Asker, question: Question, when: When, now: Millis, out: &mut Vec<Effect>) {
        let memory = self.budget.nothing(None, Share::Answers);
        let read = |of, keys, event_bytes_max| Read {
            of,
            keys,
            event_bytes_max,
            memory,
            rows_read: 0,
            begun: false,
            dropped: false,
        };
        let mut read = match question {
            Question::Count { filters, .. } if filters.iter().all(Filter::is_void) => {
                let answer = count(&filters, Ok(Rows::new()));
                return self
                    .tell(asker.0, ToGateway::Answer { ticket: asker.1, answer, rows_read: 0, from_memory: false });
            }
            Question::Count { filters, keys } => read(Of::Count(filters), keys, 0),
            Question::Stored { filters, limits, event_bytes_max, keys, missed } => {
                let limit = |filter: &Filter| filter.limit_of(limits);
                let changes = self.known_handlers().map(Handlers::changes);
                let viewer =
                    Viewer { keys: &keys, profile: &self.settings.profile, kept: &self.settings.kept, now: now / 1000 };
                let mut reading = Box::new(Reading::new(&filters, limit, changes, &viewer));
                reading.missed = missed;
                let from_memory = match when {
                    When::Known if self.reads.may_tell(asker.0) => {
                        reading.remember(&self.recent, self.known_handlers(), &viewer).is_some()
                    }
                    When::Known | When::Later | When::Now => false,
                };
                if from_memory || missed.is_none() && !reading.asks() {
                    let bytes = reading.held_bytes();
                    self.reads.room = self.reads.room.map(|room| room.saturating_sub(bytes));
                    return self.answer_stored(asker, *reading, (0, from_memory), None, now, out);
                }
                read(Of::Stored(reading), keys, event_bytes_max)
            }
        };
        if when == When::Now {
            read.begun = true;
            self.reads.ready.push_back(asker);
        } else {
            let bytes = read.waiting_bytes();
            self.tell(asker.0, ToGateway::Later { ticket: asker.1, bytes });
        }
        self.reads.by_asker.insert(asker, read);
        self.read_next(now, out);
    }

    /// The database is to be asked a question that was to wait.
    pub(super) fn go(&mut self, asker: Asker, now: Millis, out: &mut Vec<Effect>) {
        if let Some(read) = self.reads.by_asker.get_mut(&asker) {
            read.begun = true;
            self.reads.ready.push_back(asker);
            self.read_next(now, out);
        }
    }

    /// These gateways have yet to take what was answered before; what others ask, and those that have taken it, goes on. So
    /// many bytes may be answered from memory.
    pub fn hold_back(&mut self, slow: BTreeSet<GatewayId>, room: usize, now: Millis, out: &mut Vec<Effect>) {
        let had = std::mem::replace(&mut self.reads.slow, slow);
        self.reads.room = Some(room);
        if had.difference(&self.reads.slow).next().is_some() {
            self.read_next(now, out);
        }
    }

    /// What is known of handlers, once nothing is stored that this partition does not know of.
    fn known_handlers(&self) -> Option<&Handlers> {
        self.log.is_taken().then_some(&self.handlers)
    }

    /// Asks the database what may be asked, as far as there is memory for the answers.
    pub(super) fn read_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if let Some(error) = self.facts.misplaced.clone() {
            return self.refuse_ready(&error);
        }
        while let Some(at) = self.reads.next()
            && let Some(asker) = self.reads.ready.get(at).copied()
        {
            if self.has_to_be_told(asker.0) {
                // What was stored between the answer and the position, from which on it is told, would not reach it.
                return self.go_on_in_time(now, out);
            }
            let Some(mut read) = self.reads.by_asker.remove(&asker) else {
                self.reads.ready.remove(at);
                continue;
            };
            let bytes = read.answer_bytes();
            if read.memory.grow(bytes).is_err() {
                if self.reads.asked > 0 {
                    self.reads.by_asker.insert(asker, read);
                    return;
                }
                // What takes the memory waits for this one.
                read.memory.set(read.memory.bytes() + bytes);
            }
            self.reads.ready.remove(at);
            let statements = self.statements_of(&mut read, now);
            self.reads.by_asker.insert(asker, read);
            self.reads.asked += 1;
            self.query(Purpose::Read(asker), statements, now, out);
        }
    }

    fn statements_of(&self, read: &mut Read, now: Millis) -> Vec<Statement> {
        let viewer =
            Viewer { keys: &read.keys, profile: &self.settings.profile, kept: &self.settings.kept, now: now / 1000 };
        match &mut read.of {
            Of::Stored(reading) => reading.statements(&viewer),
            Of::Count(filters) => {
                let authors = registers(filters).is_some();
                filters.iter().flat_map(|filter| read::all(filter, authors, &viewer)).collect()
            }
        }
    }

    /// The database has answered a step.
    pub(super) fn read_answered(
        &mut self,
        asker: Asker,
        rows_read: u64,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        self.reads.asked -= 1;
        if let Some(mut read) = self.reads.by_asker.remove(&asker) {
            read.rows_read += rows_read;
            let rows_read = read.rows_read;
            let answered = |answer| ToGateway::Answer { ticket: asker.1, answer, rows_read, from_memory: false };
            match read.of {
                _ if read.dropped => self.tell(asker.0, answered(Ok(Err(refusal::lost_request())))),
                Of::Count(filters) => self.tell(asker.0, answered(count(&filters, result))),
                Of::Stored(mut reading) => match result.and_then(|rows| reading.take(rows)) {
                    Err(error) => self.tell(asker.0, answered(Err(error))),
                    Ok(Err(reason)) => self.tell(asker.0, answered(Ok(Err(reason)))),
                    Ok(Ok(())) if reading.lost => self.tell(asker.0, answered(Ok(Err(refusal::lost_request())))),
                    Ok(Ok(())) => {
                        reading.teach(&mut self.handlers);
                        if reading.asks() {
                            read.memory.set(reading.held_bytes());
                            read.of = Of::Stored(reading);
                            self.reads.by_asker.insert(asker, read);
                            self.reads.ready.push_front(asker);
                        } else {
                            self.answer_stored(asker, *reading, (rows_read, false), Some(read.memory), now, out);
                        }
                    }
                },
            }
        }
        self.read_next(now, out);
    }

    /// Tells the stored events of a subscription, once gateways have been told of all of them: so nothing of them is
    /// pushed afterwards.
    fn answer_stored(
        &mut self,
        asker: Asker,
        mut reading: Reading,
        (rows_read, from_memory): (u64, bool),
        memory: Option<Reservation>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let found = std::mem::take(&mut reading.found);
        let missed = found.into_iter().filter_map(|found| self.read_event(found, out));
        let missed = missed.filter(|(new, _)| !reading.vanished.iter().any(|vanished| vanished.takes(&new.event)));
        let missed = missed.collect();
        let page = Page { missed, ..reading.into_answer() };
        let newest = page.events.iter().map(|event| event.seq).max().unwrap_or_default();
        let answer = Ok(Ok(Answer::Stored(page)));
        let answer = ToGateway::Answer { ticket: asker.1, answer, rows_read, from_memory };
        let told = self.gateways.told(asker.0).unwrap_or(self.log.told());
        if newest <= told && self.log.is_known() && !self.has_to_be_told(asker.0) {
            self.tell_how_far(asker.0);
            return self.tell(asker.0, answer);
        }
        let memory = memory.unwrap_or_else(|| self.budget.nothing(None, Share::Answers));
        self.reads.held.push((newest, asker, answer, memory));
        if !self.log.is_on_its_way() && !self.log.is_catching_up() {
            self.ask_position(now, out);
        }
    }

    /// Whether a gateway has yet to be told from which number on it is told of everything. An answer before that would leave
    /// out what is stored in between.
    fn has_to_be_told(&self, gateway: GatewayId) -> bool {
        self.gateways.told(gateway).is_none() && (!self.log.is_known() || self.log.is_catching_up())
    }

    /// Gives the answers on that show nothing gateways were not told of.
    pub(super) fn release_held(&mut self) {
        let Self { log, gateways, reads, .. } = self;
        let told = |(newest, (gateway, _), ..): &mut Held| *newest <= gateways.told(*gateway).unwrap_or(log.told());
        let released: Vec<Held> = reads.held.extract_if(.., told).collect();
        for (_, (gateway, _), answer, _) in released {
            self.tell_how_far(gateway);
            self.tell(gateway, answer);
        }
    }

    /// The database cannot be asked what waits for it.
    fn refuse_ready(&mut self, error: &StoreError) {
        for (gateway, ticket) in std::mem::take(&mut self.reads.ready) {
            self.reads.by_asker.remove(&(gateway, ticket));
            let answer = Err(error.clone());
            self.tell(gateway, ToGateway::Answer { ticket, answer, rows_read: 0, from_memory: false });
        }
    }

    /// It cannot be found out what gateways were not told of.
    pub(super) fn refuse_held(&mut self, error: &StoreError) {
        if !self.log.is_known() {
            // These wait for that, too.
            self.refuse_ready(error);
        }
        for (_, (gateway, ticket), answer, _) in std::mem::take(&mut self.reads.held) {
            let rows_read = match answer {
                ToGateway::Answer { rows_read, .. } => rows_read,
                _ => 0,
            };
            let answer = ToGateway::Answer { ticket, answer: Err(error.clone()), rows_read, from_memory: false };
            self.tell(gateway, answer);
        }
    }
}

/// What a COUNT is answered.
fn count(filters: &[Filter], result: Result<Rows, StoreError>) -> Result<Result<Answer, Reason>, StoreError> {
    let found = match result.and_then(read::decode_counted)? {
        Ok(found) => found,
        Err(over) => return Ok(Err(over)),
    };
    let hll = registers(filters).map(|mut registers| {
        found.values().flatten().for_each(|author| registers.add(author));
        registers.to_hex()
    });
    Ok(Ok(Answer::Count(found.len() as u64, hll)))
}
