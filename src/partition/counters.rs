//! What is counted and must survive: it is handed to the store with the next group, or by itself when none comes, and
//! added to the totals row exactly once.

use std::collections::BTreeMap;

use super::Partition;
use crate::calendar::{DAY_MS, month};
use crate::message::{PartitionGauges, Storage, metered_keys};
use crate::seam::{Effect, Millis};
use crate::store::counts::{Flush, Totals};
use crate::store::{Answer, Bill};

/// Milliseconds after which what was counted is saved by itself, when no group takes it along.
const SAVE_AFTER: Millis = 5_000;
/// Milliseconds between two such saves at the least.
const SAVE_EVERY: Millis = 60_000;

/// Counters in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
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

impl Counters {
    /// The gateway has counted something.
    pub fn counted(&mut self, counts: BTreeMap<String, u64>) {
        counts.into_iter().for_each(|(key, n)| self.count(key, n));
        self.worth_saving = true;
    }

    /// The database has metered rows, and may have told its size. What is the relay's `own` is not worth to be saved
    /// by itself.
    pub fn metered(&mut self, answer: &Answer, own: bool, now: Millis) {
        self.worth_saving |= !own && answer.bill != Bill::default();
        let [read, written] = metered_keys(month(now));
        self.count(read, answer.bill.read);
        self.count(written, answer.bill.written);
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

    /// Rows taken from the allowance of `day` (since 1970, UTC), as far as `totals` and this partition know.
    pub fn spent(&self, day: u64, totals: Totals) -> u64 {
        let saved = if totals.day == day { totals.spent } else { 0 };
        let flushing = self.flushing.iter().filter(|flush| flush.number > totals.flush && flush.day == day);
        saved + flushing.map(|flush| flush.spent).sum::<u64>() + self.spent
    }

    /// What to add to the totals at `now`. Until it is known to have been added it is the same again.
    pub fn flush(&mut self, totals: Totals, now: Millis) -> Flush {
        self.flushed(totals);
        if let Some(flushing) = self.flushing.take_if(|flush| !is_empty(flush)) {
            return self.flushing.insert(flushing).clone();
        }
        let (counts, spent) = (std::mem::take(&mut self.unsaved), std::mem::take(&mut self.spent));
        (self.worth_saving, self.unsaved_since) = (false, None);
        let flush = Flush { number: now.max(totals.flush + 1), counts, day: now / DAY_MS, spent };
        self.flushing.insert(flush).clone()
    }

    /// The totals say what has been added.
    pub fn flushed(&mut self, totals: Totals) {
        self.flushing.take_if(|flush| flush.number <= totals.flush);
    }

    /// Whether all was handed over and is known to be saved.
    fn is_saved(&self) -> bool {
        self.unsaved.is_empty() && self.spent == 0 && self.flushing.as_ref().is_none_or(is_empty)
    }

    /// What is known beside the database.
    pub fn gauges(&self) -> PartitionGauges {
        PartitionGauges {
            storage: self.storage.clone(),
            unsaved: self.unsaved.clone(),
            flushing: self.flushing.as_ref().map(|flush| (flush.number, flush.counts.clone())),
            ..PartitionGauges::default()
        }
    }
}

/// Whether there is nothing to add.
fn is_empty(flush: &Flush) -> bool {
    flush.counts.is_empty() && flush.spent == 0
}

impl Partition {
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
            self.save_due = Some(self.save_due.map_or(at, |due| due.min(at)));
            out.push(Effect::TimerAt { at });
        }
    }

    /// Saves what was counted, unless a group has taken it along.
    pub(super) fn save_now(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.log.is_on_its_way() || self.save_at().is_none_or(|at| now < at) {
            return self.save_later(now, out);
        }
        self.save(now, out);
        // What was counted since an earlier flush that was not answered goes next.
        self.save_later(now, out);
    }

    /// Saves what was counted, if anything was.
    pub(super) fn save(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.counters.is_saved() {
            return;
        }
        self.saved_at = Some(now);
        self.log.saves = true;
        self.go_on(now, out);
    }
}
