//! A store that fails, lands and reports failure, answers late, twice or not at all.

use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::Database;
use crate::common::events::{Author, NOW};
use crate::common::world::{ATTEMPTS, Fault, World};

const REASON: &str = "error: the event could not be stored: disk on fire; publish it again";

#[test]
fn a_commit_that_fails_once_is_written_again() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.faults.extend([Fault::Fails]);
    let event = Author::new(1).note("a");
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.stored().len(), 1);
    assert_eq!(world.log.len(), 1);
}

#[test]
fn a_commit_that_landed_and_reported_failure_is_accepted_once() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    world.faults.extend([Fault::LandsAndFails]);
    let event = Author::new(1).note("a");
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
    assert_eq!(world.stats()["events"]["stored"], 1);
}

#[test]
fn a_commit_that_fails_for_long_is_refused_and_can_be_tried_again() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    world.faults.extend([Fault::Fails; ATTEMPTS]);
    let event = Author::new(1).note("a");
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, false, REASON])]);
    assert!(world.take(reader).is_empty() && world.stored().is_empty());
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
}

#[test]
fn an_event_that_landed_although_it_was_refused_is_found_and_told() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let event = Author::new(1).note("a");
    world.say(conn, json!(["EVENT", event]));
    world.lose();
    assert_eq!(world.take(conn), [json!(["OK", event.id, false, REASON])]);
    let again = [json!(["OK", event.id, true, "duplicate: already have this event"])];
    assert_eq!(world.ask(conn, json!(["EVENT", event])), again);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", event])]);
    assert_eq!(world.ask(conn, json!(["EVENT", event])), again);
    assert!(world.take(reader).is_empty());
}

#[test]
fn what_landed_unknown_is_told_before_the_next_group() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let (lost, next) = (Author::new(1).note("lost"), Author::new(1).note("next"));
    world.say(conn, json!(["EVENT", lost]));
    world.lose();
    world.ask(conn, json!(["EVENT", next]));
    assert_eq!(world.take(reader), [json!(["EVENT", "live", lost]), json!(["EVENT", "live", next])]);
    let again = world.ask(conn, json!(["EVENT", lost]));
    assert_eq!(again.last(), Some(&json!(["OK", lost.id, true, "duplicate: already have this event"])));
    assert!(world.take(reader).is_empty());
}

#[test]
fn what_lands_late_is_told_once_and_the_next_write_follows_it() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let (late, next) = (Author::new(1).note("late"), Author::new(1).note("next"));
    world.say(conn, json!(["EVENT", late]));
    let statements = world.next_commit().unwrap().to_vec();
    world.faults.extend([Fault::Fails; ATTEMPTS]);
    world.settle();
    assert_eq!(world.take(conn), [json!(["OK", late.id, false, REASON])]);
    world.faults.clear();
    // The next group is on its way when the first attempt of the one before lands.
    world.say(conn, json!(["EVENT", next]));
    world.pass_until_timer();
    while world.waiting().0 == 0 {
        let answer = world.run_oldest(false).unwrap();
        world.input(answer);
    }
    world.db.run(&statements).unwrap();
    world.settle();
    assert_eq!(world.take(conn), [json!(["OK", next.id, true, ""])]);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", late]), json!(["EVENT", "live", next])]);
    assert!(world.db.run(&statements).is_err(), "it cannot land again");
}

#[test]
fn who_read_an_event_before_it_was_told_does_not_get_it_again() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    let (lost, next) = (Author::new(1).note("lost"), Author::new(1).note("next"));
    world.say(conn, json!(["EVENT", lost]));
    world.lose();
    assert_eq!(world.ask(reader, json!(["REQ", "s", {}])), [json!(["EVENT", "s", lost]), json!(["EOSE", "s"])]);
    world.ask(conn, json!(["EVENT", next]));
    assert_eq!(world.take(reader), [json!(["EVENT", "s", next])]);
}

#[test]
fn a_relay_that_has_lost_the_log_stores_nothing_more() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (first, lost) = (Author::new(1).note("first"), Author::new(1).note("lost"));
    assert_eq!(world.ask(conn, json!(["EVENT", first]))[0][2], true);
    world.db.0.execute_batch("UPDATE totals SET version = version + 1, writer = '00000000000000aa 1'").unwrap();
    let reason = "error: the event could not be stored: another relay writes to the database; publish it again";
    for _ in 0..2 {
        assert_eq!(world.ask(conn, json!(["EVENT", lost])), [json!(["OK", lost.id, false, reason])]);
    }
    // Whoever has the log may have removed it.
    assert_eq!(world.ask(conn, json!(["EVENT", first])), [json!(["OK", first.id, false, reason])]);
    assert_eq!((world.restarts, world.stored().len()), (1, 1));
    // The next incarnation takes the log.
    world.reset(true);
    world.settle();
    assert_eq!(world.ask(conn, json!(["EVENT", lost])), [json!(["OK", lost.id, true, ""])]);
}

#[test]
fn a_write_that_stores_nothing_does_not_take_the_log() {
    let mut world = World::open_relay();
    let conn = world.client();
    let [first, late, next] = ["first", "late", "next"].map(|content| Author::new(1).note(content));
    world.ask(conn, json!(["EVENT", first]));
    world.say(conn, json!(["EVENT", late]));
    let statements = world.next_commit().unwrap().to_vec();
    world.reset(false);
    world.settle();
    world.take(conn);
    let here = json!(["OK", first.id, true, "duplicate: already have this event"]);
    assert_eq!(world.ask(conn, json!(["EVENT", first])), [here]);
    // What the predecessor had on its way lands; the log is nobody's else for that.
    world.db.run(&statements).unwrap();
    assert_eq!(world.ask(conn, json!(["EVENT", next])), [json!(["OK", next.id, true, ""])]);
    assert_eq!((world.restarts, world.stored().len()), (0, 3));
}

#[test]
fn a_store_that_is_down_at_the_start_is_asked_again() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.broken = true;
    world.reset(false);
    world.settle();
    let event = Author::new(1).note("a");
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, false, REASON])]);
    world.broken = false;
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
}

#[test]
fn answers_that_come_twice_or_to_nobody_are_ignored() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let event = Author::new(1).note("a");
    world.say(conn, json!(["EVENT", event]));
    world.say(conn, json!(["REQ", "s", {}]));
    let (commit, query) = (world.run_oldest(true).unwrap(), world.run_oldest(false).unwrap());
    for input in [&commit, &commit, &query, &query, &commit] {
        world.input(input.clone());
    }
    let Input::Answered { ticket, .. } = query else { panic!("a query") };
    world.input(Input::Committed { ticket, result: Ok(vec![].into()) });
    assert_eq!(world.take(conn).len(), 3);
    assert_eq!(world.take(reader).len(), 1);
    assert_eq!(world.stats()["storage"]["commits"]["count"], 1);
}

#[test]
fn an_answer_that_makes_no_sense_is_a_failure() {
    let mut world = World::open_relay();
    let conn = world.client();
    // What it replaces has to be known.
    let event = Author::new(1).sign(0, NOW, &[], "a");
    world.holds_facts = true;
    world.say(conn, json!(["EVENT", event]));
    for rows in [vec![], vec![vec!["nonsense".to_owned()]; 9]] {
        let Some(Input::Answered { ticket, .. }) = world.run_oldest(false) else { panic!("what has to be known") };
        world.input(Input::Answered { ticket, result: Ok(rows.into()) });
        assert!(world.take(conn).is_empty());
        world.pass_until_timer();
    }
    let answer = world.run_oldest(false).unwrap();
    world.input(answer);
    world.holds_facts = false;
    world.faults.push_back(Fault::LandsAndFails);
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    for rows in [vec![], vec![vec!["nonsense".to_owned()]; 9]] {
        assert!(world.take(conn).is_empty());
        world.pass_until_timer();
        let Some(Input::Answered { ticket, .. }) = world.run_oldest(false) else { panic!("how far the log is") };
        world.input(Input::Answered { ticket, result: Ok(rows.into()) });
    }
    world.pass(2);
    assert_eq!(world.take(conn), [json!(["OK", event.id, true, ""])]);
    world.say(conn, json!(["REQ", "s", {}]));
    let Some(Input::Answered { ticket, .. }) = world.run_oldest(false) else { panic!("a query") };
    world.input(Input::Answered { ticket, result: Ok(vec![vec!["{}".to_owned()]].into()) });
    assert!(world.take(conn).is_empty());
    world.pass(1);
    assert_eq!(world.take(conn), [json!(["EVENT", "s", event]), json!(["EOSE", "s"])]);
}

#[test]
fn the_log_is_json_by_level_and_tells_no_secrets() {
    for (level, expected) in [("debug", 6), ("info", 2), ("warn", 1), ("error", 0)] {
        let mut world = World::new(&[("LOG_LEVEL", level), ("AUTH_REQUIRED", "false")]);
        let conn = world.open_from("192.0.2.77").unwrap();
        world.prove(&Author::new(1), conn);
        world.faults.push_back(Fault::Fails);
        world.ask(conn, json!(["EVENT", Author::new(1).sign(1, NOW, &[&["t", "private"]], "nobody's business")]));
        let other = world.client();
        world.close(conn);
        world.close(other);
        assert!(world.log.len() >= expected && (level == "debug" || world.log.len() == expected), "{:?}", world.log);
        for line in &world.log {
            let entry: Value = serde_json::from_str(line).unwrap();
            assert!(entry["level"].is_string() && entry["what"].is_string(), "{line}");
            for secret in ["nobody", "private", "192.0.2.77", "challenge of"] {
                assert!(!line.contains(secret), "{line}");
            }
        }
    }
}

#[test]
fn a_provider_whose_look_up_failed_is_looked_up_again() {
    let mut world = World::open_relay();
    let (provider, conn) = (Author::new(1), world.client());
    world.ask(conn, json!(["EVENT", provider.sign(31_990, NOW, &[&["d", "h"], &["k", "5050"]], "")]));
    let shop = world.client();
    world.broken = true;
    world.prove(&provider, shop);
    // Once more in vain.
    world.pass(45);
    world.broken = false;
    assert_eq!(world.stats()["connections"]["providers"], 0);
    world.pass(45);
    assert_eq!(world.stats()["connections"]["providers"], 1);
}

/// Until when answers may be held whose request is not known is over while it is asked for them.
#[test]
fn what_was_asked_is_what_the_answer_is_read_by() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "");
    let soon = (NOW + 10).to_string();
    let early = provider.answer(7000, &request, &[&["status", "processing"], &["expiration", &soon]]);
    assert_eq!(world.ask(conn, json!(["EVENT", early]))[0][2], true);
    world.holds_facts = true;
    world.say(conn, json!(["EVENT", request]));
    assert_eq!(world.waiting(), (0, 1));
    let answer = world.run_oldest(false).unwrap();
    world.now = (NOW + 11) * 1000;
    world.input(answer);
    assert_eq!(world.waiting(), (1, 0), "nothing is asked again");
    world.settle();
    assert_eq!(world.take(conn), [json!(["OK", request.id, true, ""])]);
}
