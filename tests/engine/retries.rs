//! A store that fails for a while: it is asked again after pauses that grow, nobody waits for too long, and what
//! will not pass soon is told apart.

use nexus::gateway::Api;
use nexus::nostr::Event;
use nexus::seam::Input;
use nexus::store::{ErrorKind, StoreError};
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{Fault, World};

const REASON: &str = "error: the event could not be stored: disk on fire; publish it again";

/// Fails the commit that is on its way; milliseconds until the relay has something to do.
fn fail(world: &mut World) -> u64 {
    world.faults.push_back(Fault::Fails);
    // What became of an earlier attempt is found out first.
    while world.waiting().0 == 0 {
        let answer = world.run_oldest(false).unwrap();
        world.input(answer);
    }
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    world.timer.unwrap() - world.now
}

/// After a failure, sends the next attempt on its way and does not answer it.
fn hang(world: &mut World) {
    world.pass_until_timer();
    let answer = world.run_oldest(false).unwrap();
    world.input(answer);
    assert_eq!(world.waiting(), (1, 0));
}

fn ok(event: &Event, accepted: bool, text: &str) -> Value {
    json!(["OK", event.id, accepted, text])
}

#[test]
fn pauses_grow_and_nobody_waits_for_more_than_15_seconds() {
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).note("a");
    let came = world.now;
    world.say(conn, json!(["EVENT", event]));
    let mut pauses = Vec::new();
    while world.now < came + 12_000 {
        pauses.push(fail(&mut world));
        assert_eq!(world.waiting(), (0, 0));
        world.pass_until_timer();
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400]);
    // The next pause would be longer than anybody waits.
    let left = fail(&mut world);
    assert_eq!(world.now + left, came + 15_000);
    assert!(world.take(conn).is_empty());
    world.pass_until_timer();
    assert_eq!(world.take(conn), [ok(&event, false, REASON)]);
    assert_eq!(world.waiting().0, 0);
}

#[test]
fn what_works_again_works_as_before() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.say(conn, json!(["EVENT", Author::new(1).note("a")]));
    for _ in 0..3 {
        fail(&mut world);
        world.pass_until_timer();
    }
    world.answer_all();
    assert_eq!(world.take(conn)[0][2], true);
    world.say(conn, json!(["EVENT", Author::new(1).note("b")]));
    assert_eq!(fail(&mut world), 100);
}

#[test]
fn pauses_are_kept_whoever_comes_and_order_and_duplicates_are_as_ever() {
    let mut world = World::open_relay();
    let (author, conn, other) = (Author::new(1), world.client(), world.client());
    let reader = world.client();
    world.ask(reader, json!(["REQ", "live", {}]));
    let (note, profile) = (author.note("note"), author.sign(0, NOW, &[], "profile"));
    let deletion = author.sign(5, NOW, &[&["a", &format!("0:{}:", author.key())]], "");
    world.say(conn, json!(["EVENT", note]));
    fail(&mut world);
    for event in [&profile, &deletion, &note] {
        world.say(conn, json!(["EVENT", event]));
        world.say(other, json!(["EVENT", event]));
    }
    assert_eq!(world.waiting(), (0, 0), "the pause is over too soon");
    world.settle();
    let here = "duplicate: already have this event";
    let expected = [ok(&note, true, ""), ok(&note, true, here), ok(&profile, true, ""), ok(&deletion, true, "")];
    assert_eq!(world.take(conn), expected);
    assert_eq!(world.take(other), [&note, &profile, &deletion].map(|event| ok(event, true, here)));
    assert_eq!(world.take(reader), [&note, &profile, &deletion].map(|event| json!(["EVENT", "live", event])));
    assert_eq!(world.stored(), [note.to_json(), deletion.to_json()]);
}

#[test]
fn each_event_has_its_own_time() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (first, second) = (Author::new(1).note("1"), Author::new(2).note("2"));
    let came = world.now;
    world.say(conn, json!(["EVENT", first]));
    world.broken = true;
    world.answer_all();
    while world.now < came + 10_000 {
        world.pass_until_timer();
        world.answer_all();
    }
    world.say(conn, json!(["EVENT", second]));
    while world.frames(conn) == 0 {
        world.pass_until_timer();
        world.answer_all();
    }
    assert_eq!(world.take(conn), [ok(&first, false, REASON)]);
    assert!(world.now < came + 16_000);
    world.broken = false;
    world.settle();
    assert_eq!(world.take(conn), [ok(&second, true, "")]);
}

#[test]
fn nobody_waits_for_an_attempt_that_hangs_and_what_it_stores_is_found() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let [before, first, second, third] = [0, 1, 2, 3].map(|n| Author::new(n + 1).note(&n.to_string()));
    world.say(conn, json!(["EVENT", before]));
    let came = world.now;
    world.say(conn, json!(["EVENT", first]));
    world.now += 5000;
    world.say(conn, json!(["EVENT", second]));
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    assert_eq!(world.take(conn), [ok(&before, true, "")]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", before])]);
    // Both are in a group, whose second attempt hangs.
    fail(&mut world);
    hang(&mut world);
    world.say(conn, json!(["EVENT", third]));
    world.pass_until_timer();
    assert_eq!(world.now, came + 15_000);
    assert_eq!(world.take(conn), [ok(&first, false, REASON)]);
    assert_eq!(world.waiting(), (1, 0));
    // It has landed.
    world.settle();
    assert_eq!(world.take(conn), [ok(&second, true, ""), ok(&third, true, "")]);
    assert_eq!(world.take(reader), [&first, &second, &third].map(|event| json!(["EVENT", "live", event])));
    assert_eq!(world.ask(conn, json!(["EVENT", first])), [ok(&first, true, "duplicate: already have this event")]);
    let ids = json!(["REQ", "ids", { "ids": [first.id, second.id, third.id] }]);
    assert_eq!(world.ask(conn, ids).len(), 4);
    assert_eq!(world.stored().len(), 4);
}

#[test]
fn what_waits_for_an_attempt_that_hangs_has_its_own_time() {
    for lands in [true, false] {
        let mut world = World::open_relay();
        let (conn, reader) = (world.client(), world.client());
        world.ask(reader, json!(["REQ", "live", {}]));
        let [first, second] = [1, 2].map(|n| Author::new(n).note(&n.to_string()));
        let came = world.now;
        world.say(conn, json!(["EVENT", first]));
        fail(&mut world);
        hang(&mut world);
        world.now += 4000;
        let late = world.now;
        world.say(conn, json!(["EVENT", second]));
        for (event, at) in [(&first, came), (&second, late)] {
            world.pass_until_timer();
            assert_eq!(world.now, at + 15_000);
            assert_eq!(world.take(conn), [ok(event, false, REASON)]);
        }
        world.faults.extend((!lands).then_some(Fault::Fails));
        world.settle();
        let told: Vec<Value> = if lands { vec![json!(["EVENT", "live", first])] } else { vec![] };
        assert_eq!(world.take(reader), told);
        assert_eq!(world.ask(conn, json!(["EVENT", second])), [ok(&second, true, "")]);
        assert_eq!(world.take(reader), [json!(["EVENT", "live", second])]);
    }
}

#[test]
fn while_the_store_fails_the_queue_is_bounded() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.say(conn, json!(["EVENT", Author::new(1).note("first")]));
    fail(&mut world);
    let long = "x".repeat(60_000);
    for n in 0..300 {
        world.say(conn, json!(["EVENT", Author::new(1).note(&format!("{n} {long}"))]));
    }
    let refused = world.take(conn);
    assert!((100..250).contains(&refused.len()), "{} of 300 refused", refused.len());
    let reason = "error: the store is behind; try again in a few seconds";
    assert!(refused.iter().all(|frame| frame[2] == false && frame[3] == reason));
    world.settle();
    assert_eq!(world.stored().len(), 301 - refused.len());
}

#[test]
fn a_store_that_is_down_at_the_start_is_asked_after_pauses_too() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.broken = true;
    world.reset(false);
    world.answer_all();
    let event = Author::new(1).note("a");
    world.say(conn, json!(["EVENT", event]));
    assert_eq!(world.waiting(), (0, 0));
    world.pass_until_timer();
    world.answer_all();
    world.broken = false;
    assert!(world.take(conn).is_empty());
    world.pass_until_timer();
    world.answer_all();
    assert_eq!(world.take(conn), [ok(&event, true, "")]);
}

#[test]
fn an_allowance_that_is_used_up_is_not_asked_for_again_soon() {
    let mut world = World::open_relay();
    let conn = world.client();
    let told = "error: the event could not be stored: the relay's database allowance for today is used up; \
                publish it again after midnight UTC";
    world.error = StoreError::of_cloudflare("Your account has exceeded D1's free tier daily row write limit.");
    world.broken = true;
    for n in 0..4 {
        let event = Author::new(1).note(&n.to_string());
        assert_eq!(world.ask(conn, json!(["EVENT", event])), [ok(&event, false, told)]);
    }
    // One group, and nothing else: what became of it is not known.
    assert_eq!(world.commits, 1);
    // A minute later somebody finds out that it works again.
    world.broken = false;
    world.now += 60_000;
    for n in 0..4 {
        assert_eq!(world.ask(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]))[0][2], true);
    }
}

#[test]
fn a_full_database_takes_deletion_requests() {
    let mut world = World::open_relay();
    let (author, conn) = (Author::new(1), world.client());
    let old = author.note("old");
    world.ask(conn, json!(["EVENT", old]));
    let told = "error: the event could not be stored: the relay's database is full; it takes deletion requests alone";
    world.error = StoreError::of_sqlite(Some(13), "database or disk is full");
    world.faults.push_back(Fault::Fails);
    let (new, deletion) = (author.note("new"), author.sign(5, NOW, &[&["e", &old.id.to_string()]], ""));
    world.say(conn, json!(["EVENT", new]));
    // The one waits, the other does not.
    world.say(conn, json!(["EVENT", deletion]));
    let later = author.note("later");
    world.say(conn, json!(["EVENT", later]));
    world.settle();
    let expected = [ok(&new, false, told), ok(&later, false, told), ok(&deletion, true, "")];
    assert_eq!(world.take(conn), expected);
    // There may be room now.
    assert_eq!(world.ask(conn, json!(["EVENT", later])), [ok(&later, true, "")]);
}

#[test]
fn what_is_wrong_is_told_apart() {
    let of_cloudflare = StoreError::of_cloudflare;
    let cases = [
        (of_cloudflare("D1 DB is overloaded. Requests queued for too long."), "the relay's database is overloaded"),
        (of_cloudflare("Exceeded maximum DB size."), "the relay's database is full"),
        (of_cloudflare("no such table: events"), "no such table: events"),
        (StoreError::timed_out(), "the database did not answer in time"),
    ];
    for (error, told) in cases {
        let mut world = World::open_relay();
        let conn = world.client();
        let kind = error.kind;
        world.error = error.clone();
        world.broken = true;
        let reason = format!("error: stored events could not be read: {told}; try again");
        assert!(world.ask(conn, json!(["REQ", "s", {}])).is_empty());
        world.pass(30);
        assert_eq!(world.take(conn), [json!(["CLOSED", "s", reason])]);
        let frame = world.ask(conn, json!(["EVENT", Author::new(1).note("a")])).remove(0);
        assert!(frame[3].as_str().unwrap().starts_with(&format!("error: the event could not be stored: {told}; ")));
        // An operator reads the database's own words.
        assert!(world.log.iter().any(|line| line.contains(&error.message) && line.contains(kind.as_str())));
        world.broken = false;
        let metrics = world.http_text(Api::Metrics);
        for other in ErrorKind::ALL {
            let line = format!("nexus_storage_failures_total{{kind=\"{}\"}} ", other.as_str());
            let count: u64 = metrics.split(&line).nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            assert_eq!(count > 0, other == kind, "{line}");
        }
    }
}

#[test]
fn who_waits_when_the_relay_ends_is_told() {
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).note("a");
    world.say(conn, json!(["EVENT", event]));
    fail(&mut world);
    world.input(Input::Leaving);
    let reason = "error: the relay restarts; publish it again in some seconds";
    assert_eq!(world.take(conn)[0], ok(&event, false, reason));
}

#[test]
fn who_asks_while_events_were_refused_is_answered_when_the_store_works_again() {
    let mut world = World::open_relay();
    let (conn, watcher) = (world.client(), world.client());
    world.ask(watcher, json!(["REQ", "live", {"kinds": [1]}]));
    let event = Author::new(1).note("hello");
    world.broken = true;
    world.say(conn, json!(["EVENT", event]));
    world.settle();
    world.pass(16);
    assert_eq!(world.take(conn).len(), 1);
    world.say(conn, json!(["REQ", "s", {}]));
    world.answer_all();
    world.broken = false;
    world.pass(3);
    assert_eq!(world.take(conn), [json!(["EOSE", "s"])]);
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["EVENT", "s", event]), ok(&event, true, "")]);
}

#[test]
fn who_asks_a_relay_that_failed_to_wake_is_answered_soon_after_the_store_works_again() {
    for published in [false, true] {
        let mut world = World::native(&[("AUTH_REQUIRED", "false")]);
        world.broken = true;
        world.awake_for(0);
        let conn = world.client();
        if published {
            // Pauses have grown by what was refused.
            world.say(conn, json!(["EVENT", Author::new(1).note("a")]));
            world.pass(16);
            world.take(conn);
        }
        world.broken = false;
        let from = world.now;
        world.say(conn, json!(["REQ", "s", {}]));
        world.answer_all();
        while world.frames(conn) == 0 && world.now < from + 60_000 {
            world.pass(1);
        }
        let waited = world.now - from;
        assert_eq!(world.take(conn), [json!(["EOSE", "s"])], "published: {published}");
        assert!(waited <= 10_000, "{waited} ms, published: {published}");
    }
}
