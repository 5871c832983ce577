//! Stored and live without a gap, each event once for a subscription: EOSE comes after all that was stored, what is stored
//! after it follows, nothing comes that was not asked for, and COUNT counts what is there.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;

use super::Check;
use crate::pool::Ev;
use crate::seen::{Facts, Seen};
use crate::subs::{Sub, Watch};

/// A subscription.
struct Open {
    sub: Sub,
    /// What somebody had been told of when it was asked for: it is among what comes before EOSE.
    known: BTreeSet<Ev>,
    /// What was stored and is not among that: it follows.
    owed: BTreeSet<Ev>,
}

#[derive(Default)]
pub struct Gapless {
    subs: BTreeMap<(ConnId, String), Open>,
    /// What somebody has been told of.
    known: BTreeSet<Ev>,
    counts: BTreeMap<(ConnId, String), Watch>,
}

impl Check for Gapless {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Asks { conn, sub, filters } => {
                let sub_of = Sub::new(filters.clone(), &facts.stored, facts.last_seq, facts.now);
                let new = Open { sub: sub_of, known: self.known.clone(), owed: BTreeSet::new() };
                self.subs.insert((*conn, sub.clone()), new);
            }
            Seen::Counts { conn, query, filters } => {
                let watch = Watch::new(filters.clone(), &facts.stored, facts.now);
                self.counts.insert((*conn, query.clone()), watch);
            }
            Seen::Closes { conn, sub } => drop(self.subs.remove(&(*conn, sub.clone()))),
            Seen::Closed { conn, sub, .. } => {
                let key = (*conn, sub.clone());
                if self.counts.remove(&key).is_none() {
                    self.subs.remove(&key);
                }
            }
            Seen::Ends { conn, .. } => {
                self.subs.retain(|(of, _), _| of != conn);
                self.counts.retain(|(of, _), _| of != conn);
            }
            Seen::Stored { all, .. } => {
                let reading = self.subs.values_mut().filter(|open| !open.sub.eose);
                reading.for_each(|open| open.sub.changed(all));
                self.counts.values_mut().for_each(|watch| watch.changed(all));
            }
            Seen::Ok { ev: Some(ev), accepted: true, .. } => drop(self.known.insert(*ev)),
            Seen::Event { conn, sub, ev } => {
                self.known.insert(*ev);
                let name = facts.name(*ev);
                let of = self.subs.get_mut(&(*conn, sub.clone()));
                let of = &mut of.ok_or_else(|| format!("{name} for {sub}, which is not open"))?.sub;
                if !of.watch.matches(*ev, facts.pool) {
                    return Err(format!("{name} for {sub}, which did not ask for it"));
                }
                *of.got.entry(*ev).or_default() += 1;
                let stored = facts.ever.get(ev).map_or(0, |numbers| numbers.len() as u32);
                if !facts.pool.events[*ev].ephemeral && of.count(*ev) > stored.max(1) {
                    return Err(format!("{name} for {sub} of {conn} once more"));
                }
            }
            Seen::Eose { conn, sub, hint } => {
                let Some(open) = self.subs.get_mut(&(*conn, sub.clone())) else { return Ok(()) };
                let of = &mut open.sub;
                of.eose = true;
                // What was stored while it waited may lie beyond a limit, or beyond the end of a page.
                let is_short = facts.has_short_pages && hint == "more";
                if is_short || of.watch.filters.iter().any(|filter| filter.limit.is_some()) {
                    of.since = facts.last_seq;
                }
                open.owed = of.watch.certain(u64::MAX, facts.pool);
                // What is older than the last event of a page that ends early is another page's.
                let end = of.got.keys().max_by_key(|ev| facts.pool.place(**ev)).filter(|_| is_short);
                open.owed.retain(|ev| {
                    of.count(*ev) == 0 && end.is_none_or(|end| facts.pool.place(*ev) < facts.pool.place(*end))
                });
                if let Some(ev) = open.owed.intersection(&open.known).next() {
                    return Err(format!("EOSE for {sub} of {conn} without {}, which is stored", facts.name(*ev)));
                }
            }
            Seen::Counted { conn, query, count } => {
                let Some(watch) = self.counts.remove(&(*conn, query.clone())) else { return Ok(()) };
                let (least, most) = watch.counts(facts.pool);
                if !(least as u64..=most as u64).contains(count) {
                    return Err(format!("COUNT {query} is {count}, not {least} to {most}"));
                }
            }
            Seen::Quiet => {
                for ((conn, sub), open) in self.subs.iter().filter(|(_, open)| open.sub.eose) {
                    let of = &open.sub;
                    let owed = open.owed.iter().find(|ev| facts.stored.contains_key(ev) && of.count(**ev) == 0);
                    if let Some(ev) = owed {
                        return Err(format!("{} never came to {sub} of {conn} after EOSE", facts.name(*ev)));
                    }
                    of.check_last(&facts.stored, &[].into(), facts.pool)
                        .map_err(|why| format!("{conn} {sub}: {why}"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
