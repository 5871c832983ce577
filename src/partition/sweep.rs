//! Removing what may no longer be kept: on the alarm and after a request to vanish, one bounded step
//! after the other, between the groups of events and never instead of them.

use super::{Partition, Purpose};
use crate::log::Level;
use crate::seam::{Effect, Millis};
use crate::store::sweep::{self, Sweep};
use crate::store::{Rows, StoreError};

/// Milliseconds between an event's expiry and its removal, at the most; it is not served meanwhile.
const LATENESS: Millis = 3_600_000;
/// Milliseconds after which a sweep that failed, or was lost with the memory, is tried again.
const RETRY: Millis = 60_000;

impl Partition {
    /// Begins to sweep, unless it is being done.
    pub(super) fn sweep(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.sweeping {
            return;
        }
        self.sweeping = true;
        self.query(Purpose::Sweep, sweep::find(now / 1000, &self.settings.kept), now, out);
    }

    pub(super) fn sweep_found(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        match result.and_then(|rows| sweep::decode(&rows)) {
            Ok(found) if found.is_empty() => self.swept(found.next_expiry, now, out),
            Ok(found) => {
                self.wake_at(now + RETRY, out);
                self.log(Level::Info, "sweeping", &[("events", found.seqs.len().to_string())], out);
                self.log.removal = Some(found);
                self.go_on(now, out);
            }
            Err(_) => {
                self.sweeping = false;
                self.wake_at(now + RETRY, out);
            }
        }
    }

    /// A step was done; the next one may follow.
    pub(super) fn removed(&mut self, found: &Sweep, now: Millis, out: &mut Vec<Effect>) {
        self.sweeping = false;
        if found.more {
            self.sweep(now, out);
        } else {
            self.swept(found.next_expiry, now, out);
        }
    }

    /// A step was not done: the alarm tries again.
    pub(super) fn removal_failed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.sweeping = false;
        self.wake_at(now + RETRY, out);
    }

    fn swept(&mut self, next_expiry: Option<u64>, now: Millis, out: &mut Vec<Effect>) {
        self.sweeping = false;
        if let Some(second) = next_expiry {
            self.will_expire(second, now, out);
        }
    }

    /// A key vanishes: what is lost with the memory is found again by the alarm.
    pub(super) fn will_vanish(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.wake_at(now + RETRY, out);
        self.sweep(now, out);
    }

    /// Something that is stored will expire in `second`.
    pub(super) fn will_expire(&mut self, second: u64, now: Millis, out: &mut Vec<Effect>) {
        self.wake_at(second.saturating_mul(1000).max(now + LATENESS), out);
    }

    /// Something may have been stored that is to be removed, now or later: the alarm finds out.
    pub(super) fn may_have_to_sweep(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.wake_at(now + RETRY, out);
    }

    /// What the store says of [`sweep::due`] after memory was lost, none when it fails: what landed meanwhile has to
    /// be removed one day, too.
    pub(super) fn due_found(&mut self, rows: Option<&[String]>, now: Millis, out: &mut Vec<Effect>) {
        match rows.map(sweep::decode_due) {
            Some(None) => {}
            Some(Some(0)) => self.may_have_to_sweep(now, out),
            Some(Some(second)) => self.will_expire(second, now, out),
            None => self.wake_at(now + LATENESS, out),
        }
    }

    /// The alarm has come.
    pub fn alarmed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.alarm = None;
        if self.log.removal.is_some() {
            // It waits for a store that failed.
            self.wake_at(now + RETRY, out);
            return self.go_on(now, out);
        }
        self.sweep(now, out);
    }

    fn wake_at(&mut self, at: Millis, out: &mut Vec<Effect>) {
        if self.alarm.is_none_or(|alarm| at < alarm) {
            self.alarm = Some(at);
            out.push(Effect::WakeAt { at });
        }
    }
}
