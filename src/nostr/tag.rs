//! Event tags (NIP-01, "Tags").

use serde::{Deserialize, Serialize, de};

/// One tag: a non-empty list of strings, the first being its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tag(Vec<String>);

impl Tag {
    /// Makes a tag of its elements; `None` when there are none.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(elements: I) -> Option<Self> {
        let elements: Vec<String> = elements.into_iter().map(Into::into).collect();
        (!elements.is_empty()).then_some(Self(elements))
    }

    /// The first element.
    pub fn name(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The second element, if there is one.
    pub fn value(&self) -> Option<&str> {
        self.0.get(1).map(String::as_str)
    }

    /// Any element, the name being number 0.
    pub fn element(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str)
    }

    /// The letter and value a filter can ask for (`#e`, `#P`, …): only single ASCII letters are
    /// indexed, and only their first value.
    pub fn indexed(&self) -> Option<(u8, &str)> {
        match self.name().as_bytes() {
            [letter] if letter.is_ascii_alphabetic() => Some((*letter, self.value()?)),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("a tag must have at least one element"))
    }
}
