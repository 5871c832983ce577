//! Which subscriptions an event is for, found by the event's own values.
//!
//! Each filter is entered under the values of its most selective field: ids, then a tag, then
//! authors, then kinds, then "everything". An event looks up only what it has, so the cost of a
//! fan-out follows the matches and not the subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::ConnId;
use crate::nostr::{Event, EventId, Filter, PublicKey};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Id(EventId),
    Tag(u8, String),
    Author(PublicKey),
    Kind(u16),
    Any,
}

/// One filter of a subscription: the connection, the subscription's id, the filter's place in it.
type Entry = (ConnId, Rc<str>, usize);

/// Sorted by entry.
type Entries = Vec<(Entry, Rc<[Filter]>)>;

/// The index.
#[derive(Debug, Default)]
pub struct SubIndex {
    entries: BTreeMap<Key, Entries>,
    /// How many there are in all.
    len: usize,
}

impl SubIndex {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Enters a subscription.
    pub fn insert(&mut self, conn: ConnId, id: &Rc<str>, filters: &Rc<[Filter]>) {
        for (at, filter) in filters.iter().enumerate() {
            let entry = (conn, id.clone(), at);
            for key in keys_of_filter(filter) {
                let entries = self.entries.entry(key).or_default();
                if let Err(place) = entries.binary_search_by(|(known, _)| known.cmp(&entry)) {
                    entries.insert(place, (entry.clone(), filters.clone()));
                    self.len += 1;
                }
            }
        }
    }

    /// Takes out what [`insert`](Self::insert) entered with the same arguments.
    pub fn remove(&mut self, conn: ConnId, id: &Rc<str>, filters: &Rc<[Filter]>) {
        for (at, filter) in filters.iter().enumerate() {
            let entry = (conn, id.clone(), at);
            for key in keys_of_filter(filter) {
                let Some(entries) = self.entries.get_mut(&key) else { continue };
                if let Ok(place) = entries.binary_search_by(|(known, _)| known.cmp(&entry)) {
                    entries.remove(place);
                    self.len -= 1;
                }
                if entries.is_empty() {
                    self.entries.remove(&key);
                }
            }
        }
    }

    /// The subscriptions `event` is for, each once.
    pub fn matching(&self, event: &Event) -> Vec<(ConnId, Rc<str>)> {
        let keys = keys_of_event(event);
        let mut candidates: Vec<&(Entry, Rc<[Filter]>)> =
            keys.iter().filter_map(|key| self.entries.get(key)).flatten().collect();
        candidates.sort_by(|(a, _), (b, _)| a.cmp(b));
        // A filter entered under several values that the event has is asked once.
        candidates.dedup_by(|(a, _), (b, _)| a == b);
        candidates.retain(|((.., at), filters)| filters.get(*at).is_some_and(|filter| filter.matches(event)));
        let mut found: Vec<(ConnId, Rc<str>)> =
            candidates.into_iter().map(|((conn, id, _), _)| (*conn, id.clone())).collect();
        found.dedup();
        found
    }
}

fn keys_of_filter(filter: &Filter) -> Vec<Key> {
    if filter.is_void() {
        return Vec::new();
    }
    let tag = filter.tags.iter().min_by_key(|(_, values)| values.len());
    match (&filter.ids, tag, &filter.authors, &filter.kinds) {
        (Some(ids), ..) => ids.iter().map(|id| Key::Id(*id)).collect(),
        (_, Some((letter, values)), ..) => values.iter().map(|value| Key::Tag(*letter, value.clone())).collect(),
        (_, _, Some(authors), _) => authors.iter().map(|author| Key::Author(*author)).collect(),
        (_, _, _, Some(kinds)) => kinds.iter().map(|kind| Key::Kind(*kind)).collect(),
        _ => vec![Key::Any],
    }
}

fn keys_of_event(event: &Event) -> BTreeSet<Key> {
    let tags = event.tags.iter().filter_map(|tag| tag.indexed());
    tags.map(|(letter, value)| Key::Tag(letter, value.to_owned()))
        .chain([Key::Id(event.id), Key::Author(event.pubkey), Key::Kind(event.kind), Key::Any])
        .collect()
}
