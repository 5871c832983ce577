//! The log of each partition has one writer: numbers grow and none is given twice, each write is one version, and who had
//! the log before another one took it changes nothing any more.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::seen::{Facts, Seen};

/// Who writes a partition's log.
#[derive(Default)]
struct Writers {
    /// The last incarnation that has written, and those that have before it.
    last: u64,
    lost: BTreeSet<u64>,
}

#[derive(Default)]
pub struct Log(BTreeMap<usize, Writers>);

impl Check for Log {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Stored { partition, log, .. } => {
                let before = &facts.logs[*partition];
                let new = log.iter().filter(|(ev, seq)| before.stored.get(ev) != Some(seq));
                for (ev, seq) in new {
                    if *seq <= before.last_seq {
                        let (name, last) = (facts.name(*ev), before.last_seq);
                        return Err(format!("{name} has number {seq} of {partition}, and {last} was there before"));
                    }
                }
            }
            Seen::Wrote { partition, incarnation, before, after, refused } => {
                if *refused || after == before {
                    return Ok(());
                }
                if *after != before + 1 {
                    return Err(format!("a write has made version {after} of {before}"));
                }
                let writers = self.0.entry(*partition).or_default();
                if writers.lost.contains(incarnation) {
                    return Err(format!("{incarnation} has written again after {} had the log", writers.last));
                }
                if writers.last != *incarnation {
                    writers.lost.insert(writers.last);
                }
                writers.last = *incarnation;
            }
            _ => {}
        }
        Ok(())
    }
}
