//! What a gateway knows: what it has counted since it woke, and who is connected to it. What is told of a relay is the
//! sum over its gateways, and what their partition knows.

use std::collections::{BTreeMap, BTreeSet};

use super::Gateway;
use super::counters::Counters;
use super::report::Report;
use crate::budget::Share;
use crate::message::{Counts, PartitionGauges, Storage};
use crate::nostr::PublicKey;
use crate::seam::Millis;
use crate::trees::Gather;

/// The shares of memory that a gateway reserves of, and those that are bounded in number.
const OWN_SHARES: [Share; 7] = [
    Share::Connections,
    Share::Subscriptions,
    Share::Questions,
    Share::Backlogs,
    Share::Turns,
    Share::Http,
    Share::Quotas,
];

/// Of one gateway, or of some together.
#[derive(Clone, Debug)]
pub struct Gauges {
    pub(super) counters: Counters,
    /// How the store has answered.
    pub(super) storage: Storage,
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

    /// Together with other gateways'.
    fn with(mut self, others: &[Self]) -> Self {
        for other in others {
            self.counters.add(&other.counters);
            self.open += other.open;
            self.authenticated += other.authenticated;
            self.providers += other.providers;
            self.subscriptions += other.subscriptions;
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

impl Gateway {
    /// This gateway's own, with what its partition knows, if that is to be counted here.
    pub(crate) fn gauges(&self, partition: &PartitionGauges) -> Gauges {
        let conns = || self.conns.values();
        Gauges {
            counters: self.counters.clone(),
            storage: partition.storage.clone(),
            open: self.conns.len(),
            authenticated: conns().filter(|conn| !conn.keys.is_empty()).count(),
            providers: conns().filter(|conn| conn.handlers().next().is_some()).count(),
            subscriptions: conns().map(|conn| conn.subs.len()).sum(),
            rows_per_day: partition.rows_per_day,
            rows_today: partition.rows_today,
            memory: self.memory(partition),
            online: conns().flat_map(|conn| conn.keys.iter().copied()).gather(),
            providing: conns().flat_map(|conn| conn.handlers().map(|key| (!conn.known(key).served, *key))).gather(),
        }
    }

    /// Bytes in use and at the most of the shares that are the gateway's, and of those of the partition as it told.
    fn memory(&self, partition: &PartitionGauges) -> BTreeMap<&'static str, (usize, usize)> {
        let used = |share| match share {
            // These are bounded in number.
            Share::Http => self.requests.kept_bytes(),
            Share::Quotas => self.quotas.memory_bytes(),
            _ => self.budget.used(share),
        };
        let own = Share::ALL.into_iter().filter(|(share, _)| OWN_SHARES.contains(share));
        let mut memory: BTreeMap<_, _> =
            own.map(|(share, name)| (name, (used(share), self.budget.max(share)))).gather();
        for (name, (used, max)) in &partition.memory {
            let all = memory.entry(name).or_insert((0, *max));
            all.0 += used;
        }
        memory
    }

    /// This gateway's and the others'.
    pub(super) fn all_gauges(&self) -> Gauges {
        self.gauges(&self.requests.partition).with(self.requests.elsewhere())
    }

    /// The report; `counts` is what the store has counted and how many providers are active. What only the
    /// store knows is null without.
    pub(super) fn report(&self, counts: Option<(Counts, u64)>, now: Millis) -> Report {
        let (mut counts, active) = counts.map(|(counts, active)| (counts, Some(active))).unwrap_or_default();
        let (own, elsewhere) = (self.gauges(&self.requests.partition), self.requests.elsewhere());
        for (key, n) in self.requests.partition.not_among(counts.flush) {
            *counts.counts.entry(key.clone()).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
        }
        Report::new(&own.with(elsewhere), &counts, active, now)
    }
}
