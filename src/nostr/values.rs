//! A few values, each once and in order, as a filter lists them (NIP-01), in as little memory as they take: a tree of one
//! value takes ten times as much. Copies share them.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A set that is made once and read often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Values<T>(Arc<[T]>);

impl<T: Ord> Values<T> {
    /// Whether the set holds a value.
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.0.binary_search_by(|known| known.borrow().cmp(value)).is_ok()
    }
}

impl<T: Ord + Clone> Values<T> {
    /// The same set with one more value.
    #[must_use]
    pub fn with(&self, value: T) -> Self {
        self.iter().cloned().chain([value]).collect()
    }
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord> FromIterator<T> for Values<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect::<BTreeSet<T>>().into_iter().collect())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Values<T> {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a Values<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for Values<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(BTreeSet::deserialize(deserializer)?.into_iter().collect());
        }
        // Of this relay's own writing.
        let values = Vec::deserialize(deserializer)?;
        if !values.is_sorted_by(|a, b| a < b) {
            return Err(de::Error::custom("values must be in order, each once"));
        }
        Ok(Self(values.into()))
    }
}
