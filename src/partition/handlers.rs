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
//! What the store is being asked while something changes is answered and not kept. Before this partition has the log
//! nothing is kept, and nothing answered from here.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::budget::{Budget, Reservation, Share};
use crate::ledger::NewEvent;
use crate::nostr::deletion::Target;
use crate::nostr::{Event, Filter, PublicKey, kind};
use crate::seam::Millis;
use crate::store::read::{StoredEvent, Text};

/// Bytes of events in one answer that is kept.
const MAX_ANSWER: u64 = 500_000;
/// Bytes that an event takes besides its text, and an answer besides its events and its filter.
const EVENT_BYTES: u64 = 200;
const ANSWER_BYTES: u64 = 500;
/// Answers that are kept.
const MAX_ANSWERS: usize = 1000;

/// What the store has answered.
#[derive(Debug)]
pub(super) struct Handlers {
    /// By filter.
    answers: BTreeMap<String, Answer>,
    /// What they take.
    memory: Reservation,
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
    bytes: usize,
}

/// Whether a filter asks for handlers and nothing else.
pub(super) fn asks_for_handlers(filter: &Filter) -> bool {
    filter.kinds.as_ref().is_some_and(|kinds| kinds.iter().eq([&kind::HANDLER]))
}

impl Handlers {
    /// Nothing yet, and never more than its share.
    pub fn new(budget: &Rc<Budget>) -> Self {
        let (answers, announced) = Default::default();
        Self { answers, memory: budget.nothing(None, Share::Handlers), changes: 0, announced }
    }

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
        let texts: u64 = events.iter().map(|event| event.text.size()).sum();
        let authors: Option<BTreeSet<PublicKey>> = events.iter().map(author).collect();
        let Some(authors) = authors.filter(|_| changes == self.changes && texts <= MAX_ANSWER) else { return };
        let key = key(filter);
        let own = key.len() + filter.memory_bytes();
        let bytes =
            usize::try_from(ANSWER_BYTES + texts + EVENT_BYTES * events.len() as u64).unwrap_or(usize::MAX) + own;
        if self.answers.len() >= MAX_ANSWERS || self.memory.grow(bytes).is_err() {
            self.answers.clear();
            self.memory.set(bytes);
        }
        let answer = Answer { filter: filter.clone(), events: events.to_vec(), authors, bytes };
        let old = self.answers.insert(key, answer).map_or(0, |old| old.bytes);
        self.memory.shrink(old);
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
        let mut gone = 0;
        self.answers.retain(|_, answer| {
            let stays = !(of_author && answer.authors.contains(&new.event.pubkey)
                || handler && answer.filter.matches(&new.event)
                || by_id(answer));
            gone += if stays { 0 } else { answer.bytes };
            stays
        });
        self.memory.shrink(gone);
    }

    /// Something may have changed that is not known.
    pub fn clear(&mut self) {
        self.answers.clear();
        self.memory.set(0);
        self.changes += 1;
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
