//! What one client can make the relay hold or do is bounded, and a bound that is met is said.

use nexus::gateway::{ConnId, TurnedAway};
use nexus::nostr::Event;
use nexus::seam::Input;
use nexus::store::{Param, StoreError};
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

#[test]
fn a_page_of_large_events_is_cut_at_a_whole_second() {
    let mut world = World::open_relay();
    let conn = world.client();
    let large = |n: u64| Author::new(1).sign(1, NOW - n / 3, &[], &padded(n));
    for n in 0..60 {
        world.say(conn, json!(["EVENT", large(n)]));
        world.settle();
    }
    world.take(conn);
    // 4 MB hold 40; the second that does not fit is left out whole.
    let (mut seen, mut until, mut sizes) = (Vec::new(), NOW, Vec::new());
    loop {
        let mut frames = world.ask(conn, json!(["REQ", "s", {"kinds": [1], "until": until}]));
        let eose = frames.pop().unwrap();
        sizes.push(frames.len());
        seen.extend(frames.iter().map(|frame| frame[2]["id"].to_string()));
        if eose[2] == json!(["finish"]) {
            break;
        }
        assert_eq!(eose, json!(["EOSE", "s", ["more"]]));
        until = frames.last().unwrap()[2]["created_at"].as_u64().unwrap() - 1;
    }
    assert_eq!(sizes, [39, 21]);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 60);
    // The budget is shared by the filters of a REQ.
    let frames = world.ask(conn, json!(["REQ", "s", {"kinds": [1]}, {"kinds": [1], "until": NOW - 8}]));
    assert!(frames.len() < 45, "{}", frames.len());
}

/// One key may store as much in one second as no answer holds: whoever asks is sent a part of it, told so, and
/// hears of what is new.
#[test]
fn a_second_that_is_larger_than_an_answer_is_cut_and_ends_no_subscription() {
    let mut world = World::open_relay();
    let (conn, provider) = (world.client(), world.client());
    let (crowd, buyer) = (Author::new(1), Author::new(2));
    let large: Vec<Event> = (0..45).map(|n| crowd.sign(5050, NOW + 800, &[], &padded(n))).collect();
    large.iter().for_each(|event| drop(world.ask(conn, json!(["EVENT", event]))));
    let older = buyer.sign(5050, NOW - 1, &[], "older");
    world.ask(conn, json!(["EVENT", older]));
    let mut first: Vec<String> = large.iter().map(|event| event.id.to_string()).collect();
    first.sort();
    for (n, filter) in [
        json!({"kinds": [5050]}),
        json!({"kinds": [5050], "since": NOW}),
        json!({"kinds": [5050], "limit": 50}),
        json!({"kinds": [5050], "limit": 500, "until": NOW + 800}),
        json!({"since": NOW}),
        json!({}),
    ]
    .iter()
    .enumerate()
    {
        let mut frames = world.ask(provider, json!(["REQ", "s", filter]));
        assert_eq!(frames.pop(), Some(json!(["EOSE", "s", ["more"]])), "{filter}");
        let ids: Vec<&str> = frames.iter().map(|frame| frame[2]["id"].as_str().unwrap()).collect();
        assert_eq!(ids, first[..39], "{filter}: the lowest ids of 4 MB");
        let job = buyer.sign(5050, NOW + 1, &[], &n.to_string());
        world.ask(conn, json!(["EVENT", job]));
        let live = usize::from(filter["until"].is_null() || filter["until"].as_u64() >= Some(NOW + 1));
        assert_eq!(world.take(provider), vec![json!(["EVENT", "s", job]); live], "{filter}");
    }
    // Beside what is newer the second is left out, whole; before it, pages go on.
    let newest = buyer.sign(5050, NOW + 801, &[], "newest");
    world.ask(conn, json!(["EVENT", newest]));
    world.take(provider);
    let more = json!(["EOSE", "s", ["more"]]);
    assert_eq!(world.ask(provider, json!(["REQ", "s", {"kinds": [5050]}])), [json!(["EVENT", "s", newest]), more]);
    let frames = world.ask(provider, json!(["REQ", "s", {"kinds": [5050], "until": NOW}]));
    assert_eq!(frames, [json!(["EVENT", "s", older]), json!(["EOSE", "s", ["finish"]])]);
    // A client that knows whom it asks for passes by the crowd.
    let own = json!({"kinds": [5050], "authors": [buyer.key()], "since": NOW + 800});
    assert_eq!(world.ask(provider, json!(["REQ", "s", own])).len(), 2);
}

#[test]
fn a_group_fits_one_parameter_whatever_its_tags_are_made_of() {
    let mut world = World::open_relay();
    let conn = world.client();
    // Each of these tags is 10 bytes as JSON and 70 as a key.
    let values: Vec<String> = (0..2000).map(|n| format!("\0{n:03x}")).collect();
    let tags: Vec<Vec<&str>> = values.iter().map(|value| vec!["t", value.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    for n in 0..24 {
        world.say(conn, json!(["EVENT", Author::new(1).sign(1, NOW + n, &tags, "")]));
    }
    let mut largest = 0;
    while let Some(statements) = world.next_commit() {
        let sizes = statements.iter().flat_map(|statement| &statement.params).map(|param| match param {
            Param::Text(text) => text.len(),
            Param::Integer(_) => 0,
        });
        largest = largest.max(sizes.max().unwrap());
        let answer = world.run_oldest(true).unwrap();
        world.input(answer);
    }
    assert!(largest < 1_500_000, "{largest}");
    assert_eq!(world.stored().len(), 24);
}

#[test]
fn one_question_of_a_connection_is_asked_at_a_time_and_all_are_answered() {
    let mut world = World::open_relay();
    let (conn, other) = (world.client(), world.client());
    for n in 0..10 {
        world.say(conn, json!(["REQ", n.to_string(), {"kinds": [n + 100]}]));
        world.say(conn, json!(["COUNT", format!("c{n}"), {"kinds": [n + 100]}]));
    }
    world.say(other, json!(["REQ", "o", {}]));
    assert_eq!(world.waiting(), (0, 2));
    world.say(conn, json!(["CLOSE", "3"]));
    world.say(conn, json!(["REQ", "0", {"kinds": [5]}]));
    world.settle();
    let frames = world.take(conn);
    let names: Vec<&Value> = frames.iter().map(|frame| &frame[1]).collect();
    assert_eq!(
        names,
        ["c0", "1", "c1", "2", "c2", "c3", "4", "c4", "5", "c5", "6", "c6", "7", "c7", "8", "c8", "9", "c9", "0"]
    );
    assert_eq!(world.take(other).len(), 1);
}

#[test]
fn questions_in_line_are_bounded_and_die_with_their_connection() {
    let mut world = World::open_relay();
    let conn = world.client();
    for n in 0..200 {
        world.say(conn, json!(["COUNT", n.to_string(), {"kinds": [1]}]));
    }
    let refused = world.take(conn);
    assert_eq!(refused.len(), 71);
    assert_eq!(refused[0], json!(["CLOSED", "129", "restricted: more than 128 questions wait for an answer"]));
    world.close(conn);
    assert_eq!(world.waiting(), (0, 1));
    world.settle();
    assert!(world.take(conn).is_empty());
}

#[test]
fn a_message_that_is_too_long_is_refused_under_its_name() {
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).note(&"x".repeat(200_000));
    let why = |length: usize| format!("restricted: message of {length} bytes is over the limit of 131072");
    let message = json!(["EVENT", event]).to_string();
    world.say_text(conn, &message);
    assert_eq!(world.take(conn), [json!(["OK", event.id, false, why(message.len())])]);
    let message = json!(["REQ", "s", {"#t": ["x".repeat(200_000)]}]).to_string();
    world.say_text(conn, &message);
    assert_eq!(world.take(conn), [json!(["CLOSED", "s", why(message.len())])]);
    let message = "x".repeat(200_000);
    world.say_text(conn, &message);
    assert_eq!(world.take(conn), [json!(["NOTICE", why(message.len())])]);
}

#[test]
fn when_the_store_is_silent_those_who_have_waited_as_long_are_told_at_once() {
    let mut world = World::open_relay();
    let conn = world.client();
    let events: Vec<Event> = (0..600).map(|n| Author::new(1).note(&n.to_string())).collect();
    for event in &events {
        world.say(conn, json!(["EVENT", event]));
    }
    let Some(Input::Committed { ticket, .. }) = world.run_oldest(true) else { panic!("a commit") };
    world.now += 15_000;
    world.input(Input::Committed { ticket, result: Err(StoreError::timed_out()) });
    let frames = world.take(conn);
    assert_eq!(frames.len(), 600);
    assert!(frames.iter().all(|frame| frame[2] == false), "{:?}", frames[0]);
    // It was there all along: what landed is told once it is published again.
    world.say(conn, json!(["EVENT", events[0]]));
    world.pass(1);
    assert_eq!(world.take(conn), [json!(["OK", events[0].id, true, "duplicate: already have this event"])]);
}

#[test]
fn a_look_for_missed_events_that_fails_is_made_again() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let notes = ["lost", "next", "last"].map(|content| Author::new(1).note(content));
    for note in &notes[..2] {
        world.say(conn, json!(["EVENT", note]));
        // What was lost before is found first.
        while world.waiting().0 == 0 {
            match world.run_oldest(false) {
                Some(answer) => world.input(answer),
                None => world.pass_until_timer(),
            }
        }
        world.lose();
    }
    // How far the log is, is known; what was lost cannot be read.
    world.say(conn, json!(["EVENT", notes[2]]));
    world.pass_until_timer();
    let position = world.run_oldest(false).unwrap();
    world.input(position);
    world.broken = true;
    world.answer_all();
    world.broken = false;
    world.settle();
    let told: Vec<Value> = world.take(reader).iter().map(|frame| frame[2]["content"].clone()).collect();
    assert_eq!(told, ["lost", "next", "last"]);
}

#[test]
fn who_is_sent_much_and_says_nothing_is_closed() {
    let mut world = World::new(&[("AUTH_REQUIRED", "false"), ("MAX_UNHEARD_BYTES", "10000000")]);
    let (silent, talking, author) = (world.client(), world.client(), world.client());
    for conn in [silent, talking] {
        world.ask(conn, json!(["REQ", "live", {"kinds": [1]}]));
    }
    let mut closed = Value::Null;
    for n in 0..120 {
        world.ask(author, json!(["EVENT", Author::new(1).sign(1, NOW, &[], &padded(n))]));
        world.say(talking, json!(["CLOSE", "nothing"]));
        closed = world.take(silent).last().cloned().unwrap_or(closed);
        assert_eq!(world.take(talking).len(), 1);
    }
    assert_eq!(
        closed,
        json!(["(closed)", 1008, "10000000 bytes sent and none known to be read; send a message now and then"])
    );
    assert_eq!(
        (world.stats()["connections"]["open"].clone(), world.stats()["subscriptions"].clone()),
        (json!(2), json!(1))
    );
}

#[test]
fn connections_of_one_network_are_bounded() {
    let mut world = World::new(&[("MAX_CONNECTIONS_PER_IP", "2"), ("RATE_LIMITS", "on")]);
    let open = |world: &mut World, n: u64, ip: &str| {
        assert!(world.relay.may_open(ip, NOW * 1000).is_ok(), "{ip}");
        let input = Input::Opened { conn: ConnId(n), challenge: n.to_string(), ip: Some(ip.to_owned()) };
        world.relay.handle(input, NOW * 1000);
    };
    open(&mut world, 1, "192.0.2.1");
    open(&mut world, 2, "::ffff:192.0.2.1");
    assert_eq!(
        world.relay.may_open("192.0.2.1", NOW * 1000).unwrap_err(),
        TurnedAway {
            status: 429,
            reason: "too many connections from this address: 2 are open; close one".to_owned(),
            retry_after_s: None
        }
    );
    open(&mut world, 3, "192.0.2.2");
    open(&mut world, 4, "2001:db8:1:2::1");
    open(&mut world, 5, "2001:db8:1:2:ffff::9");
    assert!(world.relay.may_open("2001:db8:1:2::77", NOW * 1000).is_err());
    assert!(world.relay.may_open("2001:db8:1:3::1", NOW * 1000).is_ok());
    world.relay.handle(Input::Closed { conn: ConnId(2) }, NOW * 1000);
    assert!(world.relay.may_open("192.0.2.1", NOW * 1000).is_ok());
    // An address that is none is not counted.
    assert!(world.relay.may_open("unknown", NOW * 1000).is_ok());
}

/// 100,000 characters.
fn padded(n: u64) -> String {
    n.to_string() + &"x".repeat(100_000 - n.to_string().len())
}

/// A deletion is carried out at once, so it may not name more than can be looked at at once.
#[test]
fn a_deletion_of_too_many_large_events_is_refused_and_two_of_half_of_them_are_not() {
    let mut world = World::open_relay();
    let conn = world.client();
    let author = Author::new(1);
    let events: Vec<Event> = (0..16).map(|n| author.large(1, n, &[])).collect();
    events.iter().for_each(|event| _ = world.publish(conn, event));
    let all = author.delete(&events);
    let too_much = "restricted: this concerns events with more than 1 MB of tags; name fewer in each request";
    // With others in its group it is found out, too.
    let said = world.together(conn, &[&Author::new(2).note("one"), &all, &Author::new(3).note("two")]);
    let refused: Vec<&Value> = said.iter().filter(|said| said[2] == false).collect();
    assert_eq!(refused, [&json!(["OK", all.id, false, too_much])]);
    let kept = world.stored().len();
    assert!(kept > 16);
    for half in events.chunks(8) {
        assert_eq!(world.publish(conn, &author.delete(half))[2], true);
    }
    assert_eq!(world.stored().len(), kept - 16 + 2);
}

/// What small events replace, or time removes, is looked at in parts.
#[test]
fn many_large_events_are_replaced_and_expire() {
    for expires in [false, true] {
        let mut world = World::open_relay();
        let conn = world.client();
        let until = (NOW + 60).to_string();
        for n in 0..100 {
            let (d, more) = (n.to_string(), ["expiration", until.as_str()]);
            let tags: &[&[&str]] = &[&["d", &d], &more];
            assert_eq!(
                world.publish(conn, &Author::new(1).large(30_000, n, &tags[..1 + usize::from(expires)]))[2],
                true
            );
        }
        if expires {
            world.pass(4000);
            for _ in 0..20 {
                world.pass(60);
            }
            assert_eq!(world.stored().len(), 0);
            assert_eq!(world.column("SELECT cast(count(*) AS TEXT) FROM tags"), ["0"]);
        } else {
            let newer = |n: u64| Author::new(1).sign(30_000, NOW + 1, &[&["d", &n.to_string()]], "");
            let newer: Vec<Event> = (0..100).map(newer).collect();
            let said = world.together(conn, &newer.iter().collect::<Vec<_>>());
            assert!(said.iter().all(|said| said[2] == true), "{said:?}");
            assert_eq!(world.column("SELECT cast(count(*) AS TEXT) FROM tags"), ["100"]);
        }
    }
}
