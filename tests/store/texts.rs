//! The stored form: whatever an event says comes back byte for byte.

use nexus::market::job::NIP90;
use nexus::nostr::{Event, EventId, Filter, Values};
use nexus::store::read::{self, StoredEvent, Text, Viewer};

use super::{put, text};
use crate::common::Database;
use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::ledger::for_ever;

/// Events that are made.
const EVENTS: u64 = 400;
/// What the bytes of a text that is left where it is may be more than they are: see `store::form`.
const MORE_BYTES_MAX: u64 = 4 * 64;

/// What JSON escapes, what it does not, and what SQL or the form might take for something else.
const PIECES: &[&str] = &[
    "",
    "a",
    " ",
    "\"",
    "\\",
    "\\\"",
    "/",
    "\0",
    "\u{1}",
    "\\u0001",
    "\u{1f}",
    "\u{7f}",
    "\n",
    "\r",
    "\t",
    "\u{8}",
    "\u{c}",
    "ü",
    "🙂",
    "\u{2028}",
    "\u{feff}",
    "'",
    "''",
    "?1",
    "%",
    "{}",
    "[[\"e\"]]",
    "null",
    "1.0e5",
    "large ",
    "private ",
    "!",
];

/// A text of some pieces; an id stands among them now and then.
fn words(chance: &mut Chance, id: &str) -> String {
    let count = chance.below(8);
    let piece = |chance: &mut Chance| if chance.one_in(4) { id } else { *chance.pick(PIECES) };
    (0..count).map(|_| piece(chance)).collect()
}

/// Requests, answers that say the id of their request more or less often, and others, with tags of all sorts.
fn made(seed: u64) -> Vec<Event> {
    let chance = &mut Chance::new(seed);
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let mut request = buyer.sign(5050, NOW, &[], "first");
    let make = |n: u64| {
        let id = request.id.to_string();
        let quoted = request.to_json();
        let mut tags: Vec<Vec<String>> = (0..chance.below(5))
            .map(|_| {
                let name = chance.pick(&["t", "i", "param", "é", ""]).to_string();
                [name].into_iter().chain((0..chance.below(3)).map(|_| words(chance, &id))).collect()
            })
            .collect();
        let of_job = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let kind = *chance.pick(&[1, 5050, 7000, 6050, 30_078]);
        if kind == 7000 || kind == 6050 {
            tags.insert(0, of_job("e", &id));
            tags.push(of_job("p", &buyer.key().to_string()));
            tags.extend((0..chance.below(6)).map(|_| of_job("e", &id)));
            tags.extend(chance.one_in(2).then(|| of_job("request", &quoted)));
            tags.extend(chance.one_in(3).then(|| of_job("status", "processing")));
        } else {
            tags.push(of_job("d", &n.to_string()));
        }
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        // A provider has one result of a job.
        let author = if kind == 5050 { buyer.clone() } else { Author::numbered(n as u32) };
        let event = author.sign(kind, NOW + n, &tags, &format!("{n}{}", words(chance, &id)));
        if kind == 5050 {
            request = event.clone();
        }
        event
    };
    let mut events: Vec<Event> = (0..EVENTS).map(make).collect();
    events.insert(0, provider.note("another"));
    events
}

/// The events of the fuzzer's corpus that a relay would store, but for those that take others away; each with an id of its
/// own.
fn corpus() -> Vec<Event> {
    let texts =
        std::fs::read_dir("fuzz/corpus/frames").unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let event = |text: Vec<u8>| {
        let (_, event) = serde_json::from_slice::<(String, Box<serde_json::value::RawValue>)>(&text).ok()?;
        Event::parse(event.get()).ok().filter(|event| event.expiration().is_ok() && ![5, 62].contains(&event.kind))
    };
    let own = |(n, event): (u8, Event)| Event { id: EventId::new([n; 32]), ..event };
    let events: Vec<Event> = (1..).zip(texts.filter_map(event)).map(own).collect();
    assert!(events.len() >= 8, "{} events", events.len());
    events
}

fn read(db: &mut dyn Database, event: &Event, max_size: u64) -> Option<StoredEvent> {
    let keys: Values<_> = [event.pubkey].into_iter().collect();
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &for_ever(), now: 0 };
    let filter = Filter { ids: Some([event.id].into_iter().collect()), ..Filter::default() };
    let rows = db.run(&read::newest(&filter, 1, max_size, &viewer)).unwrap();
    rows.into_iter().flat_map(|rows| read::decode(rows).unwrap().unwrap()).next()
}

pub fn byte_for_byte(db: &mut dyn Database) {
    let mut found = 0;
    for events in [corpus(), made(1)] {
        for group in events.chunks(50) {
            put(db, &group.iter().collect::<Vec<_>>());
        }
        for event in &events {
            let Some(stored) = read(db, event, u64::MAX >> 12) else { continue };
            assert_eq!(text(&stored), event.to_json());
            assert_eq!((stored.id, stored.created_at), (event.id, event.created_at));
            let Some(StoredEvent { text: Text::Large(bytes), id, created_at, .. }) = read(db, event, 0) else {
                panic!("{event:?} is left where it is");
            };
            assert_eq!((id, created_at), (event.id, event.created_at));
            let is = event.to_json().len() as u64;
            assert!((is..=is + MORE_BYTES_MAX).contains(&bytes), "{bytes} for {is}");
            found += 1;
        }
    }
    assert!(found > EVENTS * 9 / 10, "{found} of {EVENTS} are stored");
}
