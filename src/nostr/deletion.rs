//! Deletion requests (NIP-09) and requests to vanish (NIP-62): what they are about.

use serde::{Deserialize, Serialize};

use super::auth::Authority;
use super::refusal::{self, Reason};
use super::{Event, EventId, PublicKey, kind, tag};

/// Something that shall be gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
/// other authors and requests to vanish from other relays are not for us and left out. An error is a target
/// that is not spelled as events spell it: nothing would be deleted, and nobody would say so.
pub fn targets(event: &Event, relays: &[Authority]) -> Result<Vec<Target>, Reason> {
    match event.kind {
        kind::DELETION => {
            let mut targets = Vec::new();
            for text in event.tag_values("e") {
                let id = EventId::parse(text);
                targets.push(Target::Event(id.ok_or_else(refusal::deletes_event)?));
            }
            for text in event.tag_values("a") {
                let (key, target) = address(text).ok_or_else(refusal::deletes_address)?;
                targets.extend((key == event.pubkey).then_some(target));
            }
            Ok(targets)
        }
        kind::VANISH if names_us(event, relays) => Ok(vec![Target::Everything]),
        _ => Ok(Vec::new()),
    }
}

/// Whether a request to vanish is for this relay: it says `ALL_RELAYS` or one of our names.
pub fn names_us(event: &Event, relays: &[Authority]) -> bool {
    event
        .tag_values("relay")
        .any(|name| name == "ALL_RELAYS" || Authority::of(name).is_some_and(|authority| relays.contains(&authority)))
}

/// Whose coordinates they are, and what is there.
fn address(text: &str) -> Option<(PublicKey, Target)> {
    let mut parts = text.splitn(3, ':');
    let (kind, key, d) = (parts.next()?, parts.next()?, parts.next()?);
    Some((PublicKey::parse(key)?, Target::Address { kind: tag::number(kind)?, d: d.to_owned() }))
}

/// A key that vanished (NIP-62), and up to when (Unix seconds) what concerns it goes.
#[derive(Clone, Debug)]
pub struct Vanished {
    key: PublicKey,
    name: String,
    until: u64,
}

impl Vanished {
    /// What a request to vanish says.
    pub fn by(request: &Event) -> Self {
        Self { key: request.pubkey, name: request.pubkey.to_string(), until: request.created_at }
    }

    /// The key that vanishes.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether an event goes: it is the key's own, but no request to vanish, or a gift wrap (NIP-59) for it.
    pub fn takes(&self, event: &Event) -> bool {
        let own = event.pubkey == self.key && event.kind != kind::VANISH;
        let wrap = event.kind == kind::GIFT_WRAP && event.tag_values("p").any(|p| p == self.name);
        event.created_at <= self.until && (own || wrap)
    }

    /// The same of an event's canonical text.
    pub fn takes_text(&self, json: &str) -> bool {
        json.contains(&self.name) && Event::parse(json).is_ok_and(|event| self.takes(&event))
    }
}
