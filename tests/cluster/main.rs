//! Random runs of a cluster: real gateways and real partitions in objects that sleep and are reset, over a network that
//! loses, repeats and delays what they tell each other, on real databases that fail. Rules look at what is seen from
//! outside ([`check`]); what they find is made smaller and printed.
//!
//! `NEXUS_CLUSTER=5000` plays more runs than the usual; `NEXUS_CLUSTER_SEED=7` plays one and says what happened.

#[path = "../common/mod.rs"]
mod common;
#[path = "../schedule/pool.rs"]
#[allow(dead_code, reason = "the schedules use all of it")]
mod pool;
#[path = "../schedule/rng.rs"]
mod rng;
#[path = "../schedule/subs.rs"]
#[allow(dead_code, reason = "the schedules use all of it")]
mod subs;

mod check;
mod clients;
mod db;
mod engine;
mod gateways;
mod heavy;
mod kept;
mod killed;
mod link;
mod market;
mod marks;
mod messages;
mod mutate;
mod network;
mod object;
mod partition;
mod plan;
mod quiet;
mod runs;
mod seen;
mod shrink;
mod sim;
mod trace;
mod wire;
