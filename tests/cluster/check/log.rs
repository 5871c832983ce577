//! The log has one writer: numbers grow and none is given twice, each write is one version, and who had the log before another
//! one took it changes nothing any more.

use std::collections::BTreeSet;

use super::Check;
use crate::seen::{Facts, Seen};

#[derive(Default)]
pub struct Log {
    /// The last incarnation that has written, and those that have before it.
    writer: u64,
    lost: BTreeSet<u64>,
}

impl Check for Log {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Stored(stored) => {
                let new = stored.iter().filter(|(ev, seq)| facts.stored.get(ev) != Some(seq));
                for (ev, seq) in new {
                    if *seq <= facts.last_seq {
                        let last = facts.last_seq;
                        return Err(format!("{} has number {seq}, and {last} was there before", facts.name(*ev)));
                    }
                }
            }
            Seen::Wrote { incarnation, before, after, refused } => {
                if *refused || after == before {
                    return Ok(());
                }
                if *after != before + 1 {
                    return Err(format!("a write has made version {after} of {before}"));
                }
                if self.lost.contains(incarnation) {
                    return Err(format!("{incarnation} has written again after {} had the log", self.writer));
                }
                if self.writer != *incarnation {
                    self.lost.insert(self.writer);
                }
                self.writer = *incarnation;
            }
            _ => {}
        }
        Ok(())
    }
}
