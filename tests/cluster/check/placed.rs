//! One place: an event is stored in one partition, and whenever it comes again in the same one.

use std::collections::BTreeMap;

use super::Check;
use crate::pool::Ev;
use crate::seen::{Facts, Seen};

#[derive(Default)]
pub struct Placed(BTreeMap<Ev, usize>);

impl Check for Placed {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        if let Seen::Stored { partition, log, .. } = seen {
            for ev in log.keys() {
                let before = *self.0.entry(*ev).or_insert(*partition);
                if before != *partition {
                    return Err(format!("{} is stored in {before} and in {partition}", facts.name(*ev)));
                }
            }
        }
        Ok(())
    }
}
