//! Every SQL text of the relay: what has to be known, what changes and what is asked become [`Statement`]s, and rows
//! become facts and events. What follows from facts is the [`ledger`](crate::ledger)'s to say.
//!
//! Executes nothing. A host runs a list of statements atomically and hands back, per statement, the
//! rows as text: every statement selects one text column, called `r`, or nothing. That is the whole seam
//! to a database, and D1's `batch()` and an SQLite transaction both fit it.

pub mod cost;
pub mod counts;
mod error;
pub mod export;
pub mod facts;
mod form;
pub mod history;
pub mod jobs;
mod lists;
pub mod log;
pub mod map;
pub mod market;
pub mod read;
mod rows;
pub mod rulings;
pub mod schema;
mod search;
pub mod sweep;
mod vanish;
mod walk;
pub mod write;

use std::sync::Arc;

pub use error::{ErrorKind, StoreError};
use serde::Serialize;

use crate::nostr::MAX_INTEGER;

/// One SQL statement with its parameters `?1`, `?2`, …
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Fixed text but for the shape of a filter or a group; values are always parameters.
    pub sql: Arc<str>,
    /// In order.
    pub params: Vec<Param>,
}

impl Statement {
    fn new(sql: impl Into<Arc<str>>, params: Vec<Param>) -> Self {
        Self { sql: sql.into(), params }
    }
}

/// A bound value.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// TEXT
    Text(Arc<str>),
    /// INTEGER; at most 2^53 in size, since D1 takes numbers as doubles.
    Integer(i64),
}

/// A number as a parameter.
fn integer(number: u64) -> Param {
    Param::Integer(i64::try_from(number.min(MAX_INTEGER)).unwrap_or(i64::MAX))
}

/// Anything that JSON holds as a parameter, to be read with `json_each`.
fn json(value: &impl Serialize) -> Param {
    Param::Text(json_text(value).into())
}

/// The same as a text.
pub(crate) fn json_text(value: &impl Serialize) -> String {
    // Plain structs of strings and numbers into memory: serialization cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// A column of bytes as the hex that it is outside of the database.
fn hex(column: &str) -> String {
    format!("lower(hex({column}))")
}

/// The same of a column that may be NULL, and is NULL then.
fn hex_or_null(column: &str) -> String {
    format!("lower(nullif(hex({column}), ''))")
}

/// The event whose id is given as an expression of bytes: an index has the first eight of them.
fn is_id(e: &str, id: &str) -> String {
    format!("substr({e}.id, 1, 8) = substr({id}, 1, 8) AND {e}.id = {id}")
}

/// The events of an author given as an expression of bytes: an index has the first eight of them.
fn is_by(e: &str, pubkey: &str) -> String {
    format!("{} AND {e}.pubkey = {pubkey}", may_be_by(e, pubkey))
}

/// The same by what the index has alone: of two authors who begin alike it is those of both.
fn may_be_by(e: &str, pubkey: &str) -> String {
    format!("substr({e}.pubkey, 1, 8) = substr({pubkey}, 1, 8)")
}

/// What is added to a kind to make its private shelf.
const PRIVATE: u32 = 65_536;

/// For each statement, its rows.
pub type Rows = Vec<Vec<String>>;

/// What a database answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For each statement, its rows.
    pub rows: Rows,
    /// What the database meters, where it does.
    pub bill: Bill,
    /// About how many rows were looked at, where the database does not meter them.
    pub looked_at: u64,
    /// Bytes of the whole database after the statements, where it tells.
    pub size: Option<u64>,
}

impl From<Rows> for Answer {
    fn from(rows: Rows) -> Self {
        Self { rows, ..Self::default() }
    }
}

/// Rows a database charges for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Rows read.
    pub read: u64,
    /// Rows written.
    pub written: u64,
}
