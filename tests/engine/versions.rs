//! Versions of one event that wait together: the newest alone is written.

use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{ATTEMPTS, Fault, World};

const NEWER: &str = "duplicate: a newer version of this event is stored";

fn ok(event: &Event, accepted: bool, text: &str) -> Value {
    json!(["OK", event.id, accepted, text])
}

/// Publishes events while the store is busy; what they are answered, and what is stored besides what kept it busy.
fn together(world: &mut World, events: &[&Event]) -> (Vec<Value>, Vec<String>) {
    let conn = world.client();
    let told = world.together(conn, events);
    (told, world.stored().into_iter().filter(|json| !json.contains("keeps the store busy")).collect())
}

#[test]
fn a_newer_version_takes_the_place_of_those_that_wait() {
    let mut world = World::open_relay();
    let (author, reader) = (Author::new(1), world.client());
    world.ask(reader, json!(["REQ", "live", {"authors": [author.key()]}]));
    for (kind, tags) in [(0, &[] as &[&[&str]]), (30_023, &[&["d", "h"]])] {
        let versions: Vec<Event> = (0..4).map(|n| author.sign(kind, NOW + n, tags, &n.to_string())).collect();
        let other = author.sign(31_990, NOW, &[&["d", &format!("not {kind}")]], "");
        // What keeps the store busy is new each time.
        world.now += 1000;
        let before = world.commits;
        let [first, second, third, newest] = &versions[..] else { panic!("four") };
        let (told, _) = together(&mut world, &[second, first, &other, third, newest]);
        // The older one that came later is answered as they all are.
        let expected = [
            ok(newest, true, ""),
            ok(first, true, NEWER),
            ok(second, true, NEWER),
            ok(third, true, NEWER),
            ok(&other, true, ""),
        ];
        assert_eq!(told, expected);
        assert_eq!(world.commits, before + 2);
        assert_eq!(world.take(reader), [newest, &other].map(|event| json!(["EVENT", "live", event])));
    }
}

#[test]
fn of_two_of_one_second_the_lower_id_is_newer() {
    let mut pair = ["a", "b"].map(|content| Author::new(1).sign(0, NOW, &[], content));
    pair.sort_by_key(|event| event.id);
    let [low, high] = &pair;
    let mut world = World::open_relay();
    assert_eq!(together(&mut world, &[high, low]).0, [ok(low, true, ""), ok(high, true, NEWER)]);
    let mut world = World::open_relay();
    assert_eq!(together(&mut world, &[low, high]).0, [ok(low, true, ""), ok(high, false, NEWER)]);
}

#[test]
fn a_deletion_between_them_sees_the_one_and_not_the_other() {
    let mut world = World::open_relay();
    let author = Author::new(1);
    let versions = [0, 2].map(|n| author.sign(0, NOW + n, &[], ""));
    let deletion = author.sign(5, NOW + 1, &[&["a", &format!("0:{}:", author.key())]], "");
    let (told, stored) = together(&mut world, &[&versions[0], &deletion, &versions[1]]);
    assert_eq!(told, [&versions[0], &deletion, &versions[1]].map(|event| ok(event, true, "")));
    assert_eq!(stored, [deletion.to_json(), versions[1].to_json()]);
}

#[test]
fn what_is_not_the_same_event_waits_as_ever() {
    let mut world = World::open_relay();
    let (author, other) = (Author::new(1), Author::new(2));
    let handler = |author: &Author, n, d| author.sign(31_990, NOW + n, &[&["d", d]], "");
    let events = [
        handler(&author, 0, "a"),
        handler(&author, 1, "b"),
        handler(&other, 2, "a"),
        author.sign(31_989, NOW + 3, &[&["d", "a"]], ""),
        author.sign(1, NOW, &[], ""),
        author.sign(1, NOW + 1, &[], ""),
    ];
    let (told, stored) = together(&mut world, &events.iter().collect::<Vec<_>>());
    assert!(told.len() == 6 && told.iter().all(|frame| frame[3] == ""), "{told:?}");
    assert_eq!(stored.len(), 6);
}

#[test]
fn when_the_newer_one_is_refused_the_older_one_is_written() {
    let mut world = World::open_relay();
    let author = Author::new(1);
    let versions: Vec<Event> = (0..3).map(|n| author.sign(0, NOW + n, &[], &n.to_string())).collect();
    // The newest was deleted before it came.
    let deletion = author.sign(5, NOW, &[&["e", &versions[2].id.to_string()]], "");
    let conn = world.client();
    world.ask(conn, json!(["EVENT", deletion]));
    let (told, stored) = together(&mut world, &versions.iter().collect::<Vec<_>>());
    let deleted = "blocked: this event was deleted by its author";
    let expected = [ok(&versions[2], false, deleted), ok(&versions[1], true, ""), ok(&versions[0], true, NEWER)];
    assert_eq!(told, expected);
    assert_eq!(stored, [deletion.to_json(), versions[1].to_json()]);
}

#[test]
fn when_a_still_newer_one_is_stored_all_are_refused() {
    let mut world = World::open_relay();
    let versions: Vec<Event> = (0..3).map(|n| Author::new(1).sign(0, NOW + n, &[], "")).collect();
    let conn = world.client();
    world.ask(conn, json!(["EVENT", versions[2]]));
    let (told, _) = together(&mut world, &[&versions[0], &versions[1]]);
    assert_eq!(told, [ok(&versions[1], false, NEWER), ok(&versions[0], false, NEWER)]);
}

#[test]
fn everybody_who_sent_one_is_answered() {
    let mut world = World::open_relay();
    let versions = [0, 1].map(|n| Author::new(1).sign(0, NOW + n, &[], ""));
    let (conn, other) = (world.client(), world.client());
    world.say(conn, json!(["EVENT", Author::new(9).note("keeps the store busy")]));
    for event in [&versions[0], &versions[1], &versions[0]] {
        world.say(conn, json!(["EVENT", event]));
    }
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    // They are on their way now.
    world.say(other, json!(["EVENT", versions[0]]));
    world.settle();
    let expected = [ok(&versions[1], true, ""), ok(&versions[0], true, NEWER), ok(&versions[0], true, NEWER)];
    assert_eq!(world.take(conn)[1..], expected);
    assert_eq!(world.take(other), [ok(&versions[0], true, NEWER)]);
    assert_eq!(world.stats()["events"]["duplicate"], 3);
}

#[test]
fn when_the_store_fails_all_versions_are_refused() {
    let mut world = World::open_relay();
    let versions = [0, 1].map(|n| Author::new(1).sign(0, NOW + n, &[], ""));
    let conn = world.client();
    world.say(conn, json!(["EVENT", Author::new(9).note("keeps the store busy")]));
    versions.iter().for_each(|event| world.say(conn, json!(["EVENT", event])));
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    world.faults.extend([Fault::Fails; ATTEMPTS]);
    world.settle();
    let told = world.take(conn);
    assert_eq!(told.len(), 3);
    assert!(told[1..].iter().all(|frame| frame[2] == false && frame[3].as_str().unwrap().starts_with("error: ")));
    assert_eq!(world.stored().len(), 1);
}
