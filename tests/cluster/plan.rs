//! What a seed plans: what clients do and what goes wrong, each at its time. A plan of fewer steps is a plan, too.

use std::fmt;

use crate::market::GATEWAYS_MAX;
use crate::pool::{Ev, Pool};
use crate::rng::Rng;

/// Names of subscriptions.
pub const SUBS: [&str; 3] = ["s", "t", "u"];

/// What a client does. Who it is, is counted among those that are connected then.
#[derive(Clone, Debug)]
pub enum Step {
    Open {
        gateway: usize,
    },
    Leave {
        who: usize,
    },
    Publish {
        who: usize,
        ev: Ev,
    },
    Prove {
        who: usize,
        author: usize,
    },
    Ask {
        who: usize,
        sub: usize,
        filters: Vec<usize>,
    },
    Count {
        who: usize,
        filters: Vec<usize>,
    },
    Close {
        who: usize,
        sub: usize,
    },
    /// Somebody asks over HTTP.
    Http {
        gateway: usize,
        api: usize,
    },
}

/// What becomes of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An error is reported, and nothing written.
    Fails,
    /// All is written and an error reported.
    LandsAndFails,
    /// An error is reported; all is written when it pleases.
    FailsAndLandsLate,
    /// The answer takes long.
    Stalls,
}

pub const FATES: [Fate; 4] = [Fate::Fails, Fate::LandsAndFails, Fate::FailsAndLandsLate, Fate::Stalls];

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A gateway loses its memory; whether it wakes at once, or when somebody has something for it.
    Gateway { gateway: usize, at_once: bool },
    /// The partition loses its memory. Its statements on their way may land. The old one may go on for so many
    /// milliseconds as if nothing had happened, heard of but not told anything.
    Partition { at_once: bool, goes_on_ms: u64 },
    /// Nothing comes through between a gateway and the partition.
    Cut { gateway: usize, ms: u64 },
    /// Of a hundred lists of statements so many have this fate.
    Database { percent: usize, fate: Fate, ms: u64 },
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub gateways: usize,
    /// Whether clients must prove a key first.
    pub locked: bool,
    /// Of a hundred batches so many are lost, come twice, come late.
    pub lost: usize,
    pub repeated: usize,
    pub late: usize,
    /// Milliseconds after which an object with nothing to do sleeps.
    pub sleeps_after: Option<u64>,
    /// With their times, in milliseconds from the start.
    pub steps: Vec<(u64, Step)>,
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub fn new(seed: u64, pool: &Pool) -> Self {
        let rng = &mut Rng::new(seed);
        let gateways = 1 + rng.below(GATEWAYS_MAX);
        let calm = rng.percent(10);
        let mut plan = Self {
            seed,
            gateways,
            locked: rng.percent(20),
            lost: if calm { 0 } else { *rng.pick(&[0, 0, 5, 30]) },
            repeated: *rng.pick(&[0, 5, 30]),
            late: *rng.pick(&[0, 5, 20]),
            sleeps_after: *rng.pick(&[None, Some(20), Some(500), Some(10_000)]),
            steps: Vec::new(),
            faults: Vec::new(),
        };
        plan.steps = steps(rng, pool, &plan);
        let count = if calm { 0 } else { *rng.pick(&[0, 1, 2, 4, 8, 16]) };
        // While something is on its way.
        let time = |rng: &mut Rng| rng.pick(&plan.steps).0 + rng.below(25) as u64;
        plan.faults = (0..count).map(|_| (time(rng), fault(rng, gateways))).collect();
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// These of its steps and of its faults.
    pub fn only(mut self, steps: &[usize], faults: &[usize]) -> Self {
        self.steps = steps.iter().filter_map(|n| self.steps.get(*n).cloned()).collect();
        self.faults = faults.iter().filter_map(|n| self.faults.get(*n).cloned()).collect();
        self
    }

    /// When clients have done all.
    pub fn end(&self) -> u64 {
        self.steps.last().map_or(0, |(at, _)| *at)
    }

    /// Whether nothing goes wrong.
    pub fn is_calm(&self) -> bool {
        self.faults.is_empty() && self.lost == 0
    }
}

fn steps(rng: &mut Rng, pool: &Pool, plan: &Plan) -> Vec<(u64, Step)> {
    let count = *rng.pick(&[20, 40, 80]);
    let publishing = *rng.pick(&[30, 50, 70]);
    let few = *rng.pick(&[4, 10, 40]);
    // Few, so that the same is said again.
    let events: Vec<Ev> = (0..few).map(|_| rng.below(pool.last)).collect();
    let pauses = *rng.pick(&[[0, 0, 1, 5], [0, 1, 20, 300], [0, 100, 1500, 20_000]]);
    let mut at = 0;
    let mut steps = Vec::new();
    for n in 0..2 + rng.below(4) {
        steps.push((0, Step::Open { gateway: if n < plan.gateways { n } else { rng.below(plan.gateways) } }));
    }
    for _ in 0..count {
        let pause = *rng.pick(&pauses);
        at += rng.below(pause + 1) as u64;
        let (who, gateway) = (rng.below(8), rng.below(plan.gateways));
        let filters = (0..1 + rng.below(2)).map(|_| rng.below(pool.filters.len())).collect();
        let step = match rng.below(100) {
            _ if plan.locked && rng.percent(25) => Step::Prove { who, author: rng.below(pool.auths.len()) },
            _ if rng.percent(publishing) => Step::Publish { who, ev: *rng.pick(&events) },
            0..50 => Step::Ask { who, sub: rng.below(SUBS.len()), filters },
            50..62 => Step::Count { who, filters },
            62..72 => Step::Close { who, sub: rng.below(SUBS.len()) },
            72..80 => Step::Prove { who, author: rng.below(pool.auths.len()) },
            80..86 => Step::Http { gateway, api: rng.below(4) },
            86..92 => Step::Leave { who },
            _ => Step::Open { gateway },
        };
        steps.push((at, step));
    }
    steps
}

fn fault(rng: &mut Rng, gateways: usize) -> Fault {
    let (gateway, at_once) = (rng.below(gateways), rng.percent(60));
    let ms = *rng.pick(&[5, 100, 2000, 20_000]);
    match rng.below(100) {
        0..30 => Fault::Gateway { gateway, at_once },
        30..55 => Fault::Partition { at_once, goes_on_ms: *rng.pick(&[0, 50, 3000, 30_000]) },
        55..70 => Fault::Cut { gateway, ms },
        _ => {
            let ms = *rng.pick(&[100, 2000, 20_000, 60_000]);
            Fault::Database { percent: *rng.pick(&[10, 50, 100]), fate: *rng.pick(&FATES), ms }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, gateways, locked, lost, repeated, late, sleeps_after, steps, faults } = self;
        writeln!(f, "seed {seed}: {gateways} gateways, locked {locked}, sleeps after {sleeps_after:?} ms,")?;
        writeln!(f, "  of a hundred batches {lost} lost, {repeated} repeated, {late} late")?;
        steps.iter().try_for_each(|(at, step)| writeln!(f, "  {at:6} {step:?}"))?;
        faults.iter().try_for_each(|(at, fault)| writeln!(f, "  {at:6} {fault:?}"))
    }
}
