//! The record of one subscription, or of one COUNT: what it asked, what was stored meanwhile, what it
//! is owed and what it got.

use std::collections::{BTreeMap, BTreeSet};

use nexus::nostr::Filter;

use crate::pool::{Ev, Pool};

/// Stored events with their numbers.
pub type Stored = BTreeMap<Ev, u64>;

/// What is stored while a question waits for its answer.
pub struct Watch {
    pub filters: Vec<Filter>,
    /// All the time.
    pub throughout: BTreeSet<(Ev, u64)>,
    /// At some time.
    pub ever: BTreeSet<Ev>,
    /// Milliseconds.
    pub asked_at: u64,
    /// Whether memory was lost since.
    pub forgotten: bool,
}

impl Watch {
    pub fn new(filters: Vec<Filter>, stored: &Stored, asked_at: u64) -> Self {
        let throughout = stored.iter().map(|(ev, seq)| (*ev, *seq)).collect();
        Self { filters, throughout, ever: stored.keys().copied().collect(), asked_at, forgotten: false }
    }

    pub fn changed(&mut self, stored: &Stored) {
        self.throughout.retain(|(ev, seq)| stored.get(ev) == Some(seq));
        self.ever.extend(stored.keys());
    }

    pub fn matches(&self, ev: Ev, pool: &Pool) -> bool {
        self.filters.iter().any(|filter| filter.matches(&pool.events[ev].event))
    }

    /// What the answer has whenever the store was asked: events that were there all the time and are
    /// among the newest of some filter even if all was there at once that ever was. Of those alone with a number up to one.
    pub fn certain(&self, upto: u64, pool: &Pool) -> BTreeSet<Ev> {
        let mut certain = BTreeSet::new();
        for filter in &self.filters {
            let mut found: Vec<Ev> =
                self.ever.iter().copied().filter(|ev| filter.matches(&pool.events[*ev].event)).collect();
            found.sort_by_key(|ev| pool.place(*ev));
            found.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
            certain.extend(found);
        }
        let throughout: BTreeSet<Ev> =
            self.throughout.iter().filter(|(_, seq)| *seq <= upto).map(|(ev, _)| *ev).collect();
        &certain & &throughout
    }

    /// The least and the most a COUNT can say.
    pub fn counts(&self, pool: &Pool) -> (usize, usize) {
        let least = self.throughout.iter().filter(|(ev, _)| self.matches(*ev, pool)).count();
        (least, self.ever.iter().filter(|ev| self.matches(**ev, pool)).count())
    }
}

/// A subscription.
pub struct Sub {
    pub watch: Watch,
    /// The highest number there was when it was asked for.
    pub since: u64,
    /// Whether EOSE came.
    pub eose: bool,
    pub got: BTreeMap<Ev, u32>,
    /// Stored events accepted while it was open, until it has them.
    pub owed: BTreeSet<Ev>,
    /// How often each ephemeral event was accepted while it was open.
    pub ephemeral: BTreeMap<Ev, u32>,
}

impl Sub {
    pub fn new(filters: Vec<Filter>, stored: &Stored, since: u64, asked_at: u64) -> Self {
        Self {
            watch: Watch::new(filters, stored, asked_at),
            since,
            eose: false,
            got: BTreeMap::new(),
            owed: BTreeSet::new(),
            ephemeral: BTreeMap::new(),
        }
    }

    /// An event was accepted for the first time.
    pub fn accepted(&mut self, ev: Ev, pool: &Pool) {
        if self.watch.matches(ev, pool) {
            if pool.events[ev].ephemeral {
                *self.ephemeral.entry(ev).or_default() += 1;
            } else {
                self.owed.insert(ev);
            }
        }
    }

    /// What is stored has changed while its stored events were not sent yet.
    pub fn changed(&mut self, stored: &Stored) {
        self.watch.changed(stored);
        if self.watch.forgotten {
            self.owed.retain(|ev| stored.contains_key(ev));
        }
    }

    /// Memory was lost: what waited is found in the store, if it is there still; ephemeral events are not.
    pub fn forgotten(&mut self, stored: &Stored) {
        self.watch.forgotten = true;
        self.ephemeral.clear();
        self.owed.retain(|ev| stored.contains_key(ev));
    }

    pub fn count(&self, ev: Ev) -> u32 {
        self.got.get(&ev).copied().unwrap_or_default()
    }

    /// Once its stored events are sent, it has all it is owed.
    pub fn check(&mut self, pool: &Pool) -> Result<(), String> {
        if !self.eose {
            return Ok(());
        }
        let name = |ev: &Ev| &pool.events[*ev].name;
        if let Some(ev) = self.owed.iter().find(|ev| self.count(**ev) == 0) {
            return Err(format!("{} was accepted and not sent", name(ev)));
        }
        self.owed.clear();
        for (ev, times) in &self.ephemeral {
            if self.count(*ev) != *times {
                return Err(format!("{} was accepted {times} times and sent {}", name(ev), self.count(*ev)));
            }
        }
        Ok(())
    }

    /// At the end, when nothing is on its way: it has every event stored since it was opened.
    pub fn check_last(&self, stored: &Stored, untold: &BTreeSet<Ev>, pool: &Pool) -> Result<(), String> {
        let missed = stored.iter().find(|(ev, seq)| {
            **seq > self.since && !untold.contains(ev) && self.watch.matches(**ev, pool) && self.count(**ev) == 0
        });
        match missed {
            Some((ev, seq)) => Err(format!("{} is stored as {seq} and was never sent", pool.events[*ev].name)),
            None => Ok(()),
        }
    }
}
