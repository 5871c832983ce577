//! The text under which a tag value is indexed.

use sha2::{Digest, Sha256};

/// Values up to this many bytes are indexed as they are.
const MAX_PLAIN: usize = 128;

/// The index key of `value` under `name`: short values as they are, long ones and those with NUL (at
/// which SQLite's JSON functions cut) by their sha256. The second byte keeps the two apart.
pub fn of(name: u8, value: &str) -> String {
    let name = char::from(name);
    if value.len() <= MAX_PLAIN && !value.contains('\0') {
        format!("{name}={value}")
    } else {
        format!("{name}#{}", hex::encode(Sha256::digest(value.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn no_two_values_share_a_key() {
        let long = "x".repeat(200);
        let keys = [of(b't', "x"), of(b'T', "x"), of(b't', ""), of(b't', "\0"), of(b't', "\0x"), of(b't', &long)];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_ne!(of(b't', &long), of(b't', of(b't', &long).trim_start_matches("t#")));
        assert!(keys.iter().all(|key| key.len() < 140 && !key.contains('\0')));
    }
}
