//! Filters of a REQ (NIP-01): what they say and which events they match.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use super::refusal::{self, Reason};
use super::{Event, EventId, PublicKey, Values, event};

/// Bytes a list takes besides its values, a text besides its characters, and the tree of tags.
const LIST: usize = 32;
const TEXT: usize = 48;
const TREE: usize = 320;

/// The tags of an event that filters ask for, in order: however many there are, one is found in a few steps.
#[derive(Debug)]
pub struct SortedTags<'e>(Vec<(u8, &'e str)>);

impl<'e> SortedTags<'e> {
    /// Those of an event.
    pub fn of(event: &'e Event) -> Self {
        let mut tags: Vec<(u8, &str)> = event.tags.iter().filter_map(|tag| tag.indexed()).collect();
        tags.sort_unstable();
        tags.dedup();
        Self(tags)
    }

    /// Each once.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'e str)> {
        self.0.iter().copied()
    }

    /// Whether a tag of this letter has one of the values.
    fn have_one_of(&self, letter: u8, values: &Values<String>) -> bool {
        let from = self.0.partition_point(|(l, _)| *l < letter);
        let of_letter = self.0.get(from..).unwrap_or_default();
        let of_letter = of_letter.get(..of_letter.partition_point(|(l, _)| *l == letter)).unwrap_or_default();
        if values.len() < of_letter.len() {
            values.iter().any(|value| of_letter.binary_search_by(|(_, own)| (*own).cmp(value)).is_ok())
        } else {
            of_letter.iter().any(|(_, value)| values.contains(*value))
        }
    }
}

/// What filters ask of an event besides its tags.
#[derive(Clone, Copy, Debug)]
pub struct Head<'e> {
    /// Its id.
    pub id: &'e EventId,
    /// Its author.
    pub pubkey: &'e PublicKey,
    /// Unix seconds.
    pub created_at: u64,
    /// Its kind.
    pub kind: u16,
}

impl<'e> Head<'e> {
    /// That of an event.
    fn of(event: &'e Event) -> Self {
        Self { id: &event.id, pubkey: &event.pubkey, created_at: event.created_at, kind: event.kind }
    }
}

/// Conditions that must all hold; `None` means the condition was not given. An empty list was
/// given and can be met by nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these ids.
    pub ids: Option<Values<EventId>>,
    /// Signed by one of these.
    pub authors: Option<Values<PublicKey>>,
    /// Of one of these kinds.
    pub kinds: Option<Values<u16>>,
    /// For each letter, a tag of that name with one of these values.
    pub tags: BTreeMap<u8, Values<String>>,
    /// `created_at` at least this, in seconds.
    pub since: Option<u64>,
    /// `created_at` at most this, in seconds.
    pub until: Option<u64>,
    /// At most so many stored events, the newest; says nothing about live ones.
    pub limit: Option<u64>,
}

impl Filter {
    /// Parses one filter. The reason names the key that is wrong.
    pub fn parse(json: &str) -> Result<Self, Reason> {
        let parsed: Parsed = serde_json::from_str(json).map_err(|e| refusal::bad_filter(event::describe(&e)))?;
        // A condition that is not understood cannot be dropped: the answer would be wider than the
        // question.
        match parsed.unknown {
            Some(key) => Err(refusal::unknown_filter_key(key)),
            None => Ok(parsed.filter),
        }
    }

    /// How many events are asked for, where that is `usual` if the filter does not say, and `max` at the most.
    pub fn limit_of(&self, (usual, max): (u64, u64)) -> u64 {
        self.limit.unwrap_or(usual).min(max)
    }

    /// Whether every condition holds for `event`; `limit` is not one.
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_parts(&Head::of(event), |letter, values| {
            let tags = event.tags.iter().filter_map(|tag| tag.indexed());
            tags.filter(|(l, _)| *l == letter).any(|(_, value)| values.contains(value))
        })
    }

    /// The same, for many filters and one event, whose `tags` are put in order before.
    pub fn matches_sorted(&self, event: &Event, tags: &SortedTags) -> bool {
        self.matches_parts(&Head::of(event), |letter, values| tags.have_one_of(letter, values))
    }

    /// The same of an event that begins with `head`; `has` says whether a tag of a letter has one of some values.
    pub fn matches_parts(&self, head: &Head, has: impl Fn(u8, &Values<String>) -> bool) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(head.id))
            && self.authors.as_ref().is_none_or(|authors| authors.contains(head.pubkey))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&head.kind))
            && self.since.is_none_or(|since| head.created_at >= since)
            && self.until.is_none_or(|until| head.created_at <= until)
            && self.tags.iter().all(|(letter, values)| has(*letter, values))
    }

    /// Whether some condition can never hold, so that nothing, stored or live, can match.
    pub fn is_void(&self) -> bool {
        self.ids.as_ref().is_some_and(|values| values.is_empty())
            || self.authors.as_ref().is_some_and(|values| values.is_empty())
            || self.kinds.as_ref().is_some_and(|values| values.is_empty())
            || self.tags.values().any(|values| values.is_empty())
            || matches!((self.since, self.until), (Some(since), Some(until)) if since > until)
    }

    /// Bytes it takes in memory at most, its lists included.
    pub fn memory_bytes(&self) -> usize {
        let keys = |list: &Option<Values<PublicKey>>| list.as_ref().map_or(0, |keys| LIST + size_of_val::<[_]>(keys));
        let texts = |list: &Values<String>| LIST + list.iter().map(|text| TEXT + text.len()).sum::<usize>();
        let tags: usize = self.tags.values().map(texts).sum();
        let kinds = self.kinds.as_ref().map_or(0, |kinds| LIST + size_of_val::<[_]>(kinds));
        let tree = if self.tags.is_empty() { 0 } else { TREE };
        size_of::<Self>() + keys(&self.ids) + keys(&self.authors) + kinds + tags + tree
    }

    /// How many values its lists hold together.
    pub fn value_count(&self) -> usize {
        self.ids.as_ref().map_or(0, |values| values.len())
            + self.authors.as_ref().map_or(0, |values| values.len())
            + self.kinds.as_ref().map_or(0, |values| values.len())
            + self.tags.values().map(|values| values.len()).sum::<usize>()
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            let Self { ids, authors, kinds, tags, since, until, limit } = self;
            return (ids, authors, kinds, tags, since, until, limit).serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        if let Some(ids) = &self.ids {
            map.serialize_entry("ids", ids)?;
        }
        if let Some(authors) = &self.authors {
            map.serialize_entry("authors", authors)?;
        }
        if let Some(kinds) = &self.kinds {
            map.serialize_entry("kinds", kinds)?;
        }
        for (letter, values) in &self.tags {
            map.serialize_entry(&format!("#{}", char::from(*letter)), values)?;
        }
        for (key, number) in [("since", self.since), ("until", self.until), ("limit", self.limit)] {
            if let Some(number) = number {
                map.serialize_entry(key, &number)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let parsed = Parsed::deserialize(deserializer)?;
            return match parsed.unknown {
                Some(key) => Err(de::Error::custom(format_args!("unknown key {key}"))),
                None => Ok(parsed.filter),
            };
        }
        let (ids, authors, kinds, tags, since, until, limit) = Deserialize::deserialize(deserializer)?;
        let filter = Self { ids, authors, kinds, tags, since, until, limit };
        if !filter.tags.keys().all(u8::is_ascii_alphabetic) {
            return Err(de::Error::custom("a tag must be a letter"));
        }
        filter.tags.iter().try_for_each(|(letter, values)| can_be_asked(*letter, values))?;
        Ok(filter)
    }
}

/// A filter and the first key it has that NIP-01 does not know.
#[derive(Default)]
struct Parsed {
    filter: Filter,
    unknown: Option<String>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FilterVisitor)
    }
}

struct FilterVisitor;

impl<'de> de::Visitor<'de> for FilterVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let Parsed { mut filter, mut unknown } = Parsed::default();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let read = match key.as_str() {
                "ids" => map.next_value().map(|v| filter.ids = Some(v)),
                "authors" => map.next_value().map(|v| filter.authors = Some(v)),
                "kinds" => map.next_value().map(|asked: BTreeSet<u64>| {
                    // No event has a kind above 65535; a question for one is served and matches nothing.
                    filter.kinds = Some(asked.into_iter().filter_map(|kind| u16::try_from(kind).ok()).collect());
                }),
                "since" => map.next_value().map(|v| filter.since = Some(v)),
                "until" => map.next_value().map(|v| filter.until = Some(v)),
                "limit" => map.next_value().map(|v| filter.limit = Some(v)),
                name => match name.as_bytes() {
                    [b'#', letter] if letter.is_ascii_alphabetic() => tag_values(*letter, &mut map).map(|values| {
                        filter.tags.insert(*letter, values);
                    }),
                    _ => map.next_value::<de::IgnoredAny>().map(|_| {
                        unknown.get_or_insert_with(|| clip(name));
                    }),
                },
            };
            read.map_err(|e| de::Error::custom(format_args!("{}: {e}", clip(&key))))?;
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("duplicate key {}", clip(&key))));
            }
        }
        Ok(Parsed { filter, unknown })
    }
}

/// The values of one letter.
fn tag_values<'de, A: de::MapAccess<'de>>(letter: u8, map: &mut A) -> Result<Values<String>, A::Error> {
    let values: Values<String> = map.next_value()?;
    can_be_asked(letter, &values)?;
    Ok(values)
}

/// `#e` and `#p` hold 64 lower-case hex digits (NIP-01); other letters anything.
fn can_be_asked<E: de::Error>(letter: u8, values: &Values<String>) -> Result<(), E> {
    if matches!(letter, b'e' | b'p') && values.iter().any(|value| EventId::parse(value).is_none()) {
        return Err(E::custom("must be 64 lower-case hex digits"));
    }
    Ok(())
}

/// Enough of an attacker-chosen key to recognise it by, quoted.
fn clip(key: &str) -> String {
    format!("{:?}", key.chars().take(32).collect::<String>())
}
