//! What a seed plans: what clients do and what goes wrong, each at its time. A plan of fewer steps is a plan, too.

use std::collections::BTreeSet;
use std::fmt;

use crate::market::{self, GATEWAYS_MAX};
use crate::pool::{Ev, Pool};
use crate::rng::Rng;

/// Partitions there are at the most.
pub const PARTITIONS_MAX: usize = 4;
/// Gateways there are at the most where they are few.
const FEW_GATEWAYS: usize = 3;
/// Clients of a run, but those who look at the end.
pub const CLIENTS_MAX: u64 = 14;

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
    /// A partition loses its memory. Its statements on their way may land. The old one may go on for so many
    /// milliseconds as if nothing had happened, heard of but not told anything.
    Partition { partition: usize, at_once: bool, goes_on_ms: u64 },
    /// Nothing comes through between a gateway and a partition, or all.
    Cut { gateway: usize, partition: Option<usize>, ms: u64 },
    /// Of a hundred lists of a partition's statements, or of everybody's, so many have this fate.
    Database { partition: Option<usize>, percent: usize, fate: Fate, ms: u64 },
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub gateways: usize,
    pub partitions: usize,
    /// Clients that may connect, but those who look at the end.
    pub clients: u64,
    /// Whether clients must prove a key first.
    pub locked: bool,
    /// Of a hundred batches so many are lost, come twice, come late.
    pub lost: usize,
    pub repeated: usize,
    pub late: usize,
    /// Of a hundred pages so many end before they must.
    pub cut_short: usize,
    /// Milliseconds after which an object with nothing to do sleeps.
    pub sleeps_after: Option<u64>,
    /// With their times, in milliseconds from the start.
    pub steps: Vec<(u64, Step)>,
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub fn new(seed: u64, pool: &Pool) -> Self {
        Self::narrow(seed, pool).widened(pool)
    }

    /// A few gateways of one partition.
    pub fn narrow(seed: u64, pool: &Pool) -> Self {
        let rng = &mut Rng::new(seed);
        let gateways = 1 + rng.below(FEW_GATEWAYS);
        let calm = rng.percent(10);
        let mut plan = Self {
            seed,
            gateways,
            partitions: 1,
            clients: CLIENTS_MAX - gateways as u64,
            locked: rng.percent(20),
            lost: if calm { 0 } else { *rng.pick(&[0, 0, 5, 30]) },
            repeated: *rng.pick(&[0, 5, 30]),
            late: *rng.pick(&[0, 5, 20]),
            cut_short: 0,
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

    /// The same with more gateways, mostly, and more partitions in one of two, on which people do and ask more.
    fn widened(mut self, pool: &Pool) -> Self {
        let rng = &mut Rng::new(self.seed ^ 0x71de);
        if rng.percent(50) {
            self.partitions = 2 + rng.below(PARTITIONS_MAX - 1);
        }
        if rng.percent(60) {
            self.gateways = 1 + rng.below(GATEWAYS_MAX);
        }
        self.clients = CLIENTS_MAX;
        self.cut_short = *rng.pick(&[0, 0, 40]);
        let some = *rng.pick(&[3, 8, 30]);
        let events: Vec<Ev> = (0..some).map(|_| *rng.pick(&market::more(pool).collect::<Vec<_>>())).collect();
        for (_, step) in &mut self.steps {
            widen(step, rng, pool, self.gateways, &events);
        }
        let opens = (0..self.gateways).filter(|_| rng.percent(60)).map(|gateway| (0, Step::Open { gateway }));
        self.steps.splice(0..0, opens.collect::<Vec<_>>());
        for (_, fault) in &mut self.faults {
            let (of_gateways, of_partitions) = (rng.below(self.gateways), rng.below(self.partitions));
            let one = rng.percent(60).then_some(of_partitions);
            match fault {
                Fault::Gateway { gateway, .. } => *gateway = of_gateways,
                Fault::Partition { partition, .. } => *partition = of_partitions,
                Fault::Cut { gateway, partition, .. } => (*gateway, *partition) = (of_gateways, one),
                Fault::Database { partition, .. } => *partition = one,
            }
        }
        if self.partitions > 1 && !self.faults.is_empty() && rng.percent(20) {
            let (partition, at) = (Some(rng.below(self.partitions)), rng.pick(&self.steps).0);
            self.faults.push((at, Fault::Database { partition, percent: 100, fate: Fate::Fails, ms: 60_000 }));
            self.faults.sort_by_key(|(at, _)| *at);
        }
        self
    }

    /// The same with so many partitions.
    pub fn on(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
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

    /// Partitions with which something may go wrong, or with what they are told.
    pub fn sick(&self) -> BTreeSet<usize> {
        let all = 0..self.partitions;
        if self.lost > 0 {
            return all.collect();
        }
        let of = |(_, fault): &(u64, Fault)| match fault {
            Fault::Gateway { .. } => 0..0,
            Fault::Cut { partition: None, .. } | Fault::Database { partition: None, .. } => all.clone(),
            Fault::Partition { partition, .. }
            | Fault::Cut { partition: Some(partition), .. }
            | Fault::Database { partition: Some(partition), .. } => {
                let of = partition % self.partitions;
                of..of + 1
            }
        };
        self.faults.iter().flat_map(of).collect()
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
        let filters = (0..1 + rng.below(2)).map(|_| rng.below(market::FEW_FILTERS)).collect();
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

/// Has a step be that of one of more people, at one of more gateways, who say and ask other things, too.
fn widen(step: &mut Step, rng: &mut Rng, pool: &Pool, gateways: usize, events: &[Ev]) {
    match step {
        Step::Open { gateway } | Step::Http { gateway, .. } => *gateway = rng.below(gateways),
        Step::Publish { who, .. }
        | Step::Leave { who }
        | Step::Prove { who, .. }
        | Step::Ask { who, .. }
        | Step::Count { who, .. }
        | Step::Close { who, .. } => *who = rng.below(CLIENTS_MAX as usize),
    }
    match step {
        Step::Publish { ev, .. } if rng.percent(50) => *ev = *rng.pick(events),
        Step::Ask { filters, .. } | Step::Count { filters, .. } => {
            let others = market::FEW_FILTERS..pool.filters.len();
            let some = filters.iter_mut().filter(|_| rng.percent(40)).collect::<Vec<_>>();
            some.into_iter().for_each(|filter| *filter = others.start + rng.below(others.len()));
        }
        _ => {}
    }
}

fn fault(rng: &mut Rng, gateways: usize) -> Fault {
    let (gateway, at_once) = (rng.below(gateways), rng.percent(60));
    let ms = *rng.pick(&[5, 100, 2000, 20_000]);
    match rng.below(100) {
        0..30 => Fault::Gateway { gateway, at_once },
        30..55 => Fault::Partition { partition: 0, at_once, goes_on_ms: *rng.pick(&[0, 50, 3000, 30_000]) },
        55..70 => Fault::Cut { gateway, partition: None, ms },
        _ => {
            let ms = *rng.pick(&[100, 2000, 20_000, 60_000]);
            Fault::Database { partition: None, percent: *rng.pick(&[10, 50, 100]), fate: *rng.pick(&FATES), ms }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, gateways, partitions, locked, lost, repeated, late, cut_short, .. } = self;
        let Self { sleeps_after, steps, faults, .. } = self;
        writeln!(f, "seed {seed}: {gateways} gateways, {partitions} partitions, locked {locked},")?;
        writeln!(f, "  sleeps after {sleeps_after:?} ms, of a hundred batches {lost} lost, {repeated} repeated,")?;
        writeln!(f, "  {late} late, of a hundred pages {cut_short} cut short")?;
        steps.iter().try_for_each(|(at, step)| writeln!(f, "  {at:6} {step:?}"))?;
        faults.iter().try_for_each(|(at, fault)| writeln!(f, "  {at:6} {fault:?}"))
    }
}
