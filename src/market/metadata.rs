//! The metadata in a handler's content: a JSON object of anything (NIP-89, NIP-01's kind 0).
//!
//! Owns reading it as it was written. Never gives its fields a meaning: they are the provider's own words.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The content when it is a JSON object.
pub(super) fn metadata(content: &str) -> Option<Value> {
    let Plain(value) = serde_json::from_str(content).ok()?;
    value.is_object().then_some(value)
}

/// Any JSON, read as it is written. `Value`'s own reading takes an object with the key that
/// `serde_json` keeps raw values under for JSON in a string, nested past the limit of depth.
struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Plain(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Plain(value))) = entries.next_entry::<String, Plain>()? {
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_what_was_written_and_no_deeper_than_json_may_be() {
        let text = r#"{"a":[1,-2,0.5,"x\u0000",null,true,{}],"b":{"$serde_json::private::RawValue":"[1]"}}"#;
        assert_eq!(serde_json::to_string(&metadata(text)).unwrap(), text);
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!((metadata(&nested(100)).is_some(), metadata(&nested(200))), (true, None));
    }
}
