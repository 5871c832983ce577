//! Limits of rate: by network before AUTH, by key after it, and what they say.

use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

const SLOW: [(&str, &str); 3] = [
    ("RATE_LIMITS", "on"),
    ("RATE_AGENT", "events 2/4 queries 1/3 bytes 100000/1000000"),
    ("RATE_PROVIDER", "events 6/12 queries 3/9 bytes 100000/1000000"),
];

fn note(author: &Author, n: usize) -> Value {
    json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())])
}

/// What becomes of `count` events now: how many are taken, how many wait, and why the others are refused.
fn burst(
    world: &mut World,
    conns: &[nexus::gateway::ConnId],
    author: &Author,
    from: usize,
    count: usize,
) -> (usize, usize, Vec<String>) {
    let (mut taken, mut waiting, mut refused) = (0, 0, Vec::new());
    for n in from..from + count {
        let frames = world.ask(conns[n % conns.len()], note(author, n));
        match frames.last().map(|ok| ok[3].as_str().unwrap()) {
            None => waiting += 1,
            Some("") => taken += 1,
            Some(reason) => refused.push(reason.to_owned()),
        }
    }
    (taken, waiting, refused)
}

#[test]
fn a_key_has_one_quota_on_all_its_connections_and_is_told_when_to_retry() {
    let mut world = World::new(&SLOW);
    let alice = Author::new(1);
    let conns: Vec<_> = (0..1000).map(|_| world.agent(&alice)).collect();
    world.pass(60);
    let (taken, waiting, refused) = burst(&mut world, &conns, &alice, 0, 20);
    assert_eq!((taken, waiting), (4, 4));
    assert_eq!(refused, ["rate-limited: 2 events a second for one agent; retry in 3 s"; 12]);
    world.pass(1);
    // Those that wait come first.
    let (taken, waiting, refused) = burst(&mut world, &conns, &alice, 100, 5);
    assert_eq!((taken, waiting, refused.len()), (0, 2, 3));
    world.pass(3);
    assert_eq!(burst(&mut world, &conns, &alice, 200, 5).0, 2);
    // Another key on the same network is not held up.
    let bob = Author::new(2);
    let other = world.agent(&bob);
    assert_eq!(burst(&mut world, &[other], &bob, 0, 4).0, 4);
    assert!(world.stats()["rate_limited"]["events"].as_u64().unwrap() >= 15);
    assert!(world.stats()["events"]["rejected"]["rate-limited"].as_u64().unwrap() >= 15);
}

#[test]
fn a_thousand_keys_behind_one_address_prove_themselves_at_its_pace() {
    let mut world =
        World::new(&[("RATE_LIMITS", "on"), ("RATE_GUEST", "events 5/50 queries 5/50 bytes 65536/1048576")]);
    let began = world.now;
    let mut waits = 0;
    for n in 0..1000 {
        let (key, conn) = (Author::numbered(n), world.open_from("192.0.2.1").expect("one guest at a time"));
        let mut ok = world.prove(&key, conn);
        while ok[2] == false {
            let reason = ok[3].as_str().unwrap();
            let seconds = reason.strip_prefix("rate-limited: 5 events a second for one guest; retry in ").unwrap();
            world.pass(seconds.strip_suffix(" s").unwrap().parse().unwrap());
            waits += 1;
            ok = world.prove(&key, conn);
        }
    }
    // 50 at once, the others five a second, each after the wait it was told.
    let took = (world.now - began) / 1000;
    assert!((185..=200).contains(&took) && waits <= 200, "{took} s, {waits} waits");
    assert_eq!(world.stats()["connections"]["authenticated"], 1000);
    // The address is full, others are not.
    assert!(world.open_from("192.0.2.1").is_none());
    assert!(world.open_from("192.0.2.2").is_some());
    // Each key has a quota of its own.
    let (last, conn) = (Author::numbered(999), nexus::gateway::ConnId(1000));
    let taken = burst(&mut world, &[conn], &last, 0, 300).0;
    assert!((200..=210).contains(&taken), "{taken}");
}

#[test]
fn of_one_address_twenty_wait_without_a_key() {
    let mut world = World::new(&[("RATE_LIMITS", "on")]);
    let guests: Vec<_> = (0..20).map(|_| world.open_from("192.0.2.1").unwrap()).collect();
    assert!(world.open_from("192.0.2.1").is_none());
    assert_eq!(world.prove(&Author::new(1), guests[3])[2], true);
    world.open_from("192.0.2.1").unwrap();
    assert!(world.open_from("192.0.2.1").is_none());
    // Who had the time makes room, the oldest first.
    world.pass(30);
    world.open_from("192.0.2.1").unwrap();
    let closed = world.take(guests[0]).pop().unwrap();
    assert_eq!((&closed[0], &closed[1]), (&json!("(closed)"), &json!(1008)));
}

#[test]
fn questions_are_limited_by_what_they_cost() {
    let mut world = World::new(&SLOW);
    let conn = world.agent(&Author::new(1));
    let ask = |world: &mut World| world.ask(conn, json!(["REQ", "s", {"kinds": [1]}])).last().unwrap().clone();
    let frames: Vec<Value> = (0..3).map(|_| ask(&mut world)).collect();
    assert_eq!(frames[2][0], "EOSE");
    // Two more wait.
    for wait in ["first", "second"] {
        assert_eq!(world.ask(conn, json!(["COUNT", wait, {"kinds": [1]}])), [] as [Value; 0]);
    }
    assert_eq!(ask(&mut world), json!(["CLOSED", "s", "rate-limited: 1 queries a second for one agent; retry in 3 s"]));
    let reason = "rate-limited: 1 queries a second for one agent; retry in 3 s";
    assert_eq!(world.ask(conn, json!(["COUNT", "c", {}])), [json!(["CLOSED", "c", reason])]);
    world.pass(2);
    assert_eq!(world.take(conn), ["first", "second"].map(|query| json!(["COUNT", query, {"count": 0}])));
    world.pass(1);
    assert_eq!(ask(&mut world)[0], "EOSE");
}

#[test]
fn bytes_are_limited_before_anything_is_parsed() {
    let mut world =
        World::new(&[("RATE_LIMITS", "on"), ("RATE_AGENT", "events 20/200 queries 20/200 bytes 1000/3000")]);
    let (alice, conn) = (Author::new(1), world.agent(&Author::new(1)));
    let large = alice.sign(1, NOW, &[], &"x".repeat(2500));
    assert_eq!(world.ask(conn, json!(["EVENT", large]))[0][2], true);
    let next = alice.note("next");
    let frames = world.ask(conn, json!(["EVENT", large.clone()]));
    assert_eq!(frames[0][1], json!(large.id));
    assert!(frames[0][3].as_str().unwrap().starts_with("rate-limited: 1000 bytes a second"), "{frames:?}");
    world.pass(3);
    assert_eq!(world.ask(conn, json!(["EVENT", next]))[0][2], true);
}

/// A job of another customer each time, which `provider` answers on `conn`.
fn serve(world: &mut World, conn: nexus::gateway::ConnId, provider: &Author, customer: u8) -> nexus::nostr::Event {
    let buyer = Author::new(customer);
    let asking = world.agent(&buyer);
    let request = buyer.sign(5050, NOW, &[], "");
    world.ask(asking, json!(["EVENT", request]));
    world.close(asking);
    assert_eq!(world.ask(conn, json!(["EVENT", provider.answer(6050, &request, &[])]))[0][2], true);
    request
}

#[test]
fn a_provider_has_more_and_its_answers_a_lane_of_their_own() {
    let mut world = World::new(&SLOW);
    let provider = Author::new(2);
    let answering = world.agent(&provider);
    let request = serve(&mut world, answering, &provider, 101);
    for customer in [102, 103] {
        serve(&mut world, answering, &provider, customer);
    }
    let handler = provider.sign(31990, NOW, &[&["d", "a"], &["k", "5050"]], "");
    let again = world.agent(&provider);
    world.settle();
    assert_eq!(world.ask(again, json!(["EVENT", handler]))[0][2], true);
    // 12 for a provider, one of them spent on the handler when it was an agent of 4.
    world.pass(60);
    let (taken, waiting, refused) = burst(&mut world, &[again], &provider, 0, 30);
    assert_eq!((taken, waiting, refused.len()), (12, 12, 6));
    let feedback = provider.answer(7000, &request, &[&["status", "processing"]]);
    assert_eq!(world.ask(again, json!(["EVENT", feedback]))[0][2], true, "the flood of notes delays no answer");
    // It stays one after a loss of memory, and on its next connection.
    world.reset(false);
    world.settle();
    world.pass(60);
    assert_eq!(burst(&mut world, &[again], &provider, 100, 30).0, 12);
    world.close(answering);
    world.close(again);
    let next = world.agent(&provider);
    world.settle();
    world.pass(60);
    assert_eq!(burst(&mut world, &[next], &provider, 200, 30).0, 12);
}

#[test]
fn a_provider_is_who_can_be_ranked_and_has_served_three_customers() {
    let ranked: &[&[&str]] = &[&["d", "a"], &["k", "5050"]];
    let cases: [(&[&[&str]], u8, usize); 5] =
        [(ranked, 3, 12), (ranked, 2, 4), (ranked, 0, 4), (&[&["d", "a"]], 3, 4), (&[&["k", "5050"]], 3, 4)];
    for (tags, customers, expected) in cases {
        let mut world = World::new(&SLOW);
        let provider = Author::new(2);
        let conn = world.agent(&provider);
        for customer in 0..customers {
            serve(&mut world, conn, &provider, 100 + customer);
        }
        // Further jobs of one of them make no more customers.
        let buyer = Author::new(100);
        let asking = world.agent(&buyer);
        let request = buyer.sign(5050, NOW, &[], "more");
        world.ask(asking, json!(["EVENT", request]));
        if customers > 0 {
            assert_eq!(world.ask(conn, json!(["EVENT", provider.answer(6050, &request, &[])]))[0][2], true);
        }
        assert_eq!(world.ask(conn, json!(["EVENT", provider.sign(31990, NOW, tags, "")]))[0][2], true);
        let next = world.agent(&provider);
        world.settle();
        world.pass(60);
        assert_eq!(burst(&mut world, &[next], &provider, 0, 30).0, expected, "{tags:?} {customers}");
    }
}

#[test]
fn answers_to_held_jobs_go_before_everything_that_waits() {
    let mut world = World::open_relay();
    let (conn, buyer, provider) = (world.client(), Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "");
    world.ask(conn, json!(["EVENT", request]));
    let flood = world.client();
    for n in 0..1000 {
        world.say(flood, json!(["EVENT", buyer.sign(5050, NOW, &[], &n.to_string())]));
    }
    let (id, p) = (request.id.to_string(), buyer.key().to_string());
    let result = provider.sign(6050, NOW, &[&["e", &id], &["p", &p]], "");
    world.say(conn, json!(["EVENT", result]));
    // One group is on its way; the result is in the next one.
    for _ in 0..2 {
        let commit = world.run_oldest(true).unwrap();
        world.input(commit);
    }
    assert_eq!(world.take(conn), [json!(["OK", result.id, true, ""])]);
    assert!(world.waiting().0 > 0);
}

#[test]
fn what_was_spent_is_remembered_through_a_loss_of_memory() {
    let mut world = World::new(&SLOW);
    let alice = Author::new(1);
    let conn = world.agent(&alice);
    assert_eq!(burst(&mut world, &[conn], &alice, 0, 6).0, 4);
    world.reset(false);
    world.settle();
    // What waited is lost, and has been paid.
    let (taken, waiting, refused) = burst(&mut world, &[conn], &alice, 10, 4);
    assert_eq!((taken, waiting, refused.len()), (0, 2, 2));
    world.pass(4);
    assert_eq!(burst(&mut world, &[conn], &alice, 20, 9).0, 4);
}

#[test]
fn listed_keys_have_their_own_and_off_lifts_all() {
    let alice = Author::new(1);
    let key = alice.key().to_string();
    let mut world = World::new(&[
        ("RATE_LIMITS", "on"),
        ("LISTED_KEYS", &key),
        ("RATE_LISTED", "events 1/9 queries 1/1 bytes 100000/1000000"),
    ]);
    let conn = world.agent(&alice);
    assert_eq!(burst(&mut world, &[conn], &alice, 0, 30).0, 9);
    let mut world = World::new(&[("RATE_LIMITS", "off"), ("RATE_AGENT", SLOW[1].1), ("MAX_GUESTS_PER_IP", "1")]);
    let conn = world.agent(&alice);
    assert_eq!(burst(&mut world, &[conn], &alice, 0, 300).0, 300);
    assert!((0..50).all(|_| world.open_from("192.0.2.1").is_some()));
}

#[test]
fn the_key_proven_first_pays_for_what_no_proven_author_does() {
    let mut keys = [Author::new(1), Author::new(2)];
    keys.sort_by_key(|author| std::cmp::Reverse(author.key()));
    let [first, second] = keys;
    assert!(second.key() < first.key(), "the order of keys must not decide");
    let mut world = World::new(&SLOW);
    let conn = world.agent(&first);
    world.prove(&second, conn);
    let stranger = Author::new(3);
    for (round, memory_lost) in [false, true].into_iter().enumerate() {
        world.pass(60);
        if memory_lost {
            world.reset(false);
            world.settle();
            world.take(conn);
        }
        let from = round * 100;
        let refused = [(&stranger, 8), (&first, 3), (&second, 8)]
            .map(|(author, count)| burst(&mut world, &[conn], author, from, count).2.len());
        assert_eq!(refused, [0, 3, 0], "memory lost: {memory_lost}");
    }
}

/// What a deletion request names is deleted, which is as much to write as storing it.
#[test]
fn a_deletion_pays_for_what_it_names() {
    let mut world =
        World::new(&[("RATE_LIMITS", "on"), ("RATE_AGENT", "events 1/100 queries 20/200 bytes 26214400/83886080")]);
    let alice = Author::new(1);
    let conn = world.agent(&alice);
    let left = |world: &mut World, author: &Author, conn| {
        (0..200)
            .take_while(|n| {
                let frames = world.ask(conn, json!(["EVENT", author.note(&n.to_string())]));
                frames.iter().all(|frame| frame[2] == true)
            })
            .count()
    };
    let ids: Vec<String> = (0..50).map(|n| format!("{n:064x}")).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
    assert_eq!(world.ask(conn, json!(["EVENT", alice.sign(5, NOW, &tags, "")]))[0][2], true);
    let after = left(&mut world, &alice, conn);
    let bob = Author::new(2);
    let conn = world.agent(&bob);
    let all = left(&mut world, &bob, conn);
    assert_eq!(all - after, 85, "of {all}: itself, 4 for its tags beyond ten and 80 for what it names");
}
