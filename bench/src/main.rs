//! The load generator: it measures a relay over WebSocket, and the engine by itself. Every figure is a
//! line of JSON on stdout (see [`report`]); what goes wrong ends it with an error.

mod client;
mod cluster;
mod engine;
mod fanout;
mod figures;
mod fill;
mod idle;
mod ingest;
mod jobs;
mod latency;
mod queries;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use client::Target;

/// What went wrong, in words.
pub type Error = Box<dyn std::error::Error>;

#[global_allocator]
static ALLOCATOR: cluster::Counting = cluster::Counting;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publishes a mix of jobs: accepted events a second, and the time to each OK.
    Ingest {
        #[command(flatten)]
        target: Target,
        /// Connections, each with its own case.
        #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
        connections: Vec<usize>,
        /// Events a connection sends before it waits for their OKs.
        #[arg(long, default_value_t = 16)]
        in_flight: usize,
        /// How long each case lasts.
        #[arg(long, default_value_t = 8.0)]
        seconds: f64,
    },
    /// Publishes at a fixed pace: the time from when an event was due to its arrival at a subscriber.
    Latency {
        #[command(flatten)]
        target: Target,
        /// Events a second, each with its own case.
        #[arg(long, value_delimiter = ',', default_value = "50,200,1000")]
        rates: Vec<u64>,
        /// Connections with a subscription that nothing matches.
        #[arg(long, default_value_t = 1000)]
        idle: usize,
        /// How long each case lasts.
        #[arg(long, default_value_t = 8.0)]
        seconds: f64,
    },
    /// Sends one event to many subscribers.
    Fanout {
        #[command(flatten)]
        target: Target,
        /// Subscribers, each with its own case.
        #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
        subscribers: Vec<usize>,
        /// Deliveries of each case.
        #[arg(long, default_value_t = 60_000)]
        deliveries: usize,
    },
    /// Asks stored queries: from REQ to EOSE, for each shape.
    Queries {
        #[command(flatten)]
        target: Target,
        /// The store has so many events of `fill`; without it a few jobs are published and asked for.
        #[arg(long)]
        stored: Option<u64>,
        /// Connections that ask, one question at a time each.
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// How long each shape lasts.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Connects idle subscribers, says so, and waits for the end of its input.
    Idle {
        #[command(flatten)]
        target: Target,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        connections: usize,
    },
    /// Sends messages to a WebSocket that sends them back.
    Echo {
        /// Where.
        #[arg(long)]
        url: String,
        /// Connections, with 16 messages in flight each.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// How long.
        #[arg(long, default_value_t = 4.0)]
        seconds: f64,
    },
    /// Fills an SQLite file that has the migrations with events, by the store's own statements.
    Fill {
        /// The file.
        #[arg(long)]
        file: PathBuf,
        /// How many.
        #[arg(long)]
        events: u64,
    },
    /// Runs gateways and partitions as objects, with a network and a clock of their own.
    Cluster(cluster::Cluster),
    /// Runs the engine alone, without sockets or a database, to be timed or to count its instructions.
    Engine {
        /// What is done for each event.
        #[arg(long, value_enum)]
        work: engine::Work,
        /// Standing filters that do not match.
        #[arg(long, default_value_t = 1)]
        filters: usize,
        /// How many events.
        #[arg(long)]
        events: usize,
    },
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    let done =
        runtime.map_err(Error::from).and_then(|runtime| local.block_on(&runtime, run(Arguments::parse().command)));
    if let Err(error) = done {
        eprintln!("nexus-bench: {error}");
        std::process::exit(1);
    }
}

async fn run(command: Command) -> Result<(), Error> {
    let time = Duration::from_secs_f64;
    match command {
        Command::Ingest { target, connections, in_flight, seconds } => {
            for connections in connections {
                ingest::run(&target, connections, in_flight, time(seconds)).await?;
            }
            Ok(())
        }
        Command::Latency { target, rates, idle, seconds } => latency::run(&target, &rates, idle, time(seconds)).await,
        Command::Fanout { target, subscribers, deliveries } => {
            for subscribers in subscribers {
                fanout::run(&target, subscribers, deliveries.div_ceil(subscribers)).await?;
            }
            Ok(())
        }
        Command::Queries { target, stored, connections, seconds } => {
            queries::run(&target, stored, connections, time(seconds)).await
        }
        Command::Idle { target, connections } => idle::run(&target, connections).await,
        Command::Echo { url, connections, seconds } => ingest::echo(&url, connections, time(seconds)).await,
        Command::Fill { file, events } => fill::run(&file, events),
        Command::Cluster(shape) => cluster::run(&shape),
        Command::Engine { work, filters, events } => engine::run(work, filters, events),
    }
}
