//! What strangers do to the writes and reads of others: nothing is left out, passed or uncounted.

use nexus::nostr::Event;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;
use crate::memory::held;

/// A deletion may name what is another's: that stays.
#[test]
fn deletions_of_what_is_another_s_do_not_read_it() {
    let mut world = World::open_relay();
    let conn = world.client();
    let events: Vec<Event> = (0..8 * 39).map(|n| Author::new(1).large(1, n, &[])).collect();
    events.iter().for_each(|event| _ = world.publish(conn, event));
    world.pass(10);
    world.take(conn);
    world.say(conn, json!(["EVENT", Author::new(200).note("keeps the store busy")]));
    for n in 0..64 {
        let named = events.chunks(39).nth(n as usize % 8).unwrap();
        world.say(conn, json!(["EVENT", Author::numbered(n).delete(named)]));
    }
    let note = Author::new(3).note("of somebody who waits");
    world.say(conn, json!(["EVENT", note]));
    let mut runs = 0;
    let mut said = Vec::new();
    while world.waiting() != (0, 0) {
        let answer = world.run_oldest(true).or_else(|| world.run_oldest(false)).unwrap();
        world.input(answer);
        runs += 1;
        said.extend(world.take(conn));
        if said.iter().any(|frame| frame[1] == json!(note.id)) {
            break;
        }
    }
    assert!(runs < 10, "{runs}");
}

/// What is noted of a customer does not depend on whether the clocks agree.
#[test]
fn who_vanished_up_to_before_a_late_request_came_is_not_dealt_with() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (customer, provider) = (Author::new(2), Author::new(3));
    let request = customer.sign(5050, NOW - 500, &[], "");
    world.publish(conn, &request);
    world.publish(conn, &Author::new(4).answer(7000, &request, &[&["status", "processing"]]));
    world.publish(conn, &customer.sign(62, NOW - 100, &[&["relay", "ALL_RELAYS"]], ""));
    world.pass(100);
    assert_eq!(world.publish(conn, &provider.answer(6050, &request, &[]))[2], true);
    assert_eq!(world.column("SELECT cast(count(*) AS TEXT) FROM dealings"), ["0"]);
}

/// Whether what memory and the store answer is the same, where a stranger has tagged a key in many kinds.
#[test]
fn what_a_stranger_tags_hides_nothing() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (stranger, friend) = (Author::new(1), Author::new(2));
    let named = Author::new(3).key().to_string();
    for kind in 1000..3010 {
        world.say(conn, json!(["EVENT", stranger.sign(kind, NOW - 5000, &[&["p", &named]], "")]));
        if kind % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.publish(conn, &friend.sign(9000, NOW, &[&["p", &named]], ""));
    world.take(conn);
    let ask = json!(["REQ", "q", {"#p": [named], "authors": [friend.key()], "since": NOW - 10}]);
    let before = world.ask(conn, ask.clone());
    world.reset(true);
    world.settle();
    world.take(conn);
    let after = world.ask(conn, ask);
    assert_eq!(before, after);
}

/// Who may read a gift wrap is held beside its text.
#[test]
fn a_window_of_gift_wraps_takes_what_is_counted() {
    let taken = |wraps: u32| {
        let mut world = World::open_relay();
        let conn = world.client();
        let keys: Vec<String> = (0..1750).map(|n| Author::numbered(n).key().to_string()).collect();
        for n in 0..wraps {
            let said = world.publish(conn, &Author::new(1).sign_list(1059, &[], "p", &keys, &n.to_string()));
            assert_eq!(said[2], true, "{said}");
        }
        let counted = world.relay.memory()["recent"].0 as isize;
        let before = held();
        drop(world.host.relay);
        (before - held(), counted)
    };
    let (empty, full) = (taken(0), taken(60));
    let (taken, counted) = (full.0 - empty.0, full.1 - empty.1);
    assert!(taken <= counted);
}

/// Memory answers as the store does, whatever tags say, with pages that are cut, lists of many and private events.
#[test]
fn memory_answers_as_the_store() {
    use crate::common::chance::Chance;
    let mut asked = 0;
    for seed in 0..25 {
        let chance = &mut Chance::new(seed);
        let mut world = World::open_relay();
        world.awake_for(200);
        let conn = world.client();
        let authors: Vec<Author> = (1..6).map(Author::new).collect();
        let pieces = [
            "",
            "a",
            "\0",
            "\"",
            "\\",
            "\\\"",
            "],[",
            "\"tags\":[",
            "é",
            "🙂",
            "\u{1}",
            "\n",
            "\u{2028}",
            "'",
            "\\u0041",
            "A",
        ];
        let value = |chance: &mut Chance| (0..chance.below(3)).map(|_| *chance.pick(&pieces)).collect::<String>();
        let values: Vec<String> = (0..6).map(|_| value(chance)).collect();
        let mut requests: Vec<Event> = Vec::new();
        for n in 0..300 {
            let author = chance.pick(&authors).clone();
            let at = NOW - chance.below(4);
            let mut tags: Vec<Vec<String>> = (0..chance.below(5))
                .map(|_| {
                    let name = *chance.pick(&["t", "t", "T", "u", "tt", "", "é", "\"tags\":["]);
                    let count = chance.below(3);
                    [name.to_owned()].into_iter().chain((0..count).map(|_| chance.pick(&values).clone())).collect()
                })
                .collect();
            if chance.one_in(3) {
                tags.push(vec!["p".to_owned(), chance.pick(&authors).key().to_string()]);
            }
            let kind = *chance.pick(&[1, 1, 1, 7, 4, 1059, 5050, 7000, 6050, 30078]);
            if kind == 7000 || kind == 6050 {
                let customer = chance.pick(&authors).clone();
                let request = if requests.is_empty() || chance.one_in(2) {
                    let made = customer.sign(
                        5050,
                        NOW,
                        &if chance.one_in(2) { vec![&["encrypted"] as &[&str]] } else { vec![] },
                        &format!("late {n}"),
                    );
                    requests.push(made.clone());
                    made
                } else {
                    chance.pick(&requests).clone()
                };
                tags.retain(|tag| tag[0] != "p");
                tags.push(vec!["e".to_owned(), request.id.to_string()]);
                tags.push(vec!["p".to_owned(), request.pubkey.to_string()]);
                tags.push(vec!["status".to_owned(), "processing".to_owned()]);
            }
            let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
            let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
            let event = if !requests.is_empty() && chance.one_in(12) {
                chance.pick(&requests).clone()
            } else {
                author.sign(kind, at, &tags, &format!("\"tags\":[ {n}"))
            };
            world.say(conn, json!(["EVENT", event]));
            if chance.one_in(10) {
                world.settle();
            }
            if seed % 5 == 0 && n == 250 {
                world.settle();
                world.publish(conn, &authors[0].sign(62, NOW - 2, &[&["relay", "ALL_RELAYS"]], ""));
            }
        }
        world.settle();
        world.take(conn);
        let agents = [world.agent(&authors[0]), world.agent(&authors[1]), world.client()];
        let filter = |chance: &mut Chance| {
            let mut filter = serde_json::Map::new();
            for letter in ["#t", "#T", "#u"] {
                if chance.one_in(2) {
                    filter.insert(
                        letter.to_owned(),
                        json!(
                            (0..1 + chance.below(4))
                                .map(|_| chance.pick(&values).clone())
                                .collect::<std::collections::BTreeSet<_>>()
                        ),
                    );
                }
            }
            if chance.one_in(3) {
                filter.insert("#p".to_owned(), json!([chance.pick(&authors).key()]));
            }
            if chance.one_in(4) && !requests.is_empty() {
                filter.insert("#e".to_owned(), json!([chance.pick(&requests).id]));
            }
            if chance.one_in(3) {
                filter.insert(
                    "authors".to_owned(),
                    json!(
                        (0..1 + chance.below(3))
                            .map(|_| chance.pick(&authors).key().to_string())
                            .collect::<std::collections::BTreeSet<_>>()
                    ),
                );
            }
            if chance.one_in(2) {
                filter.insert(
                    "kinds".to_owned(),
                    json!(
                        (0..1 + chance.below(4))
                            .map(|_| *chance.pick(&[1u16, 7, 4, 1059, 5050, 7000, 6050, 30078]))
                            .collect::<std::collections::BTreeSet<_>>()
                    ),
                );
            }
            let since = NOW - chance.below(5);
            filter.insert("since".to_owned(), json!(since));
            if chance.one_in(3) {
                filter.insert("until".to_owned(), json!(since + chance.below(4)));
            }
            if chance.one_in(2) {
                filter.insert("limit".to_owned(), json!(*chance.pick(&[1u64, 2, 5, 99, 100, 101, 110, 500])));
            }
            serde_json::Value::Object(filter)
        };
        let questions: Vec<Vec<serde_json::Value>> =
            (0..60).map(|_| (0..1 + chance.below(3)).map(|_| filter(chance)).collect()).collect();
        let all = |world: &mut World| {
            let mut answers = Vec::new();
            for question in &questions {
                for conn in agents {
                    let mut req = vec![json!("REQ"), json!("q")];
                    req.extend(question.iter().cloned());
                    answers.push((question.clone(), world.ask(conn, json!(req))));
                    world.say(conn, json!(["CLOSE", "q"]));
                }
            }
            answers
        };
        let memory = all(&mut world);
        world.reset(true);
        world.settle();
        agents.iter().for_each(|conn| drop(world.take(*conn)));
        let store = all(&mut world);
        for (memory, store) in memory.iter().zip(&store) {
            asked += usize::from(memory.1.len() > 1);
            assert_eq!(memory, store, "seed {seed}");
        }
    }
    assert!(asked > 500, "{asked} answers had events");
}

/// A group that is halved goes on where it was.
#[test]
fn answers_of_one_author_keep_their_order_when_a_group_is_halved() {
    let mut world = World::open_relay();
    let conn = world.client();
    let requests = Author::new(1).ask_many(60);
    requests.iter().for_each(|request| _ = world.publish(conn, request));
    let provider = Author::numbered(0);
    let answers: Vec<Event> = (0..400)
        .map(|n: usize| {
            let n_text = n.to_string();
            let said: &[&[&str]] = &[&["status", "processing"], &["n", &n_text]];
            provider.answer(7000, &requests[n % 60], said)
        })
        .collect();
    let said = world.together(conn, &answers.iter().collect::<Vec<_>>());
    assert!(said.iter().all(|said| said[2] == true), "{:?}", said[0]);
    let stored = world.column("SELECT hex(id) FROM events WHERE kind = 7000 ORDER BY seq");
    let wanted: Vec<String> = answers.iter().map(|answer| answer.id.to_string().to_uppercase()).collect();
    let moved = stored.iter().zip(&wanted).filter(|(one, other)| one != other).count();
    assert_eq!(moved, 0);
}
