//! Who may read what: direct messages and gift wraps are for those they name (NIP-04, NIP-17, NIP-59).
//!
//! [`GATES`] is the one rule. [`may_read`] asks it of an event that is at hand; `store::read` makes the
//! same rule part of a query, so that stored events, live ones and counts agree.

use std::collections::BTreeSet;

use super::{Event, PublicKey, kind};

/// A kind that only those named by its `p` tags may read.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Which kind.
    pub kind: u16,
    /// Whether its author may read it as well.
    pub author: bool,
}

/// Every kind that not everybody may read. The author of a gift wrap is a throw-away key.
pub const GATES: [Gate; 3] = [
    Gate { kind: kind::DIRECT_MESSAGE, author: true },
    Gate { kind: kind::GIFT_WRAP, author: false },
    Gate { kind: kind::EPHEMERAL_GIFT_WRAP, author: false },
];

/// Whether somebody who has proven `keys` may read `event`.
pub fn may_read(event: &Event, keys: &BTreeSet<PublicKey>) -> bool {
    GATES.iter().filter(|gate| gate.kind == event.kind).all(|gate| {
        gate.author && keys.contains(&event.pubkey)
            || event.tag_values("p").filter_map(PublicKey::parse).any(|key| keys.contains(&key))
    })
}
