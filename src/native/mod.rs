//! The native host: one process that serves a relay from SQLite. Translates and performs; decides nothing.
//!
//! Each shard is an engine on a thread of its own ([`shard`]) with the connections it was dealt ([`serve`],
//! [`server`], [`socket`]). The database ([`database`], [`sqlite`]) has one thread that writes and some that
//! read; what is written all shards are told in the order of its numbers.

pub mod cli;
mod database;
mod descriptors;
mod env;
mod export;
mod hud;
mod import;
mod linger;
mod log;
mod outbox;
mod proxy;
mod serve;
mod server;
mod shard;
mod socket;
pub mod sqlite;
mod tls;

/// What ends the program, as it is told on stderr.
type Failed = Box<dyn std::error::Error + Send + Sync>;
