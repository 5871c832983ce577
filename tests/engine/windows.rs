//! Answers from the window are those of a relay that has nothing in memory: frame by frame, for filters of all sorts.

use nexus::gateway::ConnId;
use nexus::nostr::{Event, PublicKey};
use nexus::seam::Host;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::sqlite::Sqlite;
use crate::common::world::{World, config};

/// What is asked is answered by another relay over a copy of the database, which has nothing in memory.
fn copy(world: &World, name: &str) -> World {
    let path = std::env::temp_dir().join(format!("nexus-windows-{}-{name}.sqlite", std::process::id()));
    let _ = std::fs::remove_file(&path);
    world.db.0.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let mut other = World::over(Sqlite(db), Host::OBJECT, config(&[("AUTH_REQUIRED", "false")]));
    let _ = std::fs::remove_file(&path);
    other.now = world.now;
    other
}

fn filter(chance: &mut Chance, authors: &[Author], published: &[Event], requests: &[Event], now: u64) -> Value {
    let mut filter = json!({});
    const KINDS: [u16; 14] = [1, 1, 4, 1059, 5050, 6050, 7000, 0, 31_990, 10_002, 30_000, 5, 1985, 7000];
    let some = |chance: &mut Chance| 1 + chance.below(3);
    if chance.one_in(2) {
        let kinds: Vec<u16> = (0..some(chance)).map(|_| *chance.pick(&KINDS)).collect();
        filter["kinds"] = json!(kinds);
    }
    if chance.one_in(5) {
        let keys: Vec<PublicKey> = (0..some(chance)).map(|_| chance.pick(authors).key()).collect();
        filter["authors"] = json!(keys);
    }
    if chance.one_in(8) {
        filter["#p"] = json!([chance.pick(authors).key()]);
    }
    if chance.one_in(6) && !requests.is_empty() {
        let ids: Vec<String> = (0..some(chance)).map(|_| chance.pick(requests).id.to_string()).collect();
        filter["#e"] = json!(ids);
        if chance.one_in(2) {
            filter["kinds"] = json!([6050, 7000]);
        }
    }
    if chance.one_in(12) {
        filter["#t"] = json!(["a"]);
    }
    if chance.one_in(12) && !published.is_empty() {
        let ids: Vec<String> = (0..some(chance)).map(|_| chance.pick(published).id.to_string()).collect();
        filter["ids"] = json!(ids);
    }
    let at = |chance: &mut Chance| now - 20 + chance.below(30);
    if chance.one_in(3) {
        filter["since"] = json!(at(chance));
    }
    if chance.one_in(4) {
        filter["until"] = json!(at(chance));
    }
    if chance.one_in(2) {
        filter["limit"] = json!(*chance.pick(&[0, 1, 2, 5, 20, 99, 100, 101, 104, 120, 125, 126, 200, 500]));
    }
    filter
}

fn event(
    chance: &mut Chance,
    authors: &[Author],
    published: &[Event],
    requests: &mut Vec<Event>,
    now: u64,
    text: &str,
) -> Option<Event> {
    let author = chance.pick(authors).clone();
    let other = chance.pick(authors).key().to_string();
    let third = chance.pick(authors).key().to_string();
    let at = match chance.below(12) {
        0 => now - chance.below(4000),
        1 => now + chance.below(60),
        _ => now - chance.below(4),
    };
    let p = ["p", other.as_str()];
    let q = ["p", third.as_str()];
    let t = ["t", *chance.pick(&["a", "b", "\u{1}"])];
    let soon = (now + 1 + chance.below(20)).to_string();
    let mut tags: Vec<&[&str]> = Vec::new();
    if chance.one_in(3) {
        tags.push(&t);
    }
    let gone = ["expiration", soon.as_str()];
    if chance.one_in(10) {
        tags.push(&gone);
    }
    let owner = |key: &PublicKey| authors.iter().find(|author| author.key() == *key).unwrap().clone();
    Some(match chance.below(24) {
        0..5 => {
            let encrypted: &[&str] = &["encrypted"];
            if chance.one_in(3) {
                tags.push(encrypted);
            }
            if chance.one_in(3) {
                tags.push(&p);
            }
            let request = author.sign(5050, at, &tags, text);
            requests.push(request.clone());
            if chance.one_in(3) {
                return None;
            }
            request
        }
        5..11 if !requests.is_empty() => {
            let request = requests[requests.len() - 1 - chance.below(requests.len().min(12) as u64) as usize].clone();
            let (id, customer) = (request.id.to_string(), request.pubkey.to_string());
            let (e, c) = (["e", id.as_str()], ["p", customer.as_str()]);
            let mut all: Vec<&[&str]> = vec![&e];
            if chance.one_in(6) {
                all.push(&q);
            }
            all.push(&c);
            if chance.one_in(6) {
                all.push(&p);
            }
            let encrypted: &[&str] = &["encrypted"];
            if chance.one_in(6) {
                all.push(encrypted);
            }
            all.extend(&tags);
            let by = if chance.one_in(8) { owner(&request.pubkey) } else { author };
            if chance.one_in(2) {
                all.push(&["status", "processing"]);
                by.sign(7000, at, &all, text)
            } else {
                by.sign(6050, at, &all, text)
            }
        }
        11 if !requests.is_empty() => {
            requests[requests.len() - 1 - chance.below(requests.len().min(12) as u64) as usize].clone()
        }
        12 | 13 if !published.is_empty() => {
            let target = chance.pick(published).clone();
            let by = if target.kind == 1059 && chance.one_in(2) { author } else { owner(&target.pubkey) };
            by.sign(5, at, &[&["e", &target.id.to_string()]], text)
        }
        14 => {
            author.sign(5, at, &[&["a", &format!("{}:{}:", chance.pick(&["0", "10002", "30000"]), author.key())]], text)
        }
        15 if chance.one_in(5) => author.sign(62, at, &[&["relay", "ALL_RELAYS"]], ""),
        16 => {
            tags.extend([&p as &[&str], &q]);
            author.sign(*chance.pick(&[4, 1059]), at, &tags, text)
        }
        17 => author.sign(*chance.pick(&[0, 10_002]), at, &tags, text),
        18 => {
            const PLACES: [&[&str]; 3] = [&["d", ""], &["d", "x"], &["k", "5050"]];
            tags.push(PLACES[chance.below(3) as usize]);
            author.sign(*chance.pick(&[30_000, 31_990]), at, &tags, if chance.one_in(2) { "" } else { "{}" })
        }
        19 if !published.is_empty() => {
            let target = chance.pick(published).id.to_string();
            author.sign(1985, at, &[&["L", "quality"], &["l", "good", "quality"], &["e", &target], &p], text)
        }
        _ => author.sign(1, at, &tags, text),
    })
}

/// All frames that a REQ is answered with, and whether the store was asked.
fn answer(world: &mut World, conn: ConnId, filters: &[Value]) -> (Vec<Value>, bool) {
    world.take(conn);
    world.say(conn, json!([vec![json!("REQ"), json!("q")], filters.to_vec()].concat()));
    let of_store = world.waiting() != (0, 0);
    world.settle();
    let frames = world.take(conn).into_iter().map(|f| if f[0] == "EVENT" { f[2]["id"].clone() } else { f });
    let frames = frames.collect();
    world.say(conn, json!(["CLOSE", "q"]));
    (frames, of_store)
}

fn windows(seed: u64, steps: u64, crowd: bool, large: u64) -> u64 {
    use crate::common::world::Fault;
    let chance = &mut Chance::new(seed);
    let mut world = World::open_relay();
    world.awake_for(200);
    let authors: Vec<Author> = (1..7).map(Author::new).collect();
    let writer = world.client();
    let readers = |world: &mut World| {
        let one = world.agent(&authors[0]);
        let two = world.agent(&authors[1]);
        world.prove(&authors[2], two);
        world.take(two);
        [world.client(), one, two]
    };
    let conns = readers(&mut world);
    for n in 0..large {
        world.ask(writer, json!(["EVENT", Author::new(9).sign(1, NOW - 2, &[], &format!("{n:039890}"))]));
    }
    let (mut published, mut requests): (Vec<Event>, Vec<Event>) = Default::default();
    let mut from_memory = 0;
    for step in 0..steps {
        let now = world.now / 1000;
        let count = if crowd && chance.one_in(4) { 130 } else { 1 + chance.below(6) };
        for n in 0..count {
            let text = format!("{step} {n}");
            let new = if count > 100 {
                let author = chance.pick(&authors).clone();
                Some(author.sign(
                    *chance.pick(&[1, 1, 1, 4]),
                    now - chance.below(2),
                    &[&["p", &authors[0].key().to_string()]],
                    &text,
                ))
            } else {
                event(chance, &authors, &published, &mut requests, now, &text)
            };
            let Some(new) = new else { continue };
            if chance.one_in(40) {
                world.faults.push_back(if chance.one_in(2) { Fault::Fails } else { Fault::LandsAndFails });
            }
            world.say(writer, json!(["EVENT", new]));
            published.push(new);
            if count < 100 && chance.one_in(3) {
                world.settle();
            }
        }
        world.settle();
        world.take(writer);
        if chance.one_in(4) {
            world.pass(chance.below(15));
        }
        if !chance.one_in(3) {
            continue;
        }
        world.now = world.now / 1000 * 1000 + 100;
        let mut other = copy(&world, &seed.to_string());
        let others = readers(&mut other);
        for _ in 0..12 {
            let now = world.now / 1000;
            let some = if chance.one_in(4) { 2 } else { 1 };
            let filters: Vec<Value> = (0..some).map(|_| filter(chance, &authors, &published, &requests, now)).collect();
            let who = chance.below(3) as usize;
            other.now = now * 1000 + 100;
            world.now = now * 1000 + 100;
            let (here, of_store) = answer(&mut world, conns[who], &filters);
            other.now = now * 1000 + 100;
            let (there, asked) = answer(&mut other, others[who], &filters);
            from_memory += u64::from(asked && !of_store);
            assert_eq!(
                here,
                there,
                "seed {seed}, step {step}, reader {who}, {}, of the store: {of_store}",
                json!(filters)
            );
        }
    }
    from_memory
}

#[test]
fn what_memory_answers_a_relay_without_memory_answers() {
    let from_memory: u64 = (0..8).map(|seed| windows(seed, 90, false, 0)).sum();
    assert!(from_memory > 200, "{from_memory}");
}

#[test]
fn pages_of_memory_are_those_of_a_relay_without_memory() {
    let from_memory: u64 = (1000..1003).map(|seed| windows(seed, 60, true, 0)).sum();
    assert!(from_memory > 200, "{from_memory}");
}

#[test]
fn a_window_that_is_full_answers_what_a_relay_without_memory_answers() {
    let from_memory: u64 = windows(2000, 60, false, 125);
    assert!(from_memory > 0, "{from_memory}");
}
