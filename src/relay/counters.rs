//! What the relay counts, and the report made of it for `/api/stats`.
//!
//! What must survive is handed to the store with the next group ([`Counters::flush`]) and added to the
//! totals row exactly once; the rest counts from the moment the relay woke.

use std::collections::BTreeMap;

use super::class::Lane;
use super::{Millis, report};
use crate::nostr::Prefix;
use crate::store::Answer;
use crate::store::counts::{Flush, Totals};

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
    /// The store.
    pub storage: Storage,
    /// Counted and not handed over yet, by key.
    unsaved: BTreeMap<String, u64>,
    /// Rows taken from the allowance and not handed over yet.
    spent: u64,
    /// Handed over, and not known to be saved.
    flushing: Option<Flush>,
}

/// How the store has answered.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    pub(super) commits: report::Latency,
    pub(super) queries: report::Latency,
    /// Bytes of the database as it last told.
    pub(super) bytes: Option<u64>,
}

impl Storage {
    /// A group was answered after so many milliseconds.
    pub fn committed(&mut self, took: Millis, succeeded: bool) {
        self.commits.add(took, succeeded);
    }

    /// A query was answered after so many milliseconds.
    pub fn answered(&mut self, took: Millis, succeeded: bool) {
        self.queries.add(took, succeeded);
    }
}

impl Counters {
    /// Counters of a relay that wakes now.
    pub fn new(now: Millis) -> Self {
        Self { woke_at: now, ..Self::default() }
    }

    /// An event was refused.
    pub fn rejected(&mut self, prefix: Prefix) {
        self.count(report::rejected(prefix), 1);
    }

    /// A quota was exceeded.
    pub fn limited(&mut self, lane: Lane) {
        self.count(report::limited(lane), 1);
    }

    /// The database has metered rows, and may have told its size.
    pub fn metered(&mut self, answer: &Answer, now: Millis) {
        let month = report::month(now);
        self.count(report::read(month), answer.bill.read);
        self.count(report::written(month), answer.bill.written);
        self.storage.bytes = answer.size.or(self.storage.bytes);
    }

    fn count(&mut self, key: String, n: u64) {
        if n > 0 {
            *self.unsaved.entry(key).or_default() += n;
        }
    }

    /// Rows were taken from the allowance.
    pub fn spend(&mut self, rows: u64) {
        self.spent += rows;
    }

    /// Rows taken from the allowance of `day` (since 1970, UTC), as far as `totals` and this shard know.
    pub fn spent(&self, day: u64, totals: Totals) -> u64 {
        let saved = if totals.day == day { totals.spent } else { 0 };
        let flushing = self.flushing.iter().filter(|flush| flush.number > totals.flush && flush.day == day);
        saved + flushing.map(|flush| flush.spent).sum::<u64>() + self.spent
    }

    /// What to add to the totals with the next group, on `day`. Until it is known to have been added it is the
    /// same again.
    pub fn flush(&mut self, shard: u32, totals: Totals, day: u64) -> Flush {
        self.flushed(totals);
        let (unsaved, spent) = (&mut self.unsaved, &mut self.spent);
        let next = || {
            let (counts, spent) = (std::mem::take(unsaved), std::mem::take(spent));
            Flush { shard, number: totals.flush + 1, counts, day, spent }
        };
        self.flushing.get_or_insert_with(next).clone()
    }

    /// The totals say what has been added.
    pub fn flushed(&mut self, totals: Totals) {
        self.flushing.take_if(|flush| flush.number <= totals.flush);
    }

    /// What is not among the counts of the store, when the last flush among them has this number.
    pub fn not_among(&self, flush: u64) -> impl Iterator<Item = (String, u64)> {
        let missing = self.flushing.iter().filter(move |flushing| flushing.number > flush);
        missing.flat_map(|flushing| &flushing.counts).chain(&self.unsaved).map(|(key, n)| (key.clone(), *n))
    }

    /// Adds what another shard has counted since it woke.
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
        self.storage.commits.merge(&other.storage.commits);
        self.storage.queries.merge(&other.storage.queries);
        self.storage.bytes = self.storage.bytes.max(other.storage.bytes);
    }
}
