//! EVENT: what is admitted, stored and passed on.

use nexus::nostr::Event;
use nexus::seam::Input;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

#[test]
fn ok_and_fan_out_come_after_the_commit() {
    let mut world = World::open_relay();
    let (author, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {"kinds": [1]}]));
    let event = Author::new(1).note("hello");
    world.say(author, json!(["EVENT", event]));
    assert_eq!(world.waiting(), (1, 0));
    assert!(world.take(author).is_empty() && world.take(reader).is_empty());
    world.settle();
    assert_eq!(world.take(author), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
    assert_eq!(world.stored(), [event.to_json()]);
}

#[test]
fn one_group_is_in_flight_and_the_next_one_gathers() {
    let mut world = World::open_relay();
    let conn = world.client();
    let events: Vec<Event> = (0..300).map(|n| Author::new(1).note(&n.to_string())).collect();
    for event in &events {
        world.say(conn, json!(["EVENT", event]));
    }
    // The first alone, then as many as one group takes, then the rest.
    let mut groups = Vec::new();
    while world.waiting().0 > 0 {
        assert_eq!(world.waiting().0, 1);
        let answer = world.run_oldest(true).unwrap();
        world.input(answer);
        groups.push(world.take(conn).len());
    }
    assert_eq!(groups, [1, 256, 43]);
    assert_eq!(world.stored().len(), 300);
}

#[test]
fn a_duplicate_is_accepted_and_told_to_nobody() {
    let mut world = World::open_relay();
    let (a, b) = (world.client(), world.client());
    let event = Author::new(1).note("hello");
    let duplicate = json!(["OK", event.id, true, "duplicate: already have this event"]);
    // In the group that gathers, in the group in flight, and after it.
    world.say(a, json!(["EVENT", event]));
    world.say(b, json!(["EVENT", event]));
    world.settle();
    assert_eq!((world.take(a), world.take(b)), (vec![json!(["OK", event.id, true, ""])], vec![duplicate.clone()]));
    world.ask(b, json!(["REQ", "live", {"limit": 0}]));
    assert_eq!(world.ask(a, json!(["EVENT", event])), [duplicate]);
    assert!(world.take(b).is_empty());
    assert_eq!(world.stats()["events"]["stored"], 1);
    assert_eq!(world.stats()["events"]["duplicate"], 2);
}

#[test]
fn nothing_mis_signed_or_mis_hashed_is_stored_or_seen() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "all", {}]));
    let (alice, mallory) = (Author::new(1), Author::new(2));
    let good = alice.sign(1, NOW, &[&["t", "x"]], "hello");
    let sig = mallory.note("hello").sig;
    let forgeries = [
        Event { content: "other".to_owned(), ..good.clone() },
        Event { created_at: NOW + 1, ..good.clone() },
        Event { kind: 20_000, ..good.clone() },
        Event { tags: vec![], ..good.clone() },
        Event { pubkey: mallory.key(), ..good.clone() },
        Event { id: alice.note("other").id, ..good.clone() },
        Event { sig, ..good.clone() },
        Event { sig, ..alice.sign(20_000, NOW, &[], "ephemeral") },
        // A key that is not on the curve.
        Event { pubkey: nexus::nostr::PublicKey::new([255; 32]), ..good.clone() },
    ];
    for forged in forgeries {
        let answer = world.ask(conn, json!(["EVENT", forged]));
        assert_eq!(answer.len(), 1);
        assert_eq!(answer[0][2], false, "{forged:?}");
        assert!(answer[0][3].as_str().unwrap().starts_with("invalid: "), "{answer:?}");
    }
    assert!(world.stored().is_empty());
    assert!(world.take(reader).is_empty());
    assert_eq!(world.stats()["events"]["rejected"]["invalid"], 9);
}

#[test]
fn both_serializations_of_control_characters_are_accepted() {
    use secp256k1::{Keypair, schnorr};
    use sha2::{Digest, Sha256};
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).note("a\u{1}b\u{1f}c\\u0001");
    assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    // To the letter of NIP-01: all but seven characters verbatim.
    let text = format!("[0,\"{}\",{NOW},1,[],\"a\u{1}b\u{1f}c\\\\u0001\"]", event.pubkey);
    let id: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let sig = schnorr::sign_no_aux_rand(&id, &Keypair::from_secret_bytes([1; 32]).unwrap());
    let verbatim = Event {
        id: nexus::nostr::EventId::new(id),
        sig: nexus::nostr::Signature::new(sig.to_byte_array()),
        ..event.clone()
    };
    assert_ne!(verbatim.id, event.id);
    assert_eq!(world.ask(conn, json!(["EVENT", verbatim])), [json!(["OK", verbatim.id, true, ""])]);
}

#[test]
fn ephemeral_events_pass_through_without_the_store() {
    let mut world = World::open_relay();
    let (author, reader) = (world.client(), world.client());
    let event = Author::new(1).sign(20_001, NOW, &[], "now");
    let mute = "mute: nobody is listening to this ephemeral event";
    assert_eq!(world.ask(author, json!(["EVENT", event])), [json!(["OK", event.id, false, mute])]);
    world.ask(reader, json!(["REQ", "live", {"kinds": [20001]}]));
    world.say(author, json!(["EVENT", event]));
    assert_eq!(world.waiting(), (0, 0));
    assert_eq!(world.take(author), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
    assert!(world.stored().is_empty());
    assert_eq!(
        world.ask(reader, json!(["REQ", "stored", {"kinds": [20001]}])),
        [json!(["EOSE", "stored", ["finish"]])]
    );
}

#[test]
fn a_superseded_version_is_refused_and_told_to_nobody() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let author = Author::new(1);
    let (old, new) = (author.sign(0, NOW - 1, &[], "old"), author.sign(0, NOW, &[], "new"));
    world.ask(conn, json!(["EVENT", new]));
    let reason = "duplicate: a newer version of this event is stored";
    assert_eq!(world.ask(conn, json!(["EVENT", old])), [json!(["OK", old.id, false, reason])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", new])]);
    assert_eq!(world.ask(reader, json!(["REQ", "s", {"kinds": [0]}]))[0], json!(["EVENT", "s", new]));
}

#[test]
fn limits_are_exact_and_named() {
    let limits = [
        ("AUTH_REQUIRED", "false"),
        ("MAX_EVENT_TAGS", "3"),
        ("MAX_CONTENT_LENGTH", "5"),
        ("CREATED_AT_LOWER_LIMIT", "100"),
        ("CREATED_AT_UPPER_LIMIT", "60"),
        ("MAX_MESSAGE_LENGTH", "2000"),
    ];
    let mut world = World::new(&limits);
    world.now = NOW * 1000;
    let conn = world.client();
    let author = Author::new(1);
    let tag: &[&str] = &["t", "x"];
    let cases = [
        (author.sign(1, NOW, &[tag, tag, tag], ""), ""),
        (author.sign(1, NOW, &[tag, tag, tag, tag], ""), "invalid: more than 3 tags"),
        (author.sign(1, NOW, &[], "ééééé"), ""),
        (author.sign(1, NOW, &[], "eeeeee"), "invalid: content is over 5 characters"),
        (author.sign(1, NOW - 100, &[], ""), ""),
        (author.sign(1, NOW - 101, &[], ""), "invalid: created_at is more than 100 s in the past"),
        (author.sign(1, NOW + 60, &[], ""), ""),
        (author.sign(1, NOW + 61, &[], ""), "invalid: created_at is more than 60 s in the future"),
    ];
    for (event, reason) in cases {
        world.now = NOW * 1000;
        let answer = world.ask(conn, json!(["EVENT", event]));
        assert_eq!(answer, [json!(["OK", event.id, reason.is_empty(), reason])]);
    }
    let id = "x".repeat(2000 - 12);
    let at_limit = format!("[\"CLOSE\",\"{id}\"]");
    world.say_text(conn, &at_limit);
    assert!(world.take(conn).is_empty());
    world.say_text(conn, &format!("{at_limit} "));
    let reason = "restricted: message of 2001 bytes is over the limit of 2000";
    assert_eq!(world.take(conn), [json!(["CLOSED", id, reason])]);
}

#[test]
fn a_client_that_dies_before_its_ok_harms_nobody() {
    let mut world = World::open_relay();
    let (author, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let event = Author::new(1).note("last words");
    world.say(author, json!(["EVENT", event]));
    world.close(author);
    world.settle();
    assert!(world.take(author).is_empty());
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
}

#[test]
fn jobs_are_counted_in_the_statistics() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[&["i", "hi", "text"]], "");
    let id = request.id.to_string();
    world.ask(conn, json!(["EVENT", request]));
    let about = [&["e", &id] as &[&str], &["p", &buyer.key().to_string()], &["status", "processing"]];
    world.ask(conn, json!(["EVENT", provider.sign(7000, NOW, &about, "")]));
    world.ask(conn, json!(["EVENT", buyer.sign(5050, NOW, &[&["i", "again", "text"]], "")]));
    world.ask(conn, json!(["EVENT", provider.sign(6050, NOW, &about, "done")]));
    let stats = world.stats();
    let jobs = ["requested", "with_feedback", "with_result", "fill_rate"].map(|name| stats["jobs"][name].clone());
    assert_eq!(jobs, [json!(2), json!(1), json!(1), json!(0.5)]);
    assert_eq!(stats["jobs"]["by_kind"], json!({"5050": {"open": 1, "success": 1}}));
    assert_eq!(stats["events"]["accepted"], 4);
    // Totals survive the loss of memory.
    world.reset(false);
    world.settle();
    assert_eq!(world.stats()["jobs"], stats["jobs"]);
    assert_eq!(world.stats()["events"]["stored"], 4);
    assert_eq!(world.stats()["events"]["accepted"], 0);
}

#[test]
fn what_arrives_together_is_one_group() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.ask(conn, json!(["EVENT", Author::new(1).note("the first, which asks for the totals")]));
    world.busy = true;
    for n in 0..5 {
        world.say(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]));
    }
    assert_eq!(world.waiting(), (0, 0));
    world.input(Input::Yielded);
    assert_eq!(world.waiting(), (1, 0));
    // What comes while it is written needs no turn of its own.
    world.say(conn, json!(["EVENT", Author::new(1).note("late")]));
    world.settle();
    assert_eq!(world.take(conn).iter().filter(|frame| frame[2] == true).count(), 6);
    // A turn that nobody waits for does nothing.
    world.input(Input::Yielded);
    assert_eq!(world.waiting(), (0, 0));
}

/// Versions of one event must wait for each other; nobody else waits for them.
#[test]
fn versions_of_one_event_delay_nobody_else() {
    for keys in [1_u8, 2, 10] {
        let mut world = World::open_relay();
        let (buyer, conn) = (Author::new(100), world.client());
        world.say(conn, json!(["EVENT", buyer.note("keeps the store busy")]));
        for key in 1..=keys {
            // Each older than the one before, which so has to be written by itself.
            for n in 0..100 {
                world.say(conn, json!(["EVENT", Author::new(key).sign(0, NOW - n, &[], &n.to_string())]));
            }
        }
        let job = buyer.sign(5050, NOW, &[], "job");
        world.say(conn, json!(["EVENT", job]));
        let mut commits = 0;
        while let Some(answer) = world.run_oldest(true) {
            world.input(answer);
            commits += 1;
            if world.take(conn).contains(&json!(["OK", job.id, true, ""])) {
                break;
            }
        }
        assert_eq!(commits, 2, "beside {keys} keys");
    }
}

#[test]
fn authors_take_turns() {
    let mut world = World::open_relay();
    let (many, few, conn) = (Author::new(1), Author::new(2), world.client());
    world.say(conn, json!(["EVENT", many.note("keeps the store busy")]));
    for n in 0..600 {
        world.say(conn, json!(["EVENT", many.note(&n.to_string())]));
    }
    let events: Vec<Event> = (0..5).map(|n| few.note(&n.to_string())).collect();
    for event in &events {
        world.say(conn, json!(["EVENT", event]));
    }
    for _ in 0..2 {
        let answer = world.run_oldest(true).unwrap();
        world.input(answer);
    }
    let told = world.take(conn);
    for event in &events {
        assert!(told.contains(&json!(["OK", event.id, true, ""])));
    }
    world.settle();
    assert_eq!(world.stored().len(), 606);
}
