//! Which subscriptions an event is for, found by the event's own values.
//!
//! Each filter is entered under the values of its most selective field: ids, then a tag, then
//! authors, then kinds, then "everything". An event looks up only what it has, so the cost of a
//! fan-out follows the matches and not the subscriptions. Under one value the entries are in the order of
//! their `since`, so those that begin after the event are not looked at.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use slab::Slab;

use super::ConnId;
use crate::interest;
use crate::nostr::filter::SortedTags;
use crate::nostr::{Event, Filter, PublicKey};

/// Bytes an entry takes in the index.
pub(super) const ENTRY_BYTES: usize = 48;

/// One filter of a subscription under one of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    since: u64,
    /// The subscription's number.
    sub: u32,
    /// The filter's place in it.
    at: u16,
}

/// A subscription.
#[derive(Debug)]
struct Indexed {
    conn: ConnId,
    id: Rc<str>,
    filters: Arc<[Filter]>,
}

/// The index.
#[derive(Debug)]
pub struct SubIndex {
    entries: BTreeSet<Entry>,
    /// Keys whose first entry came or whose last one went since it was told, unless nobody has to be told.
    changed: Option<BTreeSet<u64>>,
    subs: Slab<Indexed>,
    /// All keys, as long as they are these and somebody has to be told.
    all: Weak<[u64]>,
}

/// What nobody holds.
fn no_keys() -> Weak<[u64]> {
    Weak::<[u64; 0]>::new()
}

impl Default for SubIndex {
    fn default() -> Self {
        let (entries, changed, subs) = Default::default();
        Self { entries, changed, subs, all: no_keys() }
    }
}

impl SubIndex {
    /// Enters a subscription; answers the number [`remove`](Self::remove) knows it by.
    pub fn insert(&mut self, conn: ConnId, id: &Rc<str>, filters: &Arc<[Filter]>) -> usize {
        let number = self.subs.insert(Indexed { conn, id: id.clone(), filters: filters.clone() });
        for entry in entries(number, filters) {
            self.note(entry.key);
            self.entries.insert(entry);
        }
        number
    }

    /// Takes a subscription out.
    pub fn remove(&mut self, number: usize) {
        if let Some(gone) = self.subs.try_remove(number) {
            for entry in entries(number, &gone.filters) {
                self.entries.remove(&entry);
                self.note(entry.key);
            }
        }
    }

    /// Notes that a connection has proven a key, or, if not, has no more.
    pub fn prove(&mut self, conn: ConnId, proven: &PublicKey, is: bool) {
        if self.changed.is_none() {
            return;
        }
        // No event looks for it under this key.
        let entry = Entry { key: interest::of_proven(proven), since: conn.0, sub: u32::MAX, at: 0 };
        if is {
            self.note(entry.key);
            self.entries.insert(entry);
        } else {
            self.entries.remove(&entry);
            self.note(entry.key);
        }
    }

    /// Has it tell from now on which keys come and go.
    pub fn watch(&mut self) {
        self.changed = Some(BTreeSet::new());
    }

    /// Notes a key of which no entry is there, so that it came or went.
    fn note(&mut self, key: u64) {
        if self.changed.is_some()
            && !self.has(key)
            && let Some(changed) = &mut self.changed
        {
            self.all = no_keys();
            // What came and went again is as it was.
            if !changed.remove(&key) {
                changed.insert(key);
            }
        }
    }

    fn has(&self, key: u64) -> bool {
        let first = Entry { key, since: 0, sub: 0, at: 0 };
        let last = Entry { key, since: u64::MAX, sub: u32::MAX, at: u16::MAX };
        self.entries.range(first..=last).next().is_some()
    }

    /// The keys that came and those that went since this was asked last.
    pub fn take_changed(&mut self) -> (Vec<u64>, Vec<u64>) {
        let Some(changed) = &mut self.changed else { return Default::default() };
        let changed = std::mem::take(changed);
        changed.into_iter().partition(|key| self.has(*key))
    }

    /// All keys there are, each once; so none of them has to be told. Partitions that are told one after the other are told
    /// the same.
    pub fn keys(&mut self) -> Arc<[u64]> {
        self.changed.iter_mut().for_each(BTreeSet::clear);
        if let Some(all) = self.all.upgrade() {
            return all;
        }
        let mut keys: Vec<u64> = self.entries.iter().map(|entry| entry.key).collect();
        keys.dedup();
        let all: Arc<[u64]> = keys.into();
        self.all = Arc::downgrade(&all);
        all
    }

    /// The subscriptions `event` is for, each once.
    pub fn matching(&self, event: &Event) -> Vec<(ConnId, Rc<str>)> {
        let tags = SortedTags::of(event);
        // A filter that is found under many of its values is looked at once.
        let mut found: Vec<(u32, u16)> = Vec::new();
        for key in interest::of_event(event, &tags) {
            let first = Entry { key, since: 0, sub: 0, at: 0 };
            let last = Entry { key, since: event.created_at, sub: u32::MAX, at: u16::MAX };
            found.extend(self.entries.range(first..=last).map(|entry| (entry.sub, entry.at)));
        }
        found.sort_unstable();
        found.dedup();
        let matches = |(sub, at): &(u32, u16)| {
            let filter = self.subs.get(*sub as usize).and_then(|sub| sub.filters.get(usize::from(*at)));
            filter.is_some_and(|filter| filter.matches_sorted(event, &tags))
        };
        found.retain(matches);
        found.dedup_by_key(|(sub, _)| *sub);
        let subs = found.into_iter().filter_map(|(sub, _)| self.subs.get(sub as usize));
        let mut subs: Vec<(ConnId, Rc<str>)> = subs.map(|sub| (sub.conn, sub.id.clone())).collect();
        subs.sort_unstable();
        subs
    }
}

/// How many entries filters make.
pub(super) fn entry_count(filters: &[Filter]) -> usize {
    filters.iter().map(|filter| interest::of_filter(filter).len()).sum()
}

fn entries(number: usize, filters: &[Filter]) -> impl Iterator<Item = Entry> {
    let sub = u32::try_from(number).unwrap_or(u32::MAX);
    filters.iter().zip(0..).flat_map(move |(filter, at)| {
        let since = filter.since.unwrap_or_default();
        interest::of_filter(filter).into_iter().map(move |key| Entry { key, since, sub, at })
    })
}
