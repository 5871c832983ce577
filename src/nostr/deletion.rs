//! Deletion requests (NIP-09) and requests to vanish (NIP-62): what they are about.

use super::auth::Authority;
use super::{Event, EventId, PublicKey, kind};

/// Something that shall be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One event.
    Event(EventId),
    /// All versions at coordinates, up to the request's `created_at`.
    Address {
        /// Replaceable or addressable.
        kind: u16,
        /// The `d` tag; empty for replaceable events.
        d: String,
    },
    /// Everything, up to the request's `created_at`.
    Everything,
}

/// What `event` asks its author's key to be rid of; `relays` are the names we answer to. Addresses of
/// other authors and requests to vanish from other relays are not for us and left out.
pub fn targets(event: &Event, relays: &[Authority]) -> Vec<Target> {
    match event.kind {
        kind::DELETION => {
            let events = event.tag_values("e").filter_map(EventId::parse).map(Target::Event);
            events.chain(event.tag_values("a").filter_map(|text| address(text, &event.pubkey))).collect()
        }
        kind::VANISH if names_us(event, relays) => vec![Target::Everything],
        _ => Vec::new(),
    }
}

/// Whether a request to vanish is for this relay: it says `ALL_RELAYS` or one of our names.
pub fn names_us(event: &Event, relays: &[Authority]) -> bool {
    event
        .tag_values("relay")
        .any(|name| name == "ALL_RELAYS" || Authority::of(name).is_some_and(|authority| relays.contains(&authority)))
}

fn address(text: &str, author: &PublicKey) -> Option<Target> {
    let mut parts = text.splitn(3, ':');
    let (kind, key, d) = (parts.next()?, parts.next()?, parts.next()?);
    (PublicKey::parse(key)? == *author).then_some(Target::Address { kind: kind.parse().ok()?, d: d.to_owned() })
}
