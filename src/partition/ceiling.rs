//! The ceiling: how many rows the relay may write in a day, who may take the last of them, and how large the database
//! may become. An operator who sets it knows his bill.
//!
//! The allowance of a day (UTC, as D1 reckons) is let out by the hour, and what an hour leaves the next ones have. An
//! event takes what it will cost, its removal included, when it is taken. Never touches the store or what a key may do
//! in a second, which is its gateway's.

use std::collections::BTreeMap;

use super::Partition;
use crate::budget::{Budget, Share};
use crate::calendar::DAY_MS;
use crate::message::{Allowance, Publish};
use crate::nostr::{Reason, kind, refusal};
use crate::seam::{Millis, Network};
use crate::store::cost;

/// Milliseconds.
const HOUR_MS: Millis = 3_600_000;
const HOURS: u64 = 24;
/// Hundredths of what is let out that everybody may take, and keys that have dealt; the rest is for deletion requests
/// and requests to vanish, which bind the relay (NIP-62).
const EVERYBODY: u64 = 80;
const DEALT: u64 = 90;
/// One network takes at most such a part of an hour's allowance.
const NETWORK_PART: u64 = 10;
/// Bytes that a network takes. Of more than there is memory for, those that have taken least are forgotten.
const NETWORK_BYTES: usize = 130;

/// What networks have taken in an hour.
#[derive(Debug)]
pub(super) struct NetworkRows {
    /// Networks known at the most.
    max: usize,
    /// Hours since 1970.
    hour: u64,
    rows: BTreeMap<Network, u64>,
}

impl NetworkRows {
    /// Nothing yet, in a quarter of its share.
    pub fn new(budget: &Budget) -> Self {
        Self { max: budget.max(Share::Quotas) / 4 / NETWORK_BYTES, hour: 0, rows: BTreeMap::new() }
    }

    /// Bytes in use.
    pub fn memory_bytes(&self) -> usize {
        self.rows.len() * NETWORK_BYTES
    }

    fn taken(&self, hour: u64, network: Network) -> u64 {
        if self.hour == hour { self.rows.get(&network).copied().unwrap_or_default() } else { 0 }
    }

    fn take(&mut self, hour: u64, network: Network, rows: u64) {
        if self.hour != hour {
            (self.hour, self.rows) = (hour, BTreeMap::new());
        }
        if let Some(taken) = self.rows.get_mut(&network) {
            *taken += rows;
            return;
        }
        if self.rows.len() >= self.max {
            let mut taken: Vec<u64> = self.rows.values().copied().collect();
            taken.sort_unstable();
            let middle = taken.get(taken.len() / 2).copied().unwrap_or_default();
            self.rows.retain(|_, taken| *taken > middle);
        }
        self.rows.insert(network, rows);
    }
}

impl Partition {
    /// Whether the rows of an event may be taken, and how many they are.
    pub(super) fn afford(&self, publish: &Publish, now: Millis) -> Result<u64, Reason> {
        let rows = cost::rows(&publish.new, &self.settings.kept);
        let deletes = matches!(publish.new.event.kind, kind::DELETION | kind::VANISH);
        let part = match publish.allowance {
            Allowance::Listed => return Ok(rows),
            _ if deletes => 100,
            Allowance::Dealt => DEALT,
            Allowance::Everybody => EVERYBODY,
        };
        if let (Some(max), Some(bytes), false) =
            (self.settings.max_database_bytes, self.counters.storage.bytes, deletes)
            && bytes >= max
        {
            return Err(refusal::database_limit(max));
        }
        self.within_hour(publish.network, rows, part, now).map(|()| rows)
    }

    /// Whether rows are left of this hour, for a network and for who may have so many hundredths of what is let out.
    fn within_hour(&self, network: Option<Network>, rows: u64, part: u64, now: Millis) -> Result<(), Reason> {
        let Some(day) = self.settings.rows_per_day else { return Ok(()) };
        let (hour, seconds) = (now / HOUR_MS, (HOUR_MS - now % HOUR_MS).div_ceil(1000));
        if network.is_some_and(|it| self.network_rows.taken(hour, it) + rows > day / HOURS / NETWORK_PART) {
            return Err(refusal::hour_taken_by_network(seconds));
        }
        let let_out = day.saturating_mul(hour % HOURS + 1) / HOURS;
        if self.spent_today() + rows > let_out.saturating_mul(part) / 100 {
            return Err(refusal::hour_taken(seconds));
        }
        Ok(())
    }

    /// Takes rows of what nobody is told of, if everybody may have as many.
    pub(super) fn spend_unasked(&mut self, network: Option<Network>, rows: u64) -> bool {
        let may = self.within_hour(network, rows, EVERYBODY, self.now).is_ok();
        if may {
            self.spend(network, rows);
        }
        may
    }

    /// Takes rows that could be afforded.
    pub(super) fn spend(&mut self, network: Option<Network>, rows: u64) {
        self.counters.spend(rows);
        if let Some(network) = network.filter(|_| self.settings.rows_per_day.is_some()) {
            self.network_rows.take(self.now / HOUR_MS, network, rows);
        }
    }

    /// Rows taken from today's allowance.
    pub(super) fn spent_today(&self) -> u64 {
        self.counters.spent(self.now / DAY_MS, self.log.totals().unwrap_or_default())
    }
}
