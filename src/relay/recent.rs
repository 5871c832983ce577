//! The events that were stored last, to answer what agents usually ask without the store: what is new
//! since some moment, what answers a job that was just published, and events by id.
//!
//! An answer from here must be the one that the store would give, so it is given only when it is proven
//! to be complete. Events leave in the order of their numbers: what is held is always everything that is
//! stored from some number on, and of what is outside, `older` bounds `created_at`. So
//!
//! - a filter whose `since` is after `older` matches nothing outside;
//! - a filter with `ids` that are all held matches nothing else;
//! - answers to a job have higher numbers than its request if none came before it: then, as long as the
//!   request is held, so are they. A filter for kinds of answers alone, with `#e`, matches nothing else,
//!   since an answer has one job.
//!
//! What is stored changes by deletion requests, newer versions, requests to vanish, and requests that come
//! after answers. Whatever these touch leaves, and all that is older with it; then the store is asked.
//! Expired events are held and not shown. What may be stored of a commit that was reported as failed is
//! outside, until it is told; nobody has an OK for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stored::newest_first;
use crate::market::privacy::{self, Readers};
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, Filter, kind};
use crate::store::read::{StoredEvent, Text, Viewer};
use crate::store::write::NewEvent;

/// Events that are held, and bytes they take in memory, of the 128 MB there are.
const MAX_EVENTS: usize = 8192;
const MAX_BYTES: usize = 20_000_000;

/// An event that is held.
#[derive(Debug)]
struct Held {
    new: Arc<NewEvent>,
    /// Who may read it; `None` is everybody.
    readers: Option<Readers>,
}

/// The window.
#[derive(Debug)]
pub(super) struct Recent {
    /// By number.
    events: BTreeMap<u64, Held>,
    bytes: usize,
    ids: BTreeMap<EventId, u64>,
    /// Numbers of the events of jobs, the request among them.
    jobs: BTreeMap<EventId, BTreeSet<u64>>,
    /// Jobs whose request came before all answers to it.
    whole: BTreeSet<EventId>,
    /// No stored event that is not held has a later `created_at`.
    older: u64,
}

impl Default for Recent {
    fn default() -> Self {
        let (events, ids, jobs, whole) = Default::default();
        Self { events, bytes: 0, ids, jobs, whole, older: u64::MAX }
    }
}

impl Recent {
    /// Holds nothing; what is stored has no later `created_at` than `older`.
    fn restart(&mut self, older: u64) {
        *self = Self { older, ..Self::default() };
    }

    /// Nothing that was stored so far is later than `newest`, and nothing of before this relay woke is to
    /// come any more.
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

    /// It is not known whether `new` is stored.
    pub fn doubt(&mut self, new: &NewEvent) {
        self.changes(new, true);
        self.older = self.older.max(new.event.created_at);
        if let Some(part) = &new.part {
            self.whole.remove(&part.job);
        }
    }

    /// Makes room for what `new` may have changed in the store besides adding itself; `early` says whether
    /// answers to it may have been stored before.
    pub fn changes(&mut self, new: &NewEvent, early: bool) {
        if let Some(part) = new.part.as_ref().filter(|part| early && !part.is_answer()) {
            self.forget(self.jobs.get(&part.job).and_then(BTreeSet::last).copied());
        }
        // Of its author: what it replaces, and what it deletes by coordinates.
        let mut kinds: BTreeSet<u16> = new.event.replacement_key().map(|_| new.event.kind).into_iter().collect();
        for target in &new.deletes {
            match target {
                Target::Event(id) => self.forget(self.ids.get(id).copied()),
                Target::Address { kind, .. } => drop(kinds.insert(*kind)),
                Target::Everything => {}
            }
        }
        let author = new.event.pubkey;
        if new.deletes.contains(&Target::Everything) {
            let to = author.to_string();
            let wrap = |event: &Event| event.kind == kind::GIFT_WRAP && event.tag_values("p").any(|p| p == to);
            self.forget_last(|event| event.pubkey == author || wrap(event));
        } else if !kinds.is_empty() {
            self.forget_last(|event| event.pubkey == author && kinds.contains(&event.kind));
        }
    }

    /// Holds a stored event; `private` says whether it is for its readers alone, `early` is as in
    /// [`changes`](Self::changes).
    pub fn add(&mut self, seq: u64, new: Arc<NewEvent>, private: bool, early: bool) {
        let readers = privacy::readers(&new.event, new.part.as_ref(), private);
        if let Some(part) = &new.part {
            self.jobs.entry(part.job).or_default().insert(seq);
            if !part.is_answer() && !early {
                self.whole.insert(part.job);
            }
        }
        self.ids.insert(new.event.id, seq);
        self.bytes += weight(&new.text);
        self.events.insert(seq, Held { new, readers });
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.forget_first();
        }
    }

    /// Lets the event of this number go, if there is one, and all before it.
    fn forget(&mut self, last: Option<u64>) {
        while last.is_some_and(|last| self.events.first_key_value().is_some_and(|(first, _)| *first <= last)) {
            self.forget_first();
        }
    }

    fn forget_last(&mut self, which: impl Fn(&Event) -> bool) {
        let last = self.events.iter().rev().find(|(_, held)| which(&held.new.event)).map(|(seq, _)| *seq);
        self.forget(last);
    }

    fn forget_first(&mut self) {
        let Some((seq, held)) = self.events.pop_first() else { return };
        self.bytes -= weight(&held.new.text);
        self.ids.remove(&held.new.event.id);
        self.older = self.older.max(held.new.event.created_at);
        if let Some(part) = &held.new.part {
            // The request, or an answer that came in one group with it and before it.
            self.whole.remove(&part.job);
            if let Some(numbers) = self.jobs.get_mut(&part.job) {
                numbers.remove(&seq);
                if numbers.is_empty() {
                    self.jobs.remove(&part.job);
                }
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
        let answers = |kinds: &BTreeSet<u16>| kinds.iter().all(|kind| viewer.profile.is_answer(*kind));
        filter.kinds.as_ref().filter(|kinds| answers(kinds))?;
        let named = filter.tags.get(&b'e')?.iter().map(|value| EventId::parse(value));
        named.map(|job| job.filter(|job| self.whole.contains(job))).collect()
    }
}

/// Bytes an event of this text takes at most: the text, the event it was parsed into, and what a string
/// takes besides its characters for each two quotes.
fn weight(text: &str) -> usize {
    2 * text.len() + 20 * text.bytes().filter(|byte| *byte == b'"').count()
}

impl Held {
    fn shown(&self, seq: u64, filter: &Filter, viewer: &Viewer) -> Option<StoredEvent> {
        let NewEvent { event, text, expires_at, .. } = &*self.new;
        let shown = filter.since.is_none_or(|since| event.created_at >= since)
            && expires_at.is_none_or(|at| at > viewer.now)
            && filter.matches(event)
            && privacy::may_read(self.readers.as_ref(), viewer.keys);
        shown.then(|| StoredEvent {
            seq,
            id: event.id,
            created_at: event.created_at,
            text: Text::Json(text.to_string()),
            expires_at: *expires_at,
            private: self.readers.is_some(),
        })
    }
}
