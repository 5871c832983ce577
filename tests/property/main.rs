//! A property test: random events and filters, on which four judges must agree: a model of naive rules
//! (`model`), the engine live, the engine's stored answers over SQLite (`engine`), and the same
//! statements on Miniflare's D1 (`on_d1`).
//!
//! `NEXUS_PROPERTY_ROUNDS` sets how many seeds are tried, `NEXUS_PROPERTY_SEED` tries that one alone.

#[path = "../common/mod.rs"]
mod common;

mod engine;
mod judge;
mod make;
mod model;
mod on_d1;
mod trial;

use std::io::Write;

use common::d1::D1;
use trial::{Tally, Trial};

/// Seeds that are tried when nothing else is said; they make 200,000 decisions.
const ROUNDS: u64 = 3;

#[test]
fn all_judges_agree() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("NEXUS_PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NEXUS_PROPERTY_ROUNDS").unwrap_or(ROUNDS),
    };
    let mut d1 = D1::start();
    let mut tally = Tally::default();
    let all = seeds.clone().count() as u64;
    for seed in seeds {
        println!("NEXUS_PROPERTY_SEED={seed}");
        Trial::new(seed, &mut d1, &mut tally).run();
    }
    let Tally { live, stored, matched, pages, from_memory } = tally;
    let decisions = live + stored;
    // Past the capture of the test harness.
    writeln!(
        std::io::stderr(),
        "{decisions} decisions ({live} live, {stored} stored), {matched} of them a match; {pages} pages; \
         {from_memory} questions answered from memory"
    )
    .unwrap();
    assert!(from_memory > 50 * all, "{from_memory} answers from memory");
    assert!(decisions >= 200_000 || all < ROUNDS, "{decisions} decisions");
}
