//! The market on the real engine and real SQL, against plain re-counts: a simulated day (`day`), whole
//! jobs in every order of arrival (`orders`), and what these have found (`found`).
//!
//! `NEXUS_MARKET_SEED` plays that seed alone; `NEXUS_MARKET_RUNS` says how many days are simulated, and
//! `NEXUS_ORDERS_RUNS` how many jobs are told in all orders.

#[path = "../common/mod.rs"]
mod common;

mod day;
mod found;
mod host;
mod model;
mod orders;
mod people;
mod recount;
mod script;

/// Seeds to play: the one that was asked for, or as many as the variable `runs` says.
fn seeds(runs: &str, usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("NEXUS_MARKET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number(runs).unwrap_or(usual),
    }
}
