//! Events: parsing, the id, the signature, the one text form they are kept and sent in (NIP-01).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::refusal::{self, Reason};
use super::{EventId, KindClass, PublicKey, Signature, Tag, kind, tag};

/// A signed event. Parsing checks its form alone; [`verify`](Event::verify) checks id and signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// sha256 of the serialization of the other fields but `sig`.
    pub id: EventId,
    /// Who signed it.
    pub pubkey: PublicKey,
    /// Unix time in seconds.
    pub created_at: u64,
    /// 0 to 65535.
    pub kind: u16,
    /// In the order they were signed in.
    pub tags: Vec<Tag>,
    /// Arbitrary text.
    pub content: String,
    /// Schnorr signature over `id` by `pubkey`.
    pub sig: Signature,
}

impl Event {
    /// Parses one event. The reason names the field that is wrong.
    pub fn parse(json: &str) -> Result<Self, Reason> {
        // serde would take an array of the fields' values, too.
        if !json.trim_start().starts_with('{') {
            return Err(refusal::bad_event("must be an object"));
        }
        serde_json::from_str(json).map_err(|e| refusal::bad_event(describe(&e)))
    }

    /// The canonical text: fields in NIP-01's order, no whitespace.
    pub fn to_json(&self) -> String {
        // Serializing plain structs of strings and numbers into memory cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks that the id is the hash of the event and the signature its author's.
    pub fn verify(&self) -> Result<(), Reason> {
        if !self.id_matches() {
            return Err(refusal::wrong_id());
        }
        let valid = secp256k1::XOnlyPublicKey::from_byte_array(*self.pubkey.as_bytes()).is_ok_and(|key| {
            let sig = secp256k1::schnorr::Signature::from_byte_array(*self.sig.as_bytes());
            secp256k1::schnorr::verify(&sig, self.id.as_bytes(), &key).is_ok()
        });
        if valid { Ok(()) } else { Err(refusal::wrong_sig()) }
    }

    /// Whether the id is the hash of the event (NIP-01).
    pub fn id_matches(&self) -> bool {
        let fields = (0, &self.pubkey, self.created_at, self.kind, &self.tags, &self.content);
        let text = serde_json::to_string(&fields).unwrap_or_default();
        if hash(&text) == self.id {
            return true;
        }
        // JSON.stringify and serde_json write the control characters that NIP-01 wants verbatim as
        // \u00XX, and so do most clients; both forms are in use and each commits to the same text.
        text.contains("\\u00") && hash(&control_verbatim(&text)) == self.id
    }

    /// What a relay keeps of it.
    pub const fn class(&self) -> KindClass {
        KindClass::of(self.kind)
    }

    /// The first value of the first tag called `name`.
    pub fn tag_value(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|tag| tag.name() == name)?.value()
    }

    /// The `d` part of the coordinates under which newer events replace this one: the `d` tag of
    /// addressable events, empty for replaceable ones, `None` for events that nothing replaces.
    pub fn replacement_key(&self) -> Option<&str> {
        match self.class() {
            KindClass::Addressable => Some(self.tag_value("d").unwrap_or_default()),
            KindClass::Replaceable => Some(""),
            KindClass::Regular | KindClass::Ephemeral => None,
        }
    }

    /// Whether this event wins over `other` at the same coordinates: newer, or as old with the
    /// lower id (NIP-01).
    pub fn replaces(&self, other: &Self) -> bool {
        (self.created_at, other.id) > (other.created_at, self.id)
    }

    /// The second it expires at (NIP-40); an `expiration` tag that is no Unix time, or not written as
    /// [`tag::number`] reads it, is an error.
    pub fn expiration(&self) -> Result<Option<u64>, Reason> {
        let Some(tag) = self.tags.iter().find(|tag| tag.name() == "expiration") else { return Ok(None) };
        match tag.value().and_then(tag::number) {
            Some(at) => Ok(Some(at)),
            None => Err(refusal::expiration_spelled()),
        }
    }

    /// Whether only its author may publish it (NIP-70).
    pub fn is_protected(&self) -> bool {
        self.tags.iter().any(|tag| tag.name() == "-")
    }

    /// Leading zero bits of the id (NIP-13).
    pub fn difficulty(&self) -> u32 {
        leading_zero_bits(self.id.as_bytes())
    }

    /// The difficulty its `nonce` tag commits to (NIP-13).
    pub fn committed_difficulty(&self) -> Option<u32> {
        let nonce = self.tags.iter().find(|tag| tag.name() == "nonce")?;
        tag::number(nonce.element(2)?)
    }

    /// Values of the tags called `name`.
    pub fn tag_values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.tags.iter().filter(move |tag| tag.name() == name).filter_map(Tag::value)
    }

    /// Bytes of the texts in it, about.
    pub fn text_bytes(&self) -> usize {
        let tags = self.tags.iter().flat_map(|tag| (0..).map_while(|at| tag.element(at))).map(|text| text.len() + 1);
        self.content.len() + tags.sum::<usize>()
    }

    /// Whether it proves a key, by NIP-42 or NIP-98, and is for nobody else.
    pub const fn is_authentication(&self) -> bool {
        matches!(self.kind, kind::AUTHENTICATION | kind::HTTP_AUTH)
    }
}

/// How many bits are zero before the first that is not.
pub fn leading_zero_bits(bytes: &[u8]) -> u32 {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let next = bytes.get(zeros).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zeros).unwrap_or(u32::MAX).saturating_mul(8).saturating_add(next)
}

/// Whether `json` is an object whose `tags` hold one called `-`, as a protected event's do (NIP-70); it need not
/// be an event otherwise.
pub fn embeds_protected(json: &str) -> bool {
    fn parsed<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
        serde_json::from_str(json).ok()
    }
    let protects = |tag: &&RawValue| {
        let tag: Option<Vec<&RawValue>> = parsed(tag.get());
        tag.and_then(|tag| parsed::<String>(tag.first()?.get())).is_some_and(|name| name == "-")
    };
    // Raw values, as nothing else is to be understood, however deep or odd it is.
    let members: Option<BTreeMap<String, &RawValue>> = parsed(json);
    let tags: Option<Vec<&RawValue>> = members.and_then(|members| parsed(members.get("tags")?.get()));
    tags.is_some_and(|tags| tags.iter().any(protects))
}

fn hash(text: &str) -> EventId {
    EventId::new(Sha256::digest(text.as_bytes()).into())
}

/// Turns `\u00XX` of control characters into the characters themselves, leaving every other escape.
fn control_verbatim(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let control = after
            .strip_prefix("u00")
            .and_then(|hex| hex.get(..2))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(u8::is_ascii_control);
        if let Some(byte) = control {
            out.push(char::from(byte));
            rest = after.get(5..).unwrap_or_default();
        } else {
            out.push('\\');
            let mut chars = after.chars();
            out.extend(chars.next());
            rest = chars.as_str();
        }
    }
    out.push_str(rest);
    out
}

/// serde_json's message without its line and column, which mean nothing to who sent one frame.
pub(super) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_restored_and_other_escapes_left() {
        assert_eq!(control_verbatim(r#"a\u0001b\n\\u0001\"\u001f"#), "a\u{1}b\\n\\\\u0001\\\"\u{1f}");
    }
}
