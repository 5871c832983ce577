//! Events on their way to the store: a group is being written, the next one gathers. What becomes of them when the store
//! fails is decided here; how far the log is, and whose it is, is [`log`](super::log)'s.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::queue::{Group, Queue, Waiter, Waiting};
use crate::budget::{Budget, Full, NetworkUse, Share};
use crate::ledger::NewEvent;
use crate::nostr::{EventId, Reason, refusal};
use crate::seam::{GroupMax, Millis};
use crate::store::write;
use crate::store::{ErrorKind, StoreError};

/// Bytes a job whose answers go first takes: the ones that came last are known.
const JOB_BYTES: usize = 100;
/// Seconds after which a network whose events wait is told to try again.
const RETRY_S: u64 = 2;
/// Milliseconds from one failure to the next attempt: the first, and at the most.
const FIRST_PAUSE: Millis = 100;
const LAST_PAUSE: Millis = 10_000;
/// Milliseconds for which nobody waits for a store that has done what it does in a day, and for one that is full.
const QUOTA_SHUT: Millis = 60_000;
const FULL_SHUT: Millis = 5_000;
/// Milliseconds an event waits in all for a store that fails.
const MAX_WAIT: Millis = 15_000;

/// What the store failed of last, until it works again.
#[derive(Debug)]
struct Trouble {
    error: StoreError,
    since: Millis,
    pause: Millis,
}

impl Trouble {
    /// For how many milliseconds it is no use to ask the store for that, if so.
    fn shuts_out(&self, new: &NewEvent) -> Option<Millis> {
        match self.error.kind {
            ErrorKind::Quota => Some(QUOTA_SHUT),
            ErrorKind::Full => (new.deletes.is_empty() && new.act.is_none()).then_some(FULL_SHUT),
            ErrorKind::Overloaded | ErrorKind::TimedOut | ErrorKind::Other => None,
        }
    }
}

/// Events on their way to the store.
#[derive(Debug)]
pub struct Writer {
    budget: Rc<Budget>,
    group_max: GroupMax,
    /// Events the next group has at most: where a group had to be halved, few, then twice as many each time.
    most: usize,
    /// Urgent are answers to jobs that are held: no flood of anything else delays them.
    waiting: Queue,
    /// Of what waits.
    ids: BTreeSet<EventId>,
    held: BTreeSet<EventId>,
    /// The same, in the order they came.
    held_since: VecDeque<EventId>,
    /// The group that is being written.
    pub group: Option<Vec<Waiting>>,
    trouble: Option<Trouble>,
}

impl Writer {
    /// A writer that knows nothing, with a budget for what waits, and what is written at once at most.
    pub(super) fn new(budget: &Rc<Budget>, group_max: GroupMax) -> Self {
        Self {
            budget: budget.clone(),
            group_max,
            most: group_max.events,
            waiting: Queue::default(),
            ids: BTreeSet::new(),
            held: BTreeSet::new(),
            held_since: VecDeque::new(),
            group: None,
            trouble: None,
        }
    }

    /// Notes a job that is held.
    pub fn hold(&mut self, job: EventId) {
        if self.held.insert(job) {
            self.held_since.push_back(job);
        }
        if self.held_since.len() > self.budget.max(Share::Jobs) / 2 / JOB_BYTES
            && let Some(oldest) = self.held_since.pop_front()
        {
            self.held.remove(&oldest);
        }
    }

    /// Bytes of the jobs that are held.
    pub fn jobs_bytes(&self) -> usize {
        self.held_since.len() * JOB_BYTES
    }

    /// Whether a job is known to be held; after a loss of memory none is.
    pub fn holds(&self, job: &EventId) -> bool {
        self.held.contains(job)
    }

    /// The store works.
    pub fn works(&mut self) {
        self.trouble = None;
    }

    /// Adds an event to the group that gathers; `urgent` ones go first. An event that is already there or
    /// in flight gains one more publisher that waits. `network` is where it comes from.
    pub fn add(
        &mut self,
        new: NewEvent,
        urgent: bool,
        publisher: Waiter,
        network: Option<&Rc<NetworkUse>>,
    ) -> Result<(), Reason> {
        let (id, author) = (new.event.id, new.event.pubkey);
        let mut known = self.group.iter_mut().flatten().find_map(|one| one.version(&id));
        if known.is_none() && self.ids.contains(&id) {
            known = self.waiting.find(&author, &id);
        }
        if let Some(known) = known {
            known.publishers.push(publisher);
            return Ok(());
        }
        let is_act = new.act.is_some();
        // An author's events keep their order.
        let urgent = is_act || urgent && !self.waiting.holds_up(&author);
        let share = if urgent { Share::Answered } else { Share::Events };
        let behind = |full: Full| {
            if full.for_network { refusal::store_behind_network(RETRY_S) } else { refusal::store_behind() }
        };
        let memory = match self.budget.reserve(network, share, new.memory_bytes()) {
            // An abuser is stopped although all that may wait is his: these are few.
            Err(_) if is_act => self.budget.hold(network, share, new.memory_bytes()),
            reserved => reserved.map_err(behind)?,
        };
        let bytes = write::parameter_size(&new);
        self.ids.insert(id);
        self.waiting.push(Waiting {
            new: Arc::new(new),
            publishers: vec![publisher],
            bytes,
            urgent,
            _memory: Some(memory),
            older: vec![],
        });
        Ok(())
    }

    /// Takes the next group to be written, if there is one: that which was not written, if somebody waits for it yet.
    pub fn next_group(&mut self) -> bool {
        if self.group.as_ref().is_some_and(|group| !group.is_empty()) {
            return true;
        }
        let mut group = Group::new(GroupMax { events: self.most, ..self.group_max });
        self.most = (2 * self.most).min(self.group_max.events);
        self.waiting.fill(&mut group);
        group.events.iter().flat_map(Waiting::ids).for_each(|id| _ = self.ids.remove(&id));
        let there = !group.events.is_empty();
        self.group = there.then_some(group.events);
        there
    }

    /// Whether events wait for the next group.
    pub fn is_waiting(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Leaves the first half of the group and has the others wait for the next one, which they are the first of; says
    /// whether there are others.
    pub fn halve_group(&mut self) -> bool {
        let Some(group) = &mut self.group else { return false };
        let rest = group.split_off(group.len().div_ceil(2));
        let halved = !rest.is_empty();
        if halved {
            self.most = 2 * group.len();
        }
        rest.into_iter().rev().for_each(|waiting| self.put_back(waiting));
        halved
    }

    /// Puts an event before the others of its author, whose turn is next.
    pub fn put_back(&mut self, waiting: Waiting) {
        self.ids.extend(waiting.ids());
        self.waiting.push_front(waiting);
    }

    /// The store has failed.
    pub fn failed(&mut self, error: &StoreError, now: Millis) {
        let pause = self.trouble.as_ref().map_or(FIRST_PAUSE, |trouble| (2 * trouble.pause).min(LAST_PAUSE));
        self.trouble = Some(Trouble { error: error.clone(), since: now, pause });
    }

    /// Why `new` need not wait for the store, if so.
    pub fn turns_away(&self, new: &NewEvent, now: Millis) -> Option<&StoreError> {
        let trouble = self.trouble.as_ref()?;
        trouble.shuts_out(new).filter(|shut| now < trouble.since + shut).map(|_| &trouble.error)
    }

    /// Whether the store has failed and is not to be asked yet.
    pub fn is_paused(&self, now: Millis) -> bool {
        self.paused_until(now).is_some()
    }

    /// Until when the store, which has failed, is not to be asked, if that is yet to come.
    pub fn paused_until(&self, now: Millis) -> Option<Millis> {
        self.trouble.as_ref().map(|trouble| trouble.since + trouble.pause).filter(|until| now < *until)
    }

    /// When the store that has failed is to be asked again, or somebody has waited for too long; not as long as nobody
    /// waits.
    pub fn next_look(&self, now: Millis) -> Option<Millis> {
        let trouble = self.trouble.as_ref()?;
        let latest = self.all_waiting().map(|waiting| waiting.new.came_ms).min()? + MAX_WAIT;
        let again = trouble.since + trouble.pause;
        Some(if now < again { again.min(latest) } else { latest })
    }

    fn all_waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.group.iter().flatten().chain(self.waiting.iter())
    }

    /// Takes those out that nobody should wait for any more, and the error: those of the group, whose fate is not known,
    /// and others. When the store has just failed, what it will not take soon is among them.
    pub fn give_up(&mut self, has_failed: bool, now: Millis) -> Option<(StoreError, Vec<Waiting>, Vec<Waiting>)> {
        let trouble = self.trouble.as_ref()?;
        let hopeless = |new: &NewEvent| has_failed && trouble.shuts_out(new).is_some() || now >= new.came_ms + MAX_WAIT;
        let mut tried = Vec::new();
        if let Some(group) = &mut self.group {
            let events = std::mem::take(group).into_iter();
            *group = events.filter_map(|waiting| waiting.give_up(&hopeless, &mut tried)).collect();
        }
        let others = self.waiting.give_up(&hopeless);
        others.iter().flat_map(Waiting::ids).for_each(|id| _ = self.ids.remove(&id));
        Some((trouble.error.clone(), tried, others))
    }

    /// Takes those out of which something holds, while no group is on its way.
    pub fn take_out(&mut self, which: &impl Fn(&NewEvent) -> bool) -> Vec<Waiting> {
        let mut taken = self.waiting.give_up(which);
        if let Some(group) = &mut self.group {
            let events = std::mem::take(group).into_iter();
            *group = events.filter_map(|waiting| waiting.give_up(which, &mut taken)).collect();
        }
        taken.iter().flat_map(Waiting::ids).for_each(|id| _ = self.ids.remove(&id));
        taken
    }

    /// Gives up everything that waits, and the group if that is to be given up, too.
    pub fn drain(&mut self, group: bool) -> Vec<Waiting> {
        self.ids.clear();
        let failed = self.group.as_mut().filter(|_| group).map(std::mem::take);
        failed.into_iter().flatten().chain(self.waiting.give_up(&|_| true)).collect()
    }
}
