//! Gateways and partitions as the objects they are on Cloudflare, on a clock of their own: each batch travels as bytes, and
//! each statement runs on SQLite. What is told is the CPU that each side takes, without the databases', what it pushes and
//! sends, and the memory of its subscriptions.

mod memory;
mod world;

use clap::Args;
use nexus::nostr::Event;

use crate::Error;
use crate::figures::tell;
use crate::jobs::{Author, mix, now};
pub use memory::Counting;
use world::{Client, World};

/// Gateways that providers are connected to, and how many there are of these.
const OF_PROVIDERS: usize = 4;
const PROVIDERS: usize = 40;
/// Milliseconds from a request to the feedback, and from there to the result.
const WORK_MS: u64 = 400;

#[derive(Args)]
pub struct Cluster {
    /// Gateways.
    #[arg(long, default_value_t = 4)]
    gateways: usize,
    /// Partitions.
    #[arg(long, default_value_t = 1)]
    partitions: usize,
    /// Subscriptions that stand beside those of the market, each for an agent of its own.
    #[arg(long, default_value_t = 20_000)]
    subscriptions: usize,
    /// Customers, each with a connection and a subscription to the answers to its jobs.
    #[arg(long, default_value_t = 200)]
    customers: usize,
    /// Jobs a second.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Seconds of the market.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Runs a market and tells what it took.
pub fn run(shape: &Cluster) -> Result<(), Error> {
    let Cluster { gateways, partitions, subscriptions, customers, rate, seconds } = *shape;
    let mut world = World::new(gateways, partitions)?;
    let before = world.memory();
    for n in 0..subscriptions {
        // As an agent has: the jobs for its key, and what else names it.
        let key = Author::new(&format!("agent {n}")).key();
        let filter = format!(r##"{{"kinds":[5050],"#p":["{key}"],"limit":0}}"##);
        world.connect(n % gateways, &filter)?;
    }
    world.settle()?;
    let memory = world.memory();
    let per = |(after, before): (usize, usize)| after.saturating_sub(before) as f64 / subscriptions.max(1) as f64;
    let (at_gateway, at_partition) = (per((memory.0, before.0)), per((memory.1, before.1)));

    let providers: Vec<Client> = (0..PROVIDERS)
        .map(|n| world.connect(n % OF_PROVIDERS.min(gateways), r#"{"kinds":[5050],"limit":0}"#))
        .collect::<Result<_, _>>()?;
    let jobs = (rate * seconds) as usize;
    let each = jobs.div_ceil(customers);
    let mut clients = Vec::new();
    let mut mixes: Vec<std::vec::IntoIter<Event>> = Vec::new();
    for n in 0..customers {
        let name = format!("cluster {n}");
        let key = Author::new(&format!("{name} customer")).key();
        let filter = format!(r##"{{"kinds":[6050,7000],"#p":["{key}"],"limit":0}}"##);
        clients.push(world.connect(n % gateways, &filter)?);
        mixes.push(mix(&name, 3 * each, now(), f64::INFINITY).into_iter());
    }
    world.settle()?;
    world.begin();
    for job in 0..jobs {
        let (customer, at) = (job % customers, job as u64 * 1000 / rate);
        let provider = providers[(job * 7 + customer) % PROVIDERS];
        for (who, after) in [(clients[customer], 0), (provider, WORK_MS / 2), (provider, WORK_MS)] {
            let event = mixes[customer].next().ok_or("a job is missing")?;
            world.publish_at(at + after, who, &event);
        }
    }
    world.settle()?;
    let told = world.told;
    let events = (3 * jobs) as f64;
    if told.accepted as f64 != events || told.delivered != (PROVIDERS + 2) * jobs {
        return Err(format!("{} of {events} events were accepted, {} delivered", told.accepted, told.delivered).into());
    }
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6 / events;
    let busiest = |times: &[std::time::Duration]| {
        times.iter().max().map_or(0.0, std::time::Duration::as_secs_f64) * 100.0 / seconds as f64
    };
    tell(
        "cluster",
        &format!("{gateways}x{partitions}"),
        &[
            ("gateway µs", micros(world.gateway_times.iter().sum())),
            ("partition µs", micros(world.partition_times.iter().sum())),
            ("database µs", micros(world.database_times.iter().sum())),
            ("copies", told.copies as f64 / events),
            ("requests", told.requests as f64 / events),
            ("bytes", told.bytes as f64 / events),
            ("bytes a subscription at its gateway", at_gateway),
            ("bytes a subscription at all partitions", at_partition),
            ("busiest gateway %", busiest(&world.gateway_times)),
            ("busiest partition %", busiest(&world.partition_times)),
            ("busiest database %", busiest(&world.database_times)),
            ("jobs a second", rate as f64),
        ],
    );
    Ok(())
}
