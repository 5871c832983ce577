//! Whole jobs in every order of arrival, one by one and in groups: all end in the same rows, are served
//! to the same readers and count the same.

use nexus::gateway::ConnId;
use nexus::nostr::{Event, EventId};
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::world::World;
use crate::people::{Tags, sign, tag};
use crate::seeds;

/// Jobs that are told when nothing else is said.
const RUNS: u64 = 12;
/// Events of a job up to which all orders are tried; of larger ones some.
const ALL: usize = 5;
const SOME: usize = 200;

const CUSTOMER: u8 = 1;
const HIJACKER: u8 = 9;

/// A world that is emptied and used again, with a stranger, the customer, two providers and the hijacker.
struct Stage {
    world: World,
    conn: ConnId,
    readers: Vec<ConnId>,
}

/// A job: the request is the first of its events.
struct Job {
    events: Vec<Event>,
    /// How many of the events, from the first on, are true; the rest does not agree with the request, or was not asked.
    honest: usize,
    /// How many of the rest are feedback that nobody asked for: held, and moving nothing.
    unasked: usize,
    cancel: Event,
}

/// What must be the same in every order.
#[derive(Debug, PartialEq)]
struct End {
    jobs: Vec<String>,
    events: Vec<String>,
    tags: Vec<String>,
    counts: Vec<String>,
    visible: Vec<Vec<Value>>,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(&[("AUTH_REQUIRED", "false")]);
        world.db.0.set_prepared_statement_cache_capacity(512);
        let agents = [CUSTOMER, 2, 3, HIJACKER].map(|seed| world.agent(&Author::new(seed)));
        let readers = [vec![world.client()], agents.to_vec()].concat();
        Self { conn: world.client(), world, readers }
    }

    fn clear(&mut self) {
        let tables = ["events", "tags", "deletions", "jobs", "providers", "dealings"];
        let wipe: String = tables.iter().map(|table| format!("DELETE FROM {table};")).collect();
        let totals =
            "UPDATE totals SET last_seq = 0, stored = 0, flush = 0, newest = 0, since_ms = 0, early = 0, counts = '{}'";
        self.world.db.0.execute_batch(&(wipe + totals)).unwrap();
        self.world.reset(false);
        self.world.settle();
    }

    /// Publishes one event; returns whether it was taken, and why not.
    fn publish(&mut self, event: &Event) -> (bool, String) {
        let frames = self.world.ask(self.conn, json!(["EVENT", event]));
        let ok = frames.iter().find(|frame| frame[0] == "OK").unwrap();
        (ok[2] == true, ok[3].as_str().unwrap().to_owned())
    }

    /// Publishes all as one group: they gather while a note is on its way.
    fn publish_group(&mut self, events: &[&Event]) {
        self.world.say(self.conn, json!(["EVENT", Author::new(8).note("meanwhile")]));
        events.iter().for_each(|event| self.world.say(self.conn, json!(["EVENT", event])));
        self.world.settle();
        self.world.take(self.conn);
    }

    fn end(&mut self) -> End {
        let column = |sql: &str| self.world.column(sql);
        let (jobs, events, tags, counts) = (
            column(
                "SELECT json_array(lower(hex(id)), state, kind, lower(hex(customer)), hex(providers), encrypted, held) FROM jobs ORDER BY id",
            ),
            column(
                "SELECT lower(hex(id)) || ' ' || shelf FROM events WHERE kind <> 1 AND (job IS NOT NULL OR kind = 5) ORDER BY id",
            ),
            column(
                "SELECT hex(t.tag) || ' ' || t.shelf || ' ' || lower(hex(e.id)) FROM tags AS t JOIN events AS e ON e.seq = t.seq WHERE e.job IS NOT NULL ORDER BY e.id, t.tag, t.shelf",
            ),
            column("SELECT key || ' ' || value FROM totals, json_each(counts) WHERE key LIKE 'j %' AND value <> 0"),
        );
        let kinds: Vec<u16> = (5000..5060).chain(6000..6060).chain([7000]).collect();
        let parts = self.world.column("SELECT id FROM events WHERE job IS NOT NULL");
        let visible = self.readers.clone().into_iter().map(|reader| {
            let frames = self.world.ask(reader, json!(["REQ", "all", { "kinds": kinds }]));
            let counted = self.world.ask(reader, json!(["COUNT", "n", { "kinds": kinds }]));
            self.world.ask(reader, json!(["CLOSE", "all"]));
            let mut ids: Vec<Value> =
                frames.iter().filter(|frame| frame[0] == "EVENT").map(|frame| frame[2]["id"].clone()).collect();
            assert_eq!(counted[0][2]["count"], ids.len());
            // What came early and did not fit is no part of the job.
            ids.retain(|id| parts.iter().any(|part| id == part));
            ids.sort_by_key(ToString::to_string);
            ids
        });
        End { jobs, events, tags, counts, visible: visible.collect() }
    }
}

fn job(chance: &mut Chance) -> Job {
    let customer = Author::new(CUSTOMER);
    let providers: Vec<Author> = (2..=2 + chance.below(3) as u8).map(Author::new).collect();
    let named = chance.one_in(2);
    let mut tags: Tags = Vec::new();
    if named {
        tags.extend(providers.iter().map(|provider| tag(["p", &provider.key().to_string()])));
    }
    let encrypted = chance.one_in(2);
    if encrypted {
        tags.push(tag(["encrypted"]));
    }
    let kind = *chance.pick(&[5050, 5001]);
    let request = sign(&customer, kind, NOW, &tags, &chance.below(1 << 30).to_string());
    let mut events = vec![request.clone()];
    let mut answer = |chance: &mut Chance, by: &Author, kind: u16, customer: &Author, status: &str| {
        let (id, key) = (request.id.to_string(), customer.key().to_string());
        let mut tags = vec![tag(["e", &id]), tag(["p", &key]), tag(["status", status]), tag(["amount", "5"])];
        if chance.one_in(6) {
            tags.push(tag(["encrypted"]));
        }
        events.push(sign(by, kind, NOW + chance.below(5), &tags, &chance.below(1 << 30).to_string()));
    };
    for provider in &providers {
        for status in ["payment-required", "processing", "partial", "error", "success"] {
            if chance.one_in(5) {
                answer(chance, provider, 7000, &customer, status);
            }
        }
        if !chance.one_in(4) {
            answer(chance, provider, kind + 1000, &customer, "");
        }
    }
    let hijacker = Author::new(HIJACKER);
    let lies = chance.below(3);
    let mut unasked = 0;
    for _ in 0..lies {
        match chance.below(if named { 4 } else { 3 }) {
            0 => answer(chance, &hijacker, kind + 1001, &customer, ""),
            1 => answer(chance, &hijacker, 7000, &hijacker, "error"),
            // What another provider is told of another customer stands in nobody's way.
            2 => answer(chance, &Author::new(7), kind + 1000, &hijacker, ""),
            _ => {
                answer(chance, &hijacker, 7000, &customer, "success");
                unasked += usize::from(!encrypted);
            }
        }
    }
    let honest = events.len() - lies as usize;
    let cancel = sign(&customer, 5, NOW, &vec![tag(["e", &events[0].id.to_string()])], "");
    Job { events, honest, unasked, cancel }
}

/// All orders of `n` things when they are few, else some.
fn orders(chance: &mut Chance, n: usize) -> Vec<Vec<usize>> {
    if n > ALL {
        let shuffled = |_| {
            let mut order: Vec<usize> = (0..n).collect();
            chance.shuffle(&mut order);
            order
        };
        return (0..SOME).map(shuffled).collect();
    }
    let mut all = vec![vec![]];
    for next in 0..n {
        let with = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=order.len()).map(move |at| [&order[..at], &[next], &order[at..]].concat())
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

#[test]
fn a_job_ends_the_same_in_every_order() {
    let mut stage = Stage::new();
    let mut played = 0;
    for seed in seeds("NEXUS_ORDERS_RUNS", RUNS) {
        println!("NEXUS_MARKET_SEED={seed}");
        let mut chance = Chance::new(seed);
        let job = job(&mut chance);
        stage.clear();
        job.events.iter().for_each(|event| drop(stage.publish(event)));
        let end = stage.end();
        assert_eq!(end.events.len(), job.honest + job.unasked, "what does not agree is refused");
        for order in orders(&mut chance, job.events.len()) {
            stage.clear();
            let mut rest: Vec<&Event> = order.iter().map(|at| &job.events[*at]).collect();
            rest.iter().for_each(|event| drop(stage.publish(event)));
            assert_eq!(stage.end(), end, "one by one, {order:?} of {:#?}", job.events);
            stage.clear();
            let mut groups = Vec::new();
            while !rest.is_empty() {
                let group: Vec<&Event> = rest.drain(..1 + chance.below(rest.len() as u64) as usize).collect();
                groups.push(group.len());
                stage.publish_group(&group);
            }
            assert_eq!(stage.end(), end, "in groups of {groups:?}, {order:?} of {:#?}", job.events);
            played += 2;
        }
    }
    println!("{played} orders");
}

#[test]
fn a_cancelled_job_stays_cancelled_in_every_order() {
    let mut stage = Stage::new();
    for seed in seeds("NEXUS_ORDERS_RUNS", RUNS) {
        println!("NEXUS_MARKET_SEED={seed}");
        let mut chance = Chance::new(seed);
        let job = job(&mut chance);
        let events: Vec<&Event> = job.events[..job.honest].iter().chain([&job.cancel]).collect();
        let place = |order: &[usize], event: usize| order.iter().position(|at| *at == event);
        let mut all = orders(&mut chance, events.len());
        all.retain(|order| place(order, 0) < place(order, job.honest));
        for order in all {
            stage.clear();
            let (mut held, mut cancelled) = (Vec::new(), false);
            for event in order.iter().map(|at| events[*at]) {
                let said = stage.publish(event);
                let refused = cancelled && (6000..7000).contains(&event.kind);
                let expected = if refused { (false, "blocked: job cancelled") } else { (true, "") };
                assert_eq!((said.0, said.1.as_str()), expected, "{order:?} of {events:#?}");
                cancelled |= event.kind == 5;
                held.extend((!refused && event.kind >= 6000).then_some(event.id));
            }
            let end = stage.end();
            assert_eq!(end.counts, [format!("j {} cancelled 1", job.events[0].kind)]);
            let row = stage.world.column("SELECT state || ' ' || held FROM jobs");
            assert_eq!(row, [format!("7 {}", held.len())], "{order:?} of {events:#?}");
            held.push(job.cancel.id);
            held.sort();
            let ids: Vec<EventId> = end.events.iter().filter_map(|row| EventId::parse(&row[..64])).collect();
            assert_eq!(ids, held, "{order:?} of {events:#?}");
        }
    }
}

#[test]
fn two_providers_race_and_both_results_are_kept() {
    let (customer, one, two) = (Author::new(CUSTOMER), Author::new(2), Author::new(3));
    let request = customer.sign(5050, NOW, &[], "ask");
    let (id, key) = (request.id.to_string(), customer.key().to_string());
    let result = |by: &Author, content| by.sign(6050, NOW, &[&["e", &id], &["p", &key]], content);
    let (first, second, again) = (result(&one, "1"), result(&two, "2"), result(&one, "3"));
    let mut stage = Stage::new();
    let place = |event: &Event| [&request, &first, &second, &again].iter().position(|other| other.id == event.id);
    let all = [&request, &first, &second, &again];
    for order in orders(&mut Chance::new(0), all.len()) {
        for grouped in [false, true] {
            stage.clear();
            let events: Vec<&Event> = order.iter().map(|at| all[*at]).collect();
            if grouped {
                stage.publish_group(&events);
            } else {
                events.iter().for_each(|event| drop(stage.publish(event)));
            }
            let results: Vec<&&Event> = events.iter().filter(|event| event.kind == 6050).collect();
            let of_one = results.iter().find(|event| event.pubkey == one.key()).unwrap();
            let mut kept = vec![request.id, second.id, of_one.id];
            kept.sort();
            let ids: Vec<EventId> = stage.end().events.iter().filter_map(|row| EventId::parse(&row[..64])).collect();
            assert_eq!(ids, kept, "{:?}", events.iter().map(|event| place(event)).collect::<Vec<_>>());
            assert_eq!(stage.world.column("SELECT first FROM jobs"), [results[0].pubkey.to_string()]);
            assert_eq!(stage.world.column("SELECT held || ' ' || state FROM jobs"), ["3 6"]);
        }
    }
}
