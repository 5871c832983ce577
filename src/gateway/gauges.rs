//! What a gateway knows: what it has counted since it woke, and who is connected to it. What is told of a relay is the
//! sum over its gateways, and what their partition knows.

use std::collections::BTreeMap;

use super::Gateway;
use super::report::Report;
use crate::budget::Share;
use crate::message::{Counts, GatewayGauges, Seen, Snapshot};
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

impl Gateway {
    /// This gateway's own.
    pub(crate) fn gauges(&self) -> GatewayGauges {
        let conns = || self.conns.values();
        GatewayGauges {
            woke_at: self.woke_at,
            counted: self.counters.clone(),
            open: self.conns.len(),
            authenticated: conns().filter(|conn| !conn.keys.is_empty()).count(),
            providers: conns().filter(|conn| conn.handlers().next().is_some()).count(),
            subscriptions: conns().map(|conn| conn.subs.len()).sum(),
            memory: self.memory(),
            seen: Seen::default(),
        }
    }

    /// The same, with what the other gateways are told of its clients.
    pub(super) fn gauges_to_tell(&self) -> GatewayGauges {
        GatewayGauges { seen: self.seen.told(), ..self.gauges() }
    }

    /// Bytes in use and at the most of the shares that are the gateway's.
    fn memory(&self) -> BTreeMap<&'static str, (usize, usize)> {
        let used = |share| match share {
            // These are bounded in number.
            Share::Http => self.requests.kept_bytes(),
            Share::Quotas => self.quotas.memory_bytes(),
            _ => self.budget.used(share),
        };
        let own = Share::ALL.into_iter().filter(|(share, _)| OWN_SHARES.contains(share));
        own.map(|(share, name)| (name, (used(share), self.budget.max(share)))).gather()
    }

    /// This gateway's and the others', as they were told last.
    pub(super) fn all_gauges(&self) -> GatewayGauges {
        let mut all = self.gauges();
        self.requests.partition.elsewhere.iter().for_each(|elsewhere| all.add(elsewhere));
        all
    }

    /// The report; `counts` is what the store has counted, how many providers are active, and the last minute. What only
    /// the store knows is null without.
    pub(super) fn report(&self, counts: Option<(Counts, u64, Vec<Snapshot>)>, now: Millis) -> Report {
        let known = counts.map(|(counts, active, moments)| (counts, Some(active), moments));
        let (mut counts, active, moments) = known.unwrap_or_default();
        let partition = &self.requests.partition;
        for (key, n) in partition.not_among(counts.flush).chain(self.untold.counts()) {
            *counts.counts.entry(key.clone()).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
        }
        let bytes_max = self.config.max_database_bytes.map(|max| max.saturating_mul(self.config.partitions.into()));
        Report::new(&self.all_gauges(), partition, &counts, active, (&moments, bytes_max), now)
    }
}
