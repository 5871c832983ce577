//! What the ledger remembers is what the store says, whatever order and form events come in.

use std::collections::BTreeMap;

use nexus::gateway::ConnId;
use nexus::ledger::{Memory, Work};
use nexus::nostr::{Event, PublicKey};
use nexus::store::counts::Flush;
use nexus::store::{facts, write};
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW, new_event};
use crate::common::ledger::{carry_out, facts_for, for_ever, group, position};
use crate::common::sqlite::Sqlite;
use crate::common::world::{World, config};
use crate::common::{Database, write_after};

fn ids(world: &mut World, conn: ConnId, filter: &Value) -> Vec<String> {
    let frames = world.ask(conn, json!(["REQ", "q", filter]));
    assert_eq!(frames.last().unwrap()[0], "EOSE", "{filter}: {frames:?}");
    world.say(conn, json!(["CLOSE", "q"]));
    frames.iter().filter(|f| f[0] == "EVENT").map(|f| f[2]["id"].as_str().unwrap().to_owned()).collect()
}

/// An answer that names another key before the customer came before its encrypted request.
#[test]
fn an_early_answer_is_for_the_same_readers_in_memory_and_in_the_store() {
    let mut world = World::open_relay();
    world.awake_for(200);
    let (customer, provider, other) = (Author::new(2), Author::new(3), Author::new(4));
    let request = customer.sign(5050, NOW, &[&["encrypted"]], "");
    let (id, first, second) = (request.id.to_string(), other.key().to_string(), customer.key().to_string());
    let tags: &[&[&str]] = &[&["e", &id], &["p", &first], &["p", &second], &["status", "processing"]];
    let answer = provider.sign(7000, NOW, tags, "secret");
    let conn = world.client();
    world.publish(conn, &answer);
    world.publish(conn, &request);
    let conns = [&customer, &provider, &other].map(|author| world.agent(author));
    let guest = world.client();
    let all = [conns[0], conns[1], conns[2], guest];
    let filter = json!({"ids": [answer.id]});
    let before: Vec<usize> = all.iter().map(|conn| ids(&mut world, *conn, &filter).len()).collect();
    world.reset(true);
    world.settle();
    all.iter().for_each(|conn| drop(world.take(*conn)));
    let after: Vec<usize> = all.iter().map(|conn| ids(&mut world, *conn, &filter).len()).collect();
    assert_eq!(before, after, "customer, provider, another key, a guest");
}

/// Whoever comes first, an answer that names another key first belongs to the job or it does not.
#[test]
fn an_answer_that_names_another_key_first_ends_the_same_in_any_order() {
    let held = |early: bool| {
        let mut world = World::open_relay();
        let conn = world.client();
        let (customer, provider, other) = (Author::new(2), Author::new(3), Author::new(4));
        let request = customer.sign(5050, NOW, &[], "");
        let (id, first, second) = (request.id.to_string(), other.key().to_string(), customer.key().to_string());
        let tags: &[&[&str]] = &[&["e", &id], &["p", &first], &["p", &second], &["status", "processing"]];
        let answer = provider.sign(7000, NOW, tags, "");
        let mut events = [&request, &answer];
        if early {
            events.reverse();
        }
        events.into_iter().for_each(|event| drop(world.publish(conn, event)));
        world.column("SELECT cast(held AS TEXT) FROM jobs")
    };
    assert_eq!(held(true), held(false));
}

/// The operator keeps answers for longer than before: those that are served yet are hidden when their request is encrypted.
#[test]
fn answers_that_are_kept_longer_are_still_held_to_a_late_request() {
    let settings = |kept: &'static str| [("AUTH_REQUIRED", "false"), ("RETAIN_FEEDBACK", kept)];
    let mut world = World::new(&settings("3600"));
    let conn = world.client();
    let (customer, provider) = (Author::new(2), Author::new(3));
    let request = customer.sign(5050, NOW + 3700, &[&["encrypted"]], "");
    let answer = provider.answer(7000, &request, &[&["status", "processing"]]);
    world.publish(conn, &answer);
    world.now += 3_500_000;
    world.restart(config(&settings("2592000")));
    world.now += 200_000;
    world.take(conn);
    let filter = json!({"ids": [answer.id]});
    assert_eq!(ids(&mut world, conn, &filter).len(), 1, "it is served");
    assert_eq!(world.publish(conn, &request)[2], true);
    assert_eq!(ids(&mut world, conn, &filter).len(), 0, "it is for the parties alone");
}

/// What a memory says of what is needed is what the database says; what it assumes not to be there is not there.
fn check_memory(db: &mut Sqlite, memory: &Memory, work: &Work, what: &str) -> u64 {
    let mut needed = work.needed();
    needed.is_likely = false;
    let Ok((remembered, assumed)) = memory.facts(needed) else { return 0 };
    let stored = facts_for(db, work);
    for (id, job) in &remembered.jobs {
        assert_eq!(Some(job), stored.jobs.get(id), "{what}: job {id}");
    }
    for (key, provider) in &remembered.providers {
        assert_eq!(Some(provider), stored.providers.get(key), "{what}: provider {key}");
    }
    for (pair, dealing) in &remembered.dealings {
        assert_eq!(Some(dealing), stored.dealings.get(pair), "{what}: dealing {pair:?}");
    }
    for (key, served) in &remembered.served {
        let known = stored.served.get(key).cloned().unwrap_or_default();
        assert_eq!(served.known, known.known, "{what}: {key} is known");
        assert!(served.known || served.by == known.by, "{what}: {key}: {served:?}, {known:?}");
    }
    let mut surprised = assumed.jobs.iter().any(|id| stored.jobs.contains_key(id));
    surprised |= assumed.ids.iter().any(|id| stored.events.contains_key(id));
    surprised |=
        assumed.customers.iter().any(|key| stored.served.get(key).is_some_and(|s| s.known || !s.by.is_empty()));
    let sure: Vec<_> = facts::assume(&assumed).into_iter().collect();
    let found = db.run(&sure).is_err();
    if surprised {
        assert!(found, "{what}: what is there is found");
    }
    1
}

fn random_market(seed: u64, bytes: usize, people: u32, steps: usize, at_once: u64, vanish: bool) -> u64 {
    let chance = &mut Chance::new(seed);
    let mut db = Sqlite::new();
    let mut memory = Memory::new(bytes);
    let authors: Vec<Author> = (1..=people).map(Author::numbered).collect();
    let by_key: BTreeMap<PublicKey, Author> = authors.iter().map(|a| (a.key(), a.clone())).collect();
    let mut requests: Vec<Event> = Vec::new();
    let mut published: Vec<Event> = Vec::new();
    let mut compared = 0;
    for step in 0..steps {
        let mut events: Vec<Event> = Vec::new();
        let (mut likely, mut plain) = (Vec::new(), Vec::new());
        for n in 0..1 + chance.below(at_once) {
            let author = chance.pick(&authors).clone();
            let text = format!("{step} {n}");
            let at = NOW + step as u64;
            let event = match chance.below(20) {
                0..6 => {
                    let encrypted: &[&[&str]] = if chance.one_in(5) { &[&["encrypted"]] } else { &[] };
                    let request = author.sign(5050, at, encrypted, &text);
                    requests.push(request.clone());
                    if chance.one_in(4) {
                        continue;
                    }
                    request
                }
                6..16 if !requests.is_empty() => {
                    let from = requests.len().saturating_sub(3 * people as usize);
                    let request = requests[from + chance.below((requests.len() - from) as u64) as usize].clone();
                    let (kind, status): (u16, &[&[&str]]) = match chance.below(4) {
                        0 => (7000, &[&["status", "error"]]),
                        1 => (7000, &[&["status", "processing"]]),
                        _ => (6050, &[]),
                    };
                    let count = [&["n", text.as_str()] as &[&str]];
                    author.answer(kind, &request, &[status, &count].concat())
                }
                16 if !requests.is_empty() => chance.pick(&requests).clone(),
                17 if !published.is_empty() => {
                    let target = chance.pick(&published).clone();
                    by_key[&target.pubkey].sign(5, at, &[&["e", &target.id.to_string()]], &text)
                }
                18 if vanish && chance.one_in(3) => author.sign(62, at, &[&["relay", "ALL_RELAYS"]], ""),
                _ => author.sign(1, at, &[], &text),
            };
            if !new_event(&event).deletes.is_empty() { likely.push(event) } else { plain.push(event) }
        }
        for (n, list) in [plain, likely].into_iter().enumerate() {
            events.clear();
            for event in list {
                if !events.iter().any(|e| e.id == event.id) {
                    events.push(event);
                }
            }
            if events.is_empty() {
                continue;
            }
            let work = group(&events.iter().collect::<Vec<_>>());
            let what = format!("seed {seed}, step {step}.{n}");
            compared += check_memory(&mut db, &memory, &work, &what);
            published.extend(events.iter().cloned());
            // As the log does it.
            let assumed = memory.facts(work.needed());
            let stored = facts_for(&mut db, &work);
            let before = position(&mut db);
            let write = write_after(&before.totals);
            let by_store = work.decide(before.totals.last_seq, stored.clone());
            if let Ok((remembered, assumed)) = assumed
                && db.run(&facts::assume(&assumed).into_iter().collect::<Vec<_>>()).is_ok()
            {
                let by_memory = work.decide(before.totals.last_seq, remembered);
                assert_eq!(by_memory.outcomes, by_store.outcomes, "{what}");
                assert_eq!(by_memory.changes.jobs, by_store.changes.jobs, "{what}");
                assert_eq!(by_memory.changes.providers, by_store.changes.providers, "{what}");
                assert_eq!(by_memory.changes.dealings, by_store.changes.dealings, "{what}");
                assert_eq!(by_memory.changes.known, by_store.changes.known, "{what}");
                assert_eq!(by_memory.changes.counts, by_store.changes.counts, "{what}");
                assert_eq!(by_memory.events, by_store.events, "{what}");
                compared += 1;
            } else {
                memory.learn(&stored);
            }
            let (statements, _) = write::statements(&by_store.changes, &before, &Flush::default(), &for_ever(), &write);
            if !by_store.changes.is_empty() {
                db.run(&statements).unwrap();
            }
            memory.follow(&by_store.changes);
        }
        if chance.one_in(6) {
            let seqs: Vec<u64> =
                db.0.prepare("SELECT seq FROM events ORDER BY seq LIMIT 5")
                    .unwrap()
                    .query_map([], |row| row.get::<_, i64>(0))
                    .unwrap()
                    .map(|seq| seq.unwrap() as u64)
                    .collect();
            let committed = carry_out(&mut db, &Work::Removal(seqs, Default::default()));
            memory.learn(&Default::default());
            memory.follow(&committed.decision.changes);
        }
    }
    compared
}

#[test]
fn a_memory_says_what_the_database_says() {
    let mut compared = 0;
    for seed in 0..5 {
        compared += random_market(seed, 1 << 20, 12, 150, 8, false);
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn a_small_memory_says_what_the_database_says() {
    for seed in 100..105 {
        random_market(seed, 30_000, 30, 200, 8, false);
    }
}

#[test]
fn a_memory_of_keys_that_vanish_says_what_the_database_says() {
    for seed in 200..205 {
        random_market(seed, 1 << 20, 10, 200, 8, true);
    }
}

/// A provider's answer came before its request, and the provider vanishes with the request, or while it is removed.
#[test]
fn nothing_is_noted_of_a_provider_that_vanished_before_the_request_came() {
    for together in [true, false] {
        let mut world = World::open_relay();
        let conn = world.client();
        let (customer, provider) = (Author::new(2), Author::new(3));
        let request = customer.sign(5050, NOW, &[], "");
        world.publish(conn, &provider.answer(6050, &request, &[]));
        let vanish = provider.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
        if together {
            world.together(conn, &[&vanish, &request]);
        } else {
            world.say(conn, json!(["EVENT", vanish]));
            while world.column("SELECT cast(count(*) AS TEXT) FROM vanishing") == ["0"] {
                let at = world.waiting().0 > 0;
                let answer = world.run_oldest(at).unwrap();
                world.input(answer);
            }
            world.say(conn, json!(["EVENT", request]));
            world.commit_all();
            world.settle();
        }
        let key = provider.key();
        for table in ["providers WHERE pubkey", "dealings WHERE provider", "jobs WHERE first"] {
            let known = world.column(&format!("SELECT cast(count(*) AS TEXT) FROM {table} = unhex('{key}')"));
            assert_eq!(known, ["0"], "{table}, in one group: {together}");
        }
    }
}

/// Who vanished is not noted as a customer again by answers to the job it had asked.
#[test]
fn nothing_is_noted_of_a_customer_that_vanished_before_an_answer_came() {
    for together in [true, false] {
        let mut world = World::open_relay();
        let conn = world.client();
        let (customer, provider, first) = (Author::new(2), Author::new(3), Author::new(4));
        let request = customer.sign(5050, NOW, &[], "");
        world.publish(conn, &request);
        // An event of the job that stays.
        world.publish(conn, &first.answer(7000, &request, &[&["status", "processing"]]));
        let vanish = customer.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
        let answer = provider.answer(6050, &request, &[]);
        if together {
            world.together(conn, &[&vanish, &answer]);
        } else {
            world.publish(conn, &vanish);
            world.pass(200);
            world.publish(conn, &answer);
        }
        let key = customer.key();
        let sql = format!("SELECT cast(count(*) AS TEXT) FROM dealings WHERE customer = unhex('{key}')");
        assert_eq!(world.column(&sql), ["0"], "in one group: {together}");
    }
}

/// What came in public before its encrypted request is for its parties from then on; what has so many tags that they are not
/// read stays as it came, and is no part of the job.
#[test]
fn an_early_answer_is_hidden_or_leaves_the_job() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (customer, providers) = (Author::new(2), [Author::new(3), Author::new(4)]);
    let request = customer.sign(5050, NOW, &[&["encrypted"]], "");
    let topics: Vec<String> = (0..300).map(|n| format!("topic {n}")).collect();
    let many: Vec<[&str; 2]> = topics.iter().map(|topic| ["t", topic.as_str()]).collect();
    let many: Vec<&[&str]> = many.iter().map(|tag| tag.as_slice()).collect();
    // The same bytes in a tag that nobody can ask for are not in the way.
    let long_name = topics.concat();
    let (short, long) =
        (providers[0].answer(6050, &request, &[&["note", &long_name]]), providers[1].answer(6050, &request, &many));
    for event in [&short, &long, &request] {
        assert_eq!(world.publish(conn, event)[2], true);
    }
    let found = |world: &mut World, filter: Value| ids(world, conn, &filter);
    for lost in [false, true] {
        if lost {
            world.reset(true);
            world.settle();
            world.take(conn);
        }
        assert_eq!(found(&mut world, json!({"ids": [short.id, long.id]})), [long.id.to_string()]);
        assert_eq!(found(&mut world, json!({"kinds": [6050], "#e": [request.id]})), [long.id.to_string()]);
        assert_eq!(found(&mut world, json!({"#t": ["topic 7"]})), [long.id.to_string()]);
    }
    let sql = format!("SELECT cast(held AS TEXT) FROM jobs WHERE id = unhex('{}')", request.id);
    assert_eq!(world.column(&sql), ["2"]);
}
