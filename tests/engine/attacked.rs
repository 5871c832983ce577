//! What strangers try, by the settings as they are when untouched: what one of them holds, others still have.

use nexus::gateway::ConnId;
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::host;
use crate::common::world::World;

/// A relay with its limits, and one on a host that sees what is written.
fn limited() -> World {
    World::new(&[("RATE_LIMITS", "on")])
}

fn native() -> World {
    World::native(&[("RATE_LIMITS", "on")])
}

/// A connection from an address that has proven a key.
fn proven(world: &mut World, ip: &str, author: &Author) -> ConnId {
    let conn = world.open_from(ip).unwrap();
    assert_eq!(world.prove(author, conn)[2], true);
    world.take(conn);
    conn
}

/// What the relay says at once to a message.
fn hear(world: &mut World, conn: ConnId, message: Value) -> Vec<Value> {
    world.take(conn);
    world.say(conn, message);
    world.take(conn)
}

fn closed(frames: &[Value]) -> Option<String> {
    frames.iter().find(|frame| frame[0] == "CLOSED").map(|frame| frame[2].as_str().unwrap().to_owned())
}

fn message(sort: &str, name: &str, filters: Vec<Value>) -> Value {
    json!([vec![json!(sort), json!(name)], filters].concat())
}

/// Takes as much memory for subscriptions as one connection is given: large filters first, then what just fits.
fn fill_subscriptions(world: &mut World, conn: ConnId) {
    let mut open = 0;
    let mut opens = |world: &mut World, filters: usize, kinds: u32| {
        let filter = json!({"kinds": (0..kinds).collect::<Vec<u32>>(), "since": NOW + 900_000_000, "limit": 0});
        let said = hear(world, conn, message("REQ", &open.to_string(), vec![filter; filters]));
        world.pass(1);
        open += usize::from(closed(&said).is_none());
        closed(&said).is_none()
    };
    for (filters, kinds) in [(16, 1000), (8, 1000), (4, 1000), (2, 1000), (1, 1000), (1, 300)] {
        while opens(world, filters, kinds) {}
    }
    let _ = (1..300).rev().step_by(2).any(|kinds| opens(world, 1, kinds));
}

#[test]
fn four_connections_do_not_leave_everybody_else_without_subscriptions() {
    let mut world = limited();
    for n in 0..4 {
        let conn = proven(&mut world, &format!("192.0.2.{n}"), &Author::new(n + 1));
        fill_subscriptions(&mut world, conn);
    }
    let memory = world.relay.memory().get("subscriptions").copied();
    // Hours later they have done nothing more.
    world.pass(7200);
    let honest = proven(&mut world, "198.51.100.7", &Author::new(9));
    let said = hear(&mut world, honest, json!(["REQ", "jobs", {"kinds": [5050], "limit": 0}]));
    assert_eq!(closed(&said), None, "{memory:?}");
}

#[test]
fn one_client_leaves_its_neighbours_room_to_subscribe() {
    let mut world = limited();
    let greedy = proven(&mut world, "192.0.2.1", &Author::new(1));
    fill_subscriptions(&mut world, greedy);
    let neighbour = proven(&mut world, "192.0.2.1", &Author::new(2));
    let said = hear(&mut world, neighbour, json!(["REQ", "jobs", {"kinds": [5050], "limit": 0}]));
    assert_eq!(closed(&said), None);
}

/// Large COUNTs of a connection until no more may wait, and what just fits.
fn fill_questions(world: &mut World, conn: ConnId) {
    let mut asked = 0;
    let mut waits = |world: &mut World, values: usize, length: usize| {
        let filter = json!({"#t": (0..values).map(|n| format!("{n:0length$}")).collect::<Vec<String>>()});
        asked += 1;
        let said = hear(world, conn, message("COUNT", &asked.to_string(), vec![filter]));
        if asked % 15 == 0 {
            world.pass(1);
        }
        closed(&said).is_none()
    };
    for (values, length) in [(1000, 64), (300, 64), (100, 64)] {
        while waits(world, values, length) {}
    }
    let _ = (1..12_500).rev().step_by(60).any(|length| waits(world, 1, length));
}

#[test]
fn who_does_not_read_leaves_others_room_for_questions() {
    let mut world = native();
    let writer = proven(&mut world, "203.0.113.1", &Author::new(100));
    for n in 0..15 {
        let event = Author::new(100).note(&format!("{n}{}", "x".repeat(90_000)));
        assert_eq!(world.ask(writer, json!(["EVENT", event]))[0][2], true);
    }
    for n in 0..4 {
        let conn = proven(&mut world, &format!("192.0.2.{n}"), &Author::new(n + 1));
        // More than 1 MiB, which it does not read.
        world.ask(conn, json!(["REQ", "all", {"kinds": [1]}]));
        fill_questions(&mut world, conn);
        world.settle();
    }
    let memory = world.relay.memory().get("questions").copied();
    world.pass(50);
    let honest = proven(&mut world, "198.51.100.7", &Author::new(9));
    let said = world.ask(honest, json!(["COUNT", "jobs", {"kinds": [5050], "#t": ["x"]}]));
    assert_eq!(closed(&said), None, "{memory:?}");
}

#[test]
fn two_networks_do_not_take_all_connections() {
    let mut world = limited();
    let mut number = 0;
    let mut held = Vec::new();
    let mut seconds = 0;
    'all: for ip in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..1000 {
            let conn = loop {
                match world.open_from(ip) {
                    Some(conn) => break conn,
                    None if seconds > 3600 => break 'all,
                    None => {
                        seconds += 1;
                        world.pass(1);
                    }
                }
            };
            for _ in 0..16 {
                number += 1;
                // Signatures are not what is looked at: a key a time.
                loop {
                    let author = Author::numbered(number);
                    let ok = world.prove(&author, conn);
                    if ok[2] == true {
                        break;
                    }
                    if ok[3].as_str().unwrap().starts_with("error:") {
                        break 'all;
                    }
                    seconds += 1;
                    world.pass(1);
                }
            }
            held.push(conn);
        }
    }
    let memory = world.relay.memory().get("connections").copied();
    world.pass(7200);
    let away = world.may_open("198.51.100.7");
    assert!(away.is_ok(), "{away:?} after {seconds} s, {} connections of two networks hold {memory:?}", held.len());
}

#[test]
fn a_question_waits_behind_one_of_each_network_at_the_most() {
    let mut world = limited();
    let honest = proven(&mut world, "198.51.100.7", &Author::new(9));
    let mut conns = Vec::new();
    for n in 0..20 {
        conns.push(proven(&mut world, "192.0.2.1", &Author::numbered(n)));
        world.pass(1);
    }
    // 20 keys of one network, each with what its burst allows.
    for n in 0..50 {
        for conn in &conns {
            hear(&mut world, *conn, json!(["COUNT", n.to_string(), {"kinds": [1], "#t": ["x"]}]));
        }
    }
    let waiting = world.relay.memory().get("questions").copied();
    let mut asked = 0;
    world.say(honest, json!(["COUNT", "jobs", {"kinds": [5050], "#t": ["x"]}]));
    while world.take(honest).is_empty() {
        let answer = world.run_oldest(false).unwrap();
        world.input(answer);
        asked += 1;
    }
    assert!(asked <= 40, "{asked} questions of one network went before; {waiting:?}");
}

/// What a host is to remember and a socket's attachment (16,384 bytes) does not hold is rows of the object's own
/// database, which are billed like D1's.
#[test]
fn what_a_connection_is_remembered_by_is_not_written_with_each_message() {
    let mut world = limited();
    let conn = proven(&mut world, "192.0.2.1", &Author::new(1));
    let ids: Vec<String> = (0..1000).map(|n| format!("{n:064x}")).collect();
    for n in 0..3 {
        world.ask(conn, json!(["REQ", n.to_string(), {"ids": ids, "limit": 0}]));
    }
    world.remembered_bytes.clear();
    // For a minute, as fast as it may.
    for n in 0..1200 {
        world.now += 50;
        for message in [json!(["REQ", "s", {"kinds": [n], "limit": 0}]), json!(["CLOSE", "s"])] {
            world.say(conn, message);
        }
    }
    let written: Vec<&usize> = world.remembered_bytes.iter().filter(|length| **length > 16_000).collect();
    let bytes: usize = written.iter().copied().sum();
    assert!(written.len() <= 120, "{} writes of {bytes} bytes in a minute, by one key", written.len());
}

#[test]
fn who_was_here_is_noted_within_the_rows_of_a_network() {
    let mut world = World::new(&[("RATE_LIMITS", "on"), ("ROWS_PER_DAY", "240000")]);
    let listed: Vec<Author> = (0..16).map(Author::numbered).collect();
    let ip = "192.0.2.1";
    let join = |world: &mut World| {
        let conn = loop {
            match world.open_from(ip) {
                Some(conn) => break conn,
                None => world.pass(1),
            }
        };
        for author in &listed {
            while world.prove(author, conn)[2] != true {
                world.pass(1);
            }
        }
        world.settle();
        conn
    };
    let conn = join(&mut world);
    for author in &listed {
        let event = author.sign(31990, NOW, &[&["d", "x"], &["k", "5050"]], "{}");
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    }
    world.close(conn);
    world.settle();
    let changes = |world: &World| world.db.0.total_changes();
    let mut rows = 0;
    for _ in 0..55 {
        world.pass(61);
        let conn = join(&mut world);
        let was = changes(&world);
        world.close(conn);
        world.settle();
        rows += changes(&world) - was;
    }
    // A network has a tenth of an hour's 10,000, and has published handlers of it.
    assert!((500..=800).contains(&rows), "{rows} rows in 55 reconnections of one client");
}

#[test]
fn large_reservations_of_one_network_leave_others_a_place_at_the_store() {
    let mut world = limited();
    let honest = proven(&mut world, "198.51.100.7", &Author::new(9));
    let mut conns = Vec::new();
    for n in 0..12 {
        conns.push(proven(&mut world, "192.0.2.1", &Author::numbered(n)));
        world.pass(1);
    }
    for conn in conns {
        for count in 0..10 {
            let filters = vec![json!({"kinds": [1], "#t": ["x"]}); 16];
            world.say(conn, message("COUNT", &count.to_string(), filters));
        }
    }
    let (_, at_once) = world.waiting();
    world.say(honest, json!(["COUNT", "jobs", {"kinds": [5050], "#t": ["x"]}]));
    let mut asked = 0;
    while world.take(honest).is_empty() {
        let answer = world.run_oldest(false).unwrap();
        world.input(answer);
        asked += 1;
    }
    assert!(asked <= 16, "{asked} COUNTs of one network went before, {at_once} at once");
}

#[test]
fn who_does_not_read_leaves_others_room_for_live_events() {
    let mut world = native();
    let writer = proven(&mut world, "203.0.113.1", &Author::new(100));
    for n in 0..15 {
        let event = Author::new(100).note(&format!("{n}{}", "x".repeat(90_000)));
        assert_eq!(world.ask(writer, json!(["EVENT", event]))[0][2], true);
    }
    let honest = proven(&mut world, "198.51.100.7", &Author::new(9));
    for n in 0..4 {
        let (ip, author) = (format!("192.0.2.{n}"), Author::new(n + 1));
        let conn = proven(&mut world, &ip, &author);
        world.ask(conn, json!(["REQ", "all", {"kinds": [1]}]));
        // They wait until it has read, and what is live behind them.
        let tag = |sub: usize| format!("{n} {sub}");
        for sub in 0..5 {
            world.say(conn, json!(["REQ", sub.to_string(), {"kinds": [1, 20_000], "#t": [tag(sub)]}]));
        }
        let own = proven(&mut world, &ip, &author);
        let before = world.relay.memory()["backlogs"].0;
        for length in [90_000, 10_000, 1_000, 100] {
            for m in 0..50 {
                let used = world.relay.memory()["backlogs"].0 - before;
                let sub = used / 900_000;
                let event = author.sign(20_000, NOW, &[&["t", &tag(sub)]], &format!("{m}{}", "x".repeat(length)));
                if used + json!(event).to_string().len() + 80 > 4 << 20 {
                    break;
                }
                if world.ask(own, json!(["EVENT", event]))[0][2] != true {
                    break;
                }
            }
        }
    }
    world.pass(60);
    let memory = world.relay.memory().get("backlogs").copied();
    let lines = |world: &mut World| {
        world.say(honest, json!(["REQ", "jobs", {"kinds": [1, 5050], "#t": ["job"]}]));
        let job = Author::new(8).sign(5050, NOW, &[&["t", "job"], &["i", "x", "text"]], &"a job ".repeat(300));
        world.say(writer, json!(["EVENT", job]));
        // The event is stored before the question is answered.
        world.commit_all();
        world.settle();
        world.take(honest)
    };
    let said = lines(&mut world);
    assert_eq!(closed(&said), None, "{memory:?}");
}

#[test]
fn odd_numbers_and_texts_are_answered() {
    let mut world = World::open_relay();
    let conn = world.client();
    let odd = "a\0b \u{202e} \u{fffe} e\u{301} \u{1f600} ' \" \\ %_*?[".to_owned();
    let event = Author::new(1).sign(1, NOW, &[&["t", &odd], &["d", "\0"], &["r", ""]], &odd);
    assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    let addressed = Author::new(1).sign(30_000, NOW, &[&["d", "a\0b"]], "first");
    let beside = Author::new(1).sign(30_000, NOW + 1, &[&["d", "a"]], "beside");
    for event in [&addressed, &beside] {
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    }
    let found = |world: &mut World, filter: Value| {
        let frames = world.ask(conn, json!(["REQ", "q", filter]));
        assert!(frames.last().is_some_and(|last| last[0] == "EOSE"), "{frames:?}");
        frames.len() - 1
    };
    world.reset(true);
    world.settle();
    world.take(conn);
    assert_eq!(found(&mut world, json!({"#t": [odd]})), 1);
    assert_eq!(found(&mut world, json!({"#t": ["a"]})), 0);
    assert_eq!(found(&mut world, json!({"#r": [""]})), 1);
    assert_eq!(found(&mut world, json!({"kinds": [30_000], "#d": ["a\0b"]})), 1);
    assert_eq!(found(&mut world, json!({"kinds": [30_000]})), 2);
    let key = Author::new(1).key().to_string();
    let gone = Author::new(1).sign(5, NOW + 2, &[&["a", &format!("30000:{key}:a\0b")]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", gone]))[0][2], true);
    assert_eq!(found(&mut world, json!({"kinds": [30_000]})), 1);
    for number in ["18446744073709551615", "9223372036854775808", "9007199254740993", "0"] {
        for member in ["since", "until", "limit"] {
            for other in ["\"kinds\":[1]", "\"#t\":[\"x\"]", "\"authors\":[\"\"]", "\"kinds\":[99999999999]"] {
                for verb in ["REQ", "COUNT"] {
                    world.say_text(conn, &format!("[\"{verb}\",\"n\",{{\"{member}\":{number},{other}}}]"));
                    world.settle();
                    let frames = world.take(conn);
                    let last = frames.last().map(|last| last[0].as_str().unwrap().to_owned());
                    assert!(last.is_some_and(|last| last != "NOTICE"), "{member} {number} {other}: {frames:?}");
                    let unreadable = closed(&frames).is_some_and(|reason| reason.starts_with("error"));
                    assert!(!unreadable, "{member} {number} {other}: {frames:?}");
                }
            }
        }
    }
    assert!(world.log.is_empty(), "{:?}", world.log);
}

/// Bytes that one event makes the relay send to one network, and what its sender pays for.
#[test]
fn what_an_event_makes_the_relay_send_is_paid() {
    let mut world = native();
    let mut subs = 0;
    'all: for n in 0..100 {
        let conn = proven(&mut world, "192.0.2.1", &Author::numbered(n));
        for sub in 0..32 {
            if closed(&hear(&mut world, conn, json!(["REQ", sub.to_string(), {"kinds": [20_000], "limit": 0}])))
                .is_some()
            {
                break 'all;
            }
            subs += 1;
        }
        world.pass(1);
    }
    let writer = proven(&mut world, "192.0.2.1", &Author::new(1));
    let (mut paid, mut sent, mut taken) = (0, 0, 0);
    let began = std::time::Instant::now();
    for n in 0..1000 {
        world.now += 5;
        let event = Author::new(1).sign(20_000, NOW, &[], &n.to_string());
        let text = json!(["EVENT", event]).to_string();
        paid += text.len() + 512;
        for text in host::sent(&world.effects(Input::Received { conn: writer, text })) {
            sent += text.len();
            taken += usize::from(text.starts_with("[\"OK\"") && text.contains("true"));
        }
    }
    let took = began.elapsed();
    // What a network may be sent at once and in these five seconds.
    assert!(
        sent <= (80 + 13 + 5) << 20,
        "{taken} events of {paid} bytes made {sent} bytes to {subs} subscriptions in {took:?}"
    );
}

/// What filters that do not match cost an event that has many tags.
#[test]
fn filters_of_many_letters_do_not_make_one_event_last() {
    let mut world = native();
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').filter(|c| !matches!(c, 'e' | 'p' | 'z')).collect();
    let mut filter = serde_json::Map::new();
    for letter in &letters {
        filter.insert(format!("#{letter}"), json!(["x"]));
    }
    filter.insert("#z".to_owned(), json!(["never", "ever"]));
    filter.insert("limit".to_owned(), json!(0));
    let filter = Value::Object(filter);
    let mut filters = 0;
    let conn = proven(&mut world, "192.0.2.1", &Author::numbered(0));
    for sub in 0..10 {
        let req = message("REQ", &sub.to_string(), vec![filter.clone(); 16]);
        filters += if closed(&hear(&mut world, conn, req)).is_none() { 16 } else { 0 };
    }
    let writer = proven(&mut world, "192.0.2.1", &Author::new(1));
    let mut time = |tags: Vec<Vec<String>>, n: u32| {
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let event = Author::new(1).sign(20_000, NOW, &tags, &n.to_string());
        let text = json!(["EVENT", event]).to_string();
        let length = text.len();
        let began = std::time::Instant::now();
        let effects = world.effects(Input::Received { conn: writer, text });
        let took = began.elapsed();
        let said: Vec<String> = host::sent(&effects).map(str::to_owned).collect();
        (took, length, said)
    };
    let tag = |letter: char, value: &str| vec![letter.to_string(), value.to_owned()];
    let filler = (0..1900).map(|n| tag('z', &n.to_string()));
    let plain: Vec<Vec<String>> = filler.clone().collect();
    let all: Vec<Vec<String>> = filler.chain(letters.iter().map(|letter| tag(*letter, "x"))).collect();
    let (before, ..) = time(plain, 1);
    let (after, length, said) = time(all, 2);
    assert!(
        after < before * 10,
        "{before:?} without, {after:?} with {filters} filters, an event of {length} bytes: {said:?}"
    );
}

/// A filter that an event is found by under many of its values is compared with it once.
#[test]
fn filters_of_many_values_do_not_make_one_event_last() {
    let took = ["found", "other"].map(|value| {
        let mut world = World::native(&[("AUTH_REQUIRED", "false")]);
        let conn = world.client();
        let values = |value: &str, count: usize| (0..count).map(|n| format!("{value} {n}")).collect::<Vec<_>>();
        for sub in 0..8 {
            let filter = json!({"#a": values(value, 490), "#b": values("never", 500), "limit": 0});
            world.say(conn, message("REQ", &sub.to_string(), vec![filter]));
        }
        let tags: Vec<[String; 2]> = [("a", "found", 490), ("b", "ever", 1300)]
            .into_iter()
            .flat_map(|(name, value, count)| {
                values(value, count).into_iter().map(move |value| [name.to_owned(), value])
            })
            .collect();
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let text = json!(["EVENT", Author::new(1).sign(20_000, NOW, &tags, "")]).to_string();
        assert!(world.take(conn).iter().all(|said| said[0] == "EOSE"));
        let began = std::time::Instant::now();
        let effects = world.effects(Input::Received { conn, text });
        assert!(host::sent(&effects).all(|said| said.starts_with("[\"OK\"")));
        began.elapsed()
    });
    assert!(took[0] < 10 * took[1], "{took:?}");
}

/// A signature takes as long to find wrong as to find right, whatever the event costs to keep.
#[test]
fn signatures_that_are_none_cost_their_verification() {
    let mut world = native();
    let author = Author::new(1);
    let conn = proven(&mut world, "192.0.2.1", &author);
    let mut event = json!(author.sign(20_000, NOW, &[], ""));
    event["sig"] = json!("0".repeat(128));
    let text = json!(["EVENT", event]).to_string();
    let mut verified = 0;
    for _ in 0..10 * 400 {
        world.now += 2;
        world.say_text(conn, &text);
        let said = world.take(conn);
        verified += said.iter().filter(|ok| ok[3].as_str().unwrap().starts_with("invalid: sig")).count();
    }
    // 200 tokens at once and 20 a second.
    assert!(verified <= 400, "{verified} signatures of one key were verified in 8 s");
}
