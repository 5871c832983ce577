//! What makes this relay a market: what its events must look like, how jobs live, who may read what,
//! how long things are kept, and who provides what how well.
//!
//! Pure rules over events. Knows no connections and no SQL.

pub mod dealing;
pub mod handler;
pub mod histogram;
pub mod history;
pub mod job;
mod metadata;
pub mod moments;
pub mod privacy;
pub mod reputation;
pub mod retention;
pub mod rules;

pub use job::{JobProfile, JobRole, Part, State};
