//! Group commit: one group of events is on its way to the store, the next one gathers.
//!
//! Nothing is told to anybody before the store has answered. A group whose commit is reported as
//! failed may have landed all the same, so it is written once more (writing is idempotent), and the
//! numbers tell which events are new: those above `told`, the highest number that subscribers have
//! been told of. Whatever lands later still shows as a gap below the next group and is told then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{ConnId, Millis, Ticket};
use crate::nostr::deletion::Target;
use crate::nostr::{EventId, Prefix, PublicKey, Reason};
use crate::store::counts::Totals;
use crate::store::write::{self, NewEvent};

/// Events in one group, and the bytes they take in its parameter: what D1 takes (2 MB) with room to
/// spare, in a batch that takes some milliseconds.
const MAX_EVENTS: usize = 256;
const MAX_BYTES: usize = 500_000;
/// Bytes that may wait for the group in flight before more is refused, and the same for answers to jobs
/// that are held, which go first.
const MAX_WAITING: usize = 16_000_000;
const MAX_URGENT: usize = 4_000_000;
/// Jobs whose answers go first: the ones that came last.
const MAX_HELD: usize = 50_000;

/// An event and who waits for its OK.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub new: Arc<NewEvent>,
    pub conns: Vec<ConnId>,
    pub bytes: usize,
}

/// The group that is being committed.
#[derive(Debug)]
pub struct InFlight {
    pub ticket: Ticket,
    pub events: Vec<Waiting>,
    pub since: Millis,
    pub retried: bool,
}

/// What the writer knows of the store's numbers.
#[derive(Debug, Default)]
enum Log {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The question is out.
    Asked,
    /// Subscribers have been told of everything up to the number.
    Told(u64),
}

/// Events on their way to the store.
#[derive(Debug, Default)]
pub struct Writer {
    log: Log,
    totals: Option<Totals>,
    waiting: Queue,
    /// Answers to jobs that are held: no flood of anything else delays them.
    urgent: Queue,
    /// Of what waits.
    ids: BTreeSet<EventId>,
    held: BTreeSet<EventId>,
    /// The same, in the order they came.
    held_since: VecDeque<EventId>,
    pub in_flight: Option<InFlight>,
}

/// Events that wait. Authors take turns, an event each: who sends much waits for himself, and what must wait for
/// an earlier event of its author delays nobody else's.
#[derive(Debug, Default)]
struct Queue {
    /// Those of an author in the order they came.
    authors: BTreeMap<PublicKey, VecDeque<Waiting>>,
    /// Authors with events that wait, each once; the next one first.
    turns: VecDeque<PublicKey>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes;
        let author = waiting.new.event.pubkey;
        let own = self.authors.entry(author).or_default();
        if own.is_empty() {
            self.turns.push_back(author);
        }
        own.push_back(waiting);
    }

    fn find(&mut self, author: &PublicKey, id: &EventId) -> Option<&mut Waiting> {
        self.authors.get_mut(author)?.iter_mut().find(|waiting| waiting.new.event.id == *id)
    }

    /// Moves what fits into `group`; says whether there is room for more.
    fn fill(&mut self, group: &mut Group) -> bool {
        // Each of them has an event in the group.
        let mut later = Vec::new();
        let mut room = true;
        while let Some(author) = self.turns.pop_front() {
            let Some(own) = self.authors.get_mut(&author) else { continue };
            let Some(next) = own.front() else { continue };
            room = group.has_room(next);
            if !room {
                self.turns.push_front(author);
                break;
            }
            if !group.may_take(next) {
                later.push(author);
                continue;
            }
            if let Some(next) = own.pop_front() {
                self.bytes -= next.bytes;
                group.take(next);
            }
            if own.is_empty() {
                self.authors.remove(&author);
            } else {
                self.turns.push_back(author);
            }
        }
        later.into_iter().rev().for_each(|author| self.turns.push_front(author));
        room
    }
}

/// A group that is being put together. Deletions come before all else in a group, and of the versions of an
/// event it keeps the newest; so whatever deletes or replaces an event of its author in the group waits for
/// the next one, and so does what he sends after it: the outcome is as if his events came one by one.
#[derive(Default)]
struct Group {
    events: Vec<Waiting>,
    bytes: usize,
    /// Whose events wait for the next group.
    later: BTreeSet<PublicKey>,
}

impl Group {
    fn has_room(&self, next: &Waiting) -> bool {
        self.events.is_empty() || self.events.len() < MAX_EVENTS && self.bytes + next.bytes <= MAX_BYTES
    }

    fn may_take(&mut self, next: &Waiting) -> bool {
        let NewEvent { event, deletes, .. } = &*next.new;
        let place = event.replacement_key().map(|d| (event.kind, d));
        // Only who vanishes deletes deletion requests, too.
        let all = deletes.contains(&Target::Everything);
        let conflicts = |NewEvent { event: earlier, deletes: also, .. }: &NewEvent| {
            earlier.pubkey == event.pubkey
                && (all
                    || !deletes.is_empty() && also.is_empty()
                    || place.is_some() && place == earlier.replacement_key().map(|d| (earlier.kind, d)))
        };
        if (!deletes.is_empty() || place.is_some()) && self.events.iter().any(|earlier| conflicts(&earlier.new)) {
            self.later.insert(event.pubkey);
        }
        !self.later.contains(&event.pubkey)
    }

    fn take(&mut self, next: Waiting) {
        self.bytes += next.bytes;
        self.events.push(next);
    }
}

impl Writer {
    /// Notes a job that is held.
    pub fn hold(&mut self, job: EventId) {
        if self.held.insert(job) {
            self.held_since.push_back(job);
        }
        if self.held_since.len() > MAX_HELD
            && let Some(oldest) = self.held_since.pop_front()
        {
            self.held.remove(&oldest);
        }
    }

    /// Whether a job is known to be held; after a loss of memory none is.
    pub fn holds(&self, job: &EventId) -> bool {
        self.held.contains(job)
    }

    /// The totals as of the last answer.
    pub fn totals(&self) -> Option<Totals> {
        self.totals
    }

    /// The highest number subscribers were told of.
    pub fn told(&self) -> u64 {
        match self.log {
            Log::Told(seq) => seq,
            Log::Unknown | Log::Asked => 0,
        }
    }

    /// Whether the numbers are known.
    pub fn is_known(&self) -> bool {
        matches!(self.log, Log::Told(_))
    }

    /// Whether the totals must be asked for now; they are asked for once.
    pub fn ask(&mut self) -> bool {
        let ask = matches!(self.log, Log::Unknown);
        if ask {
            self.log = Log::Asked;
        }
        ask
    }

    /// The answer, or `None` when it failed and must be asked for again.
    pub fn learn(&mut self, totals: Option<Totals>) {
        if self.is_known() {
            // Another shard has told more meanwhile.
            return;
        }
        self.log = totals.map_or(Log::Unknown, |totals| Log::Told(totals.last_seq));
        self.totals = totals;
    }

    /// A group was committed.
    pub fn advance(&mut self, totals: Totals) {
        self.log = Log::Told(totals.last_seq);
        self.totals = Some(totals);
    }

    /// Adds an event to the group that gathers; `urgent` ones go first. An event that is already there or
    /// in flight gains a waiting connection.
    pub fn add(&mut self, new: NewEvent, urgent: bool, conn: ConnId) -> Result<(), Reason> {
        let (id, author) = (new.event.id, new.event.pubkey);
        let is_known = |known: &&mut Waiting| known.new.event.id == id;
        let mut known = self.in_flight.iter_mut().flat_map(|group| &mut group.events).find(is_known);
        if known.is_none() && self.ids.contains(&id) {
            known = [&mut self.urgent, &mut self.waiting].into_iter().find_map(|queue| queue.find(&author, &id));
        }
        if let Some(known) = known {
            known.conns.push(conn);
            return Ok(());
        }
        // An author's events keep their order.
        let urgent = urgent && !self.waiting.authors.contains_key(&author);
        let (queue, max) = if urgent { (&mut self.urgent, MAX_URGENT) } else { (&mut self.waiting, MAX_WAITING) };
        if queue.bytes >= max {
            return Err(Reason::new(Prefix::Error, "the store is behind; try again in a few seconds"));
        }
        let bytes = write::parameter_size(&new);
        self.ids.insert(id);
        queue.push(Waiting { new: Arc::new(new), conns: vec![conn], bytes });
        Ok(())
    }

    /// Who waits for the OK of an event that waits or is in flight, once for each of them.
    pub fn unanswered(&self) -> impl Iterator<Item = ConnId> {
        let queues = [&self.urgent, &self.waiting].into_iter();
        let waiting = queues.flat_map(|queue| queue.authors.values()).flatten();
        let in_flight = self.in_flight.iter().flat_map(|group| &group.events);
        waiting.chain(in_flight).flat_map(|waiting| &waiting.conns).copied()
    }

    /// Takes the next group, if none is in flight and one may go.
    pub fn next_group(&mut self) -> Option<Vec<Waiting>> {
        if self.in_flight.is_some() || !self.is_known() {
            return None;
        }
        let mut group = Group::default();
        if self.urgent.fill(&mut group) {
            self.waiting.fill(&mut group);
        }
        group.events.iter().for_each(|waiting| _ = self.ids.remove(&waiting.new.event.id));
        (!group.events.is_empty()).then_some(group.events)
    }

    /// Gives up everything that waits.
    pub fn drain(&mut self) -> Vec<Waiting> {
        self.ids.clear();
        let [urgent, waiting] = [&mut self.urgent, &mut self.waiting].map(std::mem::take);
        urgent.authors.into_values().chain(waiting.authors.into_values()).flatten().collect()
    }
}
