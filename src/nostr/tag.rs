//! Event tags (NIP-01, "Tags").

use std::str::FromStr;

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

/// A whole number in its one spelling: digits alone, without a sign, leading zeros or an exponent. Two relays
/// that read other spellings in two ways would disagree on what an event says.
pub fn number<N: FromStr>(text: &str) -> Option<N> {
    let canonical = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| canonical && text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("a tag must have at least one element"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(number::<u64>("0"), Some(0));
        assert_eq!(number::<u16>("65535"), Some(65535));
        for text in ["", "+1", "-1", "01", "00", "1e3", "1.0", " 1", "1 ", "0x1", "\u{661}", "65536"] {
            assert_eq!(number::<u16>(text), None, "{text:?}");
        }
    }
}
