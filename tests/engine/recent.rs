//! Answers from memory: they are those of the store, or the store is asked.

use std::collections::BTreeSet;
use std::ops::Range;

use nexus::gateway::ConnId;
use nexus::market::job::NIP90;
use nexus::nostr::{Event, Filter, PublicKey, Values};
use nexus::store::read::{self, Viewer};
use serde_json::{Value, json};

use crate::common::Database;
use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::ledger::for_ever;
use crate::common::world::{ATTEMPTS, Fault, World};

/// How many [`large`] events fill the window.
const FILLING: u64 = 231;

/// An event that takes much of the window.
fn large(author: u8, kind: u16, created_at: u64, n: u64) -> Event {
    Author::new(author).sign(kind, created_at, &[], &format!("{n:039890}"))
}

/// A relay that has been awake for long, and somebody who asks with a proven key.
fn awake() -> (World, ConnId) {
    let mut world = World::open_relay();
    world.awake_for(200);
    let conn = world.agent(&Author::new(1));
    (world, conn)
}

/// The ids of what is answered, and whether the store was asked.
fn asked(world: &mut World, conn: ConnId, filter: &Value) -> (Vec<String>, bool) {
    world.say(conn, json!(["REQ", "q", filter]));
    let of_store = world.waiting() != (0, 0);
    world.settle();
    let frames = world.take(conn);
    assert_eq!(frames.last().unwrap()[0], "EOSE", "{filter}: {frames:?}");
    world.say(conn, json!(["CLOSE", "q"]));
    let ids =
        frames.iter().filter(|frame| frame[0] == "EVENT").map(|frame| frame[2]["id"].as_str().unwrap().to_owned());
    (ids.collect(), of_store)
}

/// What the store has for the viewer, newest first.
fn stored(world: &mut World, keys: &[PublicKey], filter: &Value) -> Vec<String> {
    let (filter, keys) = (Filter::parse(&filter.to_string()).unwrap(), keys.iter().copied().collect::<Values<_>>());
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &for_ever(), now: world.now / 1000 };
    let statements = read::newest(&filter, filter.limit.unwrap_or(500), 1_000_000, &viewer);
    let rows = world.db.run(&statements).unwrap();
    let mut events: Vec<_> = rows.into_iter().flat_map(|rows| read::decode(rows).unwrap().unwrap()).collect();
    events.sort_by_key(|event| (u64::MAX - event.created_at, event.id));
    events.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
    events.into_iter().map(|event| event.id.to_string()).collect()
}

#[test]
fn what_agents_ask_costs_no_rows() {
    let (mut world, conn) = awake();
    let (buyer, provider) = (Author::new(2), Author::new(3));
    let old = buyer.sign(5050, NOW - 50, &[], "old");
    world.publish(conn, &old);
    let request = buyer.sign(5050, NOW, &[&["t", "gpu"]], "");
    world.publish(conn, &request);
    world.publish(conn, &provider.answer(7000, &request, &[&["status", "processing"]]));
    world.publish(conn, &provider.answer(6050, &request, &[]));
    let another = buyer.sign(5050, NOW - 2, &[&["t", "gpu"]], "");
    world.publish(conn, &another);
    world.publish(conn, &provider.answer(6050, &another, &[]));
    let id = request.id.to_string();
    for (filter, count) in [
        (json!({"kinds": [5050], "since": NOW - 1}), 1),
        (json!({"kinds": [6050, 7000], "#e": [id], "#p": [buyer.key()]}), 2),
        (json!({"ids": [id, old.id]}), 2),
        (json!({"since": NOW - 60, "limit": 2}), 2),
        (json!({"kinds": [6050, 7000], "limit": 2}), 2),
        (json!({"authors": [provider.key()], "kinds": [6050], "limit": 1}), 1),
        (json!({"kinds": [5050], "#t": ["gpu"], "limit": 1}), 1),
    ] {
        let (ids, of_store) = asked(&mut world, conn, &filter);
        assert_eq!((ids.len(), of_store), (count, false), "{filter}");
        assert_eq!(ids, stored(&mut world, &[], &filter));
    }
    // What may lie outside is asked of the store.
    for filter in [json!({"kinds": [5050]}), json!({"#e": [id]}), json!({"ids": [id, "ab".repeat(32)]})] {
        assert!(asked(&mut world, conn, &filter).1, "{filter}");
    }
    assert_eq!(world.stats()["storage"]["from_memory"], 7);
}

#[test]
fn a_known_event_is_neither_verified_nor_written_again() {
    let (mut world, conn) = awake();
    let note = Author::new(2).note("once");
    world.publish(conn, &note);
    world.say(conn, json!(["EVENT", note]));
    assert_eq!(world.waiting(), (0, 0));
    assert_eq!(world.take(conn)[0][3], "duplicate: already have this event");
    // The same id under another signature is another event.
    let mut forged = serde_json::to_value(&note).unwrap();
    forged["sig"] = json!("ab".repeat(64));
    assert!(world.ask(conn, json!(["EVENT", forged]))[0][3].as_str().unwrap().starts_with("invalid: sig"));
    world.publish(conn, &Author::new(2).sign(5, NOW, &[&["e", &note.id.to_string()]], ""));
    assert!(world.publish(conn, &note)[3].as_str().unwrap().starts_with("blocked: "));
}

#[test]
fn the_window_is_bounded_and_knows_what_left_it() {
    let (mut world, conn) = awake();
    let first = Author::new(2).note("first");
    world.publish(conn, &first);
    for n in 0..300 {
        world.publish(conn, &large(2, 1, NOW + 1, n));
    }
    assert!(asked(&mut world, conn, &json!({"ids": [first.id]})).1, "20 MB are full");
    assert!(asked(&mut world, conn, &json!({"since": NOW, "limit": 1})).1);
    assert!(asked(&mut world, conn, &json!({"since": NOW + 1, "limit": 1})).1, "some of that second have left");
    assert!(!asked(&mut world, conn, &json!({"since": NOW + 2})).1);
}

#[test]
fn a_relay_that_has_just_woken_asks_the_store() {
    let mut world = World::open_relay();
    let conn = world.agent(&Author::new(1));
    assert!(asked(&mut world, conn, &json!({"since": NOW + 1})).1);
    // With its first commit it has the log: nothing is stored that it does not know of.
    let note = Author::new(2).note("first");
    world.publish(conn, &note);
    assert_eq!(asked(&mut world, conn, &json!({"since": NOW + 1})), (vec![], false));
    assert!(!asked(&mut world, conn, &json!({"ids": [note.id]})).1, "what is held is stored");
}

#[test]
fn answers_from_memory_are_those_of_the_store() {
    let from_memory = random_markets(0..40, 0);
    assert!(from_memory > 12_000, "{from_memory}");
}

/// The same where there is hardly any room left.
#[test]
fn what_left_the_window_is_asked_of_the_store() {
    let from_memory = random_markets(60..63, FILLING);
    assert!(from_memory > 250, "{from_memory}");
}

#[test]
fn an_answer_that_left_while_its_group_was_taken_up_is_asked_of_the_store() {
    let (mut world, conn) = awake();
    for n in 0..FILLING {
        world.publish(conn, &large(9, 1, NOW + 20, n));
    }
    let request = large(1, 5050, NOW, 0);
    let (id, customer) = (request.id.to_string(), request.pubkey.to_string());
    let about: &[&[&str]] = &[&["e", &id], &["p", &customer], &["status", "processing"]];
    let answer = Author::new(2).sign(7000, NOW - 5, about, "");
    // Both wait for the first and are of one group, in which the request is larger than what is left.
    for event in [&Author::new(3).note("first"), &answer, &request] {
        world.say(conn, json!(["EVENT", event]));
    }
    world.settle();
    let frames = world.take(conn);
    assert!(frames.iter().all(|frame| frame[2] == true), "{frames:?}");
    let answers = json!({"kinds": [6050, 7000], "#e": [request.id]});
    assert_eq!(asked(&mut world, conn, &answers), (vec![answer.id.to_string()], true));
}

/// Random markets with faults and deletions, after some large events that are later than all of theirs: whatever is
/// answered from memory is what the store has. Says how often it was.
fn random_markets(seeds: Range<u64>, filling: u64) -> u64 {
    let mut from_memory = 0;
    for seed in seeds {
        let chance = &mut Chance::new(seed);
        let (mut world, conn) = awake();
        let authors: Vec<Author> = (1..6).map(Author::new).collect();
        let mut published: Vec<Event> = Vec::new();
        let mut requests: Vec<Event> = Vec::new();
        for n in 0..filling {
            // Of a kind of their own: all of them are more than one answer holds.
            world.publish(conn, &large(9, 2, NOW + 20, n));
        }
        for step in 0..120 {
            let author = chance.pick(&authors).clone();
            let at = NOW - 5 + chance.below(10);
            let encrypted: &[&[&str]] = if chance.one_in(4) { &[&["encrypted"]] } else { &[] };
            let event = match chance.below(13) {
                10 => author.sign(0, at, &[], &step.to_string()),
                11 => {
                    let kind = chance.pick(&["0", "10002"]);
                    author.sign(5, at, &[&["a", &format!("{kind}:{}:", author.key())]], &step.to_string())
                }
                12 if chance.one_in(4) => author.sign(62, at, &[&["relay", "ALL_RELAYS"]], ""),
                0..3 => author.sign(5050, at, encrypted, &step.to_string()),
                // Some answer a request that has not come yet.
                3..7 if !requests.is_empty() => {
                    let status: &[&[&str]] = &[&["status", "processing"], &["n", &step.to_string()]];
                    let request = chance.pick(&requests).clone();
                    let kind = if chance.one_in(2) { 7000 } else { 6050 };
                    // Some know of the request what is not so.
                    let request = if chance.one_in(8) { Event { pubkey: author.key(), ..request } } else { request };
                    author.answer(kind, &request, if kind == 7000 { status } else { &[] })
                }
                7 if !published.is_empty() => {
                    let target = chance.pick(&published).clone();
                    let owner = authors.iter().find(|author| author.key() == target.pubkey).unwrap();
                    owner.sign(5, at, &[&["e", &target.id.to_string()]], &step.to_string())
                }
                // One that was published, or one that was held back.
                8 if !requests.is_empty() => chance.pick(&requests).clone(),
                9 if chance.one_in(2) => author.sign(10_002, at, &[], &step.to_string()),
                _ => {
                    let expires = (NOW + 1 + chance.below(40)).to_string();
                    author.sign(1, at, &[&["expiration", &expires]], &step.to_string())
                }
            };
            if event.kind == 5050 && !requests.contains(&event) {
                requests.push(event.clone());
                if chance.one_in(3) {
                    continue;
                }
            }
            if chance.one_in(12) {
                world.faults.push_back(if chance.one_in(2) { Fault::Fails } else { Fault::LandsAndFails });
            }
            world.say(conn, json!(["EVENT", event]));
            published.push(event);
            if chance.one_in(3) {
                // The next one is of the same group, or of the one after.
                continue;
            }
            world.settle();
            world.take(conn);
            if chance.one_in(5) {
                world.now += 1000 * chance.below(20);
            }
            let job = chance.pick(&published).id.to_string();
            let author = chance.pick(&authors).key();
            for filter in [
                json!({"kinds": [0, 1, 5, 62, 5050, 6050, 7000, 10_002], "since": world.now / 1000 - chance.below(20)}),
                json!({"kinds": [5050], "since": NOW - 5 + chance.below(12), "limit": chance.below(5)}),
                json!({"kinds": [6050, 7000], "#e": [job]}),
                json!({"ids": [job]}),
                json!({"kinds": [0, 10_002], "since": NOW - 5 + chance.below(12)}),
                json!({"limit": 1 + chance.below(30)}),
                json!({"kinds": [1, 6050], "limit": 1 + chance.below(10)}),
                json!({"kinds": [5050, 7000], "authors": [author], "until": NOW - 5 + chance.below(12), "limit": 1 + chance.below(5)}),
            ] {
                let (ids, of_store) = asked(&mut world, conn, &filter);
                from_memory += u64::from(!of_store);
                let known = stored(&mut world, &[Author::new(1).key()], &filter);
                assert_eq!(ids, known, "seed {seed}, step {step}, {filter}, of the store: {of_store}");
            }
        }
    }
    from_memory
}

/// A market as it goes: providers renew what they announce, people their profiles, jobs are cancelled, strangers
/// answer what nobody asked. Who asks about what is held is answered from memory.
#[test]
fn what_strangers_do_leaves_the_rest_in_memory() {
    let (mut world, conn) = awake();
    let chance = &mut Chance::new(9);
    let (buyers, providers): (Vec<Author>, Vec<Author>) =
        ((10..15).map(Author::new).collect(), (20..25).map(Author::new).collect());
    let (mut requests, mut cancelled) = (Vec::new(), BTreeSet::new());
    let (mut questions, mut from_memory) = (0, 0);
    for n in 0..300 {
        let at = world.now / 1000;
        let (buyer, provider) = (chance.pick(&buyers).clone(), chance.pick(&providers).clone());
        let request = buyer.sign(5050, at, &[], &n.to_string());
        let unknown = format!("{n:064x}");
        let stranger = Author::new(66).sign(6050, at, &[&["e", &unknown], &["p", &buyer.key().to_string()]], "");
        world.publish(conn, &request);
        world.publish(conn, &provider.answer(7000, &request, &[&["status", "processing"]]));
        world.publish(conn, &provider.answer(6050, &request, &[]));
        world.publish(conn, &provider.sign(31_990, at, &[&["d", "h"], &["k", "5050"]], ""));
        world.publish(conn, &buyer.sign(0, at, &[], &n.to_string()));
        world.publish(conn, &stranger);
        requests.push(request);
        if n % 10 == 5 {
            let request = chance.pick(&requests).clone();
            let buyer = buyers.iter().find(|buyer| buyer.key() == request.pubkey).unwrap();
            world.publish(conn, &buyer.sign(5, at, &[&["e", &request.id.to_string()]], ""));
            cancelled.insert(request.id);
        }
        world.now += 1000;
        let held: Vec<&Event> = requests.iter().filter(|request| !cancelled.contains(&request.id)).collect();
        let job = chance.pick(&held).id.to_string();
        for filter in [
            json!({"kinds": [6050, 7000], "#e": [job]}),
            json!({"ids": [job]}),
            json!({"kinds": [5050], "since": at - chance.below(100).min(n)}),
            json!({"kinds": [6050, 7000], "#e": [chance.pick(&requests).id]}),
        ] {
            let (ids, of_store) = asked(&mut world, conn, &filter);
            assert_eq!(ids, stored(&mut world, &[Author::new(1).key()], &filter), "{n}: {filter}");
            (questions, from_memory) = (questions + 1, from_memory + u64::from(!of_store));
        }
    }
    assert!(from_memory * 10 >= questions * 9, "{from_memory} of {questions}");
}

#[test]
fn who_looks_for_handlers_again_costs_no_rows() {
    let (mut world, conn) = awake();
    let (alice, bob) = (Author::new(2), Author::new(3));
    let handler = |author: &Author, kind: &str, at| author.sign(31_990, at, &[&["d", "h"], &["k", kind]], "");
    world.publish(conn, &handler(&alice, "5050", NOW - 9));
    let wanted = json!({"kinds": [31990], "#k": ["5050"], "limit": 50});
    assert!(asked(&mut world, conn, &wanted).1);
    // Neither jobs nor handlers of other kinds change the answer.
    let request = bob.sign(5050, NOW, &[], "");
    world.publish(conn, &request);
    world.publish(conn, &handler(&bob, "5100", NOW - 8));
    world.publish(conn, &bob.sign(5, NOW, &[&["e", &request.id.to_string()]], ""));
    assert_eq!(asked(&mut world, conn, &wanted).0.len(), 1);
    assert!(!asked(&mut world, conn, &wanted).1);
    // Another question, the same in other words, and one that asks for more besides.
    assert!(asked(&mut world, conn, &json!({"kinds": [31990], "#k": ["5050"], "limit": 5})).1);
    assert!(!asked(&mut world, conn, &json!({"limit": 50, "#k": ["5050"], "kinds": [31990]})).1);
    assert!(asked(&mut world, conn, &json!({"kinds": [31989, 31990], "#k": ["5050"], "limit": 50})).1);
    world.publish(conn, &handler(&bob, "5050", NOW - 7));
    assert_eq!(asked(&mut world, conn, &wanted), (stored(&mut world, &[], &wanted), true));
    assert_eq!(asked(&mut world, conn, &wanted), (stored(&mut world, &[], &wanted), false));
}

#[test]
fn a_handler_that_landed_late_is_known_with_the_next_group() {
    let (mut world, conn) = awake();
    let handler = Author::new(2).sign(31_990, NOW, &[&["d", "h"], &["k", "5050"]], "");
    let wanted = json!({"kinds": [31990]});
    world.faults.extend([Fault::Fails; ATTEMPTS]);
    world.say(conn, json!(["EVENT", handler]));
    let late = world.next_commit().unwrap().to_vec();
    world.settle();
    assert!(world.take(conn)[0][3].as_str().unwrap().starts_with("error: "));
    assert_eq!(asked(&mut world, conn, &wanted), (vec![], true));
    // It lands late; with the next group that is found.
    world.faults.clear();
    world.db.run(&late).unwrap();
    assert_eq!(world.publish(conn, &Author::new(3).note("next"))[3], "");
    for of_store in [true, false] {
        assert_eq!(asked(&mut world, conn, &wanted), (vec![handler.id.to_string()], of_store));
    }
}

/// Handlers come, change, go and expire, with faults: what is told of them is what the store has.
#[test]
fn answers_about_handlers_are_those_of_the_store() {
    let (mut from_memory, mut of_store) = (0, 0);
    for seed in 0..60 {
        let chance = &mut Chance::new(seed);
        let (mut world, conn) = awake();
        let authors: Vec<Author> = (1..6).map(Author::new).collect();
        let mut published: Vec<Event> = Vec::new();
        for step in 0..120 {
            let author = chance.pick(&authors).clone();
            let at = NOW - 5 + chance.below(10);
            let d = chance.below(3).to_string();
            let expires = (world.now / 1000 + 1 + chance.below(60)).to_string();
            let mut tags: Vec<&[&str]> = vec![&["k", "5050"], &["k", "5100"]];
            if chance.one_in(2) {
                tags.reverse();
            }
            tags.truncate(1 + chance.below(2) as usize);
            let place = ["d", &d];
            let gone = ["expiration", &expires];
            tags.push(&place);
            if chance.one_in(4) {
                tags.push(&gone);
            }
            let event = match chance.below(12) {
                0..5 => author.sign(31_990, at, &tags, &json!({"name": step}).to_string()),
                5 if !published.is_empty() => {
                    let target = chance.pick(&published).clone();
                    let owner = authors.iter().find(|author| author.key() == target.pubkey).unwrap();
                    owner.sign(5, at, &[&["e", &target.id.to_string()]], &step.to_string())
                }
                6 => author.sign(5, at, &[&["a", &format!("31990:{}:{d}", author.key())]], &step.to_string()),
                7 if chance.one_in(6) => author.sign(62, at, &[&["relay", "ALL_RELAYS"]], ""),
                _ => author.sign(5050, at, &[], &step.to_string()),
            };
            if chance.one_in(20) {
                world.faults.push_back(if chance.one_in(2) { Fault::Fails } else { Fault::LandsAndFails });
            }
            // Some questions are on their way when something is stored.
            let pool = [
                json!({"kinds": [31990], "#k": ["5050"]}),
                json!({"kinds": [31990], "#k": ["5100"], "limit": 2}),
                json!({"kinds": [31990], "limit": 3}),
                json!({"kinds": [31990], "authors": [author.key()]}),
            ];
            let overtaken = chance.one_in(3);
            if overtaken {
                world.say(conn, json!(["REQ", "overtaken", chance.pick(&pool)]));
                let answer = world.run_oldest(false);
                world.say(conn, json!(["EVENT", event]));
                let written = world.run_oldest(true);
                let mut answers = [answer, written];
                chance.shuffle(&mut answers);
                answers.into_iter().flatten().for_each(|answer| world.input(answer));
                world.settle();
                world.say(conn, json!(["CLOSE", "overtaken"]));
            } else {
                world.say(conn, json!(["EVENT", event]));
                world.settle();
            }
            world.take(conn);
            published.push(event);
            if chance.one_in(5) {
                world.pass(chance.below(60));
            }
            if chance.one_in(3) {
                // What expires does so between two looks at it.
                world.now += 1000 - world.now % 1000;
                for filter in &pool {
                    let (ids, store) = asked(&mut world, conn, filter);
                    let counted = if store { &mut of_store } else { &mut from_memory };
                    *counted += ids.len();
                    let known = stored(&mut world, &[Author::new(1).key()], filter);
                    assert_eq!(ids, known, "seed {seed}, step {step}, {filter}, of the store: {store}");
                }
            }
        }
    }
    assert!(from_memory > 1000 && of_store > 1000, "{from_memory} from memory, {of_store} of the store");
}

/// What a filter asks for is found in memory where the text has it in another form, and only there.
#[test]
fn odd_values_of_tags_are_found_in_memory() {
    let (mut world, conn) = awake();
    let author = Author::new(3);
    let odd = ["", "\"", "\\", "\\\"", "a\\", "\n\t\u{1}", "[\"t\",\"x\"]", "],[", "\u{7f}é€𝄞", "\",\"", "x"];
    let events: Vec<Event> = odd
        .iter()
        .map(|value| {
            let tags: &[&[&str]] =
                &[&["t"], &["\"tags\":[", value], &["u", "x\\\"", value], &["t", value, "more"], &["y", "z"]];
            author.sign(1, NOW, tags, "\"tags\":[[\"t\",\"x\"]]")
        })
        .collect();
    events.iter().for_each(|event| assert_eq!(world.publish(conn, event)[2], true));
    for (value, event) in odd.iter().zip(&events) {
        let filter = json!({"kinds": [1], "#t": [value], "#y": ["z"], "since": NOW});
        assert_eq!(asked(&mut world, conn, &filter), (vec![event.id.to_string()], false), "{value:?}");
    }
    for other in ["more", "tags", "x\\\"", "a", "t"] {
        let filter = json!({"kinds": [1], "#t": [other], "since": NOW});
        assert_eq!(asked(&mut world, conn, &filter), (vec![], false), "{other:?}");
    }
    let filter = json!({"kinds": [1], "#u": ["x\\\""], "since": NOW});
    assert_eq!(asked(&mut world, conn, &filter).0.len(), odd.len());
}

/// Whoever asks for many values is answered from memory where tags are repeated, and the store is asked where memory would
/// have to look up many: what a question costs is bounded.
#[test]
fn tags_do_not_make_memory_slow() {
    let values: Vec<String> = (0..1000).map(|n| format!("{n:03}")).collect();
    for (events, tag) in [(600, ""), (60, "distinct")] {
        let mut world = World::native(&[("AUTH_REQUIRED", "false")]);
        world.awake_for(200);
        let conn = world.client();
        let tag = |n| if tag.is_empty() { String::new() } else { format!("{tag} {n}") };
        let tags: Vec<String> = (0..1900).map(tag).collect();
        for n in 0..events {
            let event = Author::new(2).sign_list(1, &[], "t", &tags, &n.to_string());
            assert_eq!(world.publish(conn, &event)[2], true);
        }
        let filters = vec![json!({"since": NOW, "#t": values}); 16];
        let req: Vec<Value> = [json!("REQ"), json!("q")].into_iter().chain(filters).collect();
        world.say(conn, json!(req));
        assert_eq!(world.waiting() == (0, 0), events == 600, "whether {events} events are looked through in memory");
    }
}
