//! What is healthy goes on: where things go wrong with some partitions alone, no event that is stored in another one was
//! ever answered with an error, but a request to delete, which concerns all of them.

use std::collections::BTreeSet;

use nexus::nostr::kind;

use super::Check;
use crate::pool::Ev;
use crate::seen::{Facts, Seen};

#[derive(Default)]
pub struct Healthy(BTreeSet<Ev>);

impl Check for Healthy {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Ok { ev: Some(ev), accepted: false, why, .. } if why.starts_with("error:") => {
                let event = &facts.pool.events[*ev];
                if !event.ephemeral && ![kind::DELETION, kind::VANISH].contains(&event.event.kind) {
                    self.0.insert(*ev);
                }
            }
            Seen::Stored { partition, log, .. } if !facts.sick.contains(partition) => {
                if let Some(ev) = self.0.iter().find(|ev| log.contains_key(ev)) {
                    return Err(format!("{} is of {partition}, and was answered with an error", facts.name(*ev)));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
