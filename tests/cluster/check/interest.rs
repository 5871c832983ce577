//! Interest: once nothing goes wrong any more, what is published at any gateway comes to whoever subscribes to it at any
//! gateway, stored or not, and who subscribes to all has all that is stored.

use std::collections::BTreeMap;

use nexus::gateway::ConnId;
use nexus::nostr::Filter;

use super::Check;
use crate::market;
use crate::pool::Ev;
use crate::seen::{Facts, Seen};

/// A subscription.
struct Sub {
    filters: Vec<Filter>,
    /// Whether it was there with its stored events when all was well again.
    is_open: bool,
    got: BTreeMap<Ev, u32>,
}

#[derive(Default)]
pub struct Interest {
    subs: BTreeMap<(ConnId, String), Sub>,
    /// What was accepted since, and how often, not counting duplicates.
    accepted: BTreeMap<Ev, u32>,
}

impl Interest {
    fn wants(sub: &Sub, ev: Ev, facts: &Facts) -> bool {
        sub.filters.iter().any(|filter| filter.matches(&facts.pool.events[ev].event))
    }
}

impl Check for Interest {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Asks { conn, sub, filters } => {
                let new = Sub { filters: filters.clone(), is_open: false, got: BTreeMap::new() };
                self.subs.insert((*conn, sub.clone()), new);
            }
            Seen::Closes { conn, sub } | Seen::Closed { conn, sub, .. } => {
                self.subs.remove(&(*conn, sub.clone()));
            }
            Seen::Ends { conn, .. } => self.subs.retain(|(of, _), _| of != conn),
            Seen::Eose { conn, sub, .. } => {
                let of = self.subs.get_mut(&(*conn, sub.clone()));
                of.into_iter().for_each(|of| of.is_open = !facts.healed || sub == "all");
            }
            Seen::Healed => self.subs.values_mut().for_each(|sub| sub.got.clear()),
            Seen::Event { conn, sub, ev } => {
                let of = self.subs.get_mut(&(*conn, sub.clone()));
                of.into_iter().for_each(|of| *of.got.entry(*ev).or_default() += 1);
            }
            Seen::Ok { ev: Some(ev), accepted: true, why, .. }
                if market::is_last(facts.pool, *ev) && why.is_empty() =>
            {
                *self.accepted.entry(*ev).or_default() += 1;
            }
            Seen::Ok { ev: Some(ev), accepted: false, why, .. }
                if market::is_last(facts.pool, *ev) && why.starts_with("mute:") =>
            {
                let mut open = self.subs.values().filter(|sub| sub.is_open);
                if open.any(|sub| Self::wants(sub, *ev, facts)) {
                    return Err(format!("{} was refused although somebody listens", facts.name(*ev)));
                }
            }
            Seen::Quiet => {
                for ((conn, id), sub) in self.subs.iter().filter(|(_, sub)| sub.is_open) {
                    for (ev, times) in self.accepted.iter().filter(|(ev, _)| Self::wants(sub, **ev, facts)) {
                        let (got, name) = (sub.got.get(ev).copied().unwrap_or_default(), facts.name(*ev));
                        if got != *times {
                            return Err(format!(
                                "{name} was accepted {times} times and came {got} times to {conn} {id}"
                            ));
                        }
                    }
                    let missing = facts.stored.keys().find(|ev| id == "all" && !sub.got.contains_key(ev));
                    if let Some(ev) = missing {
                        return Err(format!("{} is stored and not found by {conn}", facts.name(*ev)));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
