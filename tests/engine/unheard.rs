//! Who asks and does not read: what is not known to be read is bounded, of one connection and of all.

use std::collections::BTreeMap;

use nexus::gateway::ConnId;
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{RELAY, World};

const LIMITS: [(&str, &str); 2] = [("RATE_LIMITS", "on"), ("MAX_UNHEARD_BYTES", "20000000")];
const MAX: usize = 20_000_000;
/// Bytes of an answer to `ASK`, less than there are with everything around the contents.
const ANSWER: usize = 3_900_000;

fn ask() -> Value {
    json!(["REQ", "all", {"kinds": [1], "limit": 99}])
}

/// Stores 39 notes of 100,000 letters.
fn fill(world: &mut World) {
    let (author, conn) = (Author::new(100), world.agent(&Author::new(100)));
    for n in 0..39 {
        let note = author.sign(1, NOW - n, &[], &padded(n));
        assert_eq!(world.ask(conn, json!(["EVENT", note]))[0][2], true);
    }
}

/// Bytes of what a connection was sent since it was last looked at, and the challenge and the end among it.
fn look(world: &mut World, conn: ConnId) -> (usize, Option<String>, Option<Value>) {
    let frames = world.take(conn);
    let of = |name: &str| frames.iter().rfind(|frame| frame[0] == name).cloned();
    let bytes = frames.iter().map(|frame| frame.to_string().len()).sum();
    (bytes, of("AUTH").map(|frame| frame[1].as_str().unwrap().to_owned()), of("(closed)"))
}

fn answer(world: &World, author: &Author, challenge: &str) -> Value {
    let tags: [&[&str]; 2] = [&["relay", RELAY], &["challenge", challenge]];
    json!(["AUTH", author.sign(22242, world.now / 1000, &tags, "")])
}

#[test]
fn who_asks_and_never_reads_waits_for_its_bytes_and_is_closed() {
    let mut world = World::new(&LIMITS);
    fill(&mut world);
    let conn = world.agent(&Author::new(1));
    let (mut sent, mut refused) = (0, 0);
    for _ in 0..150 {
        world.say(conn, ask());
        world.say(conn, json!(["COUNT", "n", {"kinds": [1]}]));
        world.say(conn, json!(["CLOSE", "nothing"]));
        world.settle();
        let frames = world.take(conn);
        sent += frames.iter().map(|frame| frame.to_string().len()).sum::<usize>();
        refused += frames.iter().filter(|frame| frame[0] == "CLOSED").count();
    }
    assert!((ANSWER..2 * ANSWER).contains(&sent), "{sent}");
    assert!(refused > 0);
    let mut closed = None;
    for second in 1..120 {
        world.pass(1);
        world.say(conn, ask());
        world.settle();
        let (bytes, _, end) = look(&mut world, conn);
        sent += bytes;
        closed = closed.or(end);
        // Its burst, 262,144 bytes a second, and the answers before and after.
        let may = 8_388_608 + second * 262_144 + 2 * 4_000_000;
        assert!(sent < may, "{sent} after {second} s");
    }
    let reason = "20000000 bytes sent and none known to be read; answer AUTH challenges as they come";
    assert_eq!(closed, Some(json!(["(closed)", 1008, reason])));
    assert!((MAX..MAX + 2 * ANSWER).contains(&sent), "{sent}");
}

#[test]
fn who_answers_fresh_challenges_is_served_at_once_and_pays_nothing_for_it() {
    let mut world = World::new(&[
        LIMITS[0],
        ("MAX_UNHEARD_BYTES", "10000000"),
        ("RATE_AGENT", "events 1/40 queries 200/200 bytes 20000/8388608"),
    ]);
    fill(&mut world);
    let (author, mut sent, mut challenges) = (Author::new(1), 0, vec![]);
    let conn = world.agent(&author);
    let began = world.now;
    for _ in 0..27 {
        world.say(conn, ask());
        world.settle();
        let (bytes, challenge, closed) = look(&mut world, conn);
        assert!(bytes > ANSWER && closed.is_none(), "{closed:?} after {sent}");
        sent += bytes;
        let proof = answer(&world, &author, challenge.as_deref().expect("it is asked whether it reads"));
        assert_eq!(world.ask(conn, proof)[0][2], true);
        challenges.extend(challenge);
    }
    assert!(sent > 100_000_000 && world.now - began < 1000);
    challenges.sort();
    challenges.dedup();
    assert_eq!(challenges.len(), 27);
}

#[test]
fn every_challenge_of_a_connection_proves_a_key_and_only_the_last_proves_reading() {
    let mut world = World::new(&LIMITS);
    fill(&mut world);
    let (alice, other) = (Author::new(1), Author::new(2));
    let (conn, elsewhere) = (world.agent(&alice), world.agent(&other));
    let ask_and_look = |world: &mut World, conn| {
        world.say(conn, ask());
        // After some time the quota pays.
        world.pass(3);
        look(world, conn)
    };
    let first = ask_and_look(&mut world, conn).1.unwrap();
    let foreign = ask_and_look(&mut world, elsewhere).1.unwrap();
    let refused = json!("invalid: challenge tag is not the challenge of this connection");
    for wrong in [foreign, first.replace('0', "1"), first[..12].to_owned(), String::new()] {
        let event = answer(&world, &alice, &wrong);
        assert_eq!(world.ask(conn, event)[0][3], refused, "{wrong}");
    }
    // The one it was opened with is good for a key, and changes nothing else: it is not asked again.
    let bob = Author::new(3);
    assert_eq!(world.prove(&bob, conn)[2], true);
    assert_eq!(ask_and_look(&mut world, conn).1, None);
    // It is asked again once it has answered, as it was sent more since; also when that answers nothing else.
    let event = answer(&world, &alice, &first);
    let frames = world.ask(conn, event);
    let second = frames.iter().find(|frame| frame[0] == "AUTH").expect("4 MB were sent since")[1].clone();
    assert_ne!(second, json!(first));
    // All of them are known when memory is lost.
    world.reset(true);
    world.settle();
    for (n, challenge) in [(4, first.as_str()), (5, second.as_str().unwrap())] {
        let event = answer(&world, &Author::new(n), challenge);
        assert_eq!(world.ask(conn, event)[0][2], true, "{challenge}");
    }
}

#[test]
fn who_has_no_bytes_left_can_still_show_that_it_reads() {
    let mut world = World::new(&[LIMITS[0], ("RATE_AGENT", "events 20/200 queries 20/200 bytes 1000/4194304")]);
    fill(&mut world);
    let author = Author::new(1);
    let conn = world.agent(&author);
    world.say(conn, ask());
    world.settle();
    let challenge = look(&mut world, conn).1.unwrap();
    let large = json!(["EVENT", author.sign(1, NOW, &[], &"x".repeat(100_000))]);
    while world.ask(conn, large.clone())[0][2] == true || world.ask(conn, json!(["CLOSE", "x"])).is_empty() {}
    let proof = answer(&world, &author, &challenge);
    assert!(world.ask(conn, proof)[0][3].as_str().unwrap().starts_with("rate-limited: "));
    world.pass(2);
    world.say(conn, ask());
    world.pass(1);
    assert!(look(&mut world, conn).0 > ANSWER);
}

#[test]
fn of_all_who_read_nothing_the_largest_goes_first() {
    let mut world = World::new(&[LIMITS[0]]);
    fill(&mut world);
    let conns: Vec<ConnId> = (1..=8).map(|n| world.agent(&Author::new(n))).collect();
    let mut closed: Vec<ConnId> = vec![];
    for at in [2, 2, 0, 1, 3, 4, 5, 6, 7] {
        assert!(closed.is_empty(), "{closed:?}");
        world.say(conns[at], ask());
        // What it is sent a second time its quota pays for.
        world.pass(if at == 2 { 3 } else { 0 });
        closed = conns.iter().copied().filter(|conn| look(&mut world, *conn).2.is_some()).collect();
    }
    assert_eq!(closed, [conns[2]]);
    // What it held is free: one more goes first only when the bound is passed again.
    assert_eq!(world.stats()["connections"]["open"], 8);
}

#[test]
fn who_listens_and_proves_nothing_is_presumed_to_read() {
    let slow = ("RATE_AGENT", "events 20/200 queries 20/200 bytes 60000/200000");
    let mut world = World::new(&[LIMITS[0], slow]);
    let (author, publisher) = (Author::new(100), world.agent(&Author::new(100)));
    let listeners: Vec<ConnId> = (1..=40).map(|n| world.agent(&Author::new(n))).collect();
    for conn in &listeners {
        world.ask(*conn, json!(["REQ", "live", {"kinds": [1]}]));
    }
    for n in 0..12 {
        let note = author.sign(1, NOW, &[], &padded(n));
        assert_eq!(world.ask(publisher, json!(["EVENT", note]))[0][2], true);
        world.pass(2);
    }
    // 48 MB in all.
    assert_eq!(world.stats()["connections"]["open"], 41);
    for conn in listeners {
        let (bytes, challenge, _) = look(&mut world, conn);
        assert!(bytes > 1_200_000 && challenge.is_some());
        // Nor does it have to pay for that before it asks.
        assert_eq!(world.ask(conn, json!(["REQ", "none", {"kinds": [2]}]))[0][0], "EOSE");
    }
}

/// Connections of one network that listen to all notes, with their keys.
fn listeners(world: &mut World, ip: &str, keys: std::ops::Range<u8>) -> Vec<(ConnId, Author)> {
    keys.map(|key| {
        let (author, conn) = (Author::new(key), world.open_from(ip).unwrap());
        assert_eq!(world.prove(&author, conn)[2], true);
        world.ask(conn, json!(["REQ", "live", {"kinds": [1]}]));
        (conn, author)
    })
    .collect()
}

#[test]
fn what_the_connections_of_one_network_may_not_read_is_bounded_however_slowly_they_are_fed() {
    let mut world = World::new(&LIMITS);
    let (author, publisher) = (Author::new(250), world.agent(&Author::new(250)));
    let deaf = listeners(&mut world, "192.0.2.1", 1..61);
    let honest = listeners(&mut world, "192.0.2.2", 101..161);
    let alone = listeners(&mut world, "192.0.2.3", 201..202);
    let (mut sent, mut closed) = (BTreeMap::new(), vec![]);
    // 600,000 bytes to each, at less than it is presumed to read.
    for n in 0..12 {
        let note = author.sign(1, NOW, &[], &padded(n)[..50_000]);
        assert_eq!(world.ask(publisher, json!(["EVENT", note]))[0][2], true);
        world.pass(1);
        for (conn, author) in &honest {
            let (_, challenge, end) = look(&mut world, *conn);
            assert_eq!(end, None);
            if let Some(challenge) = challenge {
                let proof = answer(&world, author, &challenge);
                assert_eq!(world.ask(*conn, proof)[0][2], true);
            }
        }
        for (conn, _) in deaf.iter().chain(&alone).filter(|(conn, _)| !closed.contains(conn)).collect::<Vec<_>>() {
            let (bytes, _, end) = look(&mut world, *conn);
            *sent.entry(*conn).or_insert(0) += bytes;
            if let Some(end) = end {
                let reason = "20000000 bytes to this network sent and none known to be read; answer AUTH challenges as they come";
                assert_eq!(end, json!(["(closed)", 1008, reason]));
                closed.push(*conn);
                sent.remove(conn);
            }
        }
        let held: usize = sent.values().sum();
        assert!(held < MAX + (4 << 20) + 1_000_000, "{held} bytes are held for one network after {n}");
    }
    assert!(!closed.is_empty() && !closed.contains(&alone[0].0), "{}", closed.len());
    assert_eq!(world.stats()["connections"]["open"], 122 - closed.len());
}

#[test]
fn a_network_that_is_trusted_is_not_held_to_the_bound_of_one() {
    let mut world = World::new(&[LIMITS[0], LIMITS[1], ("TRUSTED_NETWORKS", "192.0.2.0/24")]);
    let (author, publisher) = (Author::new(250), world.agent(&Author::new(250)));
    listeners(&mut world, "192.0.2.1", 1..61);
    for n in 0..8 {
        let note = author.sign(1, NOW, &[], &padded(n)[..50_000]);
        assert_eq!(world.ask(publisher, json!(["EVENT", note]))[0][2], true);
        world.pass(1);
    }
    assert_eq!(world.stats()["connections"]["open"], 61);
}

#[test]
fn a_host_that_sees_what_is_written_is_asked_instead_of_the_client() {
    for rates in ["on", "off"] {
        let mut world = World::native(&[("RATE_LIMITS", rates), LIMITS[1]]);
        fill(&mut world);
        let conn = world.agent(&Author::new(1));
        world.marks.clear();
        for n in 0..20 {
            world.say(conn, json!(["REQ", n.to_string(), {"kinds": [1], "limit": 99}]));
        }
        world.settle();
        let (bytes, challenge, _) = look(&mut world, conn);
        assert!((ANSWER..2 * ANSWER).contains(&bytes) && challenge.is_none(), "{bytes}");
        assert_eq!(world.marks, [conn]);
        // A message says nothing, the host does.
        world.say(conn, json!(["CLOSE", "nothing"]));
        world.pass(60);
        assert_eq!(world.frames(conn), 0);
        let mut sent = bytes;
        while let Some(conn) = world.marks.pop() {
            world.input(Input::Taken { conn });
            world.settle();
            let (bytes, _, closed) = look(&mut world, conn);
            assert!(bytes < 2 * ANSWER && closed.is_none());
            sent += bytes;
        }
        assert!(sent > 20 * ANSWER, "{sent}");
    }
}

/// 100,000 letters.
fn padded(n: u64) -> String {
    format!("{n:02}{}", "x".repeat(99_998))
}
