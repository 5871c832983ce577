//! The keys under which subscriptions stand and events look for them: what gateways tell a partition that they care for.
//!
//! A key is a hint and never the authority: whether a filter matches, and who may read, is decided again by who has the
//! subscription. Two values that share a key cost a look in vain.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::nostr::filter::SortedTags;
use crate::nostr::{Event, Filter, PublicKey};
use crate::trees::Gather;

/// The values an entry may stand under.
#[derive(Hash)]
enum Key<'a> {
    /// A key that is proven at a gateway.
    Proven(&'a [u8; 32]),
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

/// The keys of a filter: those of its most selective field.
pub(crate) fn of_filter(filter: &Filter) -> Vec<u64> {
    if filter.is_void() {
        return Vec::new();
    }
    let tag = filter.tags.iter().min_by_key(|(_, values)| values.len());
    match (&filter.ids, tag, &filter.authors, &filter.kinds) {
        (Some(ids), ..) => ids.iter().map(|id| Key::Id(id.as_bytes()).number()).collect(),
        (_, Some((letter, values)), ..) => values.iter().map(|value| Key::Tag(*letter, value).number()).collect(),
        (_, _, Some(authors), _) => authors.iter().map(|author| Key::Author(author.as_bytes()).number()).collect(),
        (_, _, _, Some(kinds)) => kinds.iter().map(|kind| Key::Kind(*kind).number()).collect(),
        _ => vec![Key::Any.number()],
    }
}

/// The keys of an event: all under which a filter that matches it may stand.
pub(crate) fn of_event(event: &Event, tags: &SortedTags) -> BTreeSet<u64> {
    tags.iter()
        .map(|(letter, value)| Key::Tag(letter, value))
        .chain([Key::Id(event.id.as_bytes()), Key::Author(event.pubkey.as_bytes()), Key::Kind(event.kind), Key::Any])
        .map(|key| key.number())
        .gather()
}

/// The key of what concerns somebody who has proven a public key, whatever he subscribes to.
pub(crate) fn of_proven(key: &PublicKey) -> u64 {
    Key::Proven(key.as_bytes()).number()
}
