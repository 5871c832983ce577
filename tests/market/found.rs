//! What the market's tests have found, each by the shortest way there.

use nexus::gateway::{Api, RequestId};
use nexus::nostr::{Event, EventId};
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

fn market(changes: &[(&str, &str)]) -> World {
    World::new(&[&[("AUTH_REQUIRED", "false")], changes].concat())
}

fn answer(provider: &Author, kind: u16, job: &Event, status: &str) -> Event {
    provider.answer(kind, job, &[&["status", status]])
}

fn states(world: &mut World) -> Value {
    world.now += 61_000;
    let mut states = world.stats()["jobs"]["states"].take();
    states.as_object_mut().unwrap().retain(|_, n| *n != json!(0));
    states
}

#[test]
fn a_request_that_comes_again_does_not_take_its_job_back() {
    let mut world = market(&[]);
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "ask");
    let result = answer(&provider, 6050, &request, "");
    let retracted = provider.sign(5, NOW, &[&["e", &result.id.to_string()]], "");
    for event in [&result, &request, &retracted] {
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    }
    assert_eq!(world.column("SELECT cast(state AS TEXT) FROM jobs"), ["6"]);
    assert_eq!(world.ask(conn, json!(["EVENT", request]))[0][2], true);
    assert_eq!(world.column("SELECT cast(state AS TEXT) FROM jobs"), ["6"], "a state only grows");
    world.pass(90_000);
    assert_eq!(states(&mut world), json!({ "success": 1 }));
}

#[test]
fn an_early_error_that_was_swept_is_not_forgotten_when_the_request_comes_again() {
    let mut world = market(&[("RETAIN_FEEDBACK", "600")]);
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "ask");
    let error = answer(&provider, 7000, &request, "error");
    for event in [&error, &request] {
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    }
    world.pass(7_200);
    assert_eq!(world.stored().len(), 1, "the feedback was swept");
    assert_eq!(world.ask(conn, json!(["EVENT", request]))[0][2], true);
    world.pass(86_400);
    assert_eq!(states(&mut world), json!({ "error": 1 }));
}

#[test]
fn counts_that_landed_unknown_are_not_reported_twice() {
    let mut world = market(&[]);
    let conn = world.client();
    let bad = Author::new(1).sign(5050, NOW, &[&["output", ""]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", bad]))[0][2], false);
    world.say(conn, json!(["EVENT", Author::new(1).note("x")]));
    world.lose();
    assert_eq!(world.take(conn)[0][2], false);
    assert_eq!(world.stats()["events"]["rejected"]["invalid"], 1);
}

#[test]
fn counts_of_a_commit_that_is_not_answered_yet_are_not_reported_twice() {
    let mut world = market(&[]);
    let conn = world.client();
    let bad = Author::new(1).sign(5050, NOW, &[&["output", ""]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", bad]))[0][2], false);
    world.say(conn, json!(["EVENT", Author::new(1).note("x")]));
    let answered = world.run_oldest(true).unwrap();
    assert_eq!(world.stats()["events"]["rejected"]["invalid"], 1);
    world.input(answered);
}

#[test]
fn counts_that_a_commit_overtook_are_not_taken_for_fresh() {
    let mut world = market(&[]);
    let conn = world.client();
    world.ask(conn, json!(["EVENT", Author::new(1).note("x")]));
    world.input(Input::Requested { request: RequestId(7), api: Api::Stats, ip: None });
    let answered = world.run_oldest(false).unwrap();
    world.ask(conn, json!(["EVENT", Author::new(1).note("y")]));
    world.input(answered);
    assert_eq!(world.stats()["events"]["stored"], 2);
}

#[test]
fn what_landed_unknown_is_swept() {
    let mut world = market(&[]);
    let conn = world.client();
    let request = Author::new(1).sign(5050, NOW, &[], "");
    world.say(conn, json!(["EVENT", request]));
    world.lose();
    assert_eq!(world.take(conn)[0][2], false);
    world.pass(90_000);
    assert!(world.stored().is_empty());
}

#[test]
fn what_landed_before_memory_was_lost_is_swept() {
    let mut world = market(&[]);
    let conn = world.client();
    world.ask(conn, json!(["EVENT", Author::new(1).note("x")]));
    world.say(conn, json!(["EVENT", Author::new(1).sign(5050, NOW, &[], "")]));
    world.reset(true);
    world.settle();
    world.pass(90_000);
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn a_provider_that_reports_is_active() {
    let mut world = market(&[]);
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "ask");
    world.ask(conn, json!(["EVENT", request]));
    // NOW is a full hour: at five to, nothing yet; at five past, and at five to the next.
    for (after, status) in [(300, "processing"), (3_300, "partial")] {
        world.now = (NOW + after) * 1000;
        assert_eq!(world.ask(conn, json!(["EVENT", answer(&provider, 7000, &request, status)]))[0][2], true);
    }
    world.now = (NOW + 5_400) * 1000;
    assert_eq!(world.stats()["providers"]["active_last_hour"], 1, "35 minutes ago it reported");
}

#[test]
fn a_provider_that_leaves_is_not_active_for_that() {
    let mut world = market(&[]);
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let there = world.agent(&provider);
    let handler = provider.sign(31990, NOW, &[&["d", "x"], &["k", "5050"]], "");
    let request = buyer.sign(5050, NOW, &[], "ask");
    for event in [&handler, &request] {
        world.ask(conn, json!(["EVENT", event]));
    }
    world.now = (NOW + 60) * 1000;
    world.ask(conn, json!(["EVENT", answer(&provider, 6050, &request, "")]));
    world.now = (NOW + 3_500) * 1000;
    world.close(there);
    world.settle();
    world.now = (NOW + 5_400) * 1000;
    assert_eq!(world.stats()["providers"]["active_last_hour"], 0, "its answer was 89 minutes ago");
}

#[test]
fn a_late_result_counts_although_all_else_of_the_job_is_gone() {
    let mut world = market(&[("RETAIN_REQUESTS", "600")]);
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "ask");
    world.ask(conn, json!(["EVENT", request]));
    world.pass(7_200);
    assert!(world.stored().is_empty());
    assert_eq!(world.ask(conn, json!(["EVENT", answer(&provider, 6050, &request, "")]))[0][2], true);
    assert_eq!(states(&mut world), json!({ "success": 1 }));
}

#[test]
fn an_answer_that_outlives_an_encrypted_job_is_for_its_parties() {
    let mut world = market(&[("RETAIN_REQUESTS", "600")]);
    let (conn, stranger) = (world.client(), world.client());
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[&["encrypted"]], "ask");
    world.ask(conn, json!(["EVENT", request]));
    world.pass(7_200);
    let id: EventId = request.id;
    world.ask(conn, json!(["EVENT", answer(&provider, 6050, &request, "")]));
    assert_eq!(world.ask(stranger, json!(["REQ", "s", { "#e": [id] }])).len(), 1, "EOSE alone");
}

#[test]
fn a_refused_request_takes_no_answers_away() {
    let mut world = market(&[]);
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "ask");
    let cancelled = buyer.sign(5, NOW, &[&["e", &request.id.to_string()]], "");
    let feedback = ["processing", "partial"].map(|status| answer(&provider, 7000, &request, status));
    for event in [&cancelled, &feedback[0], &feedback[1]] {
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    }
    assert_eq!(world.ask(conn, json!(["EVENT", request]))[0][2], false);
    assert_eq!(world.stored().len(), 3);
}
