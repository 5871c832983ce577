//! What is deleted is gone: once a request to delete (NIP-09) or to vanish (NIP-62) has its OK, no partition has any of what
//! it names, none takes it again, and whoever asks after that does not find it.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;
use nexus::nostr::kind;

use super::Check;
use crate::pool::{Ev, Pool};
use crate::seen::{Facts, Seen};

#[derive(Default)]
pub struct Deleted {
    gone: BTreeSet<Ev>,
    /// What was gone when each question that waits for its EOSE was asked.
    asked: BTreeMap<(ConnId, String), BTreeSet<Ev>>,
}

/// What is gone when this is done.
fn targets(ev: Ev, pool: &Pool) -> Vec<Ev> {
    let request = &pool.events[ev].event;
    if ![kind::DELETION, kind::VANISH].contains(&request.kind) {
        return Vec::new();
    }
    let own = pool.events.iter().enumerate().filter(|(_, other)| other.event.pubkey == request.pubkey);
    let named: Vec<&str> = request.tag_values("e").collect();
    own.filter(|(_, other)| match request.kind {
        kind::DELETION => named.contains(&other.event.id.to_string().as_str()),
        _ => other.event.kind != kind::VANISH && other.event.created_at <= request.created_at,
    })
    .map(|(ev, _)| ev)
    .collect()
}

impl Check for Deleted {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Ok { ev: Some(ev), accepted: true, .. } => {
                for gone in targets(*ev, facts.pool) {
                    if facts.stored.contains_key(&gone) {
                        return Err(format!("{} has its OK and {} is stored", facts.name(*ev), facts.name(gone)));
                    }
                    self.gone.insert(gone);
                }
            }
            Seen::Stored { all, .. } => {
                if let Some(back) = self.gone.iter().find(|gone| all.contains_key(gone)) {
                    return Err(format!("{} is stored again", facts.name(*back)));
                }
            }
            Seen::Asks { conn, sub, .. } => drop(self.asked.insert((*conn, sub.clone()), self.gone.clone())),
            Seen::Event { conn, sub, ev } => {
                let gone = self.asked.get(&(*conn, sub.clone()));
                if gone.is_some_and(|gone| gone.contains(ev)) {
                    return Err(format!("{} was gone before {sub} of {conn} was asked", facts.name(*ev)));
                }
            }
            Seen::Eose { conn, sub, .. } | Seen::Closes { conn, sub } | Seen::Closed { conn, sub, .. } => {
                self.asked.remove(&(*conn, sub.clone()));
            }
            Seen::Ends { conn, .. } => self.asked.retain(|(of, _), _| of != conn),
            _ => {}
        }
        Ok(())
    }
}
