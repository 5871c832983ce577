//! What the gateway counts. Refusals must survive: they are told to the partition, which saves them. The rest counts from
//! the moment the relay woke.

use std::collections::BTreeMap;

use super::class::Metered;
use super::report;
use crate::nostr::Prefix;
use crate::seam::Millis;

/// Counters in memory.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub(super) woke_at: Millis,
    /// Connections ever opened.
    pub opened: u64,
    /// Events accepted, ephemeral ones among them.
    pub accepted: u64,
    /// Events that were here already.
    pub duplicates: u64,
    /// Events sent to subscribers.
    pub events_sent: u64,
    /// AUTH events accepted.
    pub auth_accepted: u64,
    /// AUTH events refused.
    pub auth_rejected: u64,
    /// REQs refused.
    pub refused_reqs: u64,
    /// In frames from clients.
    pub bytes_received: u64,
    /// REQs answered from memory, without the store.
    pub from_memory: u64,
    /// In frames to clients.
    pub bytes_sent: u64,
    /// Counted and not told to the partition yet, by key.
    pub(super) untold: BTreeMap<String, u64>,
}

impl Counters {
    /// Counters of a relay that wakes now.
    pub fn new(now: Millis) -> Self {
        Self { woke_at: now, ..Self::default() }
    }

    /// An event was refused.
    pub fn rejected(&mut self, prefix: Prefix) {
        self.count(report::rejected(prefix));
    }

    /// A quota was exceeded.
    pub fn limited(&mut self, metered: Metered) {
        self.count(report::limited(metered));
    }

    fn count(&mut self, key: String) {
        *self.untold.entry(key).or_default() += 1;
    }

    /// Adds what another gateway has counted since it woke.
    pub fn add(&mut self, other: &Self) {
        self.woke_at = self.woke_at.min(other.woke_at);
        self.opened += other.opened;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.events_sent += other.events_sent;
        self.auth_accepted += other.auth_accepted;
        self.auth_rejected += other.auth_rejected;
        self.refused_reqs += other.refused_reqs;
        self.bytes_received += other.bytes_received;
        self.from_memory += other.from_memory;
        self.bytes_sent += other.bytes_sent;
    }
}
