//! What goes at once when a key vanishes (NIP-62): what was read from the store before, or was live then, and has
//! yet to be sent. What is stored is hidden and removed by the store.

use super::Relay;
use super::asking::Question;
use super::budget::Share;
use super::conn::LIVE_BYTES;
use crate::nostr::{Event, PublicKey, kind};

/// A key that vanished, and up to when (Unix seconds) what concerns it goes.
#[derive(Clone, Debug)]
pub(super) struct Vanished {
    key: PublicKey,
    name: String,
    until: u64,
}

impl Vanished {
    /// What a request to vanish says.
    pub fn by(request: &Event) -> Self {
        Self { key: request.pubkey, name: request.pubkey.to_string(), until: request.created_at }
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

impl Relay {
    /// A request to vanish was stored, and its OK is to come: nothing that it takes is sent any more.
    pub(super) fn vanish(&mut self, request: &Event) {
        let vanished = Vanished::by(request);
        self.recent.vanish(&vanished);
        self.log.vanish(&vanished);
        for question in self.questions_mut() {
            if let Question::Stored(reading) = question {
                reading.vanished.push(vanished.clone());
            }
        }
        if self.budget.used(Share::Backlogs) == 0 {
            return;
        }
        for backlog in
            self.conns.values_mut().flat_map(|state| state.subs.values_mut()).filter_map(|sub| sub.reading.as_mut())
        {
            let gone = backlog.live.extract_if(.., |(_, json)| vanished.takes_text(json));
            let bytes: usize = gone.map(|(_, json)| json.len() + LIVE_BYTES).sum();
            if let Some(memory) = &mut backlog.memory {
                memory.shrink(bytes);
            }
        }
    }
}
