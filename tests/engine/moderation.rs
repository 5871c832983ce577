//! What the operator rules while the relay runs, by the management API (NIP-86).

use nexus::gateway::{ConnId, RequestId};
use nexus::nostr::EventId;
use nexus::nostr::http_auth::Signed;
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::gateways::{CONN, Gateways};
use crate::common::world::{World, config};

const OWNER: u8 = 99;

pub fn owner() -> Author {
    Author::new(OWNER)
}

fn settings() -> Vec<(&'static str, String)> {
    vec![("RELAY_PUBKEY", owner().key().to_string())]
}

pub fn world(more: &[(&str, &str)]) -> World {
    let own = settings();
    let own = own.iter().map(|(key, value)| (*key, value.as_str()));
    World::new(&own.chain(more.iter().copied()).collect::<Vec<_>>())
}

/// A signature that has not been used.
fn signed(by: &Author, number: u8) -> Signed {
    Signed { by: by.key(), id: EventId::new([number; 32]) }
}

/// Calls by somebody; each call has a signature of its own.
pub struct Caller(pub Author, pub u8);

impl Caller {
    pub fn input(&mut self, request: RequestId, method: &str, params: Value) -> Input {
        self.1 += 1;
        let body = json!({ "method": method, "params": params }).to_string();
        Input::Managed { request, signed: signed(&self.0, self.1), body }
    }

    pub fn call(&mut self, world: &mut World, method: &str, params: Value) -> (u16, Value) {
        let request = RequestId(u64::from(self.1) + 1_000_000);
        let input = self.input(request, method, params);
        world.input(input);
        world.settle();
        let (status, body, _) = world.response(request).expect("an answer").clone();
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Does something.
    pub fn does(&mut self, world: &mut World, method: &str, params: Value) {
        assert_eq!(self.call(world, method, params), (200, json!({ "result": true })), "{method}");
    }

    /// What a list has.
    pub fn list(&mut self, world: &mut World, method: &str) -> Vec<Value> {
        let (status, body) = self.call(world, method, json!([]));
        assert_eq!(status, 200, "{body}");
        body["result"].as_array().unwrap().clone()
    }
}

fn closed(world: &mut World, conn: ConnId) -> Option<String> {
    let end = world.take(conn).into_iter().find(|frame| frame[0] == "(closed)")?;
    assert_eq!(end[1], 1008);
    Some(end[2].as_str().unwrap().to_owned())
}

fn ids(frames: Vec<Value>) -> Vec<Value> {
    frames.into_iter().filter(|frame| frame[0] == "EVENT").map(|frame| frame[2]["id"].clone()).collect()
}

#[test]
fn a_banned_key_is_out_at_once_and_comes_back_when_the_ban_is_lifted() {
    let (bad, good) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let mut owner = Caller(owner(), 0);
    let (one, two) = (world.agent(&bad), world.agent(&good));
    let before = bad.note("before");
    assert_eq!(world.publish(one, &before)[2], true);
    owner.does(&mut world, "banpubkey", json!([bad.key(), "spam"]));
    assert_eq!(closed(&mut world, one).unwrap(), "blocked: the operator of this relay has blocked this key");
    assert_eq!(closed(&mut world, two), None);
    let guest = world.open();
    assert_eq!(world.prove(&bad, guest)[2], false);
    let after = bad.note("after");
    assert_eq!(world.publish(two, &after)[3], "blocked: the operator of this relay has blocked this key");
    // What it has published stays until that is purged.
    assert_eq!(ids(world.ask(two, json!(["REQ", "s", {"authors": [bad.key()]}]))), [json!(before.id)]);
    let listed = owner.list(&mut world, "listbannedpubkeys");
    assert_eq!(listed, [json!({"pubkey": bad.key(), "reason": "spam", "since": NOW})]);
    owner.does(&mut world, "purgepubkey", json!([bad.key()]));
    assert!(ids(world.ask(two, json!(["REQ", "t", {"authors": [bad.key()]}]))).is_empty());
    world.pass(60);
    world.settle();
    assert_eq!(world.column("SELECT id FROM events"), Vec::<String>::new());
    owner.does(&mut world, "unbanpubkey", json!([bad.key()]));
    let again = world.agent(&bad);
    assert_eq!(world.publish(again, &after)[2], true);
    // The ban, and what followed it, can be undone.
    assert_eq!(world.publish(again, &before)[2], true);
}

#[test]
fn a_banned_event_leaves_and_cannot_come_back() {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let mut owner = Caller(owner(), 0);
    let (one, two) = (world.agent(&buyer), world.agent(&provider));
    let request = buyer.sign(5050, NOW, &[&["i", "x", "text"]], "");
    let result = provider.answer(6050, &request, &[]);
    let note = buyer.note("illegal");
    for (conn, event) in [(one, &request), (two, &result), (one, &note)] {
        assert_eq!(world.publish(conn, event)[2], true);
    }
    for event in [&note, &result, &request] {
        owner.does(&mut world, "banevent", json!([event.id, "illegal"]));
        assert!(ids(world.ask(one, json!(["REQ", "s", {"ids": [event.id]}]))).is_empty());
        let reason = "blocked: the operator of this relay has banned this event";
        assert_eq!(world.publish(one, event)[3], reason);
    }
    assert_eq!(world.column("SELECT id FROM events"), Vec::<String>::new());
    world.restart(config(&[]));
    let conn = world.agent(&buyer);
    assert_eq!(world.publish(conn, &note)[2], false, "after a loss of memory");
    // A ban of what never came keeps it out, too.
    let mut owner = Caller(self::owner(), 100);
    world.restart(config(&[("RELAY_PUBKEY", &self::owner().key().to_string())]));
    let conn = world.agent(&buyer);
    let later = buyer.note("later");
    owner.does(&mut world, "banevent", json!([later.id]));
    assert_eq!(world.publish(conn, &later)[2], false);
    owner.does(&mut world, "unbanevent", json!([later.id]));
    assert_eq!(world.publish(conn, &later)[2], true);
    let listed = owner.list(&mut world, "listbannedevents");
    assert_eq!(listed.len(), 3);
}

#[test]
fn a_cancelled_job_is_told_to_who_works_on_it() {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let mut owner = Caller(owner(), 0);
    let (one, two) = (world.agent(&buyer), world.agent(&provider));
    let request = buyer.sign(5050, NOW, &[&["i", "x", "text"]], "");
    world.publish(one, &request);
    world.publish(two, &provider.answer(7000, &request, &[&["status", "processing"]]));
    world.take(two);
    owner.does(&mut world, "banevent", json!([request.id]));
    let notice = json!(["NOTICE", format!("cancelled: job {} is cancelled", request.id)]);
    assert!(world.take(two).contains(&notice));
    let late = provider.answer(6050, &request, &[]);
    assert_eq!(world.publish(two, &late)[2], false);
}

#[test]
fn networks_and_kinds_are_ruled_over() {
    let author = Author::new(1);
    let mut world = world(&[]);
    let mut owner = Caller(owner(), 0);
    let near = world.open_from("192.0.2.7").unwrap();
    owner.does(&mut world, "blockip", json!(["192.0.2.0/24", "flood"]));
    assert_eq!(closed(&mut world, near).unwrap(), "blocked: the operator of this relay has blocked this network");
    assert_eq!(world.may_open("192.0.2.200").unwrap_err().status, 403);
    assert!(world.may_open("192.0.3.1").is_ok());
    assert_eq!(
        owner.list(&mut world, "listblockedips"),
        [json!({"ip": "192.0.2.0/24", "reason": "flood", "since": NOW})]
    );
    owner.does(&mut world, "unblockip", json!(["192.0.2.0/24"]));
    assert!(world.may_open("192.0.2.200").is_ok());
    let conn = world.agent(&author);
    owner.does(&mut world, "disallowkind", json!([1]));
    assert_eq!(
        world.publish(conn, &author.note("x"))[3],
        "blocked: the operator of this relay takes no events of kind 1"
    );
    assert_eq!(owner.list(&mut world, "listdisallowedkinds"), [json!(1)]);
    owner.does(&mut world, "allowkind", json!([1]));
    assert_eq!(world.publish(conn, &author.note("x"))[2], true);
}

#[test]
fn members_write_and_in_a_closed_relay_they_alone_enter() {
    let (member, stranger, listed) = (Author::new(1), Author::new(2), Author::new(3));
    let listed_key = listed.key().to_string();
    let mut world = world(&[("ACCESS", "members"), ("LISTED_KEYS", &listed_key)]);
    let mut caller = Caller(owner(), 0);
    let (one, two) = (world.agent(&member), world.agent(&stranger));
    let reason = "restricted: only members of this relay publish here";
    assert_eq!(world.publish(one, &member.note("1"))[3], reason);
    caller.does(&mut world, "allowpubkey", json!([member.key(), "friend"]));
    assert_eq!(world.publish(one, &member.note("1"))[2], true);
    // A gift wrap is signed by nobody's key: who brings it counts.
    let wrap = Author::new(50).sign(1059, NOW, &[&["p", &listed_key]], "");
    assert_eq!(world.publish(two, &wrap)[3], reason);
    assert_eq!(world.publish(one, &wrap)[2], true);
    let conn = world.agent(&listed);
    assert_eq!(world.publish(conn, &listed.note("2"))[2], true);
    let own = owner().key().to_string();
    let closed_to = [("ACCESS", "closed"), ("LISTED_KEYS", listed_key.as_str()), ("RELAY_PUBKEY", own.as_str())];
    world.input(Input::Configured { config: Box::new(config(&closed_to)) });
    assert_eq!(closed(&mut world, two).unwrap(), "restricted: this relay is for its members alone");
    assert_eq!(closed(&mut world, one), None);
    let guest = world.open();
    assert_eq!(world.prove(&stranger, guest)[3], "restricted: this relay is for its members alone");
    assert_eq!(world.ask(guest, json!(["REQ", "s", {}])).pop().unwrap()[0], "CLOSED");
    caller.does(&mut world, "unallowpubkey", json!([member.key()]));
    assert_eq!(closed(&mut world, one).unwrap(), "restricted: this relay is for its members alone");
    // While it is not known who may enter, who is not known waits.
    world.restart(config(&closed_to));
    world.reset(true);
    let waiting = world.open();
    world.take(waiting);
    let event = world.auth_event(&stranger, waiting);
    world.say(waiting, json!(["AUTH", event]));
    assert_eq!(world.take(waiting), Vec::<Value>::new());
    world.settle();
    assert_eq!(
        world.take(waiting),
        [json!(["OK", event.id, false, "restricted: this relay is for its members alone"])]
    );
    // Whom memory had forgotten is sent away, too, and who is allowed stays.
    let stays = world.agent(&listed);
    world.restart(config(&closed_to));
    world.settle();
    assert_eq!(closed(&mut world, stays), None);
}

#[test]
fn the_owner_and_whom_he_names_may_call() {
    let (manager, stranger) = (Author::new(1), Author::new(2));
    let mut world = world(&[]);
    let (mut owner, mut named, mut other) = (Caller(owner(), 0), Caller(manager.clone(), 50), Caller(stranger, 100));
    assert_eq!(other.call(&mut world, "supportedmethods", json!([])).0, 403);
    assert_eq!(named.call(&mut world, "banpubkey", json!([Author::new(3).key()])).0, 403);
    owner.does(&mut world, "assignmethod", json!([manager.key(), "banpubkey"]));
    assert_eq!(named.list(&mut world, "supportedmethods"), [json!("supportedmethods"), json!("banpubkey")]);
    named.does(&mut world, "banpubkey", json!([Author::new(3).key(), "x"]));
    assert_eq!(named.call(&mut world, "listauditlog", json!([])).0, 403);
    assert_eq!(named.call(&mut world, "assignmethod", json!([manager.key(), "banevent"])).0, 403);
    let assigned = json!({"pubkey": manager.key(), "methods": ["banpubkey"]});
    assert_eq!(owner.list(&mut world, "listmethodassignees"), [assigned]);
    let (status, body) = named.call(&mut world, "banpubkey", json!([self::owner().key()]));
    assert_eq!((status, &body["error"]), (200, &json!("the owner cannot be banned")));
    owner.does(&mut world, "unassignmethod", json!([manager.key(), "banpubkey"]));
    assert_eq!(named.call(&mut world, "banpubkey", json!([Author::new(4).key()])).0, 403);
    // Who did what can be read back, the last first.
    let log = owner.list(&mut world, "listauditlog");
    let methods: Vec<(&Value, &Value)> = log.iter().map(|line| (&line["method"], &line["by"])).collect();
    let (own, managers) = (json!(self::owner().key()), json!(manager.key()));
    assert_eq!(
        methods,
        [(&json!("unassignmethod"), &own), (&json!("banpubkey"), &managers), (&json!("assignmethod"), &own)]
    );
    assert_eq!(log[1]["params"], json!([Author::new(3).key(), "x"]));
    let older = owner.call(&mut world, "listauditlog", json!([log[1]["number"]])).1;
    assert_eq!(older["result"].as_array().unwrap().len(), 1);
}

#[test]
fn a_relay_without_an_owner_takes_no_calls() {
    let mut world = World::new(&[]);
    assert_eq!(Caller(owner(), 0).call(&mut world, "supportedmethods", json!([])).0, 403);
}

#[test]
fn what_is_supported_works_and_what_is_wrong_is_named() {
    let mut world = world(&[]);
    let mut owner = Caller(owner(), 0);
    let key = Author::new(1).key().to_string();
    for method in owner.list(&mut world, "supportedmethods") {
        let params = match method.as_str().unwrap() {
            "banevent" | "unbanevent" | "allowevent" => json!([EventId::new([3; 32])]),
            "allowkind" | "disallowkind" => json!([30_000]),
            "blockip" | "unblockip" => json!(["2001:db8::1"]),
            "assignmethod" | "unassignmethod" => json!([key, "banevent"]),
            method if method.ends_with("pubkey") => json!([key]),
            _ => json!([]),
        };
        let (status, body) = owner.call(&mut world, method.as_str().unwrap(), params);
        assert_eq!((status, body.get("error")), (200, None), "{method}");
        assert!(body["result"] == true || body["result"].is_array(), "{method}: {body}");
    }
    for (method, params) in [
        ("nothing", json!([])),
        ("banpubkey", json!([])),
        ("banpubkey", json!(["npub1"])),
        ("banpubkey", json!([key, 5])),
        ("banpubkey", json!([key, "x".repeat(501)])),
        ("banpubkey", json!({"key": key})),
        ("disallowkind", json!([65_536])),
        ("blockip", json!(["relay.example"])),
        ("assignmethod", json!([key, "assignmethod"])),
    ] {
        let (status, body) = owner.call(&mut world, method, params.clone());
        assert!(
            status == 200 && body["error"].is_string() && body.get("result").is_none(),
            "{method} {params}: {body}"
        );
    }
}

#[test]
fn no_call_is_made_twice_not_even_after_a_loss_of_memory() {
    let mut world = world(&[]);
    let key = Author::new(1).key();
    let call = |request, number, method| Input::Managed {
        request: RequestId(request),
        signed: signed(&owner(), number),
        body: json!({ "method": method, "params": [key] }).to_string(),
    };
    world.input(call(1, 1, "banpubkey"));
    world.settle();
    world.input(call(2, 2, "unbanpubkey"));
    world.settle();
    world.input(call(3, 1, "banpubkey"));
    world.settle();
    let own = owner().key().to_string();
    world.restart(config(&[("RELAY_PUBKEY", &own)]));
    world.settle();
    world.input(call(4, 1, "banpubkey"));
    world.settle();
    let status = |request| world.response(RequestId(request)).unwrap().0;
    assert_eq!([1, 2, 3, 4].map(status), [200, 200, 401, 401]);
    assert_eq!(world.column("SELECT item FROM rulings"), Vec::<String>::new());
}

#[test]
fn what_fails_is_said_and_is_not_in_force() {
    let mut world = world(&[]);
    let author = Author::new(1);
    let conn = world.agent(&author);
    let mut owner = Caller(owner(), 0);
    let input = owner.input(RequestId(7), "banpubkey", json!([author.key()]));
    world.broken = true;
    world.input(input);
    world.settle();
    world.broken = false;
    let (status, body, _) = world.response(RequestId(7)).unwrap().clone();
    assert_eq!(status, 503, "{body}");
    assert_eq!(closed(&mut world, conn), None);
}

#[test]
fn all_gateways_and_partitions_know_it() {
    let own = owner().key().to_string();
    for seed in 0..6 {
        let chance = &mut Chance::new(seed);
        let partitions = 1 + seed as usize % 3;
        let mut all = Gateways::with(3, partitions, &[("RELAY_PUBKEY", &own)]);
        let (bad, good) = (Author::new(1), Author::new(2));
        all.prove(0, &bad);
        all.prove(1, &good);
        let requests: Vec<_> = (0..6).map(|n| bad.sign(5050, NOW, &[], &n.to_string())).collect();
        for request in &requests {
            assert_eq!(all.ask(0, json!(["EVENT", request])).pop().unwrap()[2], true);
        }
        let mut owner = Caller(owner(), 0);
        for (method, params) in [
            ("banpubkey", json!([bad.key()])),
            ("purgepubkey", json!([bad.key()])),
            ("banevent", json!([requests[0].id])),
        ] {
            let input = owner.input(RequestId(9), method, params);
            all.input(2, input);
            all.settle(chance);
            assert_eq!(all.answers.pop().unwrap(), json!({"result": true}), "seed {seed}");
        }
        let end = all.take(0, CONN).into_iter().find(|frame| frame[0] == "(closed)");
        assert_eq!(end.expect("the connection ends")[1], 1008, "seed {seed}");
        assert!(all.ask(1, json!(["REQ", "s", {"kinds": [5050]}])).iter().all(|frame| frame[0] != "EVENT"));
        assert_eq!(all.ask(1, json!(["EVENT", bad.sign(5050, NOW, &[], "new")]))[0][2], false);
    }
}
