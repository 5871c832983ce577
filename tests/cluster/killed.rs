//! A partition that is killed while a thousand jobs are in flight: what has its OK is stored and told once to whoever wants
//! it, and all jobs go on soon after it wakes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use nexus::gateway::ConnId;
use nexus::nostr::Event;
use serde_json::json;

use crate::check::Check;
use crate::common::events::{Author, NOW};
use crate::db;
use crate::plan::{Fault, Plan, Step};
use crate::pool::{Ev, Pool, question, sample};
use crate::seen::{Facts, Seen};
use crate::sim::Sim;

const JOBS: usize = 1000;
const GATEWAYS: usize = 4;
const PARTITIONS: usize = 4;
/// Milliseconds from the start until the partition is killed, and from there until all goes on.
const KILLED_AT: u64 = 1600;
const GOES_ON_MS: u64 = 2000;

/// What clients say and are sent, with the time.
#[derive(Clone, Default)]
struct Record(Rc<RefCell<Vec<(u64, Seen)>>>);

impl Check for Record {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        if matches!(seen, Seen::Says { .. } | Seen::Ok { .. } | Seen::Event { .. }) {
            self.0.borrow_mut().push((facts.now, seen.clone()));
        }
        Ok(())
    }
}

/// Jobs of a customer at each gateway, then the results of a provider at another one.
fn pool() -> Pool {
    let customers: Vec<Author> = (1..=GATEWAYS as u8).map(Author::new).collect();
    let providers: Vec<Author> = (11..=10 + GATEWAYS as u8).map(Author::new).collect();
    let jobs: Vec<Event> = (0..JOBS).map(|n| customers[n % GATEWAYS].sign(5050, NOW, &[], &n.to_string())).collect();
    let results: Vec<Event> =
        jobs.iter().enumerate().map(|(n, job)| providers[(n + 1) % GATEWAYS].answer(6050, job, &[])).collect();
    let named = |name: &'static str| move |(n, event)| sample("EVENT", format!("{name}{n}"), event);
    let events = jobs.into_iter().enumerate().map(named("job"));
    let events: Vec<_> = events.chain(results.into_iter().enumerate().map(named("result"))).collect();
    let of_customer = |customer: &Author| question(&json!({"kinds": [6050], "#p": [customer.key()]}));
    let filters = std::iter::once(question(&json!({"kinds": [5050]}))).chain(customers.iter().map(of_customer));
    let (last, filters) = (events.len(), filters.collect());
    Pool::of(events, last, filters, &[], 0)
}

/// Who says an event: the customers come first, then the providers.
fn who(ev: Ev) -> usize {
    let n = ev % JOBS;
    if ev < JOBS { n % GATEWAYS } else { GATEWAYS + (n + 1) % GATEWAYS }
}

/// All jobs are published within a second, and the partition is killed; results come meanwhile and in the seconds after.
fn plan(seed: u64, partition: usize, at_once: bool) -> Plan {
    let mut steps: Vec<(u64, Step)> = (0..2 * GATEWAYS).map(|n| (0, Step::Open { gateway: n % GATEWAYS })).collect();
    for who in 0..2 * GATEWAYS {
        let filter = if who < GATEWAYS { 1 + who } else { 0 };
        steps.push((100, Step::Ask { who, sub: 0, filters: vec![filter] }));
    }
    for n in 0..JOBS {
        steps.push((KILLED_AT - JOBS as u64 + n as u64, Step::Publish { who: who(n), ev: n }));
        let result = JOBS + n;
        steps.push((KILLED_AT - 10 + 2 * n as u64, Step::Publish { who: who(result), ev: result }));
    }
    steps.sort_by_key(|(at, _)| *at);
    Plan {
        seed,
        gateways: GATEWAYS,
        partitions: PARTITIONS,
        clients: 2 * GATEWAYS as u64,
        locked: false,
        lost: 0,
        repeated: 0,
        late: 0,
        cut_short: 0,
        sleeps_after: None,
        steps,
        faults: vec![(KILLED_AT, Fault::Partition { partition, at_once, goes_on_ms: 0 })],
    }
}

/// What was refused since a time is said again, as a client does.
fn say_again(sim: &mut Sim, record: &Record, since: u64) {
    let refused = |(at, seen): &(u64, Seen)| match seen {
        Seen::Ok { ev: Some(ev), accepted: false, why, .. } if *at >= since && why.starts_with("error:") => Some(*ev),
        _ => None,
    };
    let again: Vec<Ev> = record.0.borrow().iter().filter_map(refused).collect();
    for ev in again {
        sim.publishes(ConnId(1 + who(ev) as u64), ev);
    }
}

#[test]
fn jobs_go_on_when_a_partition_was_killed_and_none_is_lost() {
    let pool = pool();
    let mut dbs: Vec<_> = (0..PARTITIONS).map(|_| db::database()).collect();
    let mut lost = 0;
    // Home, and another one, which nobody wakes before there is something for it.
    for (partition, at_once) in [(0, true), (2, false)] {
        let (plan, record) = (plan(partition as u64, partition, at_once), Record::default());
        let mut sim = Sim::new(&plan, &pool, dbs, None, false);
        sim.watch("record", Box::new(record.clone()));
        sim.begin();
        for ms in (KILLED_AT..plan.end() + GOES_ON_MS).step_by(100) {
            sim.go_on_until(ms);
            say_again(&mut sim, &record, ms - 99);
        }
        sim.heal();
        sim.go_on_until(plan.end() + 10_000);
        sim.see(Seen::Quiet);
        assert_eq!(sim.broken, None, "partition {partition}");
        let of_killed = sim.facts.logs[partition].stored.clone();
        assert!(of_killed.len() > JOBS / PARTITIONS, "it has {} events", of_killed.len());
        let (_, used) = sim.end();
        used.iter().for_each(db::wipe);
        dbs = used;
        lost += check(&record.0.borrow(), &pool);
    }
    assert!(lost > 0, "nothing was on its way to a partition that was killed");
}

/// How often an event came to somebody, and when last.
type Came = (u32, u64);

/// Each event had its OK soon after it was said, whatever happened, and came once to each who wants it; how many were
/// refused first.
fn check(record: &[(u64, Seen)], pool: &Pool) -> usize {
    let (mut said, mut done): (BTreeMap<Ev, u64>, BTreeMap<Ev, u64>) = Default::default();
    let (mut came, mut refused): (BTreeMap<(ConnId, Ev), Came>, usize) = Default::default();
    for (at, seen) in record {
        match seen {
            Seen::Says { id, .. } => drop(said.entry(pool.by_id(id).unwrap()).or_insert(*at)),
            Seen::Ok { ev: Some(ev), accepted: true, .. } => drop(done.entry(*ev).or_insert(*at)),
            Seen::Ok { .. } => refused += 1,
            Seen::Event { conn, ev, .. } => {
                let (times, last) = came.entry((*conn, *ev)).or_default();
                (*times, *last) = (*times + 1, *at);
            }
            _ => {}
        }
    }
    assert_eq!(said.len(), 2 * JOBS);
    assert!(said.iter().filter(|(ev, at)| **ev < JOBS && **at <= KILLED_AT).count() >= JOBS);
    for (ev, at) in &said {
        let name = &pool.events[*ev].name;
        assert!(done.get(ev).is_some_and(|done| *done <= at + GOES_ON_MS), "{name}: {at} {:?}", done.get(ev));
        let wanted: Vec<usize> =
            if *ev < JOBS { (GATEWAYS..2 * GATEWAYS).collect() } else { vec![ev % JOBS % GATEWAYS] };
        for who in wanted {
            let told = came.get(&(ConnId(1 + who as u64), *ev));
            assert!(told.is_some_and(|(times, last)| *times == 1 && *last <= at + GOES_ON_MS), "{name}: {told:?}");
        }
    }
    refused
}
