//! The events that were stored last, to answer what agents usually ask without the store: what is new
//! since some moment, the newest of a sort, what answers a job that was just published, and events by id.
//!
//! An answer from here must be the one that the store would give, so it is given only when it is proven
//! to be complete. Events leave in two ways: for want of room, the one of the earliest `created_at` first, and any that
//! the store says is no longer stored. So what is stored and not held has no later `created_at` than `older`, and:
//!
//! - a filter whose `since` is after `older` matches nothing outside;
//! - of the newest events that a filter matches, those after `older` come first, so they are the answer where they are
//!   as many as are wanted;
//! - a filter with `ids` that are all held matches nothing else;
//! - a job is whole when no answer to it was stored before the group that stored its request, and no event of
//!   it has left for want of room since. The store says so for each request. A filter for
//!   kinds of answers alone, with `#e`, matches nothing else, since an answer has one job. Answers to a
//!   request that nobody has seen concern that job alone.
//!
//! What is stored changes by deletion requests, newer versions, requests that come after answers, and
//! sweeps. What they remove, and the answers that turned out to be for their
//! parties alone, are told by number, and exactly that is removed or hidden here. What a key that vanishes
//! has published leaves at once: it may not be served while the store removes it. Expired events are held
//! and not shown until the store has removed them.
//!
//! A write that was reported as failed and has landed all the same may have removed something without saying so: then the
//! window starts over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::held::{Asked, HeldEvent, Steps};
use crate::budget::{Budget, Reservation, Share};
use crate::ledger::{Change, Fresh, NewEvent};
use crate::market::JobProfile;
use crate::nostr::deletion::Vanished;
use crate::nostr::{Event, EventId, Filter, Values};
use crate::store::read::{StoredEvent, Viewer};
use crate::trees::Gather;

/// Events that are looked at in search of the newest some; where the answer lies deeper the store is asked.
const MAX_LOOKED_AT: usize = 3000;
/// [`Steps`] of one question, whatever it asks: a few milliseconds. Beyond them the store is asked.
pub(super) const MAX_STEPS: usize = 50_000;

/// Where an event stands: by `created_at`, and in a second the lowest id last. Backwards it is the order of an answer.
type Place = (u64, Reverse<EventId>);
const FIRST_PLACE: Place = (0, Reverse(EventId::new([u8::MAX; 32])));
const LAST_PLACE: Place = (u64::MAX, Reverse(EventId::new([0; 32])));

/// The window.
#[derive(Debug)]
pub(super) struct Recent {
    events: BTreeMap<Place, HeldEvent>,
    /// What they take.
    memory: Reservation,
    /// By number.
    numbers: BTreeMap<u64, Place>,
    /// When they were made.
    ids: BTreeMap<EventId, u64>,
    /// The events of jobs, the request among them.
    jobs: BTreeSet<(EventId, Place)>,
    /// Jobs of which all is held.
    whole: BTreeSet<EventId>,
    /// No event outside has a later `created_at`.
    older: u64,
}

impl Recent {
    /// A window that holds nothing, and will not hold more than its share.
    pub fn new(budget: &Rc<Budget>) -> Self {
        let (events, numbers, ids, jobs, whole) = Default::default();
        Self { events, memory: budget.nothing(None, Share::Recent), numbers, ids, jobs, whole, older: u64::MAX }
    }

    /// Holds nothing; what is stored has no later `created_at` than `older`.
    fn restart(&mut self, older: u64) {
        (self.events, self.numbers, self.ids, self.jobs, self.whole) = Default::default();
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
        let held = self.events.last_key_value().map_or(0, |((created_at, _), _)| *created_at);
        self.restart(self.older.max(newest).max(held));
    }

    /// Takes over what a transaction of the store has done to events that were stored before it.
    pub fn follow(&mut self, changes: &[Change], profile: &JobProfile) {
        for change in changes {
            match change {
                Change::Removed(seq) => self.remove(*seq),
                Change::Hidden(seq) => {
                    let held = self.numbers.get(seq).and_then(|place| self.events.get_mut(place));
                    held.into_iter().for_each(|held| held.hide(profile));
                }
            }
        }
    }

    /// Forgets what a key that vanished asked to be rid of.
    pub fn vanish(&mut self, vanished: &Vanished) {
        let gone = self.events.values().filter(|held| held.is_taken_by(vanished));
        let gone: Vec<u64> = gone.map(|held| held.seq).collect();
        gone.into_iter().for_each(|seq| self.remove(seq));
    }

    /// Holds the events of a group that was stored; `unanswered` says whether an event is a request, and no answer to it
    /// was stored before.
    pub fn add(&mut self, group: &[Fresh], unanswered: impl Fn(&EventId) -> bool) {
        // Before any event of the group leaves for want of room.
        let ids = group.iter().map(|fresh| fresh.new.event.id);
        self.whole.extend(ids.filter(unanswered));
        group.iter().for_each(|fresh| self.hold(fresh));
    }

    fn hold(&mut self, fresh: &Fresh) {
        let new = &fresh.new;
        let (place, job) = (place_of(&new.event), new.part.as_ref().map(|part| part.job));
        let held = HeldEvent::new(fresh);
        while self.memory.grow(held.bytes()).is_err() {
            let Some((first, oldest)) = self.events.pop_first() else { return self.left_outside(&place, job) };
            self.left_outside(&first, oldest.job.map(|(job, _)| job));
            self.unlist(first, &oldest);
        }
        self.jobs.extend(job.map(|job| (job, place)));
        self.numbers.insert(fresh.seq, place);
        self.ids.insert(new.event.id, new.event.created_at);
        self.events.insert(place, held);
    }

    /// An event is stored and not held, which stands at a place and belongs to a job.
    fn left_outside(&mut self, (created_at, _): &Place, job: Option<EventId>) {
        self.older = self.older.max(*created_at);
        job.inspect(|job| _ = self.whole.remove(job));
    }

    /// Lets an event go that is not stored any more.
    fn remove(&mut self, seq: u64) {
        let Some(place) = self.numbers.get(&seq).copied() else { return };
        let Some(held) = self.events.remove(&place) else { return };
        if let Some((job, false)) = &held.job {
            // It is known for as long as the request is held.
            self.whole.remove(job);
        }
        self.unlist(place, &held);
    }

    fn unlist(&mut self, place: Place, held: &HeldEvent) {
        self.memory.shrink(held.bytes());
        self.numbers.remove(&held.seq);
        self.ids.remove(&place.1.0);
        held.job.inspect(|(job, _)| _ = self.jobs.remove(&(*job, place)));
    }

    /// Whether this very event is held: it is stored, and its signature good.
    pub fn holds(&self, new: &NewEvent) -> bool {
        self.events.get(&place_of(&new.event)).is_some_and(|held| held.is(new))
    }

    /// The newest `most` stored events that `filter` matches and `viewer` may read, or some more of them, newest first;
    /// `None` when there may be others that are not held, or when it takes more than the steps that are left.
    pub fn newest(&self, filter: &Filter, most: usize, viewer: &Viewer, steps: &Steps) -> Option<Vec<StoredEvent>> {
        let asked = Asked::new(filter, steps);
        let mut found = Vec::new();
        if let Some(places) = self.candidates(filter, viewer, steps.left()) {
            for held in places.iter().rev().filter_map(|place| self.events.get(place)) {
                found.extend(held.shown(&asked, viewer));
                if steps.left() == 0 {
                    return None;
                }
            }
            return Some(found);
        }
        let whole = filter.since.is_some_and(|since| since > self.older);
        let until = (filter.until.unwrap_or(u64::MAX), LAST_PLACE.1);
        let those = self.events.range(..=until).rev();
        for ((created_at, _), held) in those.take(if whole { usize::MAX } else { MAX_LOOKED_AT }) {
            if filter.since.is_some_and(|since| *created_at < since) || !whole && *created_at <= self.older {
                break;
            }
            found.extend(held.shown(&asked, viewer));
            if steps.left() == 0 {
                return None;
            }
            if found.len() >= most {
                return Some(found);
            }
        }
        whole.then_some(found)
    }

    /// Where all that match are among, or `most` of these; `None` when the filter does not say so.
    fn candidates(&self, filter: &Filter, viewer: &Viewer, most: usize) -> Option<BTreeSet<Place>> {
        let place = |id: &EventId| Some((*self.ids.get(id)?, Reverse(*id)));
        if let Some(places) = filter.ids.as_ref().and_then(|ids| ids.iter().map(place).collect()) {
            return Some(places);
        }
        let jobs = self.jobs_asked_for(filter, viewer)?;
        let of_job = |job: &EventId| self.jobs.range((*job, FIRST_PLACE)..=(*job, LAST_PLACE)).map(|(_, place)| *place);
        Some(jobs.iter().flat_map(of_job).take(most).gather())
    }

    /// The jobs whose answers alone the filter matches, when all of these are held.
    fn jobs_asked_for(&self, filter: &Filter, viewer: &Viewer) -> Option<Vec<EventId>> {
        let answers = |kinds: &Values<u16>| kinds.iter().all(|kind| viewer.profile.is_answer(*kind));
        filter.kinds.as_ref().filter(|kinds| answers(kinds))?;
        let named = filter.tags.get(&b'e')?.iter().map(|value| EventId::parse(value));
        named.map(|job| job.filter(|job| self.whole.contains(job))).collect()
    }
}

fn place_of(event: &Event) -> Place {
    (event.created_at, Reverse(event.id))
}
