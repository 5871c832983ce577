//! Much at once over a network that takes a while: what a client asks, publishes or is told costs nobody else the link
//! between a gateway and a partition, whatever their number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use nexus::gateway::ConnId;
use nexus::link::Incarnation;
use nexus::message::PartitionId;
use nexus::node::{Address, GatewayNode, LinkedGateway, LinkedPartition};
use nexus::nostr::Event;
use nexus::seam::{Effect, Host, Input};
use nexus::store::Answer;
use nexus::wire::{decode, encode};
use serde_json::{Value, json};

use crate::common::Database;
use crate::common::events::{Author, NOW};
use crate::common::sqlite::Sqlite;
use crate::common::world::config;
use crate::{engine, object};

/// One of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Gateway(usize),
    Partition(usize),
}

/// What is on its way: from whom, to whom, and the bytes.
type Packet = (End, End, Vec<u8>);

/// Objects that reach each other in a while, and databases that answer at once.
struct Objects {
    dbs: Vec<Sqlite>,
    partitions: Vec<LinkedPartition>,
    gateways: Vec<LinkedGateway>,
    /// By the millisecond in which they arrive, in the order they were sent.
    on_their_way: BTreeMap<(u64, u64), Packet>,
    count: u64,
    /// Milliseconds that they take.
    delay: u64,
    /// Gateways that nothing reaches.
    cut: BTreeSet<usize>,
    timers: BTreeMap<End, u64>,
    /// The lives of each end of a link that were seen.
    lives: BTreeMap<(End, End), BTreeSet<Incarnation>>,
    sent: BTreeMap<(usize, ConnId), Vec<Value>>,
    now: u64,
}

impl Objects {
    fn new(gateways: usize, partitions: usize, delay: u64) -> Self {
        let (now, number) = (NOW * 1000, partitions.to_string());
        let config = Rc::new(config(&[("AUTH_REQUIRED", "false"), ("PARTITIONS", &number)]));
        let partition = |n: usize| {
            let node = engine::partition(&config, PartitionId(n as u32), 1 + n as u64, now);
            LinkedPartition::new(node, object::incarnation(1), [], 0, now)
        };
        let gateway = |_| {
            let node = GatewayNode::new(config.clone(), Host::OBJECT, false, now);
            LinkedGateway::new(node, object::incarnation(1))
        };
        let mut objects = Self {
            dbs: (0..partitions).map(|_| Sqlite::new()).collect(),
            partitions: (0..partitions).map(partition).collect(),
            gateways: (0..gateways).map(gateway).collect(),
            on_their_way: BTreeMap::new(),
            count: 0,
            delay,
            cut: BTreeSet::new(),
            timers: BTreeMap::new(),
            lives: BTreeMap::new(),
            sent: BTreeMap::new(),
            now,
        };
        (0..gateways).for_each(|n| objects.gateway_input(n, Input::Woke { conns: vec![] }));
        objects.pass(1000);
        objects
    }

    fn open(&mut self, n: usize, conn: ConnId) {
        self.gateway_input(n, Input::Opened { conn, challenge: "challenge".to_owned(), ip: None });
    }

    fn say(&mut self, n: usize, conn: ConnId, message: &Value) {
        self.gateway_input(n, Input::Received { conn, text: message.to_string() });
    }

    fn gateway_input(&mut self, n: usize, input: Input) {
        let effects = self.gateways[n].handle(input, self.now);
        self.perform_gateway(n, effects);
    }

    fn perform_gateway(&mut self, n: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { conn, text } => {
                    self.sent.entry((n, conn)).or_default().push(serde_json::from_str(&text).unwrap());
                }
                Effect::TimerAt { at } => self.timer(End::Gateway(n), at),
                _ => {}
            }
        }
        for (PartitionId(to), batch) in self.gateways[n].take_batches() {
            self.send(End::Gateway(n), End::Partition(to as usize), batch.from, encode(&batch));
        }
    }

    fn perform_partition(&mut self, p: usize, effects: Vec<Effect>) {
        let mut effects: VecDeque<Effect> = effects.into();
        while let Some(effect) = effects.pop_front() {
            let input = match effect {
                Effect::Commit { ticket, statements } => {
                    Input::Committed { ticket, result: self.dbs[p].run(&statements).map(Answer::from) }
                }
                Effect::Query { ticket, statements, .. } => {
                    Input::Answered { ticket, result: self.dbs[p].run(&statements).map(Answer::from) }
                }
                Effect::Yield => Input::Yielded,
                Effect::TimerAt { at } => {
                    self.timer(End::Partition(p), at);
                    continue;
                }
                _ => continue,
            };
            effects.extend(self.partitions[p].handle(input, self.now));
        }
        self.partitions[p].take_kept();
        for (Address(to), batch) in self.partitions[p].take_batches() {
            self.send(End::Partition(p), End::Gateway(to as usize), batch.from, encode(&batch));
        }
    }

    fn send(&mut self, from: End, to: End, life: Incarnation, bytes: Vec<u8>) {
        self.lives.entry((from, to)).or_default().insert(life);
        self.count += 1;
        self.on_their_way.insert((self.now + self.delay, self.count), (from, to, bytes));
    }

    fn timer(&mut self, of: End, at: u64) {
        let timer = self.timers.entry(of).or_insert(at);
        *timer = at.min(*timer);
    }

    /// So many milliseconds pass: what arrives then is taken, and timers come.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            while let Some(packet) = self.on_their_way.first_entry().filter(|first| first.key().0 <= self.now) {
                let packet = packet.remove();
                self.arrive(packet);
            }
            let due: Vec<End> = self.timers.iter().filter(|(_, at)| **at <= self.now).map(|(end, _)| *end).collect();
            for end in due {
                self.timers.remove(&end);
                match end {
                    End::Gateway(n) => self.gateway_input(n, Input::Timer),
                    End::Partition(p) => {
                        let effects = self.partitions[p].handle(Input::Timer, self.now);
                        self.perform_partition(p, effects);
                    }
                }
            }
        }
    }

    fn arrive(&mut self, (from, to, bytes): Packet) {
        match (from, to) {
            (End::Gateway(n), _) | (_, End::Gateway(n)) if self.cut.contains(&n) => {}
            (End::Gateway(n), End::Partition(p)) => {
                let effects = self.partitions[p].receive(Address(n as u32), decode(&bytes).unwrap(), self.now);
                self.perform_partition(p, effects);
            }
            (End::Partition(p), End::Gateway(n)) => {
                let effects = self.gateways[n].receive(PartitionId(p as u32), decode(&bytes).unwrap(), self.now);
                self.perform_gateway(n, effects);
            }
            _ => {}
        }
    }

    /// How often an end of a link has begun anew.
    fn begun_anew(&self) -> usize {
        self.lives.values().map(|lives| lives.len() - 1).sum()
    }

    fn told(&self, n: usize, conn: ConnId, what: &str) -> Vec<Value> {
        let sent = self.sent.get(&(n, conn)).into_iter().flatten();
        sent.filter(|frame| frame[0] == what).cloned().collect()
    }
}

/// A REQ with as many values as one may have.
fn huge_req(n: u32) -> Value {
    let filter = |at: u32| {
        let values: Vec<String> = (0..998).map(|value| format!("{:x}", (n * 16 + at) * 1000 + value)).collect();
        json!({ "kinds": [1, 5050], "#t": values })
    };
    let filters = (0..16).map(filter);
    [json!("REQ"), json!(n.to_string())].into_iter().chain(filters).collect()
}

fn notes(count: usize, bytes: usize) -> Vec<Event> {
    let (author, text) = (Author::new(1), "x".repeat(bytes));
    (0..count).map(|n| author.sign(1, NOW, &[], &format!("{n}{text}"))).collect()
}

#[test]
fn huge_questions_to_many_partitions_cost_nobody_a_link() {
    for partitions in [1, 4, 32] {
        let mut objects = Objects::new(2, partitions, 20);
        let (strangers, other): (Vec<ConnId>, ConnId) = ((10..16).map(ConnId).collect(), ConnId(2));
        strangers.iter().chain([&other]).for_each(|conn| objects.open(0, *conn));
        objects.pass(100);
        let events = notes(6, 10);
        for ((n, stranger), event) in (0..).zip(&strangers).zip(&events) {
            objects.say(0, *stranger, &huge_req(n));
            objects.say(0, other, &json!(["EVENT", event]));
        }
        objects.pass(3000);
        assert_eq!(objects.begun_anew(), 0, "{partitions} partitions");
        let oks = objects.told(0, other, "OK");
        assert!(oks.len() == 6 && oks.iter().all(|ok| ok[2] == true), "{partitions} partitions: {oks:?}");
        for (n, stranger) in strangers.into_iter().enumerate() {
            assert_eq!(objects.told(0, stranger, "EOSE").len(), 1, "{n} of {partitions} partitions");
        }
    }
}

#[test]
fn who_wakes_with_many_subscriptions_comes_to_all_of_many_partitions() {
    let mut objects = Objects::new(1, 64, 20);
    let (stranger, other) = (ConnId(1), ConnId(2));
    [stranger, other].into_iter().for_each(|conn| objects.open(0, conn));
    for n in 0..6 {
        objects.say(0, stranger, &huge_req(n));
        objects.pass(500);
    }
    // A partition that lost its memory is told all of it again, and what others ask meanwhile is answered.
    for lost in [3, 9, 60] {
        let node = engine::partition(
            &config(&[("AUTH_REQUIRED", "false"), ("PARTITIONS", "64")]),
            PartitionId(lost as u32),
            100,
            objects.now,
        );
        objects.partitions[lost] = LinkedPartition::new(node, object::incarnation(2), [Address(0)], 0, objects.now);
        objects.perform_partition(lost, vec![]);
    }
    let event = notes(1, 10).remove(0);
    objects.say(0, other, &json!(["EVENT", event]));
    objects.pass(20_000);
    assert_eq!(objects.told(0, other, "OK"), [json!(["OK", event.id, true, ""])]);
    objects.say(0, other, &json!(["COUNT", "c", {}]));
    objects.pass(5000);
    assert_eq!(objects.told(0, other, "COUNT").len(), 1);
}

#[test]
fn large_events_for_many_gateways_cost_nobody_a_link() {
    for gateways in [4, 32] {
        let mut objects = Objects::new(gateways, 1, 20);
        let (reader, stranger, other) = (ConnId(1), ConnId(2), ConnId(3));
        for n in 0..gateways {
            objects.open(n, reader);
            objects.say(n, reader, &json!(["REQ", "s", { "kinds": [1] }]));
        }
        [stranger, other].into_iter().for_each(|conn| objects.open(0, conn));
        objects.pass(1000);
        let events = notes(24, 100_000);
        events.iter().for_each(|event| objects.say(0, stranger, &json!(["EVENT", event])));
        let small = Author::new(2).sign(1, NOW, &[], "");
        objects.say(0, other, &json!(["EVENT", small]));
        objects.pass(5000);
        assert_eq!(objects.begun_anew(), 0, "{gateways} gateways");
        assert_eq!(objects.told(0, other, "OK"), [json!(["OK", small.id, true, ""])], "{gateways} gateways");
        for n in 0..gateways {
            assert_eq!(objects.told(n, reader, "EVENT").len(), 25, "gateway {n} of {gateways}");
        }
    }
}

#[test]
fn who_has_missed_more_than_a_link_holds_is_told_all_of_it() {
    // Of so many bytes, the last of which one answer of the database just has room for.
    for bytes in [3_600, 5_000, 12_000] {
        let mut objects = Objects::new(2, 1, 20);
        let (reader, other) = (ConnId(1), ConnId(2));
        objects.open(1, reader);
        objects.say(1, reader, &json!(["REQ", "s", { "kinds": [1] }]));
        objects.open(0, other);
        objects.pass(1000);
        objects.cut.insert(1);
        let events = notes(900, bytes);
        for event in &events {
            objects.say(0, other, &json!(["EVENT", event]));
            objects.pass(1);
        }
        objects.pass(2000);
        assert_eq!(objects.told(0, other, "OK").iter().filter(|ok| ok[2] == true).count(), events.len());
        objects.cut.clear();
        objects.pass(30_000);
        let told = objects.told(1, reader, "EVENT");
        assert_eq!(told.len(), events.len(), "of {bytes} bytes each");
    }
}

#[test]
fn large_pages_for_many_cost_nobody_a_link() {
    let mut objects = Objects::new(2, 1, 50);
    let other = ConnId(100);
    objects.open(0, other);
    for event in notes(500, 8_000) {
        objects.say(0, other, &json!(["EVENT", event]));
    }
    objects.pass(2000);
    let readers: Vec<ConnId> = (1..=8).map(ConnId).collect();
    for reader in &readers {
        objects.open(0, *reader);
        objects.say(0, *reader, &json!(["REQ", "s", { "kinds": [1], "until": NOW }]));
    }
    objects.pass(60);
    let event = Author::new(2).sign(1, NOW + 1, &[], "");
    objects.say(0, other, &json!(["EVENT", event]));
    objects.pass(10_000);
    assert_eq!(objects.begun_anew(), 0);
    assert_eq!(objects.told(0, other, "OK").last().unwrap()[2], true);
    for reader in readers {
        assert!(objects.told(0, reader, "EVENT").len() > 400, "{reader}");
        assert_eq!(objects.told(0, reader, "EOSE").len(), 1, "{reader}");
    }
}

#[test]
fn pages_that_are_large_in_each_of_many_partitions_are_answered() {
    let mut objects = Objects::new(1, 4, 20);
    let other = ConnId(100);
    objects.open(0, other);
    let (author, text) = (Author::new(1), "x".repeat(8_000));
    let jobs: Vec<Event> = (0..1600).map(|n| author.sign(5050, NOW - n, &[], &format!("{n}{text}"))).collect();
    for job in &jobs {
        objects.say(0, other, &json!(["EVENT", job]));
        objects.pass(1);
    }
    objects.pass(2000);
    let newest: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    for filters in [
        json!([{ "kinds": [5050], "limit": 450 }]),
        // Which is left out of one filter is not of the other.
        json!([{ "kinds": [5050], "limit": 200 }, { "authors": [author.key()], "limit": 440, "until": NOW - 1 }]),
    ] {
        let readers: Vec<ConnId> = (1..=6).map(ConnId).collect();
        for reader in &readers {
            objects.open(0, *reader);
            let filters = filters.as_array().unwrap().clone();
            let request: Vec<Value> = [json!("REQ"), json!("s")].into_iter().chain(filters).collect();
            objects.say(0, *reader, &json!(request));
        }
        objects.pass(5000);
        for reader in readers {
            let told = objects.told(0, reader, "EVENT");
            let ids: Vec<&str> = told.iter().map(|frame| frame[2]["id"].as_str().unwrap()).collect();
            assert!(ids.len() >= 440 && ids == newest[..ids.len()], "{} of {filters}", ids.len());
            assert_eq!(objects.told(0, reader, "EOSE").len(), 1, "{filters}");
            objects.sent.remove(&(0, reader));
            objects.gateway_input(0, Input::Closed { conn: reader });
        }
    }
    assert_eq!(objects.begun_anew(), 0);
}

#[test]
fn long_deletions_for_many_partitions_cost_nobody_a_link() {
    let mut objects = Objects::new(1, 16, 50);
    let (stranger, other) = (ConnId(1), ConnId(2));
    [stranger, other].into_iter().for_each(|conn| objects.open(0, conn));
    objects.pass(200);
    let (author, text) = (Author::new(1), "x".repeat(60_000));
    let id = "ab".repeat(32);
    for n in 0..12 {
        let deletion = author.sign(5, NOW, &[&["e", &id], &["x", &text]], &format!("{n}{text}"));
        objects.say(0, stranger, &json!(["EVENT", deletion]));
    }
    let event = Author::new(2).sign(1, NOW, &[], "");
    objects.say(0, other, &json!(["EVENT", event]));
    objects.pass(3000);
    assert_eq!(objects.begun_anew(), 0);
    assert_eq!(objects.told(0, other, "OK"), [json!(["OK", event.id, true, ""])]);
    let oks = objects.told(0, stranger, "OK");
    assert!(oks.len() == 12 && oks.iter().all(|ok| ok[2] == true), "{oks:?}");
    // Home alone has it, with all that its author has said.
    objects.say(0, other, &json!(["REQ", "d", { "kinds": [5] }]));
    objects.pass(1000);
    let found = objects.told(0, other, "EVENT");
    assert!(found.len() == 12 && found[0][2]["content"].as_str().unwrap().ends_with(&text));
}
