//! After any groups the tables agree with each other, and memory with the tables.

use nexus::gateway::ConnId;
use nexus::market::job::NIP90;
use nexus::nostr::{Event, Filter, PublicKey, Values};
use nexus::store::read::{self, Viewer};
use serde_json::json;

use crate::common::Database;
use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::world::World;

/// A request takes two seconds to come; its customer vanishes a second after he signed it.
/// Whatever comes together, the index has the entries of what is stored and no others, jobs hold as many events as they say,
/// and what was deleted is gone.
#[test]
fn the_tables_agree_after_any_groups() {
    let rounds = std::env::var("NEXUS_AUDIT").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let (mut asked, mut from_memory) = (0, 0);
    for seed in 0..rounds {
        let chance = &mut Chance::new(seed);
        let mut world = if seed % 2 == 0 { World::open_relay() } else { World::native(&[("AUTH_REQUIRED", "false")]) };
        world.awake_for(200);
        let conn = world.client();
        let authors: Vec<Author> = (1..=6).map(Author::new).collect();
        let readers: Vec<(ConnId, Values<PublicKey>)> = (0..3)
            .map(|n| {
                (
                    if n == 0 { world.client() } else { world.agent(&authors[n - 1]) },
                    authors[..n].iter().skip(n.saturating_sub(1)).map(Author::key).collect(),
                )
            })
            .collect();
        let (mut events, mut requests): (Vec<Event>, Vec<Event>) = Default::default();
        for n in 0..160 {
            let author = chance.pick(&authors);
            let text = n.to_string();
            let at = NOW + chance.below(3);
            let event = match chance.below(16) {
                0..3 => {
                    let encrypted: &[&[&str]] = if chance.one_in(2) { &[&["encrypted"]] } else { &[&["t", "x"]] };
                    let request = author.sign(5050, at, encrypted, &text);
                    requests.push(request.clone());
                    if chance.one_in(2) {
                        continue;
                    }
                    request
                }
                3..8 if !requests.is_empty() => {
                    let request = chance.pick(&requests).clone();
                    let long = "x".repeat(80);
                    let many = chance.below(14);
                    let names: Vec<String> = (0..many).map(|m| format!("{long}{m}")).collect();
                    let name = *chance.pick(&["t", "t", "T", "note", "é", "\0", "p"]);
                    let more: Vec<[&str; 2]> = names.iter().map(|value| [name, value.as_str()]).collect();
                    let state: &[&str] = &["status", *chance.pick(&["processing", "error", "odd"])];
                    let mut more: Vec<&[&str]> = more.iter().map(|tag| tag.as_slice()).collect();
                    more.push(state);
                    let key = chance.pick(&authors).key().to_string();
                    let (id, customer) = (request.id.to_string(), request.pubkey.to_string());
                    let other: &[&str] = &["p", &key];
                    let tags: &[&[&str]] = &[&["e", &id], &["p", &customer]];
                    let tags = match chance.below(6) {
                        0 => [&[other], tags, &more].concat(),
                        1 => [tags, &[other], &more].concat(),
                        _ => [tags, &more].concat(),
                    };
                    author.sign(*chance.pick(&[6050, 7000]), at, &tags, &text)
                }
                8..11 if !events.is_empty() => {
                    let some: Vec<Event> = (0..1 + chance.below(4)).map(|_| chance.pick(&events).clone()).collect();
                    let mine = some[0].pubkey;
                    let by = authors.iter().find(|a| a.key() == mine).filter(|_| !chance.one_in(3)).unwrap_or(author);
                    by.delete(&some)
                }
                11 => {
                    let key = chance.pick(&authors).key().to_string();
                    author.sign(1059, at, &[&["p", &key], &["p", &key], &["t", "x"]], &text)
                }
                12 => author.sign(30_000, at, &[&["d", *chance.pick(&["a", "b"])], &["t", &text]], &text),
                13 if chance.one_in(6) => author.sign(62, at, &[&["relay", "ALL_RELAYS"]], &text),
                14 if !events.is_empty() => {
                    let id = chance.pick(&events).id.to_string();
                    author.sign(1985, at, &[&["L", "quality"], &["l", "good", "quality"], &["e", &id]], &text)
                }
                _ => {
                    let until = (NOW + 40 + chance.below(50)).to_string();
                    author.sign(1, at, &[&["expiration", &until], &["t", "y"]], &text)
                }
            };
            events.push(event);
        }
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min(1 + chance.below(30) as usize));
            rest = others;
            let mut some: Vec<&Event> = some.iter().collect();
            while chance.one_in(3) {
                some.push(chance.pick(&events));
            }
            some.iter().for_each(|event| world.say(conn, json!(["EVENT", event])));
            if chance.one_in(4) {
                world.run_oldest(true).into_iter().for_each(|answer| world.input(answer));
            }
            if seed % 2 == 0 && chance.one_in(5) {
                world.reset(chance.one_in(2));
            }
            world.settle();
            if chance.one_in(6) {
                world.pass(3700);
                // What is signed is not signed too long ago.
                world.now = NOW * 1000 + chance.below(30_000);
            }
            audit(&mut world, &format!("seed {seed}"));
            for _ in 0..6 {
                let event = chance.pick(&events);
                let request = chance.pick(&requests);
                let mut filter = match chance.below(6) {
                    0 => json!({"ids": [event.id, chance.pick(&events).id]}),
                    1 => json!({"kinds": [6050, 7000], "#e": [request.id]}),
                    2 => {
                        json!({"kinds": [6050, 7000], "#e": [request.id, chance.pick(&requests).id], "#p": [request.pubkey]})
                    }
                    3 => json!({"since": NOW + chance.below(4)}),
                    4 => json!({"kinds": [event.kind], "authors": [event.pubkey], "limit": 1 + chance.below(3)}),
                    _ => json!({"#t": ["x", "y", "a"], "since": NOW + chance.below(2), "limit": 4}),
                };
                if chance.one_in(4) {
                    filter["until"] = json!(NOW + chance.below(3));
                }
                let at = chance.below(readers.len() as u64) as usize;
                let (reader, keys) = readers[at].clone();
                world.say(reader, json!(["REQ", "q", filter]));
                from_memory += u64::from(world.waiting() == (0, 0));
                asked += 1;
                world.settle();
                let frames = world.take(reader);
                if frames.is_empty() {
                    panic!(
                        "seed {seed} {filter} event kind {} waiting {:?} timer {:?} now {} reader {at} log {:?}",
                        event.kind,
                        world.waiting(),
                        world.timer,
                        world.now,
                        world.log.iter().rev().take(3).collect::<Vec<_>>()
                    );
                }
                if frames.last().unwrap()[0] == "CLOSED" {
                    assert_eq!(event.kind, 1059, "{frames:?}");
                    continue;
                }
                world.say(reader, json!(["CLOSE", "q"]));
                let mut found: Vec<String> = frames
                    .iter()
                    .filter(|f| f[0] == "EVENT")
                    .map(|f| f[2]["id"].as_str().unwrap().to_owned())
                    .collect();
                let parsed = Filter::parse(&filter.to_string()).unwrap();
                let kept = world.config.retention.of_jobs(&NIP90);
                let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &kept, now: world.now / 1000 };
                let rows =
                    world.db.run(&read::newest(&parsed, parsed.limit.unwrap_or(500), 1_000_000, &viewer)).unwrap();
                let mut events: Vec<_> =
                    rows.into_iter().flat_map(|rows| read::decode(rows).unwrap().unwrap()).collect();
                events.sort_by_key(|event| (u64::MAX - event.created_at, event.id));
                events.truncate(parsed.limit.unwrap_or(500) as usize);
                let mut stored: Vec<String> = events.into_iter().map(|event| event.id.to_string()).collect();
                found.dedup();
                stored.dedup();
                assert_eq!(found, stored, "seed {seed}: {filter}, {} keys", keys.len());
            }
        }
    }
    println!("{asked} asked, {from_memory} of memory");
}

fn audit(world: &mut World, what: &str) {
    let none = |world: &World, sql: &str| assert_eq!(world.column(sql), [""; 0], "{what}: {sql}");
    none(world, "SELECT seq || '' FROM tags WHERE seq NOT IN (SELECT seq FROM events)");
    none(
        world,
        "SELECT e.seq || '' FROM tags AS t JOIN events AS e ON e.seq = t.seq WHERE t.shelf <> e.shelf OR t.tie <> e.tie \
         OR t.created_at <> e.created_at OR t.expires_at IS NOT e.expires_at",
    );
    none(
        world,
        "SELECT seq || '' FROM events WHERE place IS NOT NULL GROUP BY pubkey, kind, place HAVING count(*) > 1",
    );
    none(world, "SELECT hex(id) FROM jobs AS j WHERE held <> (SELECT count(*) FROM events AS e WHERE e.job = j.id)");
    none(world, "SELECT hex(job) FROM events WHERE job IS NOT NULL AND job NOT IN (SELECT id FROM jobs)");
    none(
        world,
        "SELECT hex(id) FROM events WHERE kind NOT IN (5, 62) AND lower(hex(pubkey)) || ' ' || lower(hex(id)) IN (SELECT key FROM deletions)",
    );
    none(
        world,
        "SELECT lower(hex(d.customer)) FROM dealings AS d JOIN deletions AS t ON t.key = lower(hex(d.customer)) || ' *' WHERE t.until > 1900000000",
    );
    none(
        world,
        "SELECT t.seq || '' FROM tags AS t JOIN events AS e ON e.seq = t.seq WHERE substr(hex(t.tag), 1, 2) = '3E' AND e.shelf < 65536",
    );
    none(
        world,
        "SELECT e.seq || '' FROM events AS e JOIN jobs AS j ON j.id = e.job WHERE j.encrypted = 1 AND e.kind <> j.kind AND e.shelf < 65536",
    );
    none(world, "SELECT v.seq || '' FROM votes AS v WHERE v.seq NOT IN (SELECT seq FROM events)");
    // Each event's own entries.
    for row in world.column("SELECT seq || ' ' || (SELECT count(*) FROM tags AS t WHERE t.seq = e.seq) || ' ' || ifnull(json_array_length(extra), 0) || ' ' || lower(hex(ifnull(job, x''))) || ' ' || replace(tags, char(1), lower(hex(ifnull(job, x'')))) FROM events AS e") {
        let mut parts = row.splitn(5, ' ');
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        let (seq, entries, extra) = (number(), number(), number());
        let tags: Vec<Vec<String>> = serde_json::from_str(parts.nth(1).unwrap()).unwrap();
        let own: std::collections::BTreeSet<_> = tags
            .iter()
            .filter(|tag| tag.len() > 1 && tag[0].len() == 1 && tag[0].as_bytes()[0].is_ascii_alphabetic())
            .map(|tag| (&tag[0], &tag[1]))
            .collect();
        assert_eq!(entries, own.len() + extra, "{what}: {seq}");
    }
}
