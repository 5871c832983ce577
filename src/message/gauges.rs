//! What gateways and partitions know and tell of themselves: numbers of now, and what was counted since they woke.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Seen;
use crate::budget;
use crate::seam::Millis;
use crate::store::{ErrorKind, StoreError};

/// What a gateway has counted since it woke.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Connections opened.
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
}

/// What one gateway knows of its clients, or some together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayGauges {
    /// When it woke, Unix milliseconds; of some the first.
    pub woke_at: Millis,
    /// What it has counted since.
    pub counted: Counted,
    /// Open connections.
    pub open: usize,
    /// Those of them that have proven a key.
    pub authenticated: usize,
    /// Those of them that have proven the key of a live handler.
    pub providers: usize,
    /// Open subscriptions.
    pub subscriptions: usize,
    /// Bytes in use and at the most, by share of the memory.
    #[serde(deserialize_with = "budget::by_share")]
    pub memory: BTreeMap<&'static str, (usize, usize)>,
    /// What it has seen of its clients, for those who ask other gateways; nothing where some are together.
    pub seen: Seen,
}

impl GatewayGauges {
    /// Adds another gateway's.
    pub fn add(&mut self, other: &Self) {
        self.woke_at = self.woke_at.min(other.woke_at);
        let (own, counted) = (&mut self.counted, &other.counted);
        own.opened += counted.opened;
        own.accepted += counted.accepted;
        own.duplicates += counted.duplicates;
        own.events_sent += counted.events_sent;
        own.auth_accepted += counted.auth_accepted;
        own.auth_rejected += counted.auth_rejected;
        own.refused_reqs += counted.refused_reqs;
        own.bytes_received += counted.bytes_received;
        own.from_memory += counted.from_memory;
        own.bytes_sent += counted.bytes_sent;
        self.open += other.open;
        self.authenticated += other.authenticated;
        self.providers += other.providers;
        self.subscriptions += other.subscriptions;
        for (share, (used, max)) in &other.memory {
            let all = self.memory.entry(share).or_default();
            *all = (all.0 + used, all.1 + max);
        }
    }
}

/// What a partition knows beside its database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionGauges {
    /// How the database has answered.
    pub storage: Storage,
    /// Counted and not saved, by key.
    pub unsaved: BTreeMap<String, u64>,
    /// Handed over under a number, and not known to be saved.
    pub flushing: Option<(u64, BTreeMap<String, u64>)>,
    /// Rows that may be taken in a day, and those taken today.
    pub rows_per_day: Option<u64>,
    /// Rows taken today.
    pub rows_today: u64,
    /// Bytes in use and at the most of the shares of memory that are the partition's.
    #[serde(deserialize_with = "budget::by_share")]
    pub memory: BTreeMap<&'static str, (usize, usize)>,
    /// What the other gateways have told of themselves last, together.
    pub elsewhere: Option<GatewayGauges>,
}

impl PartitionGauges {
    /// Adds another partition's; what is not known to be saved is among what is not saved. Of gateways nothing is added.
    pub fn add(&mut self, other: &Self) {
        self.storage.add(&other.storage);
        for (key, n) in other.not_among(0) {
            *self.unsaved.entry(key.clone()).or_default() += n;
        }
        self.rows_per_day = match (self.rows_per_day, other.rows_per_day) {
            (Some(own), Some(others)) => Some(own + others),
            (own, others) => own.or(others),
        };
        self.rows_today += other.rows_today;
        for (share, (used, max)) in &other.memory {
            let all = self.memory.entry(share).or_default();
            *all = (all.0 + used, all.1 + max);
        }
    }

    /// Bytes in use and at the most of all shares, those of gateways among them. What both take a share of has one limit.
    pub fn memory_with(&self, gateways: &GatewayGauges) -> BTreeMap<&'static str, (usize, usize)> {
        let mut memory = gateways.memory.clone();
        for (share, (used, max)) in &self.memory {
            memory.entry(share).or_insert((0, *max)).0 += used;
        }
        memory
    }

    /// What is not among the counts of the store, when the last flush among them has this number.
    pub fn not_among(&self, flush: u64) -> impl Iterator<Item = (&String, u64)> {
        let missing = self.flushing.iter().filter(move |(number, _)| *number > flush);
        missing.flat_map(|(_, counts)| counts).chain(&self.unsaved).map(|(key, n)| (key, *n))
    }
}

/// The keys under which a partition counts the rows that its database has read and written in a month (YYYYMM).
pub fn metered_keys(month: u64) -> [String; 2] {
    [format!("read {month}"), format!("written {month}")]
}

/// How a database has answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// Groups.
    pub commits: Latency,
    /// Everything else.
    pub queries: Latency,
    /// What was wrong when it failed.
    pub failures: BTreeMap<ErrorKind, u64>,
    /// Bytes of the database as it last told.
    pub bytes: Option<u64>,
}

impl Storage {
    /// Adds what another database did.
    pub fn add(&mut self, other: &Self) {
        self.commits.add_all(&other.commits);
        self.queries.add_all(&other.queries);
        for (kind, failures) in &other.failures {
            *self.failures.entry(*kind).or_default() += failures;
        }
        self.bytes = match (self.bytes, other.bytes) {
            (Some(own), Some(others)) => Some(own + others),
            (own, others) => own.or(others),
        };
    }

    /// A group was answered after so many milliseconds.
    pub fn committed(&mut self, took: Millis, error: Option<&StoreError>) {
        self.commits.add(took, error.is_none());
        self.failed(error);
    }

    /// A query was answered after so many milliseconds.
    pub fn answered(&mut self, took: Millis, error: Option<&StoreError>) {
        self.queries.add(took, error.is_none());
        self.failed(error);
    }

    /// It has failed, if so.
    pub fn failed(&mut self, error: Option<&StoreError>) {
        if let Some(error) = error {
            *self.failures.entry(error.kind).or_default() += 1;
        }
    }
}

/// Answers of one sort; milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    count: u64,
    failed: u64,
    last_ms: Millis,
    max_ms: Millis,
    total_ms: Millis,
}

impl Latency {
    fn add_all(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.last_ms = self.last_ms.max(other.last_ms);
        self.max_ms = self.max_ms.max(other.max_ms);
        self.total_ms += other.total_ms;
    }

    fn add(&mut self, took: Millis, succeeded: bool) {
        self.count += 1;
        self.failed += u64::from(!succeeded);
        self.last_ms = took;
        self.max_ms = self.max_ms.max(took);
        self.total_ms += took;
    }
}
