//! The partitions of a relay as one: what the gateway tells goes to those that it concerns, and what they answer is put
//! together.
//!
//! Events of a job are in the partition of the job, all others at home. A question goes to every partition that may have
//! an event for it, and is answered when all of them have answered; when one has failed, it has failed. Where there is
//! one partition all of this is a queue.

mod facts;
mod pages;
mod tombstones;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::budget::{Budget, Reservation, Share};
use crate::market::{JobProfile, JobRole};
use crate::message::{
    Answer, GatewayGauges, Known, Part, PartitionGauges, PartitionId, Publish, Question, StoreError, ToGateway,
    ToPartition, When,
};
use crate::nostr::{EventId, Filter, PublicKey, Reason};
use crate::seam::Ticket;
use crate::trees::Gather;
use facts::Asking;
use tombstones::Tombstones;

/// Bytes that an event of an answer takes besides its text.
const EVENT_BYTES: usize = 150;

/// What partitions answer to one question.
type Answered = Result<Result<Answer, Reason>, StoreError>;

/// A question that partitions were asked.
#[derive(Debug)]
struct Scattered {
    /// None of a COUNT.
    stored: Option<pages::Asked>,
    parts: BTreeMap<PartitionId, AnswerPart>,
    /// Whether the databases are asked: then all of them answer although nobody wants the answer any more.
    begun: bool,
}

/// What one partition has said of a question.
#[derive(Debug)]
enum AnswerPart {
    /// Nothing yet.
    Asked,
    /// Its database has to be asked; it takes so many bytes until then.
    Later(usize),
    /// The answer, which waits for the others.
    Answered {
        answer: Answered,
        rows_read: u64,
        from_memory: bool,
        /// What it takes until then.
        _memory: Option<Reservation>,
    },
}

/// Keys that partitions were asked of, and what they have said by now.
#[derive(Debug)]
struct Who {
    waits_for: BTreeSet<PartitionId>,
    known: Result<BTreeMap<PublicKey, Known>, StoreError>,
}

/// The partitions.
#[derive(Debug)]
pub(super) struct Partitions {
    count: u32,
    /// What each is to be told, in order.
    messages: Vec<(PartitionId, ToPartition)>,
    reads: BTreeMap<Ticket, Scattered>,
    who: BTreeMap<Ticket, Who>,
    asking: BTreeMap<Ticket, Asking>,
    tombstones: Tombstones,
    /// What each has told of itself last.
    gauges: BTreeMap<PartitionId, PartitionGauges>,
    /// Partitions beside home that know of clients here.
    greeted: BTreeSet<PartitionId>,
}

impl Partitions {
    /// So many partitions, to which nothing was said.
    pub fn new(count: u32) -> Self {
        let (messages, reads, who, asking, tombstones, gauges, greeted) = Default::default();
        Self { count: count.max(1), messages, reads, who, asking, tombstones, gauges, greeted }
    }

    /// Whether there is more than one.
    pub const fn are_several(&self) -> bool {
        self.count > 1
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = PartitionId> + use<> {
        PartitionId::all(self.count)
    }

    /// What each is to be told, in order.
    pub fn take_messages(&mut self) -> Vec<(PartitionId, ToPartition)> {
        std::mem::take(&mut self.messages)
    }

    /// Tells one partition something.
    pub fn tell(&mut self, to: PartitionId, message: ToPartition) {
        self.messages.push((to, message));
    }

    /// Tells home something.
    pub fn tell_home(&mut self, message: ToPartition) {
        self.tell(PartitionId::HOME, message);
    }

    /// Tells all partitions something.
    pub fn tell_all(&mut self, message: &ToPartition) {
        self.messages.extend(PartitionId::all(self.count).map(|to| (to, message.clone())));
    }

    /// Tells all partitions something before whatever they have yet to be told.
    pub fn tell_all_first(&mut self, message: &ToPartition) {
        self.messages.splice(0..0, PartitionId::all(self.count).map(|to| (to, message.clone())));
    }

    /// Tells home what is known of the clients here, and another partition when the first has come or the last has gone:
    /// it greets gateways with clients alone.
    pub fn tell_gauges(&mut self, to: PartitionId, gauges: Box<GatewayGauges>) {
        let has_clients = gauges.open > 0;
        let is_news = if has_clients { self.greeted.insert(to) } else { self.greeted.remove(&to) };
        if is_news || to == PartitionId::HOME {
            self.tell(to, ToPartition::Gauges(gauges));
        }
    }

    /// A partition knows nothing any more of the clients here.
    pub fn forget_greeting(&mut self, of: PartitionId) {
        self.greeted.remove(&of);
    }

    /// Has an event stored where it belongs; what it deletes elsewhere goes first.
    pub fn publish(&mut self, publish: Box<Publish>) {
        if self.count > 1
            && let Some(tombstone) = publish.new.tombstone()
        {
            let told = self.tombstones.begin(publish, tombstone, self.count);
            return self.messages.extend(told);
        }
        self.tell(PartitionId::of_event(&publish.new, self.count), ToPartition::Publish(publish));
    }

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
        let (filters, stored) = match &question {
            Question::Stored { filters, limits, .. } => {
                (filters.clone(), Some(pages::Asked::new(filters.clone(), *limits)))
            }
            Question::Count { filters, .. } => (filters.clone(), None),
        };
        // What was live there is asked of those, too, that have no other event for it.
        let live = self.all().filter(|to| of(*to).is_some());
        let to: BTreeSet<PartitionId> = concerned(profile, &filters, self.count).into_iter().chain(live).gather();
        let parts = to.iter().map(|to| (*to, AnswerPart::Asked)).gather();
        self.reads.insert(ticket, Scattered { stored, parts, begun: when == When::Now });
        self.messages.extend(to.into_iter().map(|to| to_one(to, question.clone())));
    }

    /// Has the databases asked that have to be.
    pub fn go(&mut self, ticket: Ticket) {
        if self.count == 1 {
            return self.tell_home(ToPartition::Go(ticket));
        }
        let Some(scattered) = self.reads.get_mut(&ticket) else { return };
        scattered.begun = true;
        for (to, part) in &mut scattered.parts {
            if let AnswerPart::Later(_) = part {
                *part = AnswerPart::Asked;
                self.messages.push((*to, ToPartition::Go(ticket)));
            }
        }
    }

    /// Nobody wants the answer to a question any more.
    pub fn drop(&mut self, ticket: Ticket) {
        if self.count == 1 {
            return self.tell_home(ToPartition::Drop(ticket));
        }
        let Some(scattered) = self.reads.get(&ticket) else { return };
        let unanswered = scattered.parts.iter().filter(|(_, part)| !matches!(part, AnswerPart::Answered { .. }));
        self.messages.extend(unanswered.map(|(to, _)| (*to, ToPartition::Drop(ticket))));
        if !scattered.begun {
            self.reads.remove(&ticket);
        }
    }

    /// Asks what is known of keys.
    pub fn who_is(&mut self, ticket: Ticket, keys: Vec<PublicKey>) {
        if self.count > 1 {
            let waits_for = self.all().gather();
            self.who.insert(ticket, Who { waits_for, known: Ok(BTreeMap::new()) });
        }
        self.tell_all(&ToPartition::WhoIs { ticket, keys });
    }

    /// Takes what one of several tells; returns what all of them tell by that.
    pub fn hear(&mut self, from: PartitionId, message: ToGateway, budget: &Rc<Budget>) -> Vec<ToGateway> {
        match message {
            ToGateway::Answer { ticket, answer, rows_read, from_memory } => {
                let (answer, memory) = hold(answer, budget);
                let part = AnswerPart::Answered { answer, rows_read, from_memory, _memory: memory };
                self.read_answered(ticket, from, part).into_iter().collect()
            }
            ToGateway::Later { ticket, bytes } => {
                self.read_answered(ticket, from, AnswerPart::Later(bytes)).into_iter().collect()
            }
            ToGateway::Known { ticket, known } => self.keys_known(ticket, from, known).into_iter().collect(),
            ToGateway::Facts { ticket, facts, rows_read, gauges } => {
                self.gauges.insert(from, *gauges);
                self.facts_told(ticket, from, facts, rows_read).into_iter().collect()
            }
            ToGateway::Verdict(outcome) => {
                let decided = self.tombstones.decided(from, outcome, &mut self.messages);
                decided.map(ToGateway::Verdict).into_iter().collect()
            }
            ToGateway::Push(mut push) => {
                let parts = std::mem::take(&mut push.parts);
                push.parts = parts
                    .into_iter()
                    .filter_map(|part| match part {
                        Part::Outcome(outcome) => {
                            self.tombstones.decided(from, outcome, &mut self.messages).map(Part::Outcome)
                        }
                        part => Some(part),
                    })
                    .collect();
                vec![ToGateway::Push(push)]
            }
            message @ (ToGateway::Position(_)
            | ToGateway::Ephemeral(_)
            | ToGateway::Rulings(_)
            | ToGateway::Acted(_)) => {
                vec![message]
            }
        }
    }

    fn read_answered(&mut self, ticket: Ticket, from: PartitionId, said: AnswerPart) -> Option<ToGateway> {
        let scattered = self.reads.get_mut(&ticket)?;
        *scattered.parts.get_mut(&from)? = said;
        let mut later = None;
        for part in scattered.parts.values() {
            match part {
                AnswerPart::Asked => return None,
                AnswerPart::Later(bytes) => *later.get_or_insert(0) += bytes,
                AnswerPart::Answered { .. } => {}
            }
        }
        if let Some(bytes) = later {
            return Some(ToGateway::Later { ticket, bytes });
        }
        let Scattered { stored, parts, .. } = self.reads.remove(&ticket)?;
        let (mut answers, mut rows, mut is_from_memory) = (Ok(Ok(Vec::new())), 0, true);
        for part in parts.into_values() {
            let AnswerPart::Answered { answer, rows_read, from_memory, .. } = part else { continue };
            rows += rows_read;
            is_from_memory &= from_memory;
            match (&mut answers, answer) {
                (Ok(Ok(answers)), Ok(Ok(answer))) => answers.push(answer),
                // That nothing can be said counts for more than that it is refused.
                (Ok(Ok(_)), answer) | (Ok(Err(_)), answer @ Err(_)) => {
                    answers = answer.map(|refused| refused.map(|_| Vec::new()))
                }
                _ => {}
            }
        }
        let answer = answers.map(|answers| {
            answers.map(|answers| match stored {
                Some(asked) => Answer::Stored(pages::merge(&asked, answers)),
                None => pages::add(answers),
            })
        });
        Some(ToGateway::Answer { ticket, answer, rows_read: rows, from_memory: is_from_memory })
    }

    fn keys_known(
        &mut self,
        ticket: Ticket,
        from: PartitionId,
        known: Result<Vec<(PublicKey, Known)>, StoreError>,
    ) -> Option<ToGateway> {
        let who = self.who.get_mut(&ticket)?;
        who.waits_for.remove(&from);
        match (&mut who.known, known) {
            (Ok(all), Ok(known)) => {
                for (key, known) in known {
                    let all = all.entry(key).or_default();
                    all.handler |= known.handler;
                    all.served |= known.served;
                    all.dealt |= known.dealt;
                }
            }
            (all @ Ok(_), Err(error)) => *all = Err(error),
            (Err(_), _) => {}
        }
        if !who.waits_for.is_empty() {
            return None;
        }
        let known = self.who.remove(&ticket)?.known.map(|known| known.into_iter().collect());
        Some(ToGateway::Known { ticket, known })
    }
}

/// Takes the memory for an answer while it waits for those of other partitions; without it there is none.
fn hold(answer: Answered, budget: &Rc<Budget>) -> (Answered, Option<Reservation>) {
    let Ok(Ok(Answer::Stored(page))) = &answer else { return (answer, None) };
    let texts = page.events.iter().map(|event| EVENT_BYTES + usize::try_from(event.text.size()).unwrap_or_default());
    match budget.reserve(None, Share::Answers, texts.sum()) {
        Ok(memory) => (answer, Some(memory)),
        Err(_) => (Err(StoreError::new("there is no room for the answers of all partitions")), None),
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
