//! A simulated day of the market: 20,000 jobs in 24 hours, published in bursts, while the alarm sweeps,
//! commits fail and memory is lost; in the end all numbers are counted again.

use std::rc::Rc;
use std::time::Instant;

use crate::common::events::NOW;
use crate::common::world::{ATTEMPTS, Fault};
use crate::host::Host;
use crate::people::{Ev, sign, tag};
use crate::recount;
use crate::script::Script;
use crate::seeds;

/// Requests; some of them come too late, are cancelled before or refused as the store fails.
const JOBS: usize = 21_000;

/// Once in so many bursts commits fail, and memory is lost.
const FAULTS: u64 = 20;
const RESETS: u64 = 150;
/// How often all is compared.
const LOOKS: u64 = 4;

#[test]
fn a_day_adds_up() {
    for seed in seeds("NEXUS_MARKET_RUNS", 1) {
        println!("NEXUS_MARKET_SEED={seed}");
        play(seed);
    }
}

fn play(seed: u64) {
    let from = NOW * 1000 + 60_000;
    let (mut host, mut script) = (Host::new(seed), Script::new(seed, JOBS, from));
    let start = Instant::now();
    let (mut left, mut looked) = (1, 0);
    while let Some((at, ev)) = script.next() {
        host.world.now = host.world.now.max(at);
        if host.world.alarm.is_some_and(|alarm| alarm <= host.world.now) {
            host.ring();
        }
        host.publish(&ev);
        left -= 1;
        if left > 0 {
            continue;
        }
        host.settle();
        let most = *host.chance.pick(&[3, 30, 200, 500]);
        left = 1 + host.chance.below(most);
        if host.chance.one_in(FAULTS) {
            let most = if host.chance.one_in(8) { ATTEMPTS as u64 } else { 1 + host.chance.below(3) };
            for _ in 0..most {
                let fault = *host.chance.pick(&[Fault::Fails, Fault::LandsAndFails]);
                host.world.faults.push_back(fault);
            }
        }
        if host.chance.one_in(RESETS) {
            lose_memory(&mut host, &script);
        }
        let hours = (host.world.now - from) / 3_600_000;
        if hours > looked * 24 / LOOKS {
            looked += 1;
            host.compare();
        }
    }
    host.world.faults.clear();
    host.settle();
    host.compare();
    while let Some(alarm) = host.world.alarm {
        host.world.now = host.world.now.max(alarm);
        host.ring();
        host.settle();
    }
    host.compare();
    let kept = host.world.column("SELECT DISTINCT cast(kind AS TEXT) FROM events ORDER BY kind");
    assert_eq!((kept, host.model.jobs.len()), (vec!["5".to_owned(), "31990".to_owned()], 0));
    let counted = recount::stats(&host.model);
    println!("{:?} in {:?}: {counted}", host.tally, start.elapsed());
    assert!(counted["requested"].as_u64() >= Some(19_000), "{}", counted["requested"]);
}

/// What was counted and not handed over is lost with the memory, so it is handed over first.
fn lose_memory(host: &mut Host, script: &Script) {
    host.world.faults.clear();
    host.tally.resets += 1;
    for text in ["one group for what failed before", "one for the rest"] {
        let second = host.world.now / 1000;
        let tags = vec![tag(["e", &script.people.customers[0].key.to_string()])];
        let event = sign(&script.people.customers[0].author, 5, second, &tags, text);
        host.publish(&Rc::new(Ev::new(event, false)));
        host.settle();
    }
    host.world.reset(false);
    host.settle();
}
