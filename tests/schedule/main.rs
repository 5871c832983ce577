//! Random schedules of the engine: clients, the store's answers, faults and losses of memory in an order
//! that a seed says, checked against what must always hold (ARCHITECTURE.md).
//!
//! `NEXUS_SCHEDULE_RUNS=100000` plays more than the usual; `NEXUS_SCHEDULE_SEED=7` plays one and says
//! what happened.

#[path = "../common/mod.rs"]
mod common;

mod found;
mod host;
mod play;
mod pool;
mod record;
mod rng;
mod subs;
mod wake;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::sqlite::Sqlite;
use pool::Pool;
use record::Tally;

const RUNS: u64 = 2_000;
const THREADS: usize = 2;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Plays one seed on `db`, or on a new database; a panic is a broken rule as any other.
fn play(seed: u64, pool: &Pool, db: &mut Option<Sqlite>, traced: bool) -> (Result<Tally, String>, Vec<String>) {
    let clean = db.take().unwrap_or_else(host::database);
    match catch_unwind(AssertUnwindSafe(|| play::run(seed, pool, clean, traced))) {
        Ok((result, trace, used)) => {
            host::wipe(&used);
            *db = Some(used);
            (result, trace)
        }
        Err(_) => (Err("panicked".to_owned()), Vec::new()),
    }
}

#[test]
fn what_must_always_hold_holds_in_every_order() {
    let pool = Pool::new();
    if let Some(seed) = setting("NEXUS_SCHEDULE_SEED") {
        let (result, trace) = play(seed, &pool, &mut None, true);
        println!("{}\n{result:?}", trace.join("\n"));
        return result.map(drop).unwrap();
    }
    let runs = setting("NEXUS_SCHEDULE_RUNS").unwrap_or(RUNS);
    let (next, total, failed) = (AtomicU64::new(1), Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut db = None;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > runs {
                        break;
                    }
                    match play(seed, &pool, &mut db, false).0 {
                        Ok(tally) => total.lock().unwrap().add(&tally),
                        Err(why) => failed.lock().unwrap().push((seed, why)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{runs} runs: {:?}", total.into_inner().unwrap());
    let lines: Vec<String> = failed.iter().map(|(seed, why)| format!("NEXUS_SCHEDULE_SEED={seed}: {why}")).collect();
    assert!(lines.is_empty(), "{} of {runs} runs broke a rule:\n{}", lines.len(), lines.join("\n"));
}
