//! An event of the [window](super::recent): its canonical text, and what filters ask of it. It is not kept as it was
//! parsed, which would take twice as much: the values of its tags are where they stand in the text.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ledger::{Fresh, NewEvent};
use crate::market::privacy::{self, Readers};
use crate::market::{JobProfile, Part};
use crate::nostr::deletion::Vanished;
use crate::nostr::filter::Head;
use crate::nostr::{Event, EventId, Filter, PublicKey, Tag, Values, kind};
use crate::store::json_text;
use crate::store::read::{StoredEvent, Text, Viewer};
use crate::trees::Gather;

/// Bytes it takes besides its text and tags, with its places in the lists of the window.
const HELD: usize = 560;
/// Bytes of each of its readers but two.
const READER: usize = 60;

/// Where the value of a tag that can be asked for stands in the text, as JSON without its quotes.
#[derive(Debug)]
struct Span {
    letter: u8,
    from: u32,
    to: u32,
}

impl Span {
    fn of<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

/// An event that is held.
#[derive(Debug)]
pub(super) struct HeldEvent {
    pub seq: u64,
    id: EventId,
    pubkey: PublicKey,
    created_at: u64,
    kind: u16,
    expires_at: Option<u64>,
    text: Arc<str>,
    /// Each letter and value once, in order.
    tags: Box<[Span]>,
    /// The job it belongs to, and whether it answers it.
    pub job: Option<(EventId, bool)>,
    /// Who may read it; `None` is everybody.
    readers: Option<Readers>,
}

/// What is asked of events that are held: a filter, and the values of its tags as the texts spell them.
pub(super) struct Asked<'f> {
    filter: &'f Filter,
    tags: BTreeMap<u8, Values<String>>,
    steps: &'f Steps,
}

/// How much may still be looked at for one question: events, and values of tags that are looked up.
#[derive(Debug)]
pub(super) struct Steps(Cell<usize>);

impl Steps {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self(Cell::new(most))
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.get()
    }

    fn take(&self, steps: usize) {
        self.0.set(self.left().saturating_sub(steps));
    }
}

impl<'f> Asked<'f> {
    /// Once for all events.
    pub fn new(filter: &'f Filter, steps: &'f Steps) -> Self {
        let spelled = |value: &String| {
            let quoted = json_text(value);
            quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
        };
        let tags = filter.tags.iter().map(|(letter, values)| (*letter, values.iter().map(spelled).collect())).gather();
        Self { filter, tags, steps }
    }
}

impl HeldEvent {
    /// An event that was stored.
    pub fn new(Fresh { seq, new, private, .. }: &Fresh) -> Self {
        let event = &new.event;
        Self {
            seq: *seq,
            id: event.id,
            pubkey: event.pubkey,
            created_at: event.created_at,
            kind: event.kind,
            expires_at: new.expires_at,
            text: new.text.clone(),
            tags: spans(&event.tags, &new.text),
            job: new.part.as_ref().map(|part| (part.job, Part::is_answer(part))),
            readers: privacy::readers(event, new.part.as_ref(), *private),
        }
    }

    /// Bytes it takes. Those who may read what is [hidden](Self::hide) are two.
    pub fn bytes(&self) -> usize {
        let readers = self.readers.as_ref().map_or(0, Readers::len).saturating_sub(2);
        HELD + self.text.len() + size_of_val::<[_]>(&self.tags) + readers * READER
    }

    /// Whether it is this very event.
    pub fn is(&self, new: &NewEvent) -> bool {
        self.text == new.text
    }

    /// Whether a key that vanished takes it with it.
    pub fn is_taken_by(&self, vanished: &Vanished) -> bool {
        (self.pubkey == *vanished.key() || self.kind == kind::GIFT_WRAP) && vanished.takes_text(&self.text)
    }

    /// It is for its parties alone from now on.
    pub fn hide(&mut self, profile: &JobProfile) {
        // What is not read again is shown to nobody.
        self.readers = Some(Readers::new());
        if let Ok(event) = Event::parse(&self.text) {
            self.readers = privacy::readers(&event, profile.part_of(&event).as_ref(), true);
        }
    }

    /// What is shown of it to a viewer whose filter matches it, as far as steps are left.
    pub fn shown(&self, asked: &Asked, viewer: &Viewer) -> Option<StoredEvent> {
        asked.steps.take(1);
        let Self { id, pubkey, created_at, kind, .. } = self;
        let head = Head { id, pubkey, created_at: *created_at, kind: *kind };
        let has =
            |letter, _: &Values<String>| asked.tags.get(&letter).is_some_and(|v| self.has(letter, v, asked.steps));
        let shown = asked.filter.matches_parts(&head, has)
            && self.expires_at.is_none_or(|at| at > viewer.now)
            && viewer.kept.until(*kind, *created_at).is_none_or(|at| at > viewer.now)
            && privacy::may_read(self.readers.as_ref(), viewer.keys);
        shown.then(|| StoredEvent {
            seq: self.seq,
            id: *id,
            created_at: *created_at,
            text: Text::Json(self.text.clone()),
            expires_at: self.expires_at,
            private: self.readers.is_some(),
        })
    }

    /// Whether a tag of a letter has one of the values.
    fn has(&self, letter: u8, values: &Values<String>, steps: &Steps) -> bool {
        let from = self.tags.partition_point(|span| span.letter < letter);
        let tags = self.tags.get(from..).unwrap_or_default();
        let tags = tags.get(..tags.partition_point(|span| span.letter == letter)).unwrap_or_default();
        steps.take(values.len().min(tags.len()));
        if values.len() < tags.len() {
            values.iter().any(|value| tags.binary_search_by(|span| span.of(&self.text).cmp(value)).is_ok())
        } else {
            tags.iter().any(|span| values.contains(span.of(&self.text)))
        }
    }
}

/// Where the values of tags stand in the canonical text of their event, each letter and value once and in order.
fn spans(tags: &[Tag], text: &str) -> Box<[Span]> {
    let bytes = text.as_bytes();
    // Quotes inside of a string have a backslash before them, so this is the first place where it can be.
    let mut at = text.find("\"tags\":[").map_or(text.len(), |at| at + 8);
    let mut spans = Vec::with_capacity(tags.iter().filter(|tag| tag.indexed().is_some()).count());
    for tag in tags {
        // Behind the bracket.
        at += 1;
        for n in (0..).take_while(|n| tag.element(*n).is_some()) {
            let from = at + 1;
            let to = end_of_string(bytes, from);
            if let (1, Some((letter, _)), Ok(from), Ok(to)) = (n, tag.indexed(), from.try_into(), to.try_into()) {
                spans.push(Span { letter, from, to });
            }
            // Behind the quote and a comma, or the other bracket.
            at = to + 2;
        }
        at += 1;
    }
    spans.sort_unstable_by_key(|span| (span.letter, span.of(text)));
    spans.dedup_by_key(|span| (span.letter, span.of(text)));
    spans.into()
}

/// Where the quote stands that ends the JSON string whose first character is at `from`.
fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at).filter(|byte| **byte != b'"') {
        at += if *byte == b'\\' { 2 } else { 1 };
    }
    at
}
