//! What makes this relay a market: which events belong to a job and what part they play in it.
//!
//! Pure rules over events. Knows no connections and no SQL.

pub mod job;

pub use job::{JobProfile, JobRole};
