//! The bytes under which a tag value is indexed, as hex: databases take them so, and give them back so.
//!
//! The first byte is the tag's letter. The second says what follows: the value as it is (`=`), the bytes that a value of
//! 64 lower-case hex digits stands for (0), as ids and keys do, or the sha256 of any other value (`#`).

use sha2::{Digest, Sha256};

use crate::nostr::PublicKey;

/// Values up to this many bytes are indexed as they are.
const MAX_PLAIN: usize = 128;
/// Digits of an id or a key.
const DIGITS: usize = 64;

/// The index key of `value` under a tag's letter: no two have the same.
pub fn of(letter: u8, value: &str) -> String {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if value.len() == DIGITS && value.bytes().all(is_digit) {
        format!("{letter:02x}00{value}")
    } else if is_plain(value) {
        format!("{letter:02x}3d{}", hex::encode(value))
    } else {
        format!("{letter:02x}23{}", sha256(value))
    }
}

/// The id or key that an index key of a letter stands for, if it does for one.
pub fn public_key(letter: u8, key: &str) -> Option<PublicKey> {
    PublicKey::parse(key.strip_prefix(&format!("{letter:02x}00"))?)
}

/// The same as a text to be kept with a deletion: short values as they are, long ones and those with NUL by their sha256.
pub fn text(letter: u8, value: &str) -> String {
    let letter = char::from(letter);
    if is_plain(value) { format!("{letter}={value}") } else { format!("{letter}#{}", sha256(value)) }
}

/// The index key for such a text.
pub fn of_text(text: &str) -> Option<String> {
    let letter = *text.as_bytes().first()?;
    match text.split_at_checked(2)? {
        (start, value) if start.ends_with('=') => Some(of(letter, value)),
        (start, sha256) if start.ends_with('#') => Some(format!("{letter:02x}23{sha256}")),
        _ => None,
    }
}

fn is_plain(value: &str) -> bool {
    value.len() <= MAX_PLAIN && !value.contains('\0')
}

fn sha256(value: &str) -> String {
    hex::encode(Sha256::digest(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_share_a_key() {
        let (long, id) = ("x".repeat(200), "ab".repeat(32));
        let upper = id.to_uppercase();
        let raw: String = "\u{1}".repeat(32);
        let values = ["x", "", "\0", "\0x", &long, &id, &upper, &raw, "abab"];
        let mut keys: Vec<String> = values.iter().map(|value| of(b't', value)).collect();
        keys.push(of(b'T', "x"));
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_ne!(of(b't', &long), of(b't', of(b't', &long).trim_start_matches("7423")));
        assert!(keys.iter().all(|key| key.len() <= 260 && hex::decode(key).is_ok()));
        for value in values {
            assert_eq!(of_text(&text(b'd', value)), Some(of(b'd', value)), "{value:?}");
        }
        assert_eq!(public_key(b'p', &of(b'p', &id)).map(|key| key.to_string()), Some(id));
        assert_eq!(public_key(b'p', &of(b'p', &upper)), None);
    }
}
