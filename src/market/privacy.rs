//! Who may read an event: everybody, or those it is for (NIP-04, NIP-17, NIP-59, and encrypted jobs).
//!
//! [`readers`] is the one rule. Live events ask it; what is stored carries its answer into the index, so
//! that stored events, live ones and counts agree.

use std::collections::BTreeSet;

use super::job::{JobProfile, Part};
use crate::nostr::{Event, PublicKey, gate};

/// Those who may read an event that not everybody may.
pub type Readers = BTreeSet<PublicKey>;

/// Who may read `event`; `None` is everybody. `part` is its part in a job, `encrypted` whether that job
/// is known to be for its parties alone.
pub fn readers(event: &Event, part: Option<&Part>, encrypted: bool) -> Option<Readers> {
    gate::readers(event).or_else(|| {
        let part = part.filter(|part| part.is_answer() && (encrypted || part.encrypted))?;
        Some(part.parties(event))
    })
}

/// Whether somebody who has proven `keys` may read what is for `readers`.
pub fn may_read(readers: Option<&Readers>, keys: &BTreeSet<PublicKey>) -> bool {
    readers.is_none_or(|readers| !readers.is_disjoint(keys))
}

/// Whether some events of `kind` may be kept from some readers.
pub fn may_be_private(profile: &JobProfile, kind: u16) -> bool {
    gate::is_gated(kind) || profile.is_answer(kind)
}
