//! Objects that all sleep: what is kept of a partition says how far its gateways were told, so nobody looks for what they
//! were told of, and those without clients are left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nexus::gateway::{Config, ConnId};
use nexus::link::GATHERED_BYTES_MAX;
use nexus::message::{MISSED_MAX, PartitionId};
use nexus::node::{Address, GatewayNode, Keep, LinkedGateway, LinkedPartition};
use nexus::seam::{Effect, Host, Input};
use nexus::store::Answer;
use nexus::wire::{decode, encode};
use serde_json::{Value, json};

use crate::common::Database;
use crate::common::events::{Author, NOW};
use crate::common::sqlite::Sqlite;
use crate::common::world::config;
use crate::{db, engine, object};

/// Objects that reach each other at once, and a database that answers at once.
struct Objects {
    config: Rc<Config>,
    db: Sqlite,
    partition: LinkedPartition,
    gateways: Vec<LinkedGateway>,
    /// What each client is remembered by and has been sent, by its gateway.
    remembered: Vec<BTreeMap<ConnId, String>>,
    sent: BTreeMap<ConnId, Vec<Value>>,
    kept: BTreeSet<Address>,
    told: u64,
    lives: u64,
    now: u64,
    /// Whether the partition has its memory, and whether its database answers.
    partition_awake: bool,
    answers: bool,
    /// What the database has yet to answer.
    held: Vec<Effect>,
    /// Which gateways have woken, and which are told nothing, as the network is down.
    awake: Vec<bool>,
    cut: Vec<bool>,
    /// How often the log was read, batches came to each gateway, and something was kept.
    log_read: usize,
    heard: Vec<usize>,
    rows: usize,
}

impl Objects {
    fn new(count: usize) -> Self {
        let (now, config) = (NOW * 1000, Rc::new(config(&[("AUTH_REQUIRED", "false")])));
        let partition = LinkedPartition::new(
            engine::partition(&config, PartitionId::HOME, 1, now),
            object::incarnation(1),
            [],
            0,
            now,
        );
        let mut objects = Self {
            config,
            db: Sqlite::new(),
            partition,
            gateways: Vec::new(),
            remembered: vec![BTreeMap::new(); count],
            sent: BTreeMap::new(),
            kept: BTreeSet::new(),
            told: 0,
            lives: 1,
            now,
            partition_awake: true,
            answers: true,
            held: Vec::new(),
            awake: vec![false; count],
            cut: vec![false; count],
            log_read: 0,
            heard: vec![0; count],
            rows: 0,
        };
        objects.wake();
        objects
    }

    /// All lose their memory, and wake.
    fn wake(&mut self) {
        self.lives += 1;
        let (own, now) = (object::incarnation(self.lives), self.now);
        let node = engine::partition(&self.config, PartitionId::HOME, self.lives, now);
        self.partition = LinkedPartition::new(node, own, self.kept.clone(), self.told, now);
        let gateway = |_| LinkedGateway::new(GatewayNode::new(self.config.clone(), Host::OBJECT, false, now), own);
        self.gateways = self.remembered.iter().map(gateway).collect();
        self.heard.fill(0);
        self.awake.fill(false);
        self.partition_input(Input::Timer);
    }

    /// A gateway wakes: a client does something, or it is told something.
    fn wake_gateway(&mut self, n: usize) {
        self.awake[n] = true;
        let conns = self.remembered[n].iter().map(|(conn, text)| (*conn, text.clone())).collect();
        self.gateway_input(n, Input::Woke { conns });
    }

    fn partition_input(&mut self, input: Input) {
        let effects = self.partition.handle(input, self.now);
        self.perform(effects);
    }

    fn gateway_input(&mut self, n: usize, input: Input) {
        let effects = self.gateways[n].handle(input, self.now);
        self.show(n, effects);
        self.exchange();
    }

    fn say(&mut self, n: usize, conn: ConnId, message: &Value) {
        self.gateway_input(n, Input::Received { conn, text: message.to_string() });
    }

    fn open(&mut self, n: usize, conn: ConnId) {
        self.gateway_input(n, Input::Opened { conn, challenge: "challenge".to_owned(), ip: None });
    }

    /// Time passes, and timers come.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1000;
            let awake: Vec<usize> = (0..self.gateways.len()).filter(|n| self.awake[*n]).collect();
            awake.into_iter().for_each(|n| self.gateway_input(n, Input::Timer));
            if self.partition_awake {
                self.partition_input(Input::Timer);
            }
        }
    }

    /// The database answers again, what it was asked before, too.
    fn answer(&mut self) {
        self.answers = true;
        let held = std::mem::take(&mut self.held);
        self.perform(held);
    }

    /// A gateway loses its memory, and wakes.
    fn reset_gateway(&mut self, n: usize) {
        self.lives += 1;
        let node = GatewayNode::new(self.config.clone(), Host::OBJECT, false, self.now);
        self.gateways[n] = LinkedGateway::new(node, object::incarnation(self.lives));
        self.wake_gateway(n);
    }

    /// The partition loses its memory, and wakes when somebody tells it something.
    fn reset_partition(&mut self) {
        self.lives += 1;
        let node = engine::partition(&self.config, PartitionId::HOME, self.lives, self.now);
        let own = object::incarnation(self.lives);
        self.partition = LinkedPartition::new(node, own, self.kept.clone(), self.told, self.now);
        (self.partition_awake, self.answers) = (false, true);
        self.held.clear();
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let input = match effect {
                Effect::Commit { .. } | Effect::Query { .. } if !self.answers => {
                    self.held.push(effect);
                    continue;
                }
                Effect::Commit { ticket, statements } => {
                    Input::Committed { ticket, result: self.db.run(&statements).map(Answer::from) }
                }
                Effect::Query { ticket, statements, .. } => {
                    self.log_read += usize::from(db::looks_for_missed(&statements));
                    Input::Answered { ticket, result: self.db.run(&statements).map(Answer::from) }
                }
                Effect::Yield => Input::Yielded,
                _ => continue,
            };
            self.partition_input(input);
        }
        self.exchange();
    }

    fn show(&mut self, n: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { conn, text } => {
                    self.sent.entry(conn).or_default().push(serde_json::from_str(&text).unwrap());
                }
                Effect::Remember { conn, text } => _ = self.remembered[n].insert(conn, text),
                Effect::Close { conn, .. } => _ = self.remembered[n].remove(&conn),
                _ => {}
            }
        }
    }

    fn exchange(&mut self) {
        for keep in self.partition.take_kept() {
            self.rows += 1;
            match keep {
                Keep::Told(upto) => self.told = upto,
                Keep::Gateway(address) => _ = self.kept.insert(address),
                Keep::Gone(address) => _ = self.kept.remove(&address),
            }
        }
        for (Address(n), batch) in self.partition.take_batches() {
            let n = n as usize;
            if self.cut[n] {
                continue;
            }
            self.heard[n] += 1;
            if !self.awake[n] {
                self.wake_gateway(n);
            }
            let effects = self.gateways[n].receive(PartitionId::HOME, decode(&encode(&batch)).unwrap(), self.now);
            self.show(n, effects);
            self.exchange();
        }
        for n in 0..self.gateways.len() {
            for (_, batch) in self.gateways[n].take_batches() {
                self.partition_awake = true;
                let effects = self.partition.receive(Address(n as u32), decode(&encode(&batch)).unwrap(), self.now);
                self.perform(effects);
            }
        }
    }
}

#[test]
fn who_was_told_of_everything_misses_nothing_and_the_log_is_not_read() {
    let mut objects = Objects::new(3);
    (0..3).for_each(|n| objects.wake_gateway(n));
    let (quiet, busy) = (ConnId(1), ConnId(2));
    let (author, other) = (Author::new(1), Author::new(2));
    objects.open(0, quiet);
    objects.say(0, quiet, &json!(["REQ", "s", { "authors": [author.key()], "kinds": [1] }]));
    objects.open(1, busy);
    let count = 3 * MISSED_MAX / 2;
    for n in 0..count {
        objects.say(1, busy, &json!(["EVENT", other.sign(1, NOW, &[], &n.to_string())]));
    }
    objects.pass(10);
    assert_eq!(objects.told, count);
    assert_eq!(objects.kept, BTreeSet::from([Address(0), Address(1)]), "a gateway without clients is kept");
    let batches = objects.heard[0];
    assert!(batches < 20, "the quiet gateway has heard {batches} batches");
    assert!(objects.rows < 10, "{} rows were kept", objects.rows);

    objects.log_read = 0;
    objects.wake();
    objects.pass(2);
    assert_eq!(objects.heard[2], 0, "a gateway without clients is woken");
    objects.sent.clear();
    let event = author.sign(1, NOW, &[], "at last");
    objects.say(1, busy, &json!(["EVENT", event]));
    let told = |of: &ConnId| objects.sent.get(of).cloned().unwrap_or_default();
    assert_eq!(told(&busy), [json!(["OK", event.id, true, ""])]);
    assert_eq!(told(&quiet), [json!(["EVENT", "s", event])]);
    assert_eq!(objects.log_read, 0, "the log was read for who was told");
}

#[test]
fn what_waits_for_gateways_that_take_nothing_is_bounded() {
    let count = 8;
    let mut objects = Objects::new(count);
    (0..count).for_each(|n| objects.wake_gateway(n));
    for n in 0..count {
        let conn = ConnId(n as u64 + 1);
        objects.open(n, conn);
        objects.say(n, conn, &json!(["REQ", "s", { "kinds": [1] }]));
    }
    objects.cut[1..].fill(true);
    let (author, text) = (Author::new(1), "x".repeat(100_000));
    let mut most = 0;
    for n in 0..60 {
        let event = author.sign(1, NOW, &[], &format!("{n}{text}"));
        objects.say(0, ConnId(1), &json!(["EVENT", event]));
        most = objects.partition.gathered_bytes().max(most);
        assert!(most <= GATHERED_BYTES_MAX, "{most} bytes wait");
    }
    assert!(most > GATHERED_BYTES_MAX / 2, "{most} bytes say little");
    // Whoever can be reached again hears what it missed, once.
    objects.cut.fill(false);
    objects.pass(30);
    for n in 0..count {
        let told = &objects.sent[&ConnId(n as u64 + 1)];
        assert_eq!(told.iter().filter(|frame| frame[0] == "EVENT").count(), 60, "gateway {n}");
    }
}

#[test]
fn who_waits_for_a_partition_that_lost_its_memory_is_told_so_though_nothing_else_happens() {
    let mut objects = Objects::new(1);
    objects.wake_gateway(0);
    let conn = ConnId(1);
    objects.open(0, conn);
    objects.pass(10);
    objects.answers = false;
    let event = Author::new(1).sign(1, NOW, &[], "");
    objects.say(0, conn, &json!(["EVENT", event]));
    objects.say(0, conn, &json!(["COUNT", "count", {}]));
    objects.pass(7); // what was counted has been told
    objects.reset_partition();
    objects.pass(11);
    let told = objects.sent.remove(&conn).unwrap_or_default();
    assert_eq!(objects.lives, 3);
    let ok = json!(["OK", event.id, false, "error: the relay lost this request; send it again"]);
    assert!(told.contains(&ok), "{told:?}");
    assert!(told.iter().any(|frame| frame[0] == "COUNT" || frame[0] == "CLOSED"), "{told:?}");
}

#[test]
fn who_is_reset_while_he_is_told_what_he_missed_misses_nothing() {
    for resets_partition in [false, true] {
        let mut objects = Objects::new(2);
        (0..2).for_each(|n| objects.wake_gateway(n));
        for n in 0..2 {
            let conn = ConnId(n as u64 + 1);
            objects.open(n, conn);
            objects.say(n, conn, &json!(["REQ", "s", { "kinds": [1] }]));
        }
        objects.cut[1] = true;
        let (author, text) = (Author::new(1), "x".repeat(100_000));
        for n in 0..60 {
            let event = author.sign(1, NOW, &[], &format!("{n}{text}"));
            objects.say(0, ConnId(1), &json!(["EVENT", event]));
        }
        // It is told what it missed, for which the log is read; that takes long.
        objects.answers = false;
        objects.cut[1] = false;
        objects.pass(10);
        if resets_partition {
            objects.reset_partition();
        }
        objects.reset_gateway(1);
        objects.answer();
        objects.pass(10);
        let told = &objects.sent[&ConnId(2)];
        assert_eq!(told.iter().filter(|frame| frame[0] == "EVENT").count(), 60, "partition reset: {resets_partition}");
    }
}

/// How many events a client was sent.
fn events_of(objects: &Objects, conn: u64) -> usize {
    objects.sent.get(&ConnId(conn)).into_iter().flatten().filter(|frame| frame[0] == "EVENT").count()
}

/// Two gateways, each with a client that wants all; then the database is that of a backup, which has less, and all begin
/// anew, the second gateway when it can be reached.
fn set_back(can_be_reached: bool) -> (Objects, Author) {
    let mut objects = Objects::new(2);
    objects.db = db::database();
    objects.wake();
    for n in 0..2 {
        let conn = ConnId(n as u64 + 1);
        objects.wake_gateway(n);
        objects.open(n, conn);
        objects.say(n, conn, &json!(["REQ", "s", { "kinds": [1] }]));
    }
    let author = Author::new(1);
    for n in 0..50 {
        objects.say(0, ConnId(1), &json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())]));
    }
    // Somebody is remembered by what was told then, and by more than others.
    objects.open(1, ConnId(3));
    objects.say(1, ConnId(3), &json!(["REQ", "s", { "kinds": [7], "#t": ["somebody", "something", "sometimes"] }]));
    objects.pass(10);
    assert_eq!((objects.told, events_of(&objects, 1), events_of(&objects, 2)), (50, 50, 50));
    db::wipe(&objects.db);
    objects.sent.clear();
    objects.cut[1] = !can_be_reached;
    objects.wake();
    (objects, author)
}

#[test]
fn after_a_database_was_set_back_all_are_told_of_what_is_stored_then() {
    for is_late in [false, true] {
        let (mut objects, author) = set_back(!is_late);
        for n in 50..55 {
            objects.say(0, ConnId(1), &json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())]));
        }
        objects.cut.fill(false);
        objects.pass(10);
        for n in 55..60 {
            objects.say(0, ConnId(1), &json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())]));
        }
        objects.pass(10);
        assert_eq!((events_of(&objects, 1), events_of(&objects, 2)), (10, 10), "late: {is_late}");
        assert_eq!(objects.told, 10, "late: {is_late}");
    }
}

#[test]
fn what_was_told_before_a_database_was_set_back_does_not_count_after_a_reset() {
    for resets_partition in [false, true] {
        let (mut objects, author) = set_back(true);
        objects.pass(10);
        objects.cut[1] = true;
        for n in 50..55 {
            objects.say(0, ConnId(1), &json!(["EVENT", author.sign(1, NOW, &[], &n.to_string())]));
        }
        if resets_partition {
            objects.reset_partition();
        }
        objects.cut[1] = false;
        objects.reset_gateway(1);
        objects.pass(10);
        assert_eq!((events_of(&objects, 1), events_of(&objects, 2)), (5, 5), "partition reset: {resets_partition}");
        // Nor do they get it again.
        for _ in 0..2 {
            objects.reset_gateway(1);
            objects.pass(10);
        }
        assert_eq!((events_of(&objects, 1), events_of(&objects, 2)), (5, 5), "partition reset: {resets_partition}");
        for text in objects.remembered[1].values() {
            let told = serde_json::from_str::<Value>(text).unwrap()["t"].as_u64();
            assert!(told.is_none_or(|told| told <= 5), "{text}");
        }
    }
}
