//! Which subscriptions an event is for, found by the event's own values.
//!
//! Each filter is entered under the values of its most selective field: ids, then a tag, then
//! authors, then kinds, then "everything". An event looks up only what it has, so the cost of a
//! fan-out follows the matches and not the subscriptions. Under one value the entries are in the order of
//! their `since`, so those that begin after the event are not looked at.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use slab::Slab;

use super::ConnId;
use crate::nostr::filter::SortedTags;
use crate::nostr::{Event, Filter};

/// Bytes an entry takes in the index.
pub(super) const ENTRY_BYTES: usize = 48;

/// The values an entry may stand under.
#[derive(Hash)]
enum Key<'a> {
    Id(&'a [u8; 32]),
    Tag(u8, &'a str),
    Author(&'a [u8; 32]),
    Kind(u16),
    Any,
}

impl Key<'_> {
    /// The key as a number. Two that share one cost a look in vain, as what matches is decided by the filter.
    fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

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
    filters: Rc<[Filter]>,
}

/// The index.
#[derive(Debug, Default)]
pub struct SubIndex {
    entries: BTreeSet<Entry>,
    subs: Slab<Indexed>,
}

impl SubIndex {
    /// Enters a subscription; answers the number [`remove`](Self::remove) knows it by.
    pub fn insert(&mut self, conn: ConnId, id: &Rc<str>, filters: &Rc<[Filter]>) -> usize {
        let number = self.subs.insert(Indexed { conn, id: id.clone(), filters: filters.clone() });
        self.entries.extend(entries(number, filters));
        number
    }

    /// Takes a subscription out.
    pub fn remove(&mut self, number: usize) {
        if let Some(gone) = self.subs.try_remove(number) {
            entries(number, &gone.filters).for_each(|entry| _ = self.entries.remove(&entry));
        }
    }

    /// The subscriptions `event` is for, each once.
    pub fn matching(&self, event: &Event) -> Vec<(ConnId, Rc<str>)> {
        let mut found: Vec<(ConnId, Rc<str>)> = Vec::new();
        let tags = SortedTags::of(event);
        for key in keys_of_event(event, &tags) {
            let first = Entry { key, since: 0, sub: 0, at: 0 };
            let last = Entry { key, since: event.created_at, sub: u32::MAX, at: u16::MAX };
            for entry in self.entries.range(first..=last) {
                let Some(sub) = self.subs.get(entry.sub as usize) else { continue };
                if sub.filters.get(usize::from(entry.at)).is_some_and(|filter| filter.matches_sorted(event, &tags)) {
                    found.push((sub.conn, sub.id.clone()));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// How many entries filters make.
pub(super) fn entry_count(filters: &[Filter]) -> usize {
    filters.iter().map(|filter| keys_of_filter(filter).len()).sum()
}

fn entries(number: usize, filters: &[Filter]) -> impl Iterator<Item = Entry> {
    let sub = u32::try_from(number).unwrap_or(u32::MAX);
    filters.iter().zip(0..).flat_map(move |(filter, at)| {
        let since = filter.since.unwrap_or_default();
        keys_of_filter(filter).into_iter().map(move |key| Entry { key: key.number(), since, sub, at })
    })
}

fn keys_of_filter(filter: &Filter) -> Vec<Key<'_>> {
    if filter.is_void() {
        return Vec::new();
    }
    let tag = filter.tags.iter().min_by_key(|(_, values)| values.len());
    match (&filter.ids, tag, &filter.authors, &filter.kinds) {
        (Some(ids), ..) => ids.iter().map(|id| Key::Id(id.as_bytes())).collect(),
        (_, Some((letter, values)), ..) => values.iter().map(|value| Key::Tag(*letter, value)).collect(),
        (_, _, Some(authors), _) => authors.iter().map(|author| Key::Author(author.as_bytes())).collect(),
        (_, _, _, Some(kinds)) => kinds.iter().map(|kind| Key::Kind(*kind)).collect(),
        _ => vec![Key::Any],
    }
}

fn keys_of_event(event: &Event, tags: &SortedTags) -> BTreeSet<u64> {
    tags.iter()
        .map(|(letter, value)| Key::Tag(letter, value))
        .chain([Key::Id(event.id.as_bytes()), Key::Author(event.pubkey.as_bytes()), Key::Kind(event.kind), Key::Any])
        .map(|key| key.number())
        .collect()
}
