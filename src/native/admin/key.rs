//! Keys and events as people write them (NIP-19), and the secret key of who asks.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use secp256k1::{Keypair, SecretKey};

use crate::nostr::{EventId, PublicKey};

/// Bits of a file's mode with which others than its owner may read or write it.
const OTHERS: u32 = 0o066;
/// Bytes of a file with a key at the most.
const MAX_FILE: u64 = 4096;
/// What a list of NIP-19 begins its entry with that is the key or the id itself, and its length.
const SPECIAL: [u8; 2] = [0, 32];

/// What a text says that is a prefix with bytes: those bytes, of a list those of its first entry of the sort that counts.
fn bytes(text: &str, plain: &str, list: &str) -> Option<[u8; 32]> {
    let decoded = CheckedHrpstring::new::<Bech32>(text).ok()?;
    let hrp = decoded.hrp().to_lowercase();
    let bytes: Vec<u8> = decoded.byte_iter().collect();
    if hrp == plain {
        return bytes.try_into().ok();
    }
    if hrp != list {
        return None;
    }
    let mut rest = bytes.as_slice();
    loop {
        if let Some(special) = rest.strip_prefix(&SPECIAL) {
            return special.first_chunk().copied();
        }
        let length = usize::from(*rest.get(1)?);
        rest = rest.get(2 + length..)?;
    }
}

/// A public key as npub, nprofile or hex.
pub fn public(text: &str) -> Result<PublicKey, String> {
    if text.starts_with("nsec1") {
        return Err(
            "a secret key stands among the parameters, where others can see it: it is not secret any more".to_owned()
        );
    }
    let key =
        PublicKey::parse(&text.to_ascii_lowercase()).or_else(|| bytes(text, "npub", "nprofile").map(PublicKey::new));
    key.ok_or_else(|| format!("{text:?} is no public key: 64 hex digits, npub1… or nprofile1…"))
}

/// An event's id as note, nevent or hex.
pub fn event(text: &str) -> Result<EventId, String> {
    let id = EventId::parse(&text.to_ascii_lowercase()).or_else(|| bytes(text, "note", "nevent").map(EventId::new));
    id.ok_or_else(|| format!("{text:?} is no event's id: 64 hex digits, note1… or nevent1…"))
}

/// The secret key from a file, or else from the environment.
pub fn secret(file: Option<&Path>, environment: Option<String>) -> Result<Keypair, String> {
    let (place, text) = match (file, environment.filter(|text| !text.trim().is_empty())) {
        (Some(file), _) => (file.display().to_string(), read(file)?),
        (None, Some(text)) => (super::KEY.to_owned(), text),
        (None, None) => return Err(format!("no secret key: name a file (--key-file) or set {}", super::KEY)),
    };
    let text = text.trim();
    let hex = PublicKey::parse(&text.to_ascii_lowercase()).map(|bytes| *bytes.as_bytes());
    // Never what it says: it may be a key but for a letter.
    let wrong = || format!("{place}: not a secret key: it must be 64 hex digits or nsec1…, and nothing else");
    let bytes = hex.or_else(|| bytes(text, "nsec", "")).ok_or_else(wrong)?;
    SecretKey::from_secret_bytes(bytes).map(|key| key.keypair()).map_err(|_| wrong())
}

/// What a file says that nobody else can read.
fn read(path: &Path) -> Result<String, String> {
    let of = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(of)?;
    // Of what was opened, whatever has the name by now.
    let mode = file.metadata().map_err(of)?.mode();
    if mode & OTHERS != 0 {
        let path = path.display();
        return Err(format!("{path}: other users can read or write it (mode {:o}): chmod 600 {path}", mode & 0o777));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(of)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_nip_19() {
        let npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
        let hex = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
        assert_eq!(public(npub).unwrap().to_string(), hex);
        assert_eq!(public(&hex.to_ascii_uppercase()).unwrap().to_string(), hex);
        let nprofile = "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhkg6nzv9ejuumpv34kytnrdaksjlyr9p";
        let of_profile = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d";
        assert_eq!(public(nprofile).unwrap().to_string(), of_profile);
        let secret =
            secret(None, Some(" nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5\n".to_owned()))
                .unwrap();
        assert_eq!(secret.x_only_public_key().0.to_string(), hex);
        for wrong in ["", "npub1", "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptq", "7e7e"] {
            assert!(public(wrong).is_err() && event(wrong).is_err(), "{wrong}");
        }
        assert!(event(npub).is_err() && event(hex).is_ok());
        assert!(
            public("nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5")
                .unwrap_err()
                .contains("not secret any more")
        );
    }
}
