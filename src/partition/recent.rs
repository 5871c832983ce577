//! The events that were stored last, to answer what agents usually ask without the store: what is new
//! since some moment, what answers a job that was just published, and events by id.
//!
//! An answer from here must be the one that the store would give, so it is given only when it is proven
//! to be complete. Events are held in the order of their numbers, and leave in two ways: the oldest for want
//! of room, and any that the store says is no longer stored. So there is a number, the edge, above which all
//! that is stored is held, and of what lies at or below it `older` bounds `created_at`. What left from the middle
//! is not stored, and no proof needs it:
//!
//! - a filter whose `since` is after `older` matches nothing outside;
//! - a filter with `ids` that are all held matches nothing else;
//! - a job is whole when no answer to it was stored before the group that stored its request. The store says
//!   so for each request. All answers to it are then of that group or of later ones, so they lie above the
//!   edge as long as no event of the job has left for want of room and the request is held. A filter for
//!   kinds of answers alone, with `#e`, matches nothing else, since an answer has one job. Answers to a
//!   request that nobody has seen concern that job alone.
//!
//! What is stored changes by deletion requests, newer versions, requests that come after answers, and
//! sweeps. The statements that remove an event, or that hide an answer which turned out to be for its
//! parties alone, return its number, and exactly that is removed or hidden here. What a key that vanishes
//! has published leaves at once: it may not be served while the store removes it. Expired events are held
//! and not shown until the store has removed them.
//!
//! A write that was reported as failed and has landed all the same may have removed something without saying so: then the
//! window starts over.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::page::newest_first;
use crate::budget::{Budget, Reservation, Share};
use crate::ledger::{Change, NewEvent};
use crate::market::privacy::{self, Readers};
use crate::nostr::deletion::Vanished;
use crate::nostr::{Event, EventId, Filter, Values};
use crate::store::read::{StoredEvent, Text, Viewer};

/// An event that is held.
#[derive(Debug)]
struct HeldEvent {
    new: Arc<NewEvent>,
    /// Who may read it; `None` is everybody.
    readers: Option<Readers>,
}

/// The window.
#[derive(Debug)]
pub(super) struct Recent {
    /// By number.
    events: BTreeMap<u64, HeldEvent>,
    /// What they take.
    memory: Reservation,
    ids: BTreeMap<EventId, u64>,
    /// Numbers of the events of jobs, the request among them.
    jobs: BTreeMap<EventId, BTreeSet<u64>>,
    /// Jobs to which no answer was stored before the group of their request.
    whole: BTreeSet<EventId>,
    /// No event outside has a later `created_at`.
    older: u64,
}

impl Recent {
    /// A window that holds nothing, and will not hold more than its share.
    pub fn new(budget: &Rc<Budget>) -> Self {
        let (events, ids, jobs, whole) = Default::default();
        Self { events, memory: budget.nothing(None, Share::Recent), ids, jobs, whole, older: u64::MAX }
    }

    /// Holds nothing; what is stored has no later `created_at` than `older`.
    fn restart(&mut self, older: u64) {
        (self.events, self.ids, self.jobs, self.whole) = Default::default();
        self.memory.set(0);
        self.older = older;
    }

    /// Nothing that was stored so far is later than `newest`, and nothing is stored any more that is not known.
    pub fn settle(&mut self, newest: u64) {
        if self.older == u64::MAX {
            self.older = newest;
        }
    }

    /// Holds nothing any more, as events were found that lie outside, none later than `newest`.
    pub fn start_over(&mut self, newest: u64) {
        let held = self.events.values().map(|held| held.new.event.created_at).max();
        self.restart(self.older.max(newest).max(held.unwrap_or_default()));
    }

    /// Takes over what a transaction of the store has done to events that were stored before it.
    pub fn follow(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Removed(seq) => self.remove(*seq),
                Change::Hidden(seq) => {
                    if let Some(held) = self.events.get_mut(seq) {
                        held.readers = privacy::readers(&held.new.event, held.new.part.as_ref(), true);
                    }
                }
            }
        }
    }

    /// Forgets what a key that vanished asked to be rid of.
    pub fn vanish(&mut self, vanished: &Vanished) {
        let gone = |(_, held): &(&u64, &HeldEvent)| vanished.takes(&held.new.event);
        let gone: Vec<u64> = self.events.iter().filter(gone).map(|(seq, _)| *seq).collect();
        gone.into_iter().for_each(|seq| self.remove(seq));
    }

    /// Holds a stored event, the newest; `private` says whether it is for its readers alone, `first` whether no
    /// answer to the request it is was stored before its group.
    pub fn add(&mut self, seq: u64, new: Arc<NewEvent>, private: bool, first: bool) {
        let readers = privacy::readers(&new.event, new.part.as_ref(), private);
        if let Some(part) = &new.part {
            self.jobs.entry(part.job).or_default().insert(seq);
            if !part.is_answer() && first {
                self.whole.insert(part.job);
            }
        }
        self.ids.insert(new.event.id, seq);
        let bytes = new.memory_bytes();
        self.events.insert(seq, HeldEvent { new, readers });
        while self.memory.grow(bytes).is_err() {
            if self.events.is_empty() {
                return;
            }
            self.forget_first();
        }
    }

    /// Lets the event of the lowest number go, which is stored and then lies outside.
    fn forget_first(&mut self) {
        let Some((seq, held)) = self.events.pop_first() else { return };
        self.older = self.older.max(held.new.event.created_at);
        if let Some(part) = &held.new.part {
            // The request, or an answer that came in one group with it and before it.
            self.whole.remove(&part.job);
        }
        self.unlist(seq, &held);
    }

    /// Lets an event go that is not stored any more.
    fn remove(&mut self, seq: u64) {
        let Some(held) = self.events.remove(&seq) else { return };
        if let Some(part) = held.new.part.as_ref().filter(|part| !part.is_answer()) {
            // Nothing shows any more when the edge passes the request.
            self.whole.remove(&part.job);
        }
        self.unlist(seq, &held);
    }

    fn unlist(&mut self, seq: u64, held: &HeldEvent) {
        self.memory.shrink(held.new.memory_bytes());
        self.ids.remove(&held.new.event.id);
        if let Some(part) = &held.new.part
            && let Some(numbers) = self.jobs.get_mut(&part.job)
        {
            numbers.remove(&seq);
            if numbers.is_empty() {
                self.jobs.remove(&part.job);
            }
        }
    }

    /// Whether this very event is held: it is stored, and its signature good.
    pub fn holds(&self, event: &Event) -> bool {
        self.ids.get(&event.id).and_then(|seq| self.events.get(seq)).is_some_and(|held| held.new.event == *event)
    }

    /// All stored events that `filter` matches and `viewer` may read, newest first; `None` when there may
    /// be others that are not held.
    pub fn matching(&self, filter: &Filter, viewer: &Viewer) -> Option<Vec<StoredEvent>> {
        let mut found: Vec<StoredEvent> = match self.candidates(filter, viewer)? {
            Some(numbers) => numbers
                .iter()
                .filter_map(|seq| Some((seq, self.events.get(seq)?)))
                .filter_map(|(seq, held)| held.shown(*seq, filter, viewer))
                .collect(),
            None => self.events.iter().filter_map(|(seq, held)| held.shown(*seq, filter, viewer)).collect(),
        };
        found.sort_by(newest_first);
        Some(found)
    }

    /// Numbers of which all that match are among, or `None` for all that are held; nothing when the filter
    /// cannot be answered from here.
    fn candidates(&self, filter: &Filter, viewer: &Viewer) -> Option<Option<BTreeSet<u64>>> {
        if let Some(ids) = &filter.ids
            && let Some(numbers) = ids.iter().map(|id| self.ids.get(id).copied()).collect()
        {
            return Some(Some(numbers));
        }
        if let Some(jobs) = self.jobs_asked_for(filter, viewer) {
            return Some(Some(jobs.iter().filter_map(|job| self.jobs.get(job)).flatten().copied().collect()));
        }
        filter.since.is_some_and(|since| since > self.older).then_some(None)
    }

    /// The jobs whose answers alone the filter matches, when all of these are held.
    fn jobs_asked_for(&self, filter: &Filter, viewer: &Viewer) -> Option<Vec<EventId>> {
        let answers = |kinds: &Values<u16>| kinds.iter().all(|kind| viewer.profile.is_answer(*kind));
        filter.kinds.as_ref().filter(|kinds| answers(kinds))?;
        let named = filter.tags.get(&b'e')?.iter().map(|value| EventId::parse(value));
        named.map(|job| job.filter(|job| self.whole.contains(job))).collect()
    }
}

impl HeldEvent {
    fn shown(&self, seq: u64, filter: &Filter, viewer: &Viewer) -> Option<StoredEvent> {
        let NewEvent { event, text, expires_at, .. } = &*self.new;
        let shown = filter.since.is_none_or(|since| event.created_at >= since)
            && expires_at.is_none_or(|at| at > viewer.now)
            && viewer.kept.until(event.kind, event.created_at).is_none_or(|at| at > viewer.now)
            && filter.matches(event)
            && privacy::may_read(self.readers.as_ref(), viewer.keys);
        shown.then(|| StoredEvent {
            seq,
            id: event.id,
            created_at: event.created_at,
            text: Text::Json(text.clone()),
            expires_at: *expires_at,
            private: self.readers.is_some(),
        })
    }
}
