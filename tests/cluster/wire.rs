//! The form of batches: each comes as it was sent, garbage harms nobody, and who changes the form is told so.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use nexus::link::{Batch, Incarnation, Weigh};
use nexus::message::{Asked, PartitionGauges, ToGateway, ToPartition};
use nexus::nostr::{Event, EventId, Filter, Tag, Values};
use nexus::wire::{WIRE, WireError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::common::events::{Author, NOW, new_event};
use crate::messages::{Messages, TO_GATEWAY, TO_PARTITION, of_gateway, of_partition};

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(batch: &Batch<T>) -> Vec<u8> {
    let bytes = encode(batch);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(batch));
    bytes
}

fn one<T>(message: T) -> Batch<T> {
    let messages = vec![message];
    Batch { from: Incarnation(1), to: None, asks: false, number: 1, received: 0, messages }
}

#[test]
fn messages_of_every_variant_come_as_they_were() {
    for seed in 0..60 {
        let mut make = Messages::of(seed);
        let messages: Vec<ToPartition> = (0..TO_PARTITION).map(|variant| make.for_partition(variant)).collect();
        assert!(messages.iter().map(of_partition).map(|(variant, _)| variant).eq(0..TO_PARTITION));
        comes_back(&make.batch(messages));
        let messages: Vec<ToGateway> = (0..TO_GATEWAY).map(|variant| make.for_gateway(variant)).collect();
        assert!(messages.iter().map(of_gateway).map(|(variant, _)| variant).eq(0..TO_GATEWAY));
        comes_back(&make.batch(messages));
        comes_back::<ToPartition>(&make.batch(vec![]));
    }
}

/// What of a client's frame is behind its type.
fn behind_type(frame: String) -> Vec<String> {
    let parts: Vec<&RawValue> = serde_json::from_str(&frame).unwrap_or_default();
    parts.iter().skip(1).map(|part| part.get().to_owned()).collect()
}

fn corpus(target: &str) -> Vec<String> {
    let folder = std::fs::read_dir(format!("fuzz/corpus/{target}")).unwrap();
    folder.map(|entry| String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned()).collect()
}

/// Events of which some text is another one than the canonical one.
fn odd_events() -> Vec<String> {
    let hex = "ab".repeat(32);
    let event = |kind: &str, tags: &str, content: &str| {
        format!(
            r#"{{"content":"{content}","id":"{hex}","pubkey":"{hex}","sig":"{hex}{hex}","kind":{kind},"created_at":0,"tags":{tags},"x":[{{}}]}}"#
        )
    };
    vec![
        event("0", "[]", ""),
        event("65535", r#"[[""],["-"],["a","","",""]]"#, r"\u0000\u0001\u001f\u007f\u0080\u2028\ud83d\ude00"),
        event("1", r#"[["e"],["e"],["\u0065","\/"]]"#, r#"\"\\\/\b\f\n\r\t"#),
        event("5050", r#"[["i","{\"a\":1}","text"]]"#, "zw\u{f6}lf \u{20ac} \u{1f600} \u{7f}\u{85}\u{feff}"),
        event("7000", &format!("[{}[\"t\",\"x\"]]", r#"["t","x"],"#.repeat(2000)), &"x".repeat(70_000)),
    ]
}

#[test]
fn events_come_with_their_text_letter_by_letter() {
    let texts = corpus("frames").into_iter().flat_map(behind_type).chain(odd_events());
    let events: Vec<Event> = texts.filter_map(|text| Event::parse(&text).ok()).collect();
    assert!(events.len() >= 15, "{} events", events.len());
    for event in events {
        let (new, text) = (new_event_of(&event), event.to_json());
        assert_eq!(&*new.text, text);
        comes_back(&one(ToGateway::Ephemeral(Arc::new(event))));
        comes_back(&one(ToGateway::Push(nexus::message::Push {
            after: 0,
            upto: 1,
            parts: vec![nexus::message::Part::Event((Arc::new(new), None))],
        })));
    }
}

/// With what the engine would add, but when it expires, which may be spelled in no way there is.
fn new_event_of(event: &Event) -> nexus::message::NewEvent {
    let without = event.tags.iter().filter(|tag| tag.name() != "expiration").cloned().collect();
    let new = new_event(&Event { tags: without, ..event.clone() });
    nexus::message::NewEvent { event: event.clone(), text: event.to_json().into(), ..new }
}

#[test]
fn filters_come_as_they_were() {
    let texts = corpus("filters").into_iter().chain(corpus("frames").into_iter().flat_map(behind_type));
    let filters: Vec<Filter> = texts.filter_map(|text| Filter::parse(&text).ok()).collect();
    assert!(filters.len() >= 10, "{} filters", filters.len());
    for filter in filters {
        let bytes = postcard::to_allocvec(&filter).unwrap();
        assert_eq!(postcard::from_bytes::<Filter>(&bytes).as_ref(), Ok(&filter));
        // In full it is what NIP-01 says, and reads as what a client would send.
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
    }
    assert!(serde_json::from_str::<Filter>(r#"{"search":"x"}"#).is_err());
}

#[test]
fn another_form_is_refused_by_its_number() {
    let bytes = encode(&one(ToPartition::Position));
    let other = [&(WIRE + 1).to_be_bytes(), bytes.get(2..).unwrap()].concat();
    let error = decode::<ToPartition>(&other).unwrap_err();
    assert_eq!(error, WireError::Form(WIRE + 1));
    let text = error.to_string();
    assert!(text.contains(&WIRE.to_string()) && text.contains(&(WIRE + 1).to_string()), "{text}");
    for short in [&[] as &[u8], &[0]] {
        assert_eq!(decode::<ToPartition>(short), Err(WireError::Short));
    }
    assert_eq!(decode::<ToPartition>(&[&bytes[..], &[0, 0]].concat()), Err(WireError::Trailing(2)));
}

/// What comes of bytes is a batch or an error; a batch is one that is sent as it is.
fn taken<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    decode::<T>(bytes).map(|batch| comes_back(&batch)).is_ok()
}

/// Cuts bytes short, forges a length in every place, and changes some by chance.
fn garbled<T: Serialize + DeserializeOwned + PartialEq + Debug>(make: &mut Messages, message: T) {
    let bytes = comes_back(&make.batch(vec![message]));
    for end in 0..bytes.len() {
        assert!(!taken::<T>(&bytes[..end]), "{end} of {} bytes", bytes.len());
        // 2^60: memory for so much there is not, so who reserves it does not come back.
        let length = [&[0x80_u8; 8] as &[u8], &[0x10]].concat();
        taken::<T>(&[&bytes[..end], &length, &bytes[end + 1..]].concat());
    }
    for _ in 0..500 {
        let mut changed = bytes.clone();
        for _ in 0..=make.0.below(3) {
            let at = make.0.below(changed.len() as u64) as usize;
            changed[at] = make.0.below(256) as u8;
        }
        taken::<T>(&changed);
    }
}

#[test]
fn garbage_is_a_batch_or_an_error() {
    let mut make = Messages::of(7);
    for variant in 0..TO_PARTITION {
        let message = make.for_partition(variant);
        garbled(&mut make, message);
    }
    for variant in 0..TO_GATEWAY {
        let message = make.for_gateway(variant);
        garbled(&mut make, message);
    }
    for _ in 0..5000 {
        let length = make.0.below(60);
        let noise: Vec<u8> = (0..length).map(|_| make.0.below(256) as u8).collect();
        let noise = [&WIRE.to_be_bytes() as &[u8], &noise].concat();
        taken::<ToPartition>(&noise);
        taken::<ToGateway>(&noise);
    }
}

#[test]
fn what_cannot_be_made_cannot_be_sent() {
    let of = |tags: BTreeMap<u8, Vec<&str>>| {
        let nothing = None::<u64>;
        postcard::to_allocvec(&(nothing, nothing, nothing, tags, nothing, nothing, nothing)).unwrap()
    };
    let hex = "ab".repeat(32);
    let filter = |letter: u8, values: &[&str]| postcard::from_bytes::<Filter>(&of([(letter, values.to_vec())].into()));
    assert!(filter(b'e', &[&hex]).is_ok() && filter(b't', &["a", "b"]).is_ok());
    assert!(filter(b'e', &["abab"]).is_err() && filter(b'p', &[&hex.to_uppercase()]).is_err());
    assert!(filter(b'1', &["a"]).is_err() && filter(0, &["a"]).is_err());
    assert!(filter(b't', &["b", "a"]).is_err() && filter(b't', &["a", "a"]).is_err());
    let tag = |elements: &[&str]| postcard::from_bytes::<Tag>(&postcard::to_allocvec(elements).unwrap());
    assert!(tag(&[""]).is_ok() && tag(&[]).is_err());
    assert!(postcard::from_bytes::<Values<u16>>(&[2, 5, 6]).is_ok());
    assert!(postcard::from_bytes::<Values<u16>>(&[2, 6, 5]).is_err());
    assert!(postcard::from_bytes::<Values<u16>>(&[2, 5, 5]).is_err());
    let id = |bytes: usize| postcard::from_bytes::<EventId>(&postcard::to_allocvec(&vec![7_u8; bytes]).unwrap());
    assert_eq!(id(32), Ok(EventId::new([7; 32])));
    assert!(id(31).is_err() && id(33).is_err());
    let gauges = |share| {
        let gauges = PartitionGauges { memory: BTreeMap::from([(share, (1, 2))]), ..PartitionGauges::default() };
        postcard::from_bytes::<PartitionGauges>(&postcard::to_allocvec(&gauges).unwrap())
    };
    assert!(gauges("events").is_ok() && gauges("nothing").is_err());
}

/// What each variant looked like when [`WIRE`] was given its number: the beginning of the sha256 of some messages.
const TO_PARTITION_FORMS: [(&str, &str); TO_PARTITION] = [
    ("Woke", "2df7ff94ac0b47b6"),
    ("Interest", "915b990f85349898"),
    ("Ephemeral", "fa7459574aa72255"),
    ("Publish", "bb25992f9488896f"),
    ("Read", "39ae0c54a5d5d5ac"),
    ("Go", "ed7b7cd9ec7cb2d8"),
    ("Drop", "5ddf860ff529732f"),
    ("WhoIs", "10d580bf769a353f"),
    ("Left", "f0772514200fdfbf"),
    ("Counted", "ffa54b835eaf6fc4"),
    ("Ask", "8f00568e22b788c9"),
    ("Position", "e75ff75a6c77a8aa"),
    ("Gauges", "f175be33db315e62"),
    ("Present", "cb8c108575bf37e9"),
];
const TO_GATEWAY_FORMS: [(&str, &str); TO_GATEWAY] = [
    ("Position", "8af905b7441f6a68"),
    ("Verdict", "bd582976ef7b4040"),
    ("Push", "de07c3ba93f59b66"),
    ("Ephemeral", "8e0f9d477e3002c2"),
    ("Answer", "0fae50715860bd48"),
    ("Later", "927f4904a855184d"),
    ("Known", "27c7b68922e5a3e3"),
    ("Facts", "aaa6caaf419ec1e8"),
    ("Rulings", "525389d440571201"),
    ("Acted", "38a50eea1810f876"),
];

fn form<T: Serialize>(mut make: impl FnMut(&mut Messages) -> T) -> String {
    let mut hash = Sha256::new();
    for seed in 0..40 {
        let mut messages = Messages::of(seed);
        let message = make(&mut messages);
        hash.update(encode(&messages.batch(vec![message])));
    }
    hex::encode(&hash.finalize()[..8])
}

#[test]
fn the_form_is_that_of_its_number() {
    let asked = ToPartition::Ask { ticket: serde_json::from_str("300").unwrap(), asked: Asked::Counts, database: true };
    let batch = Batch {
        from: Incarnation(1),
        to: Some(Incarnation(2)),
        asks: true,
        number: 3,
        received: 4,
        messages: vec![asked],
    };
    // The form; from, to, asks, number, received; one message: variant 10, its ticket, what is asked, whether of the database.
    assert_eq!(hex::encode(encode(&batch)), "0002010102010304010aac020001");
    let to_partition = (0..TO_PARTITION)
        .map(|n| (of_partition(&Messages::of(0).for_partition(n)).1, form(|make| make.for_partition(n))));
    let to_gateway =
        (0..TO_GATEWAY).map(|n| (of_gateway(&Messages::of(0).for_gateway(n)).1, form(|make| make.for_gateway(n))));
    let now: Vec<(&str, String)> = to_partition.chain(to_gateway).collect();
    let forms = TO_PARTITION_FORMS.iter().chain(&TO_GATEWAY_FORMS);
    let then: Vec<(&str, String)> = forms.map(|(name, form)| (*name, (*form).to_owned())).collect();
    assert_eq!(WIRE, 2, "the forms above are of another number: have them made again");
    assert_eq!(now, then, "the form has changed: raise WIRE (or these are other messages than before)");
}

/// What a message is said to weigh, and what it takes on its way.
fn weighed<T: Serialize + Weigh>(message: T) -> (usize, usize) {
    (message.weight(), encode(&one(message)).len())
}

#[test]
fn no_message_is_lighter_than_what_it_takes_on_its_way() {
    let light = |(weight, bytes): (usize, usize)| (weight < bytes).then_some((weight, bytes));
    // As long as a client may make it, where it does not look at it.
    let long = "x".repeat(100_000);
    let event = Arc::new(Author::new(1).sign(20_001, NOW, &[&["t", "a", &long]], ""));
    assert_eq!(light(weighed(ToGateway::Ephemeral(event.clone()))), None);
    assert_eq!(light(weighed(ToPartition::Ephemeral { from: None, event })), None);
    let keys = vec![Author::new(1).key(); 4000];
    let ask = ToPartition::Ask { ticket: Messages::of(1).ticket(), asked: Asked::Handlers(5050, keys), database: true };
    assert_eq!(light(weighed(ask)), None);
    for seed in 0..200 {
        let mut make = Messages::of(seed);
        for variant in 0..TO_PARTITION {
            assert_eq!(light(weighed(make.for_partition(variant))), None, "to the partition {variant}, seed {seed}");
        }
        for variant in 0..TO_GATEWAY {
            assert_eq!(light(weighed(make.for_gateway(variant))), None, "to the gateway {variant}, seed {seed}");
        }
    }
}
