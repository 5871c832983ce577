//! What somebody who speaks the protocol might try against the market, and what must not come of it.

use nexus::gateway::Api;
use nexus::seam::Input;
use nexus::store::{Bill, Param};
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

const LIMITS: [(&str, &str); 1] = [("RATE_LIMITS", "on")];

#[test]
fn one_key_neither_hides_other_handlers_nor_fills_the_memory() {
    let mut world = World::open_relay();
    let conn = world.client();
    let honest = world.agent(&Author::new(9));
    world.publish(honest, &Author::new(9).sign(31990, NOW, &[&["d", "h"], &["k", "5050"]], "{\"name\":\"honest\"}"));
    let author = Author::new(1);
    let fill = format!("{{\"a\":[{}0]}}", "0,".repeat(2700));
    for n in 0..500 {
        world.say(
            conn,
            json!(["EVENT", author.sign(31990, NOW + 600, &[&["d", &n.to_string()], &["k", "5050"]], &fill)]),
        );
    }
    world.settle();
    let body = world.http(Api::Handlers(5050)).1.to_string();
    let again = world.request(Api::Handlers(5050), None);
    assert!(world.response(again).is_some());
    assert!(body.contains("honest") && body.len() < 1_000_000, "{} bytes", body.len());
}

#[test]
fn a_job_is_cancelled_once() {
    let mut world = World::open_relay();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let (conn, working) = (world.client(), world.agent(&provider));
    let request = buyer.sign(5050, NOW, &[], "");
    world.publish(conn, &request);
    world.publish(conn, &provider.answer(7000, &request, &[&["status", "processing"]]));
    for n in 0..5 {
        world.publish(conn, &buyer.sign(5, NOW, &[&["e", &request.id.to_string()]], &n.to_string()));
    }
    assert_eq!(world.take(working).len(), 1);
}

#[test]
fn written_rows_are_paid_for() {
    let mut world = World::new(&LIMITS);
    let author = Author::new(1);
    let conn = world.agent(&author);
    world.settle();
    let values: Vec<String> = (0..1990).map(|n| format!("{n:x}")).collect();
    let tags: Vec<[&str; 2]> = values.iter().map(|vanish| ["t", vanish.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|text| text.as_slice()).collect();
    let before = world.db.0.total_changes();
    for n in 0..300 {
        world.ask(conn, json!(["EVENT", author.sign(1, NOW, &tags, &n.to_string())]));
    }
    let rows = world.db.0.total_changes() - before;
    assert!(rows < 20_000, "{rows} rows in {} ms", world.now - NOW * 1000);
}

#[test]
fn what_was_asked_is_paid_by_who_asked() {
    let mut world = World::new(&LIMITS);
    let author = Author::new(1);
    let conn = world.agent(&author);
    world.settle();
    world.say(conn, json!(["REQ", "s", {"kinds": [1]}]));
    let Some(Input::Answered { ticket, result }) = world.run_oldest(false) else { panic!() };
    world.close(conn);
    let bill = Bill { read: 3_000_000, written: 0 };
    world.input(Input::Answered { ticket, result: result.map(|answer| nexus::store::Answer { bill, ..answer }) });
    let next = world.agent(&author);
    assert_eq!(world.ask(next, json!(["REQ", "t", {"kinds": [2]}])).last().unwrap()[0], "CLOSED");
}

#[test]
fn an_answer_to_an_encrypted_job_stays_private_when_the_request_is_gone() {
    let mut world = World::open_relay();
    let (conn, stranger) = (world.client(), world.client());
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[&["encrypted"]], "");
    world.publish(conn, &request);
    world.publish(conn, &buyer.sign(5, NOW, &[&["e", &request.id.to_string()]], ""));
    world.ask(stranger, json!(["REQ", "live", {"kinds": [7000]}]));
    world.publish(conn, &provider.answer(7000, &request, &[&["status", "partial"]]));
    assert_eq!(world.take(stranger).len(), 0);
}

#[test]
fn what_landed_unknown_is_swept() {
    let mut world = World::open_relay();
    let conn = world.client();
    let author = Author::new(1);
    world.publish(conn, &author.note("secret"));
    let vanish = author.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "");
    world.say(conn, json!(["EVENT", vanish]));
    world.lose();
    assert_eq!(world.take(conn)[0][2], false);
    world.publish(conn, &vanish);
    world.pass(30 * 86_400);
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn an_alarm_is_set_for_what_landed_before_a_loss_of_memory() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.say(conn, json!(["EVENT", Author::new(1).sign(1, NOW, &[&["expiration", &(NOW + 60).to_string()]], "")]));
    world.reset(true);
    world.settle();
    world.pass(10 * 86_400);
    assert!(world.stored().is_empty());
}

#[test]
fn an_old_request_to_vanish_takes_nothing_again() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let vanish = provider.sign(62, NOW - 1000, &[&["relay", "ALL_RELAYS"]], "");
    world.publish(conn, &vanish);
    let request = buyer.sign(5050, NOW, &[], "");
    world.publish(conn, &request);
    world.publish(conn, &provider.answer(6050, &request, &[]));
    world.publish(conn, &vanish);
    assert_eq!(world.column("SELECT results||'' FROM providers"), ["1"]);
}

#[test]
fn a_request_that_comes_again_moves_nothing() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "");
    let err = provider.answer(7000, &request, &[&["status", "error"]]);
    world.publish(conn, &err);
    world.publish(conn, &request);
    world.publish(conn, &provider.sign(5, NOW, &[&["e", &err.id.to_string()]], ""));
    world.publish(conn, &request);
    world.publish(conn, &provider.answer(7000, &request, &[&["status", "processing"]]));
    assert_eq!(world.stats()["jobs"]["by_kind"]["5050"], json!({"error": 1}));
}

#[test]
fn a_result_counts_whenever_its_request_comes_once_and_not_for_oneself() {
    let count = |own: bool, first: bool, again: bool| {
        let mut world = World::open_relay();
        let conn = world.client();
        let provider = Author::new(2);
        let request = Author::new(if own { 2 } else { 1 }).sign(5050, NOW, &[], "");
        let result = provider.answer(6050, &request, &[]);
        for event in if first { [&result, &request] } else { [&request, &result] } {
            world.publish(conn, event);
        }
        if again {
            world.publish(conn, &provider.sign(5, NOW, &[&["e", &result.id.to_string()]], ""));
            world.publish(conn, &provider.answer(6050, &request, &[&["n", "2"]]));
        }
        world.column("SELECT results||'' FROM providers").concat()
    };
    let all =
        [count(false, false, false), count(false, true, false), count(false, false, true), count(true, false, false)];
    assert_eq!(all, ["1", "1", "1", ""]);
}

#[test]
fn guests_of_a_network_do_not_lock_it() {
    let mut world = World::new(&LIMITS);
    while world.open_from("192.0.2.1").is_some() {}
    world.pass(86_400);
    assert!(world.open_from("192.0.2.1").is_some(), "twenty that say nothing");
    let mut world = World::new(&LIMITS);
    let (bad, good) = (world.open_from("192.0.2.1").unwrap(), world.open_from("192.0.2.1").unwrap());
    for _ in 0..100 {
        world.say(bad, json!(["EVENT", Author::new(5).note("")]));
    }
    assert_eq!(world.prove(&Author::new(1), good)[2], true);
}

#[test]
fn a_far_expiry_does_not_stop_the_sweep() {
    let mut world = World::open_relay();
    let conn = world.client();
    let author = Author::new(1);
    world.publish(conn, &author.sign(1, NOW, &[&["expiration", "18446744073709551615"]], ""));
    world.publish(conn, &author.sign(1, NOW, &[&["expiration", &(NOW + 60).to_string()]], "gone"));
    for _ in 0..20 {
        world.pass(3600);
    }
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn a_commit_is_of_bounded_size() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "");
    world.publish(conn, &request);
    world.say(conn, json!(["EVENT", buyer.note("first")]));
    for event in [
        buyer.sign(5, NOW, &[&["e", &"ab".repeat(32)]], ""),
        buyer.sign(0, NOW, &[], "{}"),
        buyer.sign(5051, NOW, &[], ""),
        provider.answer(6050, &request, &[]),
        Author::new(7).sign(62, NOW, &[&["relay", "ALL_RELAYS"]], ""),
    ] {
        world.say(conn, json!(["EVENT", event]));
    }
    for n in 0..9 {
        world.say(conn, json!(["EVENT", provider.sign(1, NOW, &[], &format!("{n}{}", "x".repeat(100_000)))]));
    }
    let first = world.run_oldest(true).unwrap();
    world.input(first);
    let params = world.next_commit().unwrap().iter().flat_map(|statement| &statement.params);
    let bytes: usize = params.map(|p| if let Param::Text(text) = p { text.len() } else { 8 }).sum();
    assert!(bytes < 8_000_000, "{bytes}");
}

#[test]
fn a_vanished_provider_is_not_noted_when_it_leaves() {
    let mut world = World::open_relay();
    let author = Author::new(1);
    let conn = world.agent(&author);
    world.publish(conn, &author.sign(31990, NOW, &[&["d", "h"], &["k", "5050"]], ""));
    world.publish(conn, &author.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], ""));
    world.close(conn);
    world.settle();
    assert!(world.column("SELECT pubkey FROM providers").is_empty());
}

#[test]
fn kinds_nobody_asked_for_do_not_hide_job_kinds() {
    let mut world = World::open_relay();
    let conn = world.client();
    let author = Author::new(1);
    for k in 0..620u16 {
        world.say(conn, json!(["EVENT", author.sign(1000 + k, NOW, &[], "")]));
    }
    world.settle();
    world.publish(conn, &author.sign(5050, NOW, &[], ""));
    assert_eq!(world.stats()["jobs"]["by_kind"]["5050"], json!({"open": 1}));
}
