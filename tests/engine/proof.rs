//! Proof of work (NIP-13) and protected events (NIP-70).

use nexus::nostr::Event;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

fn mined(bits: u32, target: &[&str]) -> Event {
    (0u64..)
        .map(|nonce| {
            let nonce = nonce.to_string();
            let mut tag = vec!["nonce", &nonce];
            tag.extend(target);
            Author::new(1).sign(1, NOW, &[&tag], "")
        })
        .find(|event| event.difficulty() >= bits)
        .unwrap()
}

#[test]
fn difficulty_is_counted_as_the_nip_counts_it() {
    let example = |id: &str| nexus::nostr::event::leading_zero_bits(&hex::decode(id).unwrap());
    assert_eq!(example("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d"), 36);
    assert_eq!(example("000006d8c378af1779d2feebc7603a125d99eca0ccf1085959b307f64e5dd358"), 21);
    assert_eq!(example(&"00".repeat(32)), 256);
}

#[test]
fn work_and_commitment_are_both_asked_for() {
    let mut world = World::new(&[("AUTH_REQUIRED", "false"), ("MIN_POW_DIFFICULTY", "8")]);
    let conn = world.client();
    let plain = Author::new(1).note("no work");
    let reason = format!("pow: difficulty {} is less than 8", plain.difficulty());
    assert_eq!(world.ask(conn, json!(["EVENT", plain])), [json!(["OK", plain.id, false, reason])]);
    let cases = [
        (mined(8, &["8"]), true, ""),
        (mined(8, &["7"]), false, "pow: committed target 7 is less than 8"),
        (mined(8, &[]), false, "pow: nonce tag must commit to a target of 8"),
    ];
    for (event, accepted, reason) in cases {
        assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, accepted, reason])]);
    }
}

#[test]
fn protected_events_come_from_their_author() {
    let mut world = World::open_relay();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let event = alice.sign(1, NOW, &[&["-"]], "mine");
    let (nobody, other, author) = (world.client(), world.agent(&bob), world.agent(&alice));
    let own = "this event may only be published by its author";
    assert_eq!(
        world.ask(nobody, json!(["EVENT", event])),
        [json!(["OK", event.id, false, format!("auth-required: {own}")])]
    );
    assert_eq!(
        world.ask(other, json!(["EVENT", event])),
        [json!(["OK", event.id, false, format!("restricted: {own}")])]
    );
    assert!(world.stored().is_empty());
    assert_eq!(world.ask(author, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
}

#[test]
fn a_repost_does_not_embed_a_protected_event() {
    let mut world = World::open_relay();
    let conn = world.client();
    let protected = Author::new(1).sign(1, NOW, &[&["-"]], "mine").to_json();
    let open = Author::new(1).note("anybody's").to_json();
    for kind in [6, 16] {
        let repost = |content: &str| Author::new(2).sign(kind, NOW, &[], content);
        let reason = "blocked: a repost must not embed a protected event";
        // As a client would read it: unsigned, with other members, deep or odd ones, or two of a name.
        let deep = format!(r#"{{"x":{}{},"tags":[["-"]]}}"#, "[".repeat(500), "]".repeat(500));
        let protecting = [
            protected.as_str(),
            r#" {"tags":[["-"]]} "#,
            r#"{"tags":[0,[1],["t"],["-","x",{}]],"id":5}"#,
            r#"{"tags":[],"tags":[["\u002d"]]}"#,
            &deep,
        ];
        for content in protecting {
            let bad = repost(content);
            assert_eq!(world.ask(conn, json!(["EVENT", bad])), [json!(["OK", bad.id, false, reason])], "{content}");
        }
        let harmless = ["", "{", "[[\"-\"]]", r#"{"tags":"-"}"#, r#"{"tags":[["x","-"],"-"]}"#, r#"{"TAGS":[["-"]]}"#];
        for content in harmless.into_iter().chain([open.as_str()]) {
            let good = repost(content);
            assert_eq!(world.ask(conn, json!(["EVENT", good])), [json!(["OK", good.id, true, ""])]);
        }
    }
}
