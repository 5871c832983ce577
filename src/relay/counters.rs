//! What the relay counts, and the report made of it for `/api/stats`.
//!
//! What must survive is handed to the store with the next group ([`Counters::flush`]), or by itself when none comes
//! ([`Relay::save_soon`]), and added to the totals row exactly once; the rest counts from the moment the relay woke.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ceiling::DAY_MS;
use super::class::Lane;
use super::publish::Told;
use super::timer::Due;
use super::{Effect, Millis, News, Relay, report};
use crate::nostr::Prefix;
use crate::store::counts::{self, Flush, Totals};
use crate::store::{Answer, Bill, ErrorKind, Rows, StoreError};

/// Milliseconds after which what was counted is saved by itself, when no group takes it along.
const SAVE_AFTER: Millis = 5_000;
/// Milliseconds between two such saves at the least, and after which one that was not answered is forgotten.
const SAVE_EVERY: Millis = 60_000;

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
    /// Whether something among it is worth to be saved by itself, and since when, once that was noticed.
    worth_saving: bool,
    unsaved_since: Option<Millis>,
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
    /// What was wrong when it failed.
    pub(super) failures: BTreeMap<ErrorKind, u64>,
    /// Bytes of the database as it last told.
    pub(super) bytes: Option<u64>,
}

impl Storage {
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

    fn failed(&mut self, error: Option<&StoreError>) {
        if let Some(error) = error {
            *self.failures.entry(error.kind).or_default() += 1;
        }
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
        self.worth_saving = true;
    }

    /// A quota was exceeded.
    pub fn limited(&mut self, lane: Lane) {
        self.count(report::limited(lane), 1);
        self.worth_saving = true;
    }

    /// The database has metered rows, and may have told its size. What is the relay's `own` is not worth to be saved
    /// by itself.
    pub fn metered(&mut self, answer: &Answer, own: bool, now: Millis) {
        self.worth_saving |= !own && answer.bill != Bill::default();
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

    /// What to add to the totals at `now`. Until it is known to have been added it is the same again.
    pub fn flush(&mut self, shard: u32, totals: Totals, now: Millis) -> Flush {
        self.flushed(totals);
        if let Some(flushing) = self.flushing.take_if(|flush| !is_empty(flush)) {
            return self.flushing.insert(flushing).clone();
        }
        let (counts, spent) = (std::mem::take(&mut self.unsaved), std::mem::take(&mut self.spent));
        (self.worth_saving, self.unsaved_since) = (false, None);
        let flush = Flush { shard, number: now.max(totals.flush + 1), counts, day: now / DAY_MS, spent };
        self.flushing.insert(flush).clone()
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
        for (kind, n) in &other.storage.failures {
            *self.storage.failures.entry(*kind).or_default() += n;
        }
        self.storage.bytes = self.storage.bytes.max(other.storage.bytes);
    }
}

fn is_empty(flush: &Flush) -> bool {
    flush.counts.is_empty() && flush.spent == 0
}

impl Relay {
    /// Has what was counted saved in a while.
    pub(super) fn save_soon(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.counters.worth_saving && self.counters.unsaved_since.is_none() {
            self.counters.unsaved_since = Some(now);
            self.save_later(now, out);
        }
    }

    /// When what was counted is to be saved.
    fn save_at(&self) -> Option<Millis> {
        let since = self.counters.unsaved_since?;
        Some((since + SAVE_AFTER).max(self.saved_at.map_or(0, |at| at + SAVE_EVERY)))
    }

    fn save_later(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if let Some(at) = self.save_at() {
            // While something is on its way its answer is waited for.
            let at = if at > now { at } else { now + SAVE_AFTER };
            self.do_at(Due::Counts, at, out);
        }
    }

    /// Saves what was counted, unless a group has taken it along, or counts are on their way.
    pub(super) fn save_now(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let saving = self.saving.is_some_and(|(_, since)| now < since + SAVE_EVERY);
        if saving || self.writer.in_flight.is_some() || self.save_at().is_none_or(|at| now < at) {
            return self.save_later(now, out);
        }
        self.save(now, out);
        // What was counted since an earlier flush that was not answered goes next.
        self.save_later(now, out);
    }

    /// Saves what was counted, if anything was.
    pub(super) fn save(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let flush = self.counters.flush(self.host.shard, self.writer.totals().unwrap_or_default(), now);
        if is_empty(&flush) {
            return;
        }
        let ticket = self.next_ticket();
        (self.saving, self.saved_at) = (Some((ticket, now)), Some(now));
        let news = Some(News(Arc::new(Told::Counted)));
        out.push(Effect::Commit { ticket, statements: counts::save(&flush), news });
    }

    /// Takes the answer to that. What failed is tried again when something is worth it, and goes with the next group.
    pub(super) fn saved(&mut self, result: Result<Rows, StoreError>) {
        match result.and_then(|rows| counts::decode_saved(&rows, self.host.shard)) {
            Ok((totals, counts)) => {
                // The answer to a group that was sent after it may have overtaken it.
                if self.writer.totals().is_none_or(|known| totals.last_seq >= known.last_seq) {
                    self.desk.written(Some(counts), Vec::new());
                    self.writer.counted(totals);
                }
                self.counters.flushed(totals);
            }
            Err(error) => {
                self.counters.storage.failed(Some(&error));
                let again = !matches!(error.kind, ErrorKind::Quota | ErrorKind::Full);
                self.counters.worth_saving |= again;
            }
        }
    }
}
