//! What must always hold, one rule a file. Each looks at what is seen and says what is wrong with it; none knows another,
//! nor how the cluster is made.

mod answered;
mod deleted;
mod durable;
mod gapless;
mod healthy;
mod interest;
mod log;
mod pages;
mod placed;

use crate::seen::{Facts, Seen};

/// A rule.
pub trait Check {
    /// Looks at something, before it is noted among the facts.
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String>;
}

/// All rules, each with its name.
pub fn all() -> Vec<(&'static str, Box<dyn Check>)> {
    vec![
        ("durable before told", Box::<durable::Durable>::default()),
        ("nothing fails silently", Box::<answered::Answered>::default()),
        ("stored and live without a gap", Box::<gapless::Gapless>::default()),
        ("interest", Box::<interest::Interest>::default()),
        ("the log has one writer", Box::<log::Log>::default()),
        ("one place", Box::<placed::Placed>::default()),
        ("what is deleted is gone", Box::<deleted::Deleted>::default()),
        ("what is healthy goes on", Box::<healthy::Healthy>::default()),
        ("pages", Box::<pages::Pages>::default()),
    ]
}
