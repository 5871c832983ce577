//! Answers to questions about handlers (NIP-89). Those who look for a provider ask the same again and again,
//! and handlers change seldom; so what the store has answered is kept until something is stored that
//! changes it:
//!
//! - a handler that the filter matches adds to the answer;
//! - newer versions, deletion requests and requests to vanish take away what is by the same author;
//! - a handler that expires is no longer shown: an answer is kept until the first of its events does;
//! - a sweep takes away what a request to vanish has left.
//!
//! Which kinds have a handler at all is known too, once the store was asked for them; a kind that nobody has
//! announced is answered from that. A kind stays announced when its last handler goes.
//!
//! What the store is being asked while something changes is answered and not kept. While a commit may land
//! that nobody was told of, nothing is kept, and nothing answered from here.

use std::collections::{BTreeMap, BTreeSet};

use super::Millis;
use crate::nostr::deletion::Target;
use crate::nostr::{Event, Filter, PublicKey, kind};
use crate::store::read::{StoredEvent, Text};
use crate::store::write::NewEvent;

/// Bytes of events that are kept, and in one answer.
const MAX_BYTES: u64 = 4_000_000;
const MAX_ANSWER: u64 = 500_000;
/// Answers that are kept.
const MAX_ANSWERS: usize = 1000;

/// What the store has answered.
#[derive(Debug, Default)]
pub(super) struct Handlers {
    /// By filter.
    answers: BTreeMap<String, Answer>,
    bytes: u64,
    /// How often something has changed.
    changes: u64,
    announced: Announced,
}

/// Kinds that somebody handles.
#[derive(Debug, Default)]
struct Announced {
    kinds: BTreeSet<u16>,
    /// When the store was asked for them last.
    asked_at: Option<Millis>,
    /// Whether it named all.
    all: bool,
}

#[derive(Debug)]
struct Answer {
    filter: Filter,
    events: Vec<StoredEvent>,
    authors: BTreeSet<PublicKey>,
    bytes: u64,
}

/// Whether a filter asks for handlers and nothing else.
pub(super) fn asks_for_handlers(filter: &Filter) -> bool {
    filter.kinds.as_ref().is_some_and(|kinds| kinds.iter().eq([&kind::HANDLER]))
}

impl Handlers {
    /// How often something has changed; [`keep`](Self::keep) wants to know it as of when it was asked.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What the store answers to a filter at `now` (Unix seconds), if that is known.
    pub fn get(&self, filter: &Filter, now: u64) -> Option<Vec<StoredEvent>> {
        if !asks_for_handlers(filter) {
            return None;
        }
        let answer = self.answers.get(&key(filter))?;
        let shown = |event: &StoredEvent| event.expires_at.is_none_or(|at| at > now);
        answer.events.iter().all(shown).then(|| answer.events.clone())
    }

    /// Keeps an answer, if nothing has changed since it was asked for.
    pub fn keep(&mut self, filter: &Filter, events: &[StoredEvent], changes: u64) {
        let author = |event: &StoredEvent| match &event.text {
            Text::Json(json) => Event::parse(json).ok().map(|event| event.pubkey),
            Text::Large(_) => None,
        };
        let bytes = events.iter().map(|event| event.text.size()).sum();
        let authors: Option<BTreeSet<PublicKey>> = events.iter().map(author).collect();
        let Some(authors) = authors.filter(|_| changes == self.changes && bytes <= MAX_ANSWER) else { return };
        if self.bytes + bytes > MAX_BYTES || self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
            self.bytes = 0;
        }
        let answer = Answer { filter: filter.clone(), events: events.to_vec(), authors, bytes };
        self.bytes += bytes;
        self.bytes -= self.answers.insert(key(filter), answer).map_or(0, |old| old.bytes);
    }

    /// Something was stored.
    pub fn stored(&mut self, new: &NewEvent) {
        let handler = new.event.kind == kind::HANDLER;
        if !handler && new.deletes.is_empty() {
            return;
        }
        self.announce(&new.event);
        self.changes += 1;
        let by_id = |answer: &Answer| answer.events.iter().any(|event| new.deletes.contains(&Target::Event(event.id)));
        let of_author = handler || new.deletes.iter().any(|target| !matches!(target, Target::Event(_)));
        self.answers.retain(|_, answer| {
            let stays = !(of_author && answer.authors.contains(&new.event.pubkey)
                || handler && answer.filter.matches(&new.event)
                || by_id(answer));
            self.bytes -= if stays { 0 } else { answer.bytes };
            stays
        });
    }

    /// Something may have changed that is not known.
    pub fn clear(&mut self) {
        let announced = std::mem::take(&mut self.announced);
        *self = Self { changes: self.changes + 1, announced, ..Self::default() };
    }

    /// Notes the kinds of a handler that is stored.
    pub fn announce(&mut self, event: &Event) {
        if event.kind == kind::HANDLER {
            self.announced.kinds.extend(event.tag_values("k").filter_map(|kind| kind.parse::<u16>().ok()));
        }
    }

    /// Takes up the kinds that the store named when it was asked at a time, and whether it named all.
    pub fn learn_announced(&mut self, kinds: BTreeSet<u16>, all: bool, asked_at: Millis) {
        self.announced.kinds.extend(kinds);
        self.announced.asked_at = Some(asked_at);
        self.announced.all = all;
    }

    /// When the store was asked last which kinds have a handler.
    pub fn announced_at(&self) -> Option<Millis> {
        self.announced.asked_at
    }

    /// Whether nobody had announced a kind when the store was asked last, and nobody has since as far as is known.
    pub fn has_none(&self, kind: u16) -> bool {
        self.announced.all && !self.announced.kinds.contains(&kind)
    }
}

fn key(filter: &Filter) -> String {
    serde_json::to_string(filter).unwrap_or_default()
}
