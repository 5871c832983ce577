//! What the Rust tests share: signed events, databases that run statements, hosts of the engine and a world around it.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod chance;
pub mod d1;
pub mod events;
pub mod gateways;
pub mod host;
pub mod ledger;
pub mod partition;
pub mod refusals;
pub mod sqlite;
pub mod world;

use nexus::store::counts::Totals;
use nexus::store::log::{Write, WriteName};
use nexus::store::{Rows, Statement, StoreError};

/// A real database.
pub trait Database {
    /// Runs the statements as one transaction.
    fn run(&mut self, statements: &[Statement]) -> Result<Rows, StoreError>;
}

/// How far the log of a database is.
pub fn totals(db: &mut dyn Database) -> Totals {
    ledger::position(db).totals
}

/// The next write to a log that is so far, of one that has it to itself.
pub fn write_after(totals: &Totals) -> Write {
    Write { expected: totals.version, name: WriteName { incarnation: 0, number: totals.version } }
}
