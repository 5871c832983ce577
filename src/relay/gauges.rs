//! What one shard knows beside the store: what it has counted since it woke, and who is connected to it. What
//! is told of a relay is the sum over its shards.

use std::collections::BTreeSet;

use super::counters::Counters;
use super::report::Report;
use super::{Millis, Relay};
use crate::nostr::PublicKey;
use crate::store::counts::Counts;

/// Of one shard, or of some together.
#[derive(Clone, Debug)]
pub struct Gauges {
    shard: u32,
    pub(super) counters: Counters,
    pub(super) open: usize,
    pub(super) authenticated: usize,
    pub(super) providers: usize,
    pub(super) subscriptions: usize,
    /// Keys that were proven, and those of them that have live handlers.
    pub(super) online: BTreeSet<PublicKey>,
    pub(super) providing: BTreeSet<PublicKey>,
}

impl Gauges {
    /// Adds another shard's; what either has counted and not handed over stays with it.
    fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.open += other.open;
        self.authenticated += other.authenticated;
        self.providers += other.providers;
        self.subscriptions += other.subscriptions;
        self.online.extend(&other.online);
        self.providing.extend(&other.providing);
    }
}

impl Relay {
    /// This shard's own.
    pub fn gauges(&self) -> Gauges {
        let conns = || self.conns.values();
        Gauges {
            shard: self.host.shard,
            counters: self.counters.clone(),
            open: self.conns.len(),
            authenticated: conns().filter(|conn| !conn.keys.is_empty()).count(),
            providers: conns().filter(|conn| !conn.providers.is_empty()).count(),
            subscriptions: conns().map(|conn| conn.subs.len()).sum(),
            online: conns().flat_map(|conn| conn.keys.iter().copied()).collect(),
            providing: conns().flat_map(|conn| conn.providers.iter().copied()).collect(),
        }
    }

    /// This shard's and the others'.
    pub(super) fn all_gauges(&self) -> Gauges {
        let mut all = self.gauges();
        self.desk.elsewhere().iter().for_each(|other| all.add(other));
        all
    }

    /// The report; `counts` is what the store has counted and how many providers are active. What only the
    /// store knows is null without.
    pub(super) fn report(&self, counts: Option<(Counts, u64)>, now: Millis) -> Report {
        let (mut counts, active) = counts.map(|(counts, active)| (counts, Some(active))).unwrap_or_default();
        for gauges in [&self.gauges()].into_iter().chain(self.desk.elsewhere()) {
            for (key, n) in gauges.counters.not_among(counts.flush(gauges.shard)) {
                *counts.counts.entry(key).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
            }
        }
        Report::new(&self.all_gauges(), &counts, active, now)
    }
}
