//! Jobs (NIP-90): what is refused and why, how a job moves, who reads what of it.

use nexus::gateway::{Config, ConnId};
use nexus::market::JobProfile;
use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{World, config};

pub struct Market {
    pub world: World,
    pub conn: ConnId,
    pub buyer: Author,
    pub provider: Author,
}

impl Market {
    pub fn new() -> Self {
        let mut world = World::open_relay();
        let conn = world.client();
        Self { world, conn, buyer: Author::new(1), provider: Author::new(2) }
    }

    pub fn request(&self, tags: &[&[&str]]) -> Event {
        self.buyer.sign(5050, NOW, tags, "")
    }

    /// Publishes; the OK's message, empty when it was accepted.
    pub fn put(&mut self, event: &Event) -> String {
        let frames = self.world.ask(self.conn, json!(["EVENT", event]));
        let ok = frames.iter().find(|frame| frame[0] == "OK").unwrap();
        assert_eq!(ok[2], json!(ok[3] == "" || ok[3] == "duplicate: already have this event"), "{ok}");
        ok[3].as_str().unwrap().to_owned()
    }

    pub fn state(&self) -> Vec<String> {
        self.world.column(
            "SELECT state || ' ' || held || ' ' || coalesce(lower(nullif(hex(first), '')), '-') FROM jobs ORDER BY id",
        )
    }

    pub fn counted(&mut self) -> Value {
        let mut jobs = self.world.stats()["jobs"]["by_kind"].take();
        jobs["5050"].take()
    }
}

pub fn feedback(by: &Author, request: &Event, status: &str) -> Event {
    by.answer(7000, request, &[&["status", status], &["amount", "1000"]])
}

#[test]
fn tags_that_are_wrong_are_named() {
    let mut market = Market::new();
    let id = "ab".repeat(32);
    let key = market.buyer.key().to_string();
    let other = market.provider.key().to_string();
    let request = market.buyer.sign(5050, NOW, &[], "").to_json();
    let upper = id.to_uppercase();
    let e: &[&str] = &["e", &id];
    let p: &[&str] = &["p", &key];
    let processing: &[&str] = &["status", "processing"];
    let cases: &[(u16, &[&[&str]], &str)] = &[
        (5050, &[&["p", "bob"]], "p tag must name a public key"),
        (5050, &[&["i", "x", "event"]], "i tag"),
        (5050, &[&["i"]], "i tag"),
        (5050, &[&["e", "x"]], "e tag"),
        (5050, &[&["output", ""]], "output tag"),
        (7000, &[p, processing], "e tag is missing"),
        (7000, &[e, processing], "p tag is missing"),
        (7000, &[e, p], "status tag is missing"),
        (7000, &[&["e", &upper], p, processing], "e tag must be an event id"),
        (7000, &[e, &["p", "bob"], processing], "p tag must be a public key"),
        (6050, &[p], "e tag is missing"),
        (6050, &[e], "p tag is missing"),
        (6050, &[e, p, &["request", "{}"]], "request tag must be the job request as JSON"),
        (6050, &[e, p, &["request", &request]], "request tag is another event"),
        (31990, &[&["d", "a"], &["k", "70000"]], "k tag must be a kind"),
    ];
    for (kind, tags, reason) in cases {
        let event = market.provider.sign(*kind, NOW, tags, "");
        let said = market.put(&event);
        assert!(said.starts_with(&format!("invalid: {reason}")), "{kind} {tags:?}: {said}");
    }
    let handler = market.provider.sign(31990, NOW, &[&["d", "a"], &["k", "5050"]], "[]");
    assert_eq!(market.put(&handler), "invalid: content must be empty or a JSON object");
    assert!(market.world.stored().is_empty());
    let fine = market.request(&[
        &["i", "any", "prompt"],
        &["i", &id, "job"],
        &["p", &other],
        &["bid", "0"],
        &["relays", "wss://a"],
        &["t", ""],
    ]);
    assert_eq!(market.put(&fine), "");
}

#[test]
fn an_odd_bid_changes_nothing_of_a_job() {
    for bid in [&["bid", "1.5"] as &[&str], &["bid", "-1"], &["bid", "much"], &["bid"]] {
        let mut market = Market::new();
        let request = market.request(&[bid]);
        assert_eq!(market.put(&request), "", "{bid:?}");
        assert_eq!(market.counted(), json!({"open": 1}), "{bid:?}");
        assert_eq!(market.put(&market.provider.answer(6050, &request, &[])), "");
        assert_eq!(market.counted(), json!({"success": 1}), "{bid:?}");
    }
}

#[test]
fn a_job_moves_forward_and_is_answered_once_by_each() {
    let mut market = Market::new();
    let (one, two) = (market.provider.clone(), Author::new(3));
    let request = market.request(&[]);
    let mut states = Vec::new();
    let steps = [
        request.clone(),
        feedback(&one, &request, "payment-required"),
        feedback(&one, &request, "partial"),
        feedback(&one, &request, "processing"),
        feedback(&two, &request, "error"),
        one.answer(6050, &request, &[]),
        two.answer(6050, &request, &[]),
    ];
    for event in &steps {
        assert_eq!(market.put(event), "");
        let mut counted = market.counted();
        let states_now: Vec<String> = counted.as_object_mut().unwrap().keys().cloned().collect();
        states.push(states_now.concat());
    }
    assert_eq!(states, ["open", "payment-required", "partial", "partial", "error", "success", "success"]);
    let again = one.answer(6050, &request, &[&["x", "again"]]);
    assert_eq!(market.put(&again), "duplicate: this provider has already answered the job");
    assert_eq!(market.put(&steps[5]), "duplicate: already have this event");
    assert_eq!(market.state(), [format!("6 7 {}", one.key())]);
}

#[test]
fn answers_agree_with_the_request_whichever_comes_first() {
    let (other, asked) = (Author::new(5), Author::new(4));
    let wrong = |request: &Event| {
        let id = request.id.to_string();
        let p = request.pubkey.to_string();
        let theirs = other.key().to_string();
        [
            (asked.sign(6050, NOW, &[&["e", &id], &["p", &theirs]], ""), "invalid: p tag is not the customer"),
            (
                asked.sign(6051, NOW, &[&["e", &id], &["p", &p]], ""),
                "invalid: e tag names a job request that events of this kind",
            ),
            (feedback(&asked, &Event { pubkey: other.key(), ..request.clone() }, "success"), "invalid: p tag is not"),
        ]
    };
    let ask = |market: &Market| market.request(&[&["p", &asked.key().to_string()]]);
    let mut market = Market::new();
    let request = ask(&market);
    market.put(&request);
    for (event, reason) in wrong(&request) {
        let said = market.put(&event);
        assert!(said.starts_with(reason), "{said}");
    }
    assert_eq!(market.state(), ["0 1 -"]);

    // What came first stays an event of its author, is no part of the job, and moved nothing.
    let mut market = Market::new();
    let request = ask(&market);
    let good = feedback(&asked, &request, "processing");
    for (event, _) in wrong(&request) {
        assert_eq!(market.put(&event), "");
    }
    market.put(&good);
    assert_eq!(market.put(&request), "");
    assert_eq!(market.world.stored().len(), 5);
    assert_eq!(market.state(), ["2 2 -"]);
    assert_eq!(market.counted(), json!({"processing": 1}));
    let orphans = "SELECT tag FROM tags WHERE seq NOT IN (SELECT seq FROM events)";
    assert!(market.world.column(orphans).is_empty());
}

#[test]
fn a_cancelled_job_takes_no_result_and_its_providers_hear_of_it() {
    let mut market = Market::new();
    let provider = market.provider.clone();
    let (here, late) = (market.world.agent(&provider), Author::new(3));
    let elsewhere = market.world.agent(&late);
    let request = market.request(&[]);
    let id = request.id.to_string();
    market.put(&request);
    market.put(&feedback(&provider, &request, "processing"));
    market.world.ask(here, json!(["REQ", "cancels", {"kinds": [5], "#e": [id]}]));
    // Somebody else's deletion changes nothing.
    let theirs = late.sign(5, NOW, &[&["e", &id]], "");
    market.put(&theirs);
    assert_eq!(market.counted(), json!({"processing": 1}));
    market.world.take(here);

    let cancel = market.buyer.sign(5, NOW, &[&["e", &id], &["k", "5050"]], "never mind");
    assert_eq!(market.put(&cancel), "");
    let notice = json!(["NOTICE", format!("cancelled: job {id} is cancelled")]);
    assert_eq!(market.world.take(here), [json!(["EVENT", "cancels", cancel]), notice]);
    assert!(market.world.take(elsewhere).is_empty());
    for by in [&provider, &late] {
        assert_eq!(market.put(&by.answer(6050, &request, &[])), "blocked: job cancelled");
    }
    // Feedback may still say how it ended, and changes nothing.
    assert_eq!(market.put(&feedback(&provider, &request, "error")), "");
    assert_eq!(market.counted(), json!({"cancelled": 1}));
    assert_eq!(market.put(&request), "blocked: this event was deleted by its author");
    assert_eq!(market.state(), ["7 2 -"]);

    // Cancelled before it was asked: no job, and no result either.
    let other = market.buyer.sign(5050, NOW + 1, &[], "");
    market.put(&market.buyer.sign(5, NOW, &[&["e", &other.id.to_string()]], ""));
    assert_eq!(market.put(&late.answer(6050, &other, &[])), "blocked: job cancelled");
    assert_eq!(market.put(&other), "blocked: this event was deleted by its author");
    assert_eq!(market.counted(), json!({"cancelled": 1}));
}

#[test]
fn an_encrypted_job_is_for_its_parties_alone() {
    let stranger = Author::new(3);
    for request_first in [true, false] {
        let mut market = Market::new();
        let (buyer, provider) = (market.buyer.clone(), market.provider.clone());
        let readers = [
            (true, market.world.agent(&buyer)),
            (true, market.world.agent(&provider)),
            (false, market.world.agent(&stranger)),
            (false, market.world.client()),
        ];
        let request = market.request(&[&["encrypted"]]);
        let id = request.id.to_string();
        let answers = [feedback(&provider, &request, "processing"), provider.answer(6050, &request, &[])];
        if request_first {
            market.put(&request);
        }
        for (_, conn) in readers {
            market.world.ask(conn, json!(["REQ", "live", {"#e": [id]}]));
        }
        for answer in &answers {
            market.put(answer);
        }
        if !request_first {
            market.put(&request);
        }
        for (may, conn) in readers {
            let live = market.world.take(conn).len();
            // Before the request is known nobody can know that it is encrypted.
            assert_eq!(live, if may || !request_first { 2 } else { 0 }, "live");
            let filters = [
                json!({"#e": [id]}),
                json!({"kinds": [6050, 7000]}),
                json!({"kinds": [6050, 7000], "#e": [id], "#p": [buyer.key()]}),
                json!({"authors": [provider.key()]}),
                json!({"ids": [answers[0].id, answers[1].id]}),
                json!({"kinds": [6050, 7000], "authors": [provider.key()], "limit": 2}),
            ];
            for filter in filters {
                let frames = market.world.ask(conn, json!(["REQ", "stored", filter]));
                assert_eq!(frames.len(), if may { 3 } else { 1 }, "{request_first} {may} {filter}: {frames:?}");
                let count = market.world.ask(conn, json!(["COUNT", "c", filter]))[0][2]["count"].clone();
                assert_eq!(count, if may { 2 } else { 0 }, "{filter}");
            }
        }
    }
}

#[test]
fn an_answer_that_says_it_is_encrypted_is_hidden_without_its_request() {
    let mut market = Market::new();
    let request = market.request(&[]);
    let answer = market.provider.answer(6050, &request, &[&["encrypted"]]);
    market.put(&answer);
    let (buyer, stranger) = (market.buyer.clone(), Author::new(3));
    for (who, count) in [(&buyer, 2), (&stranger, 1)] {
        let conn = market.world.agent(who);
        assert_eq!(market.world.ask(conn, json!(["REQ", "s", {"kinds": [6050]}])).len(), count);
    }
}

#[test]
fn market_events_are_kept_as_long_as_is_configured() {
    let mut market = Market::new();
    let request = market.request(&[]);
    let soon = market.buyer.sign(5050, NOW, &[&["expiration", &(NOW + 60).to_string()]], "");
    market.put(&request);
    market.put(&soon);
    market.put(&feedback(&market.provider, &request, "processing"));
    market.put(&market.provider.answer(6050, &request, &[]));
    let expiry =
        market.world.column("SELECT coalesce((expires_at - created_at) || '', 'as its kind') FROM events ORDER BY seq");
    assert_eq!(expiry, ["as its kind", "60", "as its kind", "as its kind"]);
    market.world.pass(61);
    market.world.pass(3600);
    assert_eq!(market.counted(), json!({"expired": 1, "success": 1}), "unanswered and gone");
    market.world.pass(86_400);
    assert_eq!(market.world.stored().len(), 1);
    // The requests are gone, their customers are not forgotten as long as a result would be kept.
    assert_eq!(market.state(), ["4 0 -".to_owned(), format!("6 1 {}", market.provider.key())]);
    let theirs = Author::new(3).sign(
        7000,
        NOW + 86_000,
        &[&["e", &request.id.to_string()], &["p", &Author::new(3).key().to_string()], &["status", "error"]],
        "",
    );
    assert!(market.put(&theirs).starts_with("invalid: p tag"));
    market.world.pass(7 * 86_400);
    let left =
        ["events", "tags", "jobs"].map(|table| market.world.column(&format!("SELECT count(*) || '' FROM {table}")));
    assert_eq!(left.concat(), ["0", "0", "0"]);
    let old = market.buyer.sign(5050, NOW, &[], "again");
    let reason = "invalid: created_at is too long ago; this relay keeps events of this kind for 86400 s";
    assert_eq!(market.put(&old), reason);
}

#[test]
fn another_profile_is_a_table_entry() {
    let profile = JobProfile { name: "other", requests: 100..=109, result_offset: 20, feedback: 140 };
    let mut market = Market::new();
    market.world = World::with(Config { profile, ..config(&[("AUTH_REQUIRED", "false")]) });
    market.conn = market.world.client();
    let request = market.buyer.sign(105, NOW, &[&["encrypted"]], "");
    market.put(&request);
    assert_eq!(market.put(&market.provider.answer(140, &request, &[&["status", "partial"]])), "");
    let wrong = market.provider.answer(126, &request, &[]);
    assert!(market.put(&wrong).starts_with("invalid: e tag"));
    assert_eq!(market.put(&market.provider.answer(125, &request, &[])), "");
    assert_eq!(market.world.stats()["jobs"]["by_kind"], json!({"105": {"success": 1}}));
    let filter = json!({"kinds": [125, 140]});
    for (who, count) in [(market.buyer.clone(), 3), (Author::new(3), 1)] {
        let conn = market.world.agent(&who);
        assert_eq!(market.world.ask(conn, json!(["REQ", "s", filter])).len(), count);
    }
    // What NIP-90 calls a job is none here.
    assert_eq!(market.put(&market.buyer.sign(7000, NOW, &[], "")), "");
}

#[test]
fn who_vanishes_is_forgotten_as_a_provider_and_as_a_customer() {
    let mut market = Market::new();
    let other = Author::new(3);
    for (buyer, by) in [(&market.buyer.clone(), &market.provider.clone()), (&other, &market.provider.clone())] {
        let request = buyer.sign(5050, NOW, &[], "");
        market.put(&request);
        market.put(&by.answer(6050, &request, &[]));
    }
    let rows = |market: &Market| market.world.column("SELECT customer FROM dealings ORDER BY customer").len();
    assert_eq!(rows(&market), 2);
    let vanish = |who: &Author| who.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "");
    market.put(&vanish(&other));
    assert_eq!(market.world.column("SELECT customer FROM dealings"), [market.buyer.key().to_string()]);
    market.put(&vanish(&market.provider));
    assert_eq!((rows(&market), market.world.column("SELECT pubkey FROM providers").len()), (0, 0));
}

/// A request takes two seconds to come; its customer vanishes a second after he signed it, while it is answered.
#[test]
fn nothing_is_noted_of_who_vanished_although_his_request_came_late() {
    for together in [true, false] {
        let mut world = World::open_relay();
        let conn = world.client();
        let (customer, provider) = (Author::new(2), Author::new(3));
        let request = customer.sign(5050, NOW, &[], "");
        world.now += 2500;
        assert_eq!(world.publish(conn, &request)[2], true);
        let vanish = customer.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
        let answer = provider.answer(6050, &request, &[]);
        if together {
            world.together(conn, &[&vanish, &answer]);
        } else {
            [vanish, answer].iter().for_each(|event| _ = world.publish(conn, event));
        }
        world.pass(200);
        assert_eq!(world.column("SELECT customer FROM dealings"), [""; 0], "in one group: {together}");
    }
}
