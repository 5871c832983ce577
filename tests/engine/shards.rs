//! Shards that share a store: what one stores all tell, each event once, and numbers are of all together.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use nexus::nostr::Event;
use nexus::relay::{Api, ConnId, Effect, Host, Input, News, Relay, RequestId, Ticket};
use nexus::store::{Answer, Statement};
use serde_json::{Value, json};

use crate::common::Database;
use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::refusals;
use crate::common::sqlite::Sqlite;
use crate::common::world::config;

/// Shards, each with an inbox in order, over one store that writes in the order it is asked.
struct Shards {
    relays: Vec<Relay>,
    inboxes: Vec<VecDeque<Input>>,
    writes: VecDeque<(usize, Ticket, Vec<Statement>, Option<News>)>,
    db: Sqlite,
    frames: BTreeMap<(usize, ConnId), Vec<Value>>,
    answers: Vec<Value>,
    now: u64,
}

const CONN: ConnId = ConnId(1);

impl Shards {
    fn new(count: u32) -> Self {
        let config = Rc::new(config(&[("AUTH_REQUIRED", "false")]));
        let relay = |shard| Relay::new(config.clone(), Host { shard, shards: count, lasting: true }, NOW * 1000);
        let mut shards = Self {
            relays: (0..count).map(relay).collect(),
            inboxes: vec![VecDeque::new(); count as usize],
            writes: VecDeque::new(),
            db: Sqlite::new(),
            frames: BTreeMap::new(),
            answers: Vec::new(),
            now: NOW * 1000,
        };
        for n in 0..shards.relays.len() {
            shards.input(n, Input::Woke { conns: vec![] });
            shards.input(n, Input::Opened { conn: CONN, challenge: n.to_string(), ip: None });
        }
        shards.settle(&mut Chance::new(0));
        shards.frames.clear();
        shards
    }

    fn input(&mut self, n: usize, input: Input) {
        for effect in self.relays[n].handle(input, self.now) {
            match effect {
                Effect::Send { conn, text } => {
                    let frame = serde_json::from_str(&text).unwrap();
                    refusals::check_frame(&frame);
                    self.frames.entry((n, conn)).or_default().push(frame);
                }
                Effect::Commit { ticket, statements, news } => self.writes.push_back((n, ticket, statements, news)),
                Effect::Query { ticket, statements } => {
                    let result = self.db.run(&statements).map(Answer::from);
                    self.inboxes[n].push_back(Input::Answered { ticket, result });
                }
                Effect::Pass { ticket, event } => {
                    for (_, inbox) in self.inboxes.iter_mut().enumerate().filter(|(at, _)| *at != n) {
                        inbox.push_back(Input::Passed { event: event.clone(), from: n as u32, ticket });
                    }
                }
                Effect::Heard { shard, ticket, listeners } => {
                    self.inboxes[shard as usize].push_back(Input::Heard { ticket, listeners });
                }
                Effect::Mark { conn } => self.inboxes[n].push_back(Input::Taken { conn }),
                Effect::Yield => self.inboxes[n].push_back(Input::Yielded),
                Effect::Respond { body, .. } => self.answers.push(serde_json::from_str(&body).unwrap()),
                Effect::Remember { .. } => panic!("memory lasts here"),
                Effect::Close { .. } | Effect::WakeAt { .. } | Effect::TimerAt { .. } | Effect::Log { .. } => {}
            }
        }
    }

    fn write(&mut self) {
        let Some((n, ticket, statements, news)) = self.writes.pop_front() else { return };
        let rows = self.db.run(&statements).unwrap();
        for (at, inbox) in self.inboxes.iter_mut().enumerate() {
            match &news {
                _ if at == n => inbox.push_back(Input::Committed { ticket, result: Ok(rows.clone().into()) }),
                Some(news) => inbox.push_back(Input::Told { news: news.clone(), rows: Arc::new(rows.clone()) }),
                None => {}
            }
        }
    }

    /// Takes steps in some order, as long as there are any or so many.
    fn steps(&mut self, chance: &mut Chance, most: usize) {
        for _ in 0..most {
            let waiting: Vec<usize> = (0..self.relays.len()).filter(|n| !self.inboxes[*n].is_empty()).collect();
            if waiting.is_empty() && self.writes.is_empty() {
                return;
            }
            if waiting.is_empty() || !self.writes.is_empty() && chance.one_in(3) {
                self.write();
            } else {
                let n = *chance.pick(&waiting);
                let input = self.inboxes[n].pop_front().unwrap();
                self.input(n, input);
            }
        }
    }

    fn settle(&mut self, chance: &mut Chance) {
        self.steps(chance, usize::MAX);
    }

    fn say(&mut self, n: usize, message: Value) {
        self.input(n, Input::Received { conn: CONN, text: message.to_string() });
    }

    fn take(&mut self, n: usize) -> Vec<Value> {
        self.frames.remove(&(n, CONN)).unwrap_or_default()
    }

    fn stats(&mut self, n: usize) -> Value {
        let elsewhere = self.relays.iter().enumerate().filter(|(at, _)| *at != n);
        let elsewhere = elsewhere.map(|(_, relay)| relay.gauges()).collect();
        self.input(n, Input::Requested { request: RequestId(1), api: Api::Stats, ip: None, elsewhere });
        self.settle(&mut Chance::new(1));
        self.answers.pop().unwrap()
    }
}

/// The frames of one sort, each by what `of` makes of it, sorted.
fn sorted(frames: &[Value], verb: &str, of: impl Fn(&Value) -> Value) -> Vec<String> {
    let mut found: Vec<String> =
        frames.iter().filter(|frame| frame[0] == verb).map(|frame| of(frame).to_string()).collect();
    found.sort();
    found
}

#[test]
fn what_one_shard_stores_all_tell_once() {
    for seed in 0..120 {
        let chance = &mut Chance::new(seed);
        let mut shards = Shards::new(2 + seed as u32 % 2);
        let count = shards.relays.len();
        for n in 0..count {
            shards.say(n, json!(["REQ", "live", {}]));
        }
        shards.settle(chance);
        (0..count).for_each(|n| drop(shards.take(n)));
        let authors: Vec<Author> = (1..4).map(Author::new).collect();
        let (mut events, mut refused): (Vec<Event>, usize) = Default::default();
        for step in 0..60 {
            let (n, author) = (chance.below(count as u64) as usize, chance.pick(&authors).clone());
            let event = match chance.below(8) {
                // Some come to two shards at once, or again.
                0 if !events.is_empty() => chance.pick(&events).clone(),
                1 if !events.is_empty() => author.answer(6050, chance.pick(&events), &[]),
                2 => author.sign(31_990, NOW + step, &[&["d", "h"], &["k", "5050"]], ""),
                3 => author.sign(30_000, NOW - step, &[&["d", "h"]], ""),
                _ => author.sign(5050, NOW, &[], &step.to_string()),
            };
            shards.say(n, json!(["EVENT", event]));
            events.push(event);
            if chance.one_in(10) {
                refused += 1;
                shards.say(n, json!(["EVENT", {"id": "no"}]));
            }
            let some = chance.below(12) as usize;
            shards.steps(chance, some);
        }
        shards.settle(chance);
        let all: Vec<Vec<Value>> = (0..count).map(|n| shards.take(n)).collect();
        // What was stored is what was new to somebody: each subscriber was told of it, once.
        let accepted: Vec<String> = {
            let oks = all.iter().flat_map(|frames| frames.iter()).filter(|frame| frame[0] == "OK" && frame[3] == "");
            let mut ids: Vec<String> = oks.map(|frame| frame[1].to_string()).collect();
            ids.sort();
            ids
        };
        for frames in &all {
            assert_eq!(sorted(frames, "EVENT", |frame| frame[2]["id"].clone()), accepted, "seed {seed}");
        }
        let oks: usize = all.iter().map(|frames| sorted(frames, "OK", |frame| frame[1].clone()).len()).sum();
        assert_eq!(oks, events.len() + refused, "seed {seed}");
        // Numbers are those of all, whoever is asked, and each is counted once however often it is handed over.
        for n in 0..count {
            let stats = shards.stats(n);
            assert_eq!(stats["events"]["stored"], accepted.len(), "seed {seed}");
            assert_eq!(stats["events"]["accepted"], accepted.len());
            let rejected: i64 =
                stats["events"]["rejected"].as_object().unwrap().values().map(|n| n.as_i64().unwrap()).sum();
            let told = all.iter().flatten().filter(|frame| frame[0] == "OK" && frame[2] == false).count();
            let duplicates = all.iter().flatten().filter(|frame| frame[2] == true && frame[3] != "").count();
            assert_eq!((rejected, &stats["events"]["duplicate"]), (told as i64, &json!(duplicates)), "seed {seed}");
            assert_eq!((&stats["connections"]["open"], &stats["subscriptions"]), (&json!(count), &json!(count)));
        }
        // What is answered from memory is what the store has, at every shard.
        for filter in [json!({"kinds": [31990]}), json!({"since": NOW}), json!({"kinds": [6050], "#e": [events[0].id]})]
        {
            let mut found = Vec::new();
            for n in 0..count {
                for id in ["once", "again"] {
                    shards.say(n, json!(["REQ", id, filter]));
                    shards.settle(chance);
                    found.push(sorted(&shards.take(n), "EVENT", |frame| frame[2]["id"].clone()));
                }
            }
            let parsed = nexus::nostr::Filter::parse(&filter.to_string()).unwrap();
            let mut stored: Vec<String> = shards
                .db
                .run(&[nexus::store::read::log(0, 1_000_000)])
                .unwrap()
                .into_iter()
                .flat_map(|rows| nexus::store::read::decode(rows).unwrap().unwrap())
                .filter_map(|event| match &event.text {
                    nexus::store::read::Text::Json(json) => Event::parse(json).ok(),
                    nexus::store::read::Text::Large(_) => None,
                })
                .filter(|event| parsed.matches(event))
                .map(|event| json!(event.id).to_string())
                .collect();
            stored.sort();
            found.iter().for_each(|found| assert_eq!(*found, stored, "seed {seed}, {filter}"));
        }
    }
}

#[test]
fn an_ephemeral_event_is_heard_at_every_shard() {
    let (chance, mut shards) = (&mut Chance::new(0), Shards::new(3));
    let event = |n: u64| Author::new(1).sign(20_001, NOW, &[], &n.to_string());
    let mute = "mute: nobody is listening to this ephemeral event";
    shards.say(0, json!(["EVENT", event(0)]));
    shards.settle(chance);
    assert_eq!(shards.take(0), [json!(["OK", event(0).id, false, mute])]);
    for (n, listener) in [(1, 2), (2, 0), (3, 1)] {
        shards.say(listener, json!(["REQ", "e", {"kinds": [20001]}]));
        shards.settle(chance);
        shards.take(listener);
        shards.say(0, json!(["EVENT", event(n)]));
        shards.settle(chance);
        let frames: Vec<Value> = (0..3).flat_map(|n| shards.take(n)).collect();
        assert_eq!(sorted(&frames, "EVENT", |frame| frame[2]["id"].clone()).len(), n as usize);
        assert_eq!(sorted(&frames, "OK", |frame| frame[2].clone()), ["true"]);
    }
}

#[test]
fn one_shard_sweeps_and_all_hear_of_it() {
    let (chance, mut shards) = (&mut Chance::new(0), Shards::new(2));
    let brief =
        Author::new(1).sign(31_990, NOW, &[&["d", "h"], &["k", "5050"], &["expiration", &(NOW + 10).to_string()]], "");
    let vanish = Author::new(1).sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
    shards.say(1, json!(["EVENT", brief]));
    shards.settle(chance);
    for n in [0, 1] {
        shards.say(n, json!(["REQ", "h", {"kinds": [31990]}]));
        shards.settle(chance);
        assert_eq!(sorted(&shards.take(n), "EVENT", |frame| frame[2]["id"].clone()).len(), 1);
    }
    // Asked of the second, done by the first.
    shards.say(1, json!(["EVENT", vanish]));
    shards.settle(chance);
    assert_eq!(shards.db.run(&[nexus::store::read::log(0, 10)]).unwrap()[0].len(), 1);
    for n in [0, 1] {
        shards.take(n);
        shards.say(n, json!(["REQ", "h", {"kinds": [31990]}]));
        shards.settle(chance);
        assert_eq!(shards.take(n), [json!(["EOSE", "h", ["finish"]])]);
    }
}

#[test]
fn an_answer_that_another_shard_stores_at_that_moment_moves_no_job_it_does_not_fit() {
    let (chance, mut shards) = (&mut Chance::new(0), Shards::new(2));
    let request = Author::new(1).sign(5050, NOW, &[], "");
    // Both groups are made before either is written, first that of an answer of the wrong kind.
    for (n, event) in [(1, Author::new(2).answer(6100, &request, &[])), (0, request)] {
        shards.say(n, json!(["EVENT", event]));
        let turn = shards.inboxes[n].pop_front().unwrap();
        shards.input(n, turn);
    }
    assert_eq!(shards.writes.len(), 2);
    shards.settle(chance);
    let stats = shards.stats(0);
    assert_eq!((&stats["jobs"]["states"]["success"], &stats["jobs"]["states"]["open"]), (&json!(0), &json!(1)));
    // Its author was told OK: it stays an event of his.
    assert_eq!(shards.db.run(&[nexus::store::read::log(0, 10)]).unwrap()[0].len(), 2);
}

#[test]
fn a_shard_that_has_just_woken_tells_what_is_new_and_nothing_else() {
    let (chance, mut shards) = (&mut Chance::new(0), Shards::new(2));
    let note = |n: u64| Author::new(1).sign(1, NOW + n, &[], "");
    for n in 0..3 {
        shards.say(0, json!(["EVENT", note(n)]));
    }
    shards.settle(chance);
    let config = Rc::new(config(&[("AUTH_REQUIRED", "false")]));
    shards.relays[1] = Relay::new(config, Host { shard: 1, shards: 2, lasting: true }, NOW * 1000);
    shards.input(1, Input::Woke { conns: vec![] });
    let totals = shards.inboxes[1].pop_front().unwrap();
    shards.input(1, Input::Opened { conn: CONN, challenge: String::new(), ip: None });
    shards.say(1, json!(["REQ", "live", {"limit": 0}]));
    shards.settle(chance);
    // News come before the answer to what it asked when it woke.
    shards.say(0, json!(["EVENT", note(3)]));
    shards.settle(chance);
    shards.input(1, totals);
    shards.say(0, json!(["EVENT", note(4)]));
    shards.say(1, json!(["EVENT", note(5)]));
    shards.settle(chance);
    let told = sorted(&shards.take(1), "EVENT", |frame| frame[2]["created_at"].clone());
    assert_eq!(told, [3, 4, 5].map(|n| (NOW + n).to_string()));
}

#[test]
fn a_shard_that_does_not_say_whether_it_listens_is_waited_for_two_seconds() {
    let mut shards = Shards::new(3);
    let event = Author::new(1).sign(20_001, NOW, &[], "");
    shards.say(0, json!(["EVENT", event]));
    assert!(shards.take(0).is_empty());
    // One of the others answers, the other one never.
    let passed = shards.inboxes[1].pop_front().unwrap();
    let silent = shards.inboxes[2].pop_front().unwrap();
    shards.input(1, passed);
    let heard = shards.inboxes[0].pop_front().unwrap();
    shards.input(0, heard);
    shards.now += 1999;
    shards.input(0, Input::Timer);
    assert!(shards.take(0).is_empty());
    shards.now += 1;
    shards.input(0, Input::Timer);
    let reason = "error: a part of the relay did not say whether somebody listens; publish it again";
    assert_eq!(shards.take(0), [json!(["OK", event.id, false, reason])]);
    // What it says later is told to nobody.
    shards.input(2, silent);
    let heard = shards.inboxes[0].pop_front().unwrap();
    shards.input(0, heard);
    assert!(shards.take(0).is_empty());
}
