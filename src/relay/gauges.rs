//! What one shard knows beside the store: what it has counted since it woke, and who is connected to it. What
//! is told of a relay is the sum over its shards.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::Share;
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
    /// Rows that may be taken in a day, and those taken today.
    pub(super) rows_per_day: Option<u64>,
    pub(super) rows_today: u64,
    /// Bytes in use and at the most, by share of the memory.
    pub(super) memory: BTreeMap<&'static str, (usize, usize)>,
    /// Keys that were proven.
    pub(super) online: BTreeSet<PublicKey>,
    /// Those of them that have live handlers, each after whether it has served nobody yet.
    pub(super) providing: BTreeSet<(bool, PublicKey)>,
}

impl Gauges {
    /// Bytes in use and at the most of a share of the memory.
    pub fn memory(&self, share: &str) -> Option<(usize, usize)> {
        self.memory.get(share).copied()
    }

    /// Together with other shards'; what each has counted and not handed over stays with it.
    fn with(mut self, others: &[Self]) -> Self {
        for other in others {
            self.counters.add(&other.counters);
            self.open += other.open;
            self.authenticated += other.authenticated;
            self.providers += other.providers;
            self.subscriptions += other.subscriptions;
            self.rows_today = self.rows_today.max(other.rows_today);
            for (share, (used, max)) in &other.memory {
                let all = self.memory.entry(share).or_default();
                *all = (all.0 + used, all.1 + max);
            }
            self.online.extend(&other.online);
            self.providing.extend(&other.providing);
        }
        self
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
            providers: conns().filter(|conn| conn.handlers().next().is_some()).count(),
            subscriptions: conns().map(|conn| conn.subs.len()).sum(),
            rows_per_day: self.config.rows_per_day,
            rows_today: self.spent_today(),
            memory: Share::ALL.map(|(share, name)| (name, (self.memory_used(share), self.budget.max(share)))).into(),
            online: conns().flat_map(|conn| conn.keys.iter().copied()).collect(),
            providing: conns().flat_map(|conn| conn.handlers().map(|key| (!conn.known(key).served, *key))).collect(),
        }
    }

    /// Bytes in use of a share.
    fn memory_used(&self, share: Share) -> usize {
        match share {
            // These are bounded in number.
            Share::Jobs => self.writer.jobs_bytes(),
            Share::Http => self.desk.kept_bytes(),
            Share::Quotas => self.quotas.memory_bytes() + self.network_rows.memory_bytes(),
            _ => self.budget.used(share),
        }
    }

    /// This shard's and the others'.
    pub(super) fn all_gauges(&self) -> Gauges {
        self.gauges().with(self.desk.elsewhere())
    }

    /// The report; `counts` is what the store has counted and how many providers are active. What only the
    /// store knows is null without.
    pub(super) fn report(&self, counts: Option<(Counts, u64)>, now: Millis) -> Report {
        let (mut counts, active) = counts.map(|(counts, active)| (counts, Some(active))).unwrap_or_default();
        let (own, elsewhere) = (self.gauges(), self.desk.elsewhere());
        for gauges in [&own].into_iter().chain(elsewhere) {
            for (key, n) in gauges.counters.not_among(counts.flush(gauges.shard)) {
                *counts.counts.entry(key).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
            }
        }
        Report::new(&own.with(elsewhere), &counts, active, now)
    }
}
