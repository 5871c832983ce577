//! The ceiling: rows a day and bytes of the database.

use nexus::gateway::Api;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

/// A relay that may write 10,000 rows a day; the clock stands at the beginning of the ninth hour.
fn world(more: &[(&str, &str)]) -> World {
    let plenty = "events 1000000/1000000 queries 1000/1000 bytes 1000000000/1000000000";
    let settings = [("RATE_LIMITS", "on"), ("RATE_AGENT", plenty), ("RATE_GUEST", plenty), ("ROWS_PER_DAY", "10000")];
    World::new(&[&settings, more].concat())
}

fn agent_from(world: &mut World, author: &Author, ip: &str) -> nexus::gateway::ConnId {
    let conn = world.open_from(ip).unwrap();
    assert_eq!(world.prove(author, conn)[2], true);
    conn
}

/// What becomes of notes of an author from a network: how many are taken, and why the next one is not.
fn publish(world: &mut World, author: &Author, ip: &str, at: u64) -> (usize, String) {
    let conn = agent_from(world, author, ip);
    for n in 0.. {
        let answer = world.ask(conn, json!(["EVENT", author.sign(1, at + n, &[], "")]));
        if answer[0][2] != true {
            world.close(conn);
            return (n as usize, answer[0][3].as_str().unwrap().to_owned());
        }
    }
    unreachable!("a ceiling that lets everything through")
}

fn today(world: &mut World) -> Value {
    world.stats()["storage"]["rows"].clone()
}

#[test]
fn a_network_takes_a_tenth_of_an_hour_and_others_go_on() {
    let mut world = world(&[]);
    let (alice, bob, carol) = (Author::new(1), Author::new(2), Author::new(3));
    // 41 of 416 rows an hour, and a note without tags costs 6.
    let (taken, reason) = publish(&mut world, &alice, "192.0.2.1", NOW - 900);
    assert_eq!(taken, 6);
    let said = "rate-limited: the rows one network may have for this hour are taken (ROWS_PER_DAY); retry in ";
    assert!(reason.starts_with(said), "{reason}");
    assert_eq!(publish(&mut world, &bob, "192.0.2.1", NOW - 900).0, 0, "another key of the network");
    assert_eq!(publish(&mut world, &carol, "192.0.2.2", NOW - 900).0, 6);
    assert_eq!((today(&mut world)["today"].clone(), today(&mut world)["per_day"].clone()), (72.into(), 10_000.into()));
    world.pass(3600);
    assert_eq!(publish(&mut world, &alice, "192.0.2.1", NOW).0, 6, "in the next hour");
}

#[test]
fn the_day_is_let_out_by_the_hour_and_what_is_left_is_for_deletions() {
    let mut world = world(&[]);
    let stranger = Author::new(1);
    // 9 of 24 hours are 3,750 rows, four fifths of it 3,000: 500 notes.
    let (mut all, mut reason) = (0, String::new());
    for network in 0..90 {
        let (taken, why) = publish(&mut world, &stranger, &format!("198.51.{network}.1"), NOW - 900 + 10 * network);
        (all, reason) = (all + taken, why);
    }
    assert_eq!(all, 500);
    assert!(reason.starts_with("rate-limited: all rows for this hour are taken (ROWS_PER_DAY); retry in "), "{reason}");
    let conn = agent_from(&mut world, &stranger, "203.0.113.1");
    let note = stranger.sign(1, NOW - 900, &[], "");
    let mut ok = |event| world.ask(conn, json!(["EVENT", event]))[0].clone();
    assert_eq!(ok(stranger.sign(1, NOW, &[], ""))[2], false);
    assert_eq!(ok(stranger.sign(5, NOW, &[&["e", &note.id.to_string()]], ""))[2], true);
}

#[test]
fn keys_that_have_dealt_have_a_reserve() {
    let mut world = world(&[]);
    let [buyer, provider, asker, stranger] = [1, 2, 3, 4].map(Author::new);
    let ok = |world: &mut World, by: &Author, network: &str, event| {
        let conn = agent_from(world, by, network);
        world.ask(conn, json!(["EVENT", event]))[0][2].clone()
    };
    let request = buyer.sign(5050, NOW, &[], "");
    assert_eq!(ok(&mut world, &buyer, "203.0.113.1", request.clone()), true);
    assert_eq!(ok(&mut world, &asker, "203.0.113.2", asker.sign(5050, NOW, &[], "")), true);
    assert_eq!(ok(&mut world, &provider, "203.0.113.3", provider.answer(6050, &request, &[])), true);
    for network in 0..90 {
        publish(&mut world, &stranger, &format!("198.51.{network}.1"), NOW - 900 + 10 * network);
    }
    for (by, network, expected) in [
        (&stranger, "192.0.2.1", false),
        (&asker, "192.0.2.2", false),
        (&buyer, "192.0.2.3", true),
        (&provider, "192.0.2.4", true),
    ] {
        assert_eq!(ok(&mut world, by, network, by.sign(1, NOW - 901, &[], "")), expected, "{network}");
    }
}

#[test]
fn what_was_taken_is_known_after_memory_was_lost() {
    let mut world = world(&[]);
    publish(&mut world, &Author::new(1), "192.0.2.1", NOW - 900);
    world.reset(true);
    world.settle();
    publish(&mut world, &Author::new(2), "192.0.2.2", NOW - 900);
    assert_eq!(today(&mut world)["today"], 72);
    world.pass(86_400);
    publish(&mut world, &Author::new(2), "192.0.2.2", NOW + 80_000);
    assert_eq!(today(&mut world)["today"], 36, "a new day begins at nothing");
}

/// An answer does not say that the request is encrypted which it came before.
#[test]
fn what_is_found_out_later_is_taken_then() {
    let today = [&[] as &[&[&str]], &[&["encrypted"]]].map(|tags| {
        let mut world = world(&[]);
        let (buyer, provider) = (Author::new(1), Author::new(2));
        let conn = agent_from(&mut world, &buyer, "192.0.2.1");
        let request = buyer.sign(5050, NOW, tags, "");
        for event in [provider.answer(6050, &request, &[]), request] {
            assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
        }
        today(&mut world)["today"].as_u64().unwrap()
    });
    // The entries of its tags move, and it gets two readers; both are removed once.
    assert_eq!(today[1] - today[0], 4 + 2 * 2 + 2 * 2);
}

#[test]
fn listed_keys_are_not_held_up() {
    let listed = Author::new(77);
    let mut world = world(&[("LISTED_KEYS", &listed.key().to_string())]);
    let conn = agent_from(&mut world, &listed, "192.0.2.1");
    for n in 0..50 {
        let answer = world.ask(conn, json!(["EVENT", listed.sign(1, NOW - n, &[], "")]));
        assert_eq!(answer[0][2], true, "{answer:?}");
    }
    assert_eq!(today(&mut world)["today"], 300);
}

#[test]
fn a_full_database_takes_deletions_alone() {
    let mut world = world(&[("ROWS_PER_DAY", ""), ("MAX_DATABASE_BYTES", "1000000")]);
    let alice = Author::new(1);
    let conn = agent_from(&mut world, &alice, "192.0.2.1");
    world.size = Some(999_999);
    let (first, second) = (alice.note("first"), alice.note("second"));
    assert_eq!(world.ask(conn, json!(["EVENT", first]))[0][2], true);
    world.size = Some(1_000_000);
    assert_eq!(world.ask(conn, json!(["EVENT", second]))[0][2], true, "the size is known from the last answer");
    let third = alice.note("third");
    let reason = "error: the relay's database has reached its limit of 1000000 bytes; publish again later";
    assert_eq!(world.ask(conn, json!(["EVENT", third])), [json!(["OK", third.id, false, reason])]);
    let deletion = alice.sign(5, NOW, &[&["e", &first.id.to_string()]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", deletion]))[0][2], true);
    assert_eq!(world.stats()["storage"]["bytes_max"], 1_000_000);
    assert!(world.http_text(Api::Metrics).lines().any(|line| line == "nexus_storage_max_bytes 1000000"));
}
