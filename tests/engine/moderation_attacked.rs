//! What an abuser, or a manager who oversteps, tries against the operator's rulings (NIP-86).

use nexus::gateway::{ConnId, RequestId};
use nexus::nostr::http_auth::Signed;
use nexus::nostr::{Event, EventId};
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

const BANNED: &str = "blocked: the operator of this relay has blocked this key";

fn owner() -> Author {
    Author::new(99)
}

fn settings<'a>(own: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("RELAY_PUBKEY", own)], more].concat()
}

fn world(more: &[(&str, &str)]) -> World {
    World::new(&settings(&owner().key().to_string(), more))
}

/// A call; each has a signature of its own.
fn called(by: &Author, number: u8, method: &str, params: &Value) -> Input {
    let body = json!({ "method": method, "params": params }).to_string();
    let signed = Signed { by: by.key(), id: EventId::new([number; 32]) };
    Input::Managed { request: RequestId(1_000_000 + u64::from(number)), signed, body }
}

fn answer(world: &World, number: u8) -> (u16, Value) {
    let (status, body, _) = world.response(RequestId(1_000_000 + u64::from(number))).expect("an answer").clone();
    (status, serde_json::from_str(&body).unwrap())
}

fn call(world: &mut World, by: &Author, number: u8, method: &str, params: &Value) -> (u16, Value) {
    world.input(called(by, number, method, params));
    world.settle();
    answer(world, number)
}

/// The owner does something.
fn does(world: &mut World, number: u8, method: &str, params: &Value) {
    assert_eq!(call(world, &owner(), number, method, params), (200, json!({ "result": true })), "{method} {params}");
}

fn events(frames: &[Value]) -> Vec<&Value> {
    frames.iter().filter(|frame| frame[0] == "EVENT").collect()
}

fn ok(frames: &[Value], event: &Event) -> (bool, String) {
    let ok = frames.iter().find(|frame| frame[0] == "OK" && frame[1] == json!(event.id)).expect("an OK");
    (ok[2] == true, ok[3].as_str().unwrap().to_owned())
}

fn say(world: &mut World, conn: ConnId, event: &Event) {
    world.say(conn, json!(["EVENT", event]));
}

#[test]
fn what_comes_before_it_is_known_what_is_ruled_waits_for_that() {
    let (bad, member, stranger) = (Author::new(1), Author::new(2), Author::new(3));
    let mut world = world(&[("AUTH_REQUIRED", "false"), ("ACCESS", "members")]);
    does(&mut world, 1, "allowpubkey", &json!([member.key()]));
    does(&mut world, 2, "allowpubkey", &json!([bad.key()]));
    does(&mut world, 3, "banpubkey", &json!([bad.key()]));
    let (guest, listener, own) = (world.client(), world.client(), world.agent(&member));
    world.ask(listener, json!(["REQ", "live", {"kinds": [20_001, 1]}]));
    // It hibernates, and the first thing that wakes it is one of these.
    let passes = |n: &str| member.sign(20_001, NOW, &[], n);
    for (conn, event, comes) in [
        (guest, bad.sign(20_001, NOW, &[], "x"), false),
        (guest, stranger.sign(20_001, NOW, &[], "x"), false),
        (guest, bad.note("x"), false),
        (own, passes("1"), true),
        (own, member.note("2"), true),
    ] {
        world.reset(true);
        say(&mut world, conn, &event);
        world.settle();
        let frames = world.take(conn);
        assert_eq!(ok(&frames, &event).0, comes, "{frames:?}");
        assert_eq!(events(&world.take(listener)).len(), usize::from(comes), "{event:?}");
    }
    // While the store fails nobody waits for ever, and nothing passes.
    world.reset(true);
    world.broken = true;
    let late = bad.sign(20_001, NOW, &[], "late");
    say(&mut world, guest, &late);
    world.settle();
    world.pass(30);
    let (took, reason) = ok(&world.take(guest), &late);
    assert!(!took && reason.starts_with("error: "), "{reason}");
    world.broken = false;
    world.pass(30);
    world.settle();
    assert!(events(&world.take(listener)).is_empty());
}

#[test]
fn nobody_reads_in_a_closed_relay_before_it_is_known_who_may_enter() {
    let (member, stranger) = (Author::new(1), Author::new(2));
    let mut world = world(&[("ACCESS", "closed")]);
    does(&mut world, 1, "allowpubkey", &json!([member.key()]));
    let own = world.agent(&member);
    assert_eq!(world.publish(own, &member.note("secret"))[2], true);
    world.reset(true);
    // The store is slow: who is no member proves a key, asks, and listens.
    let conn = world.client();
    let proof = world.auth_event(&stranger, conn);
    world.say(conn, json!(["AUTH", proof]));
    world.say(conn, json!(["REQ", "s", {}]));
    world.say(conn, json!(["COUNT", "c", {}]));
    world.say(own, json!(["REQ", "own", {}]));
    say(&mut world, own, &member.sign(20_001, NOW, &[], "secret"));
    world.settle();
    let frames = world.take(conn);
    assert!(events(&frames).is_empty() && frames.iter().all(|frame| frame[0] != "COUNT"), "{frames:?}");
    assert_eq!(frames[0][0], "OK", "{frames:?}");
    assert_eq!(frames[0][3], "restricted: this relay is for its members alone");
    // A member who asks at the same moment is answered, in the order of what was said.
    let frames = world.take(own);
    assert_eq!(events(&frames).len(), 2, "{frames:?}");
}

#[test]
fn a_version_that_waited_behind_one_that_is_kept_out_is_kept_out_as_well() {
    let (bad, other) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let conn = world.agent(&other);
    let versions = [0, 1, 2].map(|n| bad.sign(0, NOW - 10 + n, &[], &n.to_string()));
    say(&mut world, conn, &other.note("keeps the store busy"));
    versions.iter().for_each(|version| say(&mut world, conn, version));
    world.input(called(&owner(), 1, "banpubkey", &json!([bad.key()])));
    world.settle();
    assert_eq!(answer(&world, 1).0, 200);
    let frames = world.take(conn);
    for version in &versions {
        assert!(!ok(&frames, version).0, "{frames:?}");
    }
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn what_a_purged_key_has_dated_ahead_goes_as_well() {
    let (bad, other) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let (conn, reader) = (world.agent(&bad), world.agent(&other));
    let ahead = bad.sign(1, NOW + 800, &[], "spam");
    assert_eq!(world.publish(conn, &ahead)[2], true);
    does(&mut world, 1, "banpubkey", &json!([bad.key()]));
    does(&mut world, 2, "purgepubkey", &json!([bad.key()]));
    assert!(events(&world.ask(reader, json!(["REQ", "s", {"authors": [bad.key()]}]))).is_empty());
    world.pass(120);
    world.settle();
    assert!(world.stored().is_empty());
    let (_, log) = call(&mut world, &owner(), 3, "listauditlog", &json!([]));
    assert_eq!(log["result"][0]["at"].as_u64().unwrap().abs_diff(NOW), 0, "{log}");
}

#[test]
fn a_manager_rules_over_neither_the_owner_nor_other_managers() {
    let (first, second, bad) = (Author::new(1), Author::new(2), Author::new(3));
    let mut world = world(&[]);
    for (n, method) in (1..).zip(["banpubkey", "unbanpubkey", "purgepubkey", "allowpubkey"]) {
        does(&mut world, n, "assignmethod", &json!([first.key(), method]));
    }
    does(&mut world, 10, "assignmethod", &json!([second.key(), "banevent"]));
    let own = world.agent(&owner());
    let note = owner().note("mine");
    assert_eq!(world.publish(own, &note)[2], true);
    for (n, (method, key)) in (20..).zip([
        ("banpubkey", owner().key()),
        ("purgepubkey", owner().key()),
        ("banpubkey", second.key()),
        ("purgepubkey", second.key()),
    ]) {
        let (status, body) = call(&mut world, &first, n, method, &json!([key]));
        assert!(status == 200 && body["error"].is_string(), "{method} {key}: {body}");
    }
    assert_eq!(world.stored().len(), 1);
    assert_eq!(call(&mut world, &first, 30, "banpubkey", &json!([bad.key()])).1, json!({ "result": true }));
    // Whom the owner bans is no manager until that is lifted, and does not lift it himself.
    does(&mut world, 40, "banpubkey", &json!([first.key()]));
    for (n, method) in (41..).zip(["unbanpubkey", "allowpubkey", "supportedmethods"]) {
        assert_eq!(call(&mut world, &first, n, method, &json!([first.key()])).0, 403, "{method}");
    }
    does(&mut world, 50, "unbanpubkey", &json!([first.key()]));
    assert_eq!(call(&mut world, &first, 51, "supportedmethods", &json!([])).0, 200);
}

#[test]
fn a_network_is_the_same_however_it_is_written() {
    let mut world = world(&[]);
    for (n, (block, unblock, inside)) in (0..).zip([
        ("192.0.2.7/24", "192.0.2.0/24", "192.0.2.200"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.0/120", "192.0.2.9/24", "192.0.2.8"),
        ("2001:db8::1", "2001:db8::/64", "2001:db8::77"),
        ("2001:db8:5::1/32", "2001:db8::/32", "2001:db8:99::1"),
        ("0.0.0.0/0", "10.0.0.0/0", "10.9.9.9"),
    ]) {
        does(&mut world, 2 * n + 1, "blockip", &json!([block]));
        assert_eq!(world.may_open(inside).unwrap_err().status, 403, "{block}");
        assert!(world.may_open("2001:db9::1").is_ok(), "{block}");
        does(&mut world, 2 * n + 2, "unblockip", &json!([unblock]));
        assert!(world.may_open(inside).is_ok(), "{block} {unblock}");
        assert_eq!(world.column("SELECT item FROM rulings"), Vec::<String>::new());
    }
}

#[test]
fn an_abuser_is_stopped_while_what_he_sends_fills_what_may_wait() {
    let (bad, other) = (Author::new(1), Author::new(2));
    let mut world = world(&[("RATE_LIMITS", "off")]);
    let conn = world.agent(&other);
    // Down to where the shortest one finds no room.
    for length in [60_000, 6000, 600, 0] {
        let mut n = 0;
        while world.frames(conn) == 0 {
            n += 1;
            say(&mut world, conn, &bad.note(&format!("{n} {}", "x".repeat(length))));
        }
        let refused = world.take(conn);
        assert_eq!(refused[0][3], "error: the store is behind; try again in a few seconds", "{refused:?}");
    }
    world.input(called(&owner(), 1, "banpubkey", &json!([bad.key()])));
    world.settle();
    assert_eq!(answer(&world, 1), (200, json!({ "result": true })));
    // Not behind all that has come before: what waited is refused.
    let reasons = world.take(conn);
    let kept_out = reasons.iter().filter(|frame| frame[3] == BANNED).count();
    assert!(kept_out > 40, "{kept_out} of {} were kept out", reasons.len());
    assert_eq!(call(&mut world, &owner(), 2, "purgepubkey", &json!([bad.key()])).0, 200);
}

#[test]
fn a_line_of_the_audit_log_is_short() {
    let mut world = world(&[]);
    let (key, long) = (Author::new(1).key(), "x".repeat(60_000));
    for (n, (method, params)) in (1..).zip([
        ("unbanpubkey", json!([key, long])),
        ("banpubkey", json!([key, "spam", long])),
        ("disallowkind", json!([30_000, { "why": long }])),
    ]) {
        let (status, body) = call(&mut world, &owner(), n, method, &params);
        assert!(status == 200 && body["error"].is_string(), "{method}: {body}");
    }
    does(&mut world, 10, "banpubkey", &json!([key, "\u{1}".repeat(500)]));
    let longest: Vec<String> = world.column("SELECT cast(max(length(params)) AS TEXT) FROM acts");
    assert!(longest[0].parse::<usize>().unwrap() < 5000, "{longest:?}");
}

#[test]
fn a_banned_event_is_not_sent_after_that_was_answered() {
    for case in ["read", "waits"] {
        let mut world = world(&[]);
        let (one, two) = (Author::new(1), Author::new(2));
        let (conn, reader) = (world.agent(&one), world.agent(&two));
        let (bad, good) = (one.note("illegal"), one.note("fine"));
        let store = |world: &mut World| {
            for event in [&bad, &good] {
                say(world, conn, event);
                world.commit_all();
            }
        };
        let ask = json!(["REQ", "s", {}]);
        if case == "read" {
            store(&mut world);
        }
        world.say(reader, ask);
        let read = world.run_oldest(false).unwrap();
        if case == "waits" {
            store(&mut world);
        }
        world.input(called(&owner(), 1, "banevent", &json!([bad.id])));
        // What has to be known first.
        while answer_is_missing(&world, 1) {
            let next = world.run_oldest(world.waiting().0 > 0).expect("something on its way");
            world.input(next);
        }
        assert_eq!(answer(&world, 1).0, 200, "{case}");
        world.input(read);
        world.settle();
        let frames = world.take(reader);
        let contents: Vec<&Value> = events(&frames).iter().map(|frame| &frame[2]["content"]).collect();
        assert_eq!(contents, ["fine"], "{case}: {frames:?}");
    }
}

fn answer_is_missing(world: &World, number: u8) -> bool {
    world.response(RequestId(1_000_000 + u64::from(number))).is_none()
}

#[test]
fn a_job_whose_ban_is_lifted_is_asked_anew() {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let (one, two) = (world.agent(&buyer), world.agent(&provider));
    let request = buyer.sign(5050, NOW, &[&["i", "x", "text"]], "");
    assert_eq!(world.publish(one, &request)[2], true);
    does(&mut world, 1, "banevent", &json!([request.id]));
    does(&mut world, 2, "unbanevent", &json!([request.id]));
    assert_eq!(world.publish(one, &request)[2], true);
    assert_eq!(world.publish(two, &provider.answer(6050, &request, &[]))[2], true);
    assert_eq!(world.stats()["jobs"]["by_kind"]["5050"], json!({"success": 1}));
}
