//! The keys under which deletions are remembered, and by which they keep events out.
//!
//! A deletion is `PUBKEY ID`, `PUBKEY KIND:D`, `PUBKEY *` or `PUBKEY result JOB`, with the `created_at` it reaches to. An
//! event is kept out by any that its author made, a gift wrap also by those of whom it is addressed to
//! (NIP-59). A deletion request yields to vanishing alone (NIP-09), a request to vanish to nothing
//! (NIP-62).

use super::{MAX_INTEGER, key};
use crate::market::{JobRole, Part};
use crate::nostr::deletion::Target;
use crate::nostr::{Event, PublicKey, kind};

/// The key of what `author` deletes.
pub fn key(author: &PublicKey, target: &Target) -> String {
    match target {
        Target::Event(id) => format!("{author} {id}"),
        Target::Address { kind, d } => format!("{author} {kind}:{}", key::of(b'd', d)),
        Target::Everything => format!("{author} *"),
    }
}

/// Up to which `created_at` a request deletes: an id is deleted whatever its time.
pub fn reach(request: &Event, target: &Target) -> u64 {
    match target {
        Target::Event(_) => MAX_INTEGER,
        Target::Address { .. } | Target::Everything => request.created_at,
    }
}

/// The keys of all deletions that would keep `event` out; `part` is its part in a job, of which a
/// provider gives no second result when it has deleted the first.
pub fn keeping_out(event: &Event, part: Option<&Part>) -> Vec<String> {
    let author = &event.pubkey;
    let everything = |key: &PublicKey| self::key(key, &Target::Everything);
    let by_id = |key: &PublicKey| self::key(key, &Target::Event(event.id));
    match event.kind {
        kind::VANISH => Vec::new(),
        kind::DELETION => vec![everything(author)],
        kind::GIFT_WRAP => {
            let addressees = event.tag_values("p").filter_map(PublicKey::parse);
            addressees.chain([*author]).flat_map(|key| [everything(&key), by_id(&key)]).collect()
        }
        kind => {
            let address =
                event.replacement_key().map(|d| self::key(author, &Target::Address { kind, d: d.to_owned() }));
            let spent =
                part.filter(|part| part.role == JobRole::Result).map(|part| format!("{author} result {}", part.job));
            [everything(author), by_id(author)].into_iter().chain(address).chain(spent).collect()
        }
    }
}
