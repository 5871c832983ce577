//! What the Rust tests share: signed events, databases that run statements, hosts of the engine and a world around it.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod chance;
pub mod d1;
pub mod events;
pub mod gateways;
pub mod host;
pub mod refusals;
pub mod sqlite;
pub mod world;

use nexus::store::{Rows, Statement, StoreError};

/// A real database.
pub trait Database {
    /// Runs the statements as one transaction.
    fn run(&mut self, statements: &[Statement]) -> Result<Rows, StoreError>;
}
