//! The keys under which subscriptions stand and events look for them: what gateways tell a partition that they care for.
//!
//! A key is a hint and never the authority: whether a filter matches, and who may read, is decided again by who has the
//! subscription. Two values that share a key cost a look in vain.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use crate::nostr::filter::SortedTags;
use crate::nostr::{Event, Filter, PublicKey};
use crate::trees::Gather;

/// The values an entry may stand under.
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
    /// The key as a number, the same in every object and on every machine: a byte for what it is, and the value. Two that
    /// share one cost a look in vain, as what matches is decided by the filter.
    fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut write = |what: &[u8], value: &[u8]| {
            hasher.write(what);
            hasher.write(value);
        };
        match self {
            Self::Proven(key) => write(&[0], *key),
            Self::Id(id) => write(&[1], *id),
            Self::Tag(letter, value) => write(&[2, *letter], value.as_bytes()),
            Self::Author(key) => write(&[3], *key),
            Self::Kind(kind) => write(&[4], &kind.to_be_bytes()),
            Self::Any => write(&[5], &[]),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// SipHash-1-3 of the bytes, without a key. The standard library may hash otherwise one day.
    #[test]
    fn numbers_are_the_same_in_every_build() {
        let bytes: [u8; 32] = std::array::from_fn(|n| n as u8);
        for (key, number) in [
            (Key::Proven(&bytes), 0x5636_e797_94c3_f64f),
            (Key::Id(&bytes), 0x0641_4dc1_9b96_5080),
            (Key::Tag(b't', "work"), 0x9cf8_97ff_b804_284c),
            (Key::Author(&bytes), 0x3036_285a_49dd_a103),
            (Key::Kind(5050), 0xec41_3750_5c18_0220),
            (Key::Any, 0x6827_421e_1ca7_57fa),
        ] {
            assert_eq!(key.number(), number, "keys have other numbers than before: raise WIRE");
        }
    }
}
