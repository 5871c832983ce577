//! What the fuzzer does with a text, one function a target; `tests/corpus.rs` replays the kept corpus
//! through the same functions on stable.
#![allow(dead_code, reason = "each target uses one")]

use std::rc::Rc;

use nexus::gateway::{Config, ConnId};
use nexus::market::job::NIP90;
use nexus::market::retention::Retention;
use nexus::node::Node;
use nexus::nostr::{Filter, Values};
use nexus::seam::{Effect, Host, Input};
use nexus::store::read::{self, Viewer};

const NOW: u64 = 1_800_000_000;

fn relay() -> Node {
    let config = Config::read(|key| match key {
        "RELAY_URL" => Some("wss://nexus.example".to_owned()),
        "AUTH_REQUIRED" => Some("false".to_owned()),
        _ => None,
    });
    Node::new(Rc::new(config.expect("the settings parse")), Host::OBJECT, 1, NOW * 1000)
}

/// A client's frame: it is answered, or makes the store be asked; only CLOSE needs no answer.
pub fn frames(text: &str) {
    let mut relay = relay();
    relay.handle(Input::Woke { conns: vec![] }, NOW * 1000);
    let conn = ConnId(1);
    relay.handle(Input::Opened { conn, challenge: "c".to_owned(), ip: None }, NOW * 1000);
    let effects = relay.handle(Input::Received { conn, text: text.to_owned() }, NOW * 1000);
    // An event that is taken waits for the totals, which have been asked for.
    assert!(!effects.is_empty() || text.contains("CLOSE") || text.contains("EVENT"), "no answer to {text:?}");
    for effect in &effects {
        if let Effect::Send { text, .. } = effect {
            assert!(text.starts_with('[') && text.ends_with(']'), "{text:?}");
        }
    }
    relay.handle(Input::Closed { conn }, NOW * 1000);
}

/// A filter: what is written of it reads as the same, and it makes statements.
pub fn filters(text: &str) {
    let Ok(filter) = Filter::parse(text) else { return };
    let written = filter_text(&filter);
    assert_eq!(Filter::parse(&written).as_ref(), Ok(&filter), "{written:?}");
    let keys = Values::default();
    let kept = Retention { requests: 1, feedback: 2, results: 0, handlers: 0, others: 0 }.of_jobs(&NIP90);
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &kept, now: NOW };
    read::newest(&filter, filter.limit.unwrap_or(500), 1000, &viewer);
    read::all(&filter, true, &viewer);
}

/// What a connection is remembered by: it comes back, or its connection is closed.
pub fn attachments(text: &str) {
    let mut relay = relay();
    let conn = ConnId(1);
    let effects = relay.handle(Input::Woke { conns: vec![(conn, text.to_owned())] }, NOW * 1000);
    let closed = effects.iter().any(|effect| matches!(effect, Effect::Close { .. }));
    let frame = r#"["REQ","fuzz",{"limit":0}]"#.to_owned();
    let answered = !relay.handle(Input::Received { conn, text: frame }, NOW * 1000).is_empty();
    assert!(closed != answered, "{text:?}");
}

fn filter_text(filter: &Filter) -> String {
    serde_json::to_string(filter).expect("a filter is JSON")
}
