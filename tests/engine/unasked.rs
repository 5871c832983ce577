//! Answers that are held and move nothing (NIP-90): of keys that were not asked, of the job's customer, and those
//! whose tags leave doubt.

use nexus::nostr::Event;
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::config;
use crate::market::{Market, feedback};

/// What may be known of answers besides that they are there: who dealt with whom, and who is a provider.
fn known(market: &Market) -> usize {
    let rows = ["dealings", "providers"].map(|table| market.world.column(&format!("SELECT '' FROM {table}")).len());
    rows.iter().sum()
}

fn served(market: &mut Market, filter: serde_json::Value) -> usize {
    market.world.ask(market.conn, json!(["REQ", "s", filter])).len() - 1
}

#[test]
fn answers_of_keys_that_were_not_asked_are_stored_and_count_for_nothing() {
    for request_first in [true, false] {
        let mut market = Market::new();
        let (other, asked) = (Author::new(3), market.provider.clone());
        let request = market.request(&[&["p", &asked.key().to_string()]]);
        let answers = [feedback(&other, &request, "error"), other.answer(6050, &request, &[])];
        let mut events: Vec<&Event> = answers.iter().collect();
        events.insert(if request_first { 0 } else { 2 }, &request);
        for event in events {
            assert_eq!(market.put(event), "");
        }
        assert_eq!(served(&mut market, json!({"#e": [request.id]})), 2);
        assert_eq!((market.state(), known(&market)), (vec!["0 3 -".to_owned()], 0), "{request_first}");
        assert_eq!(market.counted(), json!({"open": 1}));
        let jobs = market.world.stats()["jobs"].take();
        assert_eq!((&jobs["with_feedback"], &jobs["with_result"]), (&json!(0), &json!(0)));
        let again = other.answer(6050, &request, &[&["x", "again"]]);
        assert_eq!(market.put(&again), "duplicate: this provider has already answered the job");
        // The one who was asked is the first.
        assert_eq!(market.put(&asked.answer(6050, &request, &[])), "");
        assert_eq!(market.state(), [format!("6 4 {}", asked.key())]);
        assert_eq!(market.world.stats()["jobs"]["with_result"], 1);
    }
}

#[test]
fn keys_that_were_not_asked_say_little() {
    for at_once in [false, true] {
        let mut market = Market::new();
        let request = market.request(&[&["p", &market.provider.key().to_string()]]);
        market.put(&request);
        let tell = |market: &mut Market, events: Vec<Event>| -> Vec<String> {
            if !at_once {
                return events.iter().map(|event| market.put(event)).collect();
            }
            let frames = market.world.together(market.conn, &events.iter().collect::<Vec<_>>());
            let said = |event: &Event| frames.iter().find(|frame| frame[1] == json!(event.id)).unwrap()[3].clone();
            events.iter().map(|event| said(event).as_str().unwrap().to_owned()).collect()
        };
        let say = |by: &Author, n: u32| by.answer(7000, &request, &[&["status", "error"], &["n", &n.to_string()]]);
        let limitation = serde_json::to_value(config(&[]).document()).unwrap()["limitation"].take();
        assert_eq!([&limitation["max_unasked_feedback"], &limitation["max_unasked_keys"]], [&json!(3), &json!(20)]);
        let one = Author::numbered(0);
        let said = tell(&mut market, (0..5).map(|n| say(&one, n)).collect());
        let much = "restricted: a job takes three feedbacks of a key that its p tags do not ask";
        assert_eq!(said, ["", "", "", much, much], "{at_once}");
        let said = tell(&mut market, (1..23).map(|n| say(&Author::numbered(n), n)).collect());
        let many = "restricted: a job takes answers of twenty keys that its p tags do not ask";
        assert_eq!(said, [[""; 19].as_slice(), &[many; 3]].concat(), "{at_once}");
        assert_eq!(market.put(&one.answer(6050, &request, &[])), "");
        assert_eq!(market.put(&Author::numbered(30).answer(6050, &request, &[])), many);
        // Who was asked is not counted among them.
        for n in 0..5 {
            assert_eq!(market.put(&say(&market.provider.clone(), n)), "");
        }
        let held = market.world.column("SELECT held || '' FROM jobs");
        assert_eq!(held, ["29"]);
    }
}

#[test]
fn of_encrypted_jobs_only_who_was_asked_can_answer() {
    let mut market = Market::new();
    let other = Author::new(3);
    let request = market.request(&[&["p", &market.provider.key().to_string()], &["encrypted"]]);
    market.put(&request);
    let said = market.put(&other.answer(6050, &request, &[&["encrypted"]]));
    assert!(said.starts_with("invalid: e tag names an encrypted job request whose p tags ask other"), "{said}");
    assert_eq!(market.put(&market.provider.answer(6050, &request, &[&["encrypted"]])), "");
}

#[test]
fn encrypted_feedback_has_its_status_inside() {
    let mut market = Market::new();
    let request = market.request(&[&["encrypted"]]);
    market.put(&request);
    let sealed = market.provider.answer(7000, &request, &[&["encrypted"]]);
    assert_eq!(market.put(&sealed), "");
    assert_eq!(market.state(), ["0 2 -"]);
    let (buyer, stranger) = (market.buyer.clone(), Author::new(3));
    for (who, count) in [(&buyer, 2), (&stranger, 1)] {
        let conn = market.world.agent(who);
        assert_eq!(market.world.ask(conn, json!(["REQ", "s", {"kinds": [7000]}])).len(), count);
    }
}

#[test]
fn what_leaves_doubt_is_stored_and_moves_nothing() {
    let mut market = Market::new();
    let request = market.request(&[]);
    market.put(&request);
    let other = Author::new(3).key().to_string();
    let processing: &[&str] = &["status", "processing"];
    let doubtful: &[&[&[&str]]] = &[
        &[&["status", "done"]],
        &[&["status", ""]],
        &[&["status", "payment-required"]],
        &[processing, &["status", "error"]],
        &[processing, &["p", &other]],
        &[processing, &["p", "bob"]],
        &[processing, &["amount", "1.5"]],
        &[processing, &["amount", "many"]],
        &[processing, &["amount", "1", "bolt"]],
    ];
    for tags in doubtful {
        assert_eq!(market.put(&market.provider.answer(7000, &request, tags)), "", "{tags:?}");
    }
    assert_eq!(market.put(&market.provider.answer(6050, &request, &[&["amount", "5 sats"]])), "");
    assert_eq!(served(&mut market, json!({"#e": [request.id]})), 10);
    assert_eq!((market.state(), known(&market)), (vec!["0 11 -".to_owned()], 0));
    assert_eq!(market.counted(), json!({"open": 1}));
}

#[test]
fn an_early_answer_that_does_not_fit_stays_an_event_of_its_author() {
    let mut market = Market::new();
    let (asked, other) = (market.provider.clone(), Author::new(3));
    let request = market.request(&[&["p", &asked.key().to_string()], &["encrypted"]]);
    let (id, theirs) = (request.id.to_string(), other.key().to_string());
    let early = [
        asked.sign(6050, NOW, &[&["e", &id], &["p", &theirs]], ""),
        other.answer(6051, &request, &[]),
        other.answer(6050, &request, &[]),
    ];
    for event in early.iter().chain([&request]) {
        assert_eq!(market.put(event), "");
    }
    assert_eq!(market.state(), ["0 1 -"]);
    assert_eq!(served(&mut market, json!({"ids": early.each_ref().map(|event| event.id)})), 3);
    for event in &early {
        assert_eq!(market.put(event), "duplicate: already have this event");
    }
    // Its author can still delete it.
    let deletion = other.sign(5, NOW, &[&["e", &early[2].id.to_string()]], "");
    assert_eq!(market.put(&deletion), "");
    assert_eq!(served(&mut market, json!({"ids": early.each_ref().map(|event| event.id)})), 2);
    assert_eq!(market.state(), ["0 1 -"]);
}

#[test]
fn feedback_of_the_customer_moves_nothing() {
    for (request_first, encrypted) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut market = Market::new();
        let key = market.provider.key().to_string();
        let tags: [&[&str]; 2] = [&["p", &key], &["encrypted"]];
        let request = market.request(if encrypted { &tags } else { &tags[..1] });
        let tags: &[&[&str]] = &[&["e", &request.id.to_string()], &["p", &key], &["status", "success"]];
        let accepted = market.buyer.sign(7000, NOW, tags, "");
        let events = if request_first { [&request, &accepted] } else { [&accepted, &request] };
        for event in events {
            assert_eq!(market.put(event), "");
        }
        assert_eq!((market.state(), known(&market)), (vec!["0 2 -".to_owned()], 0));
        let (buyer, provider) = (market.buyer.clone(), market.provider.clone());
        for (who, may) in [(buyer, true), (provider, true), (Author::new(3), !encrypted)] {
            let conn = market.world.agent(&who);
            let found = market.world.ask(conn, json!(["REQ", "s", {"kinds": [7000]}])).len() - 1;
            assert_eq!(found, usize::from(may), "{request_first} {encrypted}");
        }
    }
}

#[test]
fn a_handler_without_d_or_k_is_stored_and_not_ranked() {
    use nexus::gateway::Api;
    let mut market = Market::new();
    let (bare, nameless, named) = (market.buyer.clone(), market.provider.clone(), Author::new(3));
    let k: &[&str] = &["k", "5050"];
    for (by, tags) in
        [(&bare, &[] as &[&[&str]]), (&nameless, &[k]), (&bare, &[&["d", "a"]]), (&named, &[&["d", "a"], k])]
    {
        assert_eq!(market.put(&by.sign(31990, NOW, tags, "")), "");
    }
    // Without `d` it is replaced as one with an empty `d` is.
    assert_eq!(market.put(&bare.sign(31990, NOW + 1, &[], "")), "");
    assert_eq!(served(&mut market, json!({"kinds": [31990]})), 4);
    let body = market.world.http(Api::Handlers(5050)).1;
    let listed: Vec<_> = body["handlers"].as_array().unwrap().iter().map(|handler| &handler["pubkey"]).collect();
    assert_eq!(listed, [&json!(named.key())]);
    let keys = [bare.key(), nameless.key(), named.key()];
    let sql = nexus::store::market::known_of(&keys, NOW).sql;
    let keys = serde_json::to_string(&keys).unwrap();
    let found = market.world.column(&sql.replace("?1", &format!("'{keys}'")).replace("?2", &NOW.to_string()));
    assert_eq!(found, [format!("{} 1 0 0", named.key())]);
}
