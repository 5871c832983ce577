//! Kinds that are for those they name alone: direct messages and gift wraps (NIP-04, NIP-17, NIP-59).

use std::collections::BTreeSet;

use super::{Event, PublicKey, kind};
use crate::trees::Gather;

/// A kind that only those named by its `p` tags may read.
#[derive(Clone, Copy, Debug)]
struct Gate {
    kind: u16,
    /// Whether its author may read it as well.
    author: bool,
}

/// Every kind that not everybody may read. The author of a gift wrap is a throw-away key.
const GATES: [Gate; 3] = [
    Gate { kind: kind::DIRECT_MESSAGE, author: true },
    Gate { kind: kind::GIFT_WRAP, author: false },
    Gate { kind: kind::EPHEMERAL_GIFT_WRAP, author: false },
];

/// Whether events of `kind` are for those they name.
pub fn is_gated(kind: u16) -> bool {
    GATES.iter().any(|gate| gate.kind == kind)
}

/// Those who may read `event`; `None` when its kind is for everybody.
pub fn readers(event: &Event) -> Option<BTreeSet<PublicKey>> {
    let gate = GATES.iter().find(|gate| gate.kind == event.kind)?;
    let named = event.tag_values("p").filter_map(PublicKey::parse);
    Some(named.chain(gate.author.then_some(event.pubkey)).gather())
}

/// Whether an event of `kind` may be kept from its own author.
pub fn keeps_out_author(kind: u16) -> bool {
    GATES.iter().any(|gate| gate.kind == kind && !gate.author)
}
