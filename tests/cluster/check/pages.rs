//! Pages: what comes before EOSE is newest first, of each filter no more than it asks for, and the hint of NIP-67 is true.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;

use super::Check;
use crate::pool::Ev;
use crate::seen::{Facts, Seen};
use crate::subs::Watch;

/// A question that waits for its EOSE.
struct Page {
    watch: Watch,
    /// What somebody had been told of when it was asked.
    known: BTreeSet<Ev>,
    events: Vec<Ev>,
}

#[derive(Default)]
pub struct Pages {
    asked: BTreeMap<(ConnId, String), Page>,
    /// What somebody has been told of.
    known: BTreeSet<Ev>,
}

impl Check for Pages {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Asks { conn, sub, filters } => {
                let watch = Watch::new(filters.clone(), &facts.stored, facts.now);
                let page = Page { watch, known: self.known.clone(), events: Vec::new() };
                self.asked.insert((*conn, sub.clone()), page);
            }
            Seen::Stored { all, .. } => self.asked.values_mut().for_each(|page| page.watch.changed(all)),
            Seen::Ok { ev: Some(ev), accepted: true, .. } => drop(self.known.insert(*ev)),
            Seen::Event { conn, sub, ev } => {
                self.known.insert(*ev);
                if let Some(page) = self.asked.get_mut(&(*conn, sub.clone())) {
                    page.events.push(*ev);
                }
            }
            Seen::Eose { conn, sub, hint } => {
                if let Some(page) = self.asked.remove(&(*conn, sub.clone())) {
                    return page.check(hint, facts).map_err(|why| format!("{sub} of {conn} {why}"));
                }
            }
            Seen::Closes { conn, sub } | Seen::Closed { conn, sub, .. } => {
                self.asked.remove(&(*conn, sub.clone()));
            }
            Seen::Ends { conn, .. } => self.asked.retain(|(of, _), _| of != conn),
            _ => {}
        }
        Ok(())
    }
}

impl Page {
    fn check(&self, hint: &str, facts: &Facts) -> Result<(), String> {
        let (pool, names) = (facts.pool, |ev: Ev| facts.name(ev));
        if let Some(two) = self.events.windows(2).find(|two| pool.place(two[0]) >= pool.place(two[1])) {
            return Err(format!("has {} before {}", names(two[0]), names(two[1])));
        }
        let limits: Option<u64> = self.watch.filters.iter().map(|filter| filter.limit).sum();
        if limits.is_some_and(|limits| self.events.len() as u64 > limits) {
            return Err(format!("has {} events, which is more than was asked for", self.events.len()));
        }
        let is_missing = |ev: &Ev| self.watch.matches(*ev, pool) && !self.events.contains(ev);
        match hint {
            "finish" => {
                let mut known = self.watch.throughout.iter().map(|(ev, _)| *ev).filter(|ev| self.known.contains(ev));
                match known.find(is_missing) {
                    Some(ev) => Err(format!("says that it is all, without {}", names(ev))),
                    None => Ok(()),
                }
            }
            "more" if !self.watch.ever.iter().any(is_missing) => {
                Err("says that there is more, and there is not".to_owned())
            }
            _ => Ok(()),
        }
    }
}
