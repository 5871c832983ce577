//! The native host: one process that serves a relay from SQLite. Translates and performs; decides nothing.
//!
//! Each gateway is on a thread of its own ([`gateway`]) with the connections it was dealt ([`serve`], [`server`],
//! [`socket`]), and they have one partition, on its own thread ([`partition`]). The database ([`database`], [`sqlite`])
//! has one thread that writes and some that read.

mod admin;
mod backup;
mod bar;
pub mod cli;
mod database;
mod descriptors;
mod dump;
mod env;
mod export;
mod gateway;
mod hud;
mod import;
mod linger;
mod log;
mod outbox;
mod partition;
mod place;
mod proxy;
mod serve;
mod server;
mod socket;
pub mod sqlite;
mod tls;

/// What ends the program, as it is told on stderr.
type Failed = Box<dyn std::error::Error + Send + Sync>;
