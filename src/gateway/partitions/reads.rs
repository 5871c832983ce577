//! Questions of clients that several partitions are asked: their answers are put together as they come.
//!
//! Until the databases may be asked, a partition that knows its part without its own says it for nothing: it is kept only if
//! all do, and asked for again when the others are. While they are asked, a question takes what its whole answer may have,
//! whatever the number of partitions; without that it is not begun, unless no other is.

use std::collections::{BTreeMap, BTreeSet};

use super::Partitions;
use super::pages::{self, Pages};
use crate::budget::{Reservation, Share};
use crate::market::{JobProfile, JobRole};
use crate::message::{Answer, MAX_ANSWER_BYTES, PartitionId, Question, StoreError, ToGateway, ToPartition, When};
use crate::nostr::{EventId, Filter, Reason};
use crate::seam::Ticket;
use crate::trees::Gather;

/// Bytes that an event of an answer takes besides its text.
const EVENT_BYTES: u64 = 150;

/// What partitions answer to one question.
type Answered = Result<Result<Answer, Reason>, StoreError>;

/// Questions that partitions were asked.
pub(super) type Reads = BTreeMap<Ticket, Scattered>;

/// A question that partitions were asked.
#[derive(Debug)]
pub(super) struct Scattered {
    question: Question,
    parts: BTreeMap<PartitionId, Part>,
    /// Whether the databases are asked: then all of them answer although nobody wants the answer any more.
    begun: bool,
    /// What those have said that have answered, which takes so much memory.
    known: Together,
    memory: Reservation,
    /// Why there is no answer.
    failed: Option<Answered>,
    rows_read: u64,
    is_from_memory: bool,
}

/// How far one partition is with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It has said nothing yet.
    Asked,
    /// Its database has to be asked; the question takes so many bytes until then.
    Later(usize),
    /// It has answered without, and nothing of that was kept.
    Dropped,
    /// It has answered.
    Answered,
    /// It could not.
    Failed,
}

/// The answers as one.
#[derive(Debug)]
enum Together {
    Stored(Pages),
    Count(u64, Option<Vec<u8>>),
}

impl Together {
    /// Of no partition yet.
    fn nothing(question: &Question) -> Self {
        match question {
            Question::Stored { filters, limits, .. } => Self::Stored(Pages::new(filters.clone(), *limits)),
            Question::Count { .. } => Self::Count(0, None),
        }
    }

    fn add(&mut self, answer: Answer) {
        match (self, answer) {
            (Self::Stored(pages), Answer::Stored(page)) => pages.add(page),
            // Partitions have no event in common.
            (Self::Count(all, registers), Answer::Count(count, hll)) => {
                *all += count;
                *registers = pages::highest(registers.take(), hll);
            }
            _ => {}
        }
    }

    fn answer(self) -> Answer {
        match self {
            Self::Stored(pages) => Answer::Stored(pages.into_page()),
            Self::Count(all, registers) => Answer::Count(all, registers.map(hex::encode)),
        }
    }
}

impl Scattered {
    /// Takes an answer. One that came before the databases may be asked is kept as long as all is known without, and there
    /// is room for it.
    fn take(&mut self, answer: Answer) -> Part {
        if !self.begun {
            let waits = self.parts.values().any(|part| matches!(part, Part::Later(_) | Part::Dropped));
            if waits || self.memory.grow(bytes(&answer)).is_err() {
                self.forget();
                return Part::Dropped;
            }
        }
        self.known.add(answer);
        Part::Answered
    }

    /// What was known without a database is asked for again when the databases are.
    fn forget(&mut self) {
        self.known = Together::nothing(&self.question);
        self.memory.set(0);
        for part in self.parts.values_mut().filter(|part| **part == Part::Answered) {
            *part = Part::Dropped;
        }
    }

    /// That nothing can be said counts for more than that it is refused.
    fn fail(&mut self, failed: Answered) -> Part {
        if self.failed.as_ref().is_none_or(|known| known.is_ok() && failed.is_err()) {
            self.failed = Some(failed);
        }
        Part::Failed
    }

    /// Bytes that the whole answer has at the most.
    fn bytes_max(&self) -> usize {
        let Question::Stored { filters, limits, event_bytes_max, .. } = &self.question else { return 0 };
        let events: u64 = filters.iter().map(|filter| filter.limit_of(*limits)).sum();
        let bytes = events.saturating_mul(*event_bytes_max).min(MAX_ANSWER_BYTES) + events.saturating_mul(EVENT_BYTES);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Bytes that an answer takes.
fn bytes(answer: &Answer) -> usize {
    let Answer::Stored(page) = answer else { return 0 };
    let texts = page.events.iter().map(|event| EVENT_BYTES + event.text.size());
    usize::try_from(texts.sum::<u64>()).unwrap_or(usize::MAX)
}

impl Partitions {
    /// Asks a client's question. `missed` are the numbers of each partition's log among which is to be found, too, what was
    /// live.
    pub fn read(
        &mut self,
        profile: &JobProfile,
        ticket: Ticket,
        question: Question,
        when: When,
        missed: &[Option<(u64, u64)>],
    ) {
        let of = |to: PartitionId| missed.get(to.0 as usize).copied().flatten();
        let to_one = |to: PartitionId, mut question: Question| {
            if let Question::Stored { missed, .. } = &mut question {
                *missed = of(to);
            }
            (to, ToPartition::Read { ticket, question, when })
        };
        if self.count == 1 {
            return self.messages.push(to_one(PartitionId::HOME, question));
        }
        let filters = match &question {
            Question::Stored { filters, .. } | Question::Count { filters, .. } => filters.clone(),
        };
        // What was live there is asked of those, too, that have no other event for it.
        let live = self.all().filter(|to| of(*to).is_some());
        let to: BTreeSet<PartitionId> = concerned(profile, &filters, self.count).into_iter().chain(live).gather();
        let mut scattered = Scattered {
            parts: to.iter().map(|to| (*to, Part::Asked)).gather(),
            begun: when == When::Now,
            known: Together::nothing(&question),
            memory: self.budget.nothing(None, Share::Answers),
            failed: None,
            rows_read: 0,
            is_from_memory: true,
            question: question.clone(),
        };
        if scattered.begun {
            scattered.memory.set(scattered.bytes_max());
        }
        self.reads.insert(ticket, scattered);
        self.messages.extend(to.into_iter().map(|to| to_one(to, question.clone())));
    }

    /// Whether there is room for one answer more.
    pub fn has_room(&self) -> bool {
        let most = usize::try_from(MAX_ANSWER_BYTES).unwrap_or(usize::MAX);
        self.count == 1 || !self.is_reading() || self.budget.left(None, Share::Answers) >= most
    }

    /// Whether databases are asked a question.
    fn is_reading(&self) -> bool {
        self.reads.values().any(|scattered| scattered.begun)
    }

    /// Has the databases asked that have to be; says whether there is room for what they answer.
    pub fn go(&mut self, ticket: Ticket) -> bool {
        if self.count == 1 {
            self.tell_home(ToPartition::Go(ticket));
            return true;
        }
        let is_reading = self.is_reading();
        let Some(scattered) = self.reads.get_mut(&ticket) else { return true };
        let most = scattered.bytes_max();
        if is_reading && scattered.memory.grow(most).is_err() {
            return false;
        }
        scattered.memory.set(most);
        scattered.begun = true;
        for (to, part) in &mut scattered.parts {
            let message = match part {
                Part::Later(_) => ToPartition::Go(ticket),
                Part::Dropped => ToPartition::Read { ticket, question: scattered.question.clone(), when: When::Now },
                Part::Asked | Part::Answered | Part::Failed => continue,
            };
            *part = Part::Asked;
            self.messages.push((*to, message));
        }
        true
    }

    /// Nobody wants the answer to a question any more.
    pub fn drop(&mut self, ticket: Ticket) {
        if self.count == 1 {
            return self.tell_home(ToPartition::Drop(ticket));
        }
        let Some(scattered) = self.reads.get(&ticket) else { return };
        let unanswered = scattered.parts.iter().filter(|(_, part)| matches!(part, Part::Asked | Part::Later(_)));
        self.messages.extend(unanswered.map(|(to, _)| (*to, ToPartition::Drop(ticket))));
        if !scattered.begun {
            self.reads.remove(&ticket);
        }
    }

    /// A partition's database has to be asked a question.
    pub(super) fn read_waits(&mut self, (ticket, from): (Ticket, PartitionId), bytes: usize) -> Option<ToGateway> {
        let scattered = self.reads.get_mut(&ticket)?;
        *scattered.parts.get_mut(&from)? = Part::Later(bytes);
        scattered.forget();
        self.all_said(ticket)
    }

    /// A partition has answered a question.
    pub(super) fn read_answered(
        &mut self,
        (ticket, from): (Ticket, PartitionId),
        answer: Answered,
        rows_read: u64,
        from_memory: bool,
    ) -> Option<ToGateway> {
        let scattered = self.reads.get_mut(&ticket)?;
        scattered.rows_read += rows_read;
        scattered.is_from_memory &= from_memory;
        let part = match answer {
            Ok(Ok(answer)) => scattered.take(answer),
            failed => scattered.fail(failed),
        };
        *scattered.parts.get_mut(&from)? = part;
        self.all_said(ticket)
    }

    /// What all partitions say that were asked a question, once they have.
    fn all_said(&mut self, ticket: Ticket) -> Option<ToGateway> {
        let parts = &self.reads.get(&ticket)?.parts;
        let is = |wanted: fn(&Part) -> bool| parts.values().any(wanted);
        if is(|part| *part == Part::Asked) {
            return None;
        }
        if is(|part| matches!(part, Part::Later(_) | Part::Dropped)) {
            let bytes = parts.values().map(|part| if let Part::Later(bytes) = part { *bytes } else { 0 });
            return Some(ToGateway::Later { ticket, bytes: bytes.sum() });
        }
        let Scattered { known, failed, rows_read, is_from_memory, .. } = self.reads.remove(&ticket)?;
        let answer = failed.unwrap_or_else(|| Ok(Ok(known.answer())));
        Some(ToGateway::Answer { ticket, answer, rows_read, from_memory: is_from_memory })
    }
}

/// The partitions that may have events for these filters.
fn concerned(profile: &JobProfile, filters: &[Filter], partitions: u32) -> BTreeSet<PartitionId> {
    let mut concerned: BTreeSet<PartitionId> = BTreeSet::new();
    for filter in filters.iter().filter(|filter| !filter.is_void()) {
        let roles = filter.kinds.iter().flat_map(|kinds| kinds.iter().map(|kind| profile.role(*kind)));
        let (mut has_answers, mut has_others, mut has_requests) = (false, false, filter.kinds.is_none());
        for role in roles {
            match role {
                Some(JobRole::Request) => has_requests = true,
                Some(JobRole::Feedback | JobRole::Result) => has_answers = true,
                None => has_others = true,
            }
        }
        // The one `e` of an answer names its job.
        let jobs = filter.tags.get(&b'e');
        if has_requests || has_answers && jobs.is_none() {
            return PartitionId::all(partitions).gather();
        }
        if has_others {
            concerned.insert(PartitionId::HOME);
        }
        if let (true, Some(jobs)) = (has_answers, jobs) {
            let jobs = jobs.iter().filter_map(|job| EventId::parse(job));
            concerned.extend(jobs.map(|job| PartitionId::of_job(&job, partitions)));
        }
    }
    if concerned.is_empty() {
        concerned.insert(PartitionId::HOME);
    }
    concerned
}
