//! The keys under which deletions are remembered, and by which they keep events out.
//!
//! A deletion is `PUBKEY ID`, `PUBKEY KIND:D`, `PUBKEY *` or `PUBKEY result JOB`, with the `created_at` it reaches to. An
//! event is kept out by any that its author made, a gift wrap also by those of whom it is addressed to
//! (NIP-59). A deletion request yields to vanishing alone (NIP-09), a request to vanish to nothing
//! (NIP-62).

use super::tag_key;
use crate::market::{JobRole, Part};
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, MAX_INTEGER, PublicKey, kind};

/// The key of what `author` deletes.
pub fn key_of(author: &PublicKey, target: &Target) -> String {
    match target {
        Target::Event(id) => of_event(author, id),
        Target::Address { kind, d } => format!("{author} {kind}:{}", tag_key::text(b'd', d)),
        Target::Everything => format!("{author} *"),
    }
}

/// The key of an event that `author` deletes.
pub(super) fn of_event(author: &PublicKey, id: &EventId) -> String {
    format!("{author} {id}")
}

/// The key of the result that `author` has given to a job, and deleted: it gives no other one.
pub(super) fn of_result(author: &PublicKey, job: &EventId) -> String {
    format!("{author} result {job}")
}

/// The index key of a `d` tag.
pub(super) fn place_of(d: &str) -> String {
    tag_key::of(b'd', d)
}

/// Up to which `created_at` a request deletes: an id is deleted whatever its time.
pub(super) fn reach(created_at: u64, target: &Target) -> u64 {
    match target {
        Target::Event(_) => MAX_INTEGER,
        Target::Address { .. } | Target::Everything => created_at,
    }
}

/// The keys of all deletions that would keep `event` out; `part` is its part in a job, of which a
/// provider gives no second result when it has deleted the first.
pub fn keys_that_keep_out(event: &Event, part: Option<&Part>) -> Vec<String> {
    let author = &event.pubkey;
    let everything = |key: &PublicKey| key_of(key, &Target::Everything);
    match event.kind {
        kind::VANISH => Vec::new(),
        kind::DELETION => vec![everything(author)],
        kind::GIFT_WRAP => {
            let addressees = event.tag_values("p").filter_map(PublicKey::parse);
            addressees.chain([*author]).flat_map(|key| [everything(&key), of_event(&key, &event.id)]).collect()
        }
        kind => {
            let address = event.replacement_key().map(|d| key_of(author, &Target::Address { kind, d: d.to_owned() }));
            let spent = part.filter(|part| part.role == JobRole::Result).map(|part| of_result(author, &part.job));
            [everything(author), of_event(author, &event.id)].into_iter().chain(address).chain(spent).collect()
        }
    }
}
