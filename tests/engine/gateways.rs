//! Gateways that share a partition: what one publishes all tell, each event once, and numbers are of all together.

use nexus::gateway::{Api, ConnId};
use nexus::nostr::{Event, Filter};
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::gateways::{CONN, Gateways, Step};

/// Kinds of events that stay as they are.
const KINDS: [u16; 3] = [1, 2, 7];

/// The frames of one sort, each by what `of` makes of it, sorted.
fn sorted(frames: &[Value], verb: &str, of: impl Fn(&Value) -> Value) -> Vec<String> {
    let mut found: Vec<String> =
        frames.iter().filter(|frame| frame[0] == verb).map(|frame| of(frame).to_string()).collect();
    found.sort();
    found
}

/// The ids of the events among some frames, sorted.
fn ids(frames: &[Value]) -> Vec<String> {
    sorted(frames, "EVENT", |frame| frame[2]["id"].clone())
}

#[test]
fn what_one_gateway_publishes_all_tell_once() {
    for seed in 0..120 {
        let chance = &mut Chance::new(seed);
        let count = 2 + seed as usize % 2;
        let mut all = Gateways::with(count, 1 + seed as usize / 2 % 3, &[]);
        for n in 0..count {
            all.say(n, json!(["REQ", "live", {}]));
        }
        all.settle(chance);
        (0..count).for_each(|n| drop(all.take(n, CONN)));
        let authors: Vec<Author> = (1..4).map(Author::new).collect();
        let (mut events, mut refused): (Vec<Event>, usize) = Default::default();
        let mut late: Vec<(usize, ConnId)> = Vec::new();
        for step in 0..60 {
            let (n, author) = (chance.below(count as u64) as usize, chance.pick(&authors).clone());
            let event = match chance.below(8) {
                // Some come to two gateways at once, or again.
                0 if !events.is_empty() => chance.pick(&events).clone(),
                1 if !events.is_empty() => author.answer(6050, chance.pick(&events), &[]),
                2 => author.sign(31_990, NOW + step, &[&["d", "h"], &["k", "5050"]], ""),
                3 => author.sign(30_000, NOW - step, &[&["d", "h"]], ""),
                _ => author.sign(5050, NOW, &[], &step.to_string()),
            };
            all.say(n, json!(["EVENT", event]));
            events.push(event);
            if chance.one_in(10) {
                refused += 1;
                all.say(n, json!(["EVENT", {"id": "no"}]));
            }
            if chance.one_in(10) {
                let (n, conn) = (chance.below(count as u64) as usize, ConnId(100 + step));
                all.open(n, conn);
                all.say_on(n, conn, json!(["REQ", "late", {}]));
                late.push((n, conn));
            }
            let some = chance.below(24) as usize;
            all.steps(chance, some);
        }
        all.settle(chance);
        let frames: Vec<Vec<Value>> = (0..count).map(|n| all.take(n, CONN)).collect();
        // What was stored is what was new to somebody: each subscriber was told of it, once.
        let accepted: Vec<String> = {
            let oks = frames.iter().flatten().filter(|frame| frame[0] == "OK" && frame[3] == "");
            let mut ids: Vec<String> = oks.map(|frame| frame[1].to_string()).collect();
            ids.sort();
            ids
        };
        for frames in &frames {
            assert_eq!(ids(frames), accepted, "seed {seed}");
        }
        let oks: usize = frames.iter().map(|frames| sorted(frames, "OK", |frame| frame[1].clone()).len()).sum();
        assert_eq!(oks, events.len() + refused, "seed {seed}");
        // Who came meanwhile was told of what is stored, stored or live, and of nothing twice.
        let stored = all.stored();
        for (n, conn) in &late {
            let mut told = ids(&all.take(*n, *conn));
            let all_told = told.len();
            told.dedup();
            assert_eq!(told.len(), all_told, "seed {seed}");
            assert!(told.iter().all(|id| accepted.contains(id)), "seed {seed}");
            let missing = stored.iter().filter(|event| !told.contains(&json!(event.id).to_string()));
            assert_eq!(missing.count(), 0, "seed {seed}");
        }
        // Numbers are those of all, whoever is asked, and each is counted once however often it is handed over.
        for n in 0..count {
            let stats = all.stats(n);
            assert_eq!(stats["events"]["stored"], accepted.len(), "seed {seed}");
            assert_eq!(stats["events"]["accepted"], accepted.len());
            let rejected: i64 =
                stats["events"]["rejected"].as_object().unwrap().values().map(|n| n.as_i64().unwrap()).sum();
            let told = frames.iter().flatten().filter(|frame| frame[0] == "OK" && frame[2] == false).count();
            let duplicates = frames.iter().flatten().filter(|frame| frame[2] == true && frame[3] != "").count();
            assert_eq!((rejected, &stats["events"]["duplicate"]), (told as i64, &json!(duplicates)), "seed {seed}");
            let open = json!(count + late.len());
            assert_eq!((&stats["connections"]["open"], &stats["subscriptions"]), (&open, &open));
        }
        // What is answered from memory is what the store has, at every gateway.
        for filter in [json!({"kinds": [31990]}), json!({"since": NOW}), json!({"kinds": [6050], "#e": [events[0].id]})]
        {
            let parsed = Filter::parse(&filter.to_string()).unwrap();
            let mut expected: Vec<String> =
                stored.iter().filter(|event| parsed.matches(event)).map(|event| json!(event.id).to_string()).collect();
            expected.sort();
            for n in 0..count {
                for id in ["once", "again"] {
                    assert_eq!(ids(&all.ask(n, json!(["REQ", id, filter]))), expected, "seed {seed}, {filter}");
                }
            }
        }
    }
}

#[test]
fn what_is_stored_and_what_is_live_leave_no_gap_wherever_interest_comes_and_goes() {
    for seed in 0..100 {
        let chance = &mut Chance::new(seed);
        let count = 2 + seed as usize % 2;
        let mut all = Gateways::with(count, 1 + seed as usize / 2 % 3, &[]);
        let authors: Vec<Author> = (1..4).map(Author::new).collect();
        let mut open: Vec<(usize, String, Value)> = Vec::new();
        for step in 0..60 {
            let (n, author, topic) =
                (chance.below(count as u64) as usize, chance.pick(&authors).clone(), chance.below(3).to_string());
            match chance.below(4) {
                0 => {
                    let mut filter = match chance.below(3) {
                        0 => json!({"kinds": [chance.pick(&KINDS)]}),
                        1 => json!({"authors": [author.key()]}),
                        _ => json!({"#t": [topic]}),
                    };
                    if chance.one_in(2) {
                        // What is answered from memory is answered at once.
                        filter["since"] = json!(NOW);
                    }
                    all.say(n, json!(["REQ", step.to_string(), filter]));
                    open.push((n, step.to_string(), filter));
                }
                1 if !open.is_empty() => {
                    let (n, id, _) = open.swap_remove(chance.below(open.len() as u64) as usize);
                    all.say(n, json!(["CLOSE", id]));
                }
                _ => {
                    let event = author.sign(*chance.pick(&KINDS), NOW, &[&["t", &topic]], &step.to_string());
                    all.say(n, json!(["EVENT", event]));
                }
            }
            let some = chance.below(8) as usize;
            all.steps(chance, some);
        }
        all.settle(chance);
        let stored = all.stored();
        let frames: Vec<Vec<Value>> = (0..count).map(|n| all.take(n, CONN)).collect();
        for (n, id, filter) in open {
            let own: Vec<Value> = frames[n].iter().filter(|frame| frame[1] == id).cloned().collect();
            let parsed = Filter::parse(&filter.to_string()).unwrap();
            let expected = stored.iter().filter(|event| parsed.matches(event));
            let mut expected: Vec<String> = expected.map(|event| json!(event.id).to_string()).collect();
            expected.sort();
            assert_eq!(ids(&own), expected, "seed {seed}, {filter}");
        }
    }
}

#[test]
fn an_ephemeral_event_is_heard_at_every_gateway() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(3));
    let event = |n: u64| Author::new(1).sign(20_001, NOW, &[], &n.to_string());
    let mute = "mute: nobody is listening to this ephemeral event";
    assert_eq!(all.ask(0, json!(["EVENT", event(0)])), [json!(["OK", event(0).id, false, mute])]);
    for (n, listener) in [(1, 2), (2, 0), (3, 1)] {
        all.ask(listener, json!(["REQ", "e", {"kinds": [20001]}]));
        all.say(0, json!(["EVENT", event(n)]));
        all.settle(chance);
        let frames: Vec<Value> = (0..3).flat_map(|n| all.take(n, CONN)).collect();
        assert_eq!(ids(&frames).len(), n as usize);
        assert_eq!(sorted(&frames, "OK", |frame| frame[2].clone()), ["true"]);
    }
    // Nobody listens any more: those who do not say so, as they are gone, either.
    all.say(0, json!(["CLOSE", "e"]));
    all.say(2, json!(["CLOSE", "e"]));
    all.input(1, Input::Closed { conn: CONN });
    all.settle(chance);
    assert_eq!(all.ask(0, json!(["EVENT", event(9)])), [json!(["OK", event(9).id, false, mute])]);
}

#[test]
fn a_gateway_is_told_of_what_it_cares_for() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(3));
    all.ask(1, json!(["REQ", "jobs", {"kinds": [5050]}]));
    all.say(0, json!(["EVENT", Author::new(1).sign(5050, NOW, &[], "")]));
    all.hear_all(0);
    while all.members.iter().all(|member| member.to_gateway[0].is_empty()) {
        let step = *all.possible().first().unwrap();
        all.step(step, chance);
    }
    let told: Vec<usize> = all.members.iter().map(|member| member.to_gateway[0].len()).collect();
    assert_eq!(told, [1, 1, 0]);
    all.settle(chance);
    assert_eq!(ids(&all.take(1, CONN)).len(), 1);
}

#[test]
fn all_gateways_hear_that_a_key_has_vanished() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(2));
    let brief =
        Author::new(1).sign(31_990, NOW, &[&["d", "h"], &["k", "5050"], &["expiration", &(NOW + 10).to_string()]], "");
    let vanish = Author::new(1).sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
    all.ask(1, json!(["EVENT", brief]));
    for n in [0, 1] {
        assert_eq!(ids(&all.ask(n, json!(["REQ", "h", {"kinds": [31990]}]))).len(), 1);
        all.say(n, json!(["CLOSE", "h"]));
    }
    all.say(1, json!(["EVENT", vanish]));
    all.settle(chance);
    assert_eq!(all.stored().len(), 1);
    for n in [0, 1] {
        all.take(n, CONN);
        assert_eq!(all.ask(n, json!(["REQ", "h", {"kinds": [31990]}])), [json!(["EOSE", "h", ["finish"]])]);
    }
}

#[test]
fn what_waits_at_another_gateway_when_its_key_vanishes_is_not_sent() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(2));
    let note = Author::new(1).note("");
    all.say(0, json!(["REQ", "s", {"kinds": [1], "until": NOW}]));
    all.settle_writes(chance);
    // Behind the read of what is stored.
    for event in [note, Author::new(1).sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "")] {
        all.say(1, json!(["EVENT", event]));
        all.settle_writes(chance);
        assert_eq!(all.take(1, CONN), [json!(["OK", event.id, true, ""])]);
    }
    all.settle(chance);
    assert_eq!(all.take(0, CONN), [json!(["EOSE", "s", ["finish"]])]);
}

#[test]
fn an_answer_that_is_stored_before_its_job_moves_no_job_it_does_not_fit() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(2));
    let request = Author::new(1).sign(5050, NOW, &[], "");
    // First an answer of the wrong kind, of another gateway.
    for (n, event) in [(1, Author::new(2).answer(6100, &request, &[])), (0, request)] {
        all.say(n, json!(["EVENT", event]));
        all.hear_all(n);
        if !all.partitions[0].inputs.is_empty() {
            all.step(Step::OfPartition(0), chance);
        }
    }
    all.settle(chance);
    let stats = all.stats(0);
    assert_eq!((&stats["jobs"]["states"]["success"], &stats["jobs"]["states"]["open"]), (&json!(0), &json!(1)));
    // Its author was told OK: it stays an event of his.
    assert_eq!(all.stored().len(), 2);
}

#[test]
fn a_gateway_that_has_just_woken_tells_what_is_new_and_nothing_else() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(1));
    let note = |n: u64| Author::new(1).sign(1, NOW + n, &[], "");
    for n in 0..3 {
        all.say(0, json!(["EVENT", note(n)]));
    }
    all.settle(chance);
    all.join();
    all.ask(1, json!(["REQ", "live", {"limit": 0}]));
    all.ask(0, json!(["EVENT", note(3)]));
    all.say(0, json!(["EVENT", note(4)]));
    all.say(1, json!(["EVENT", note(5)]));
    all.settle(chance);
    let told = sorted(&all.take(1, CONN), "EVENT", |frame| frame[2]["created_at"].clone());
    assert_eq!(told, [3, 4, 5].map(|n| (NOW + n).to_string()));
}

#[test]
fn a_gateway_that_wakes_after_others_asks_again_what_could_not_be_read() {
    let mut all = Gateways::new(1);
    all.ask(0, json!(["EVENT", Author::new(1).note("")]));
    all.join();
    all.settle(&mut Chance::new(0));
    all.partitions[0].broken = true;
    assert!(all.ask(1, json!(["REQ", "s", {"kinds": [1], "until": NOW}])).is_empty());
    all.partitions[0].broken = false;
    all.now = all.members[1].timer.take().unwrap();
    all.input(1, Input::Timer);
    all.settle(&mut Chance::new(0));
    let frames = all.take(1, CONN);
    assert_eq!((ids(&frames).len(), &frames[1][0]), (1, &json!("EOSE")));
}

#[test]
fn the_parties_of_a_job_meet_across_gateways() {
    let mut all = Gateways::new(3);
    let (customer, provider, stranger) = (Author::new(1), Author::new(2), Author::new(3));
    all.prove(1, &provider);
    all.prove(2, &stranger);
    all.ask(1, json!(["REQ", "jobs", {"kinds": [5050], "limit": 0}]));
    let request = customer.sign(5050, NOW, &[], "");
    all.ask(0, json!(["EVENT", request]));
    assert_eq!(ids(&all.take(1, CONN)), [json!(request.id).to_string()]);
    let result = provider.answer(6050, &request, &[]);
    all.ask(0, json!(["REQ", "results", {"kinds": [6050], "#e": [request.id]}]));
    all.ask(1, json!(["EVENT", result]));
    assert_eq!(ids(&all.take(0, CONN)), [json!(result.id).to_string()]);
    // Who has answered hears of the end, wherever he is connected, and nobody else does.
    let other = customer.sign(5050, NOW + 1, &[], "");
    all.ask(0, json!(["EVENT", other]));
    all.ask(1, json!(["EVENT", provider.answer(7000, &other, &[&["status", "processing"]])]));
    (0..3).for_each(|n| drop(all.take(n, CONN)));
    let id = other.id.to_string();
    all.ask(0, json!(["EVENT", customer.sign(5, NOW + 2, &[&["e", &id]], "")]));
    let notice = json!(["NOTICE", format!("cancelled: job {id} is cancelled")]);
    assert_eq!(all.take(1, CONN), [notice]);
    assert!(all.take(2, CONN).is_empty());
}

#[test]
fn a_handler_that_is_announced_at_one_gateway_makes_a_provider_at_another() {
    let (chance, mut all) = (&mut Chance::new(0), Gateways::new(2));
    let provider = Author::new(1);
    all.prove(1, &provider);
    let providers = |all: &mut Gateways| all.stats(0)["connections"]["providers"].clone();
    assert_eq!(providers(&mut all), 0);
    all.ask(0, json!(["EVENT", provider.sign(31_990, NOW, &[&["d", "h"], &["k", "5050"]], "{}")]));
    assert_eq!(providers(&mut all), 1);
    // Who looks for one at the first gateway finds that he is connected, at the second.
    let found = all.http(0, Api::Handlers(5050));
    assert_eq!(
        (&found["handlers"][0]["pubkey"], &found["handlers"][0]["online"]),
        (&json!(provider.key()), &json!(true))
    );
    let left_at = all.now / 1000;
    all.input(1, Input::Closed { conn: CONN });
    all.settle(chance);
    assert_eq!(providers(&mut all), 0);
    assert_eq!(all.http(1, Api::Handlers(5050))["handlers"][0]["last_seen"], left_at);
}
