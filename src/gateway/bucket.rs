//! The token buckets of one holder, one for each metered, and what fills them.
//!
//! One token is 1000 milli-tokens, so a rate of one token a second is one milli-token a millisecond
//! and nothing is ever rounded.

use std::collections::BTreeMap;

use super::Millis;
use super::class::{Metered, Rate, Rates, milli};

/// Milliseconds the clock may go back and have nothing refilled until it has caught up. When it goes
/// back further it was wrong before, and refilling goes on from the new time.
pub(super) const MAX_BACKWARDS: Millis = 3_600_000;

/// The buckets of one holder.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The time of the levels.
    pub at: Millis,
    /// When all will be full, by the rates of their last use.
    pub full_at: Millis,
    /// When it was last reported that they should be saved, and the levels then.
    pub reported: Option<(Millis, [i64; 4])>,
    /// Milli-tokens by metered; below zero is a debt.
    pub levels: [i64; 4],
}

impl Buckets {
    /// Buckets that the next refill cuts down to full ones.
    pub const fn new(now: Millis) -> Self {
        Self { at: now, full_at: now, reported: None, levels: [i64::MAX; 4] }
    }

    /// The level of a metered.
    pub const fn level(&mut self, metered: Metered) -> &mut i64 {
        metered.level(&mut self.levels)
    }

    /// Brings the levels to `now`, or leaves them at a later time that was seen before.
    pub fn refill(&mut self, rates: &Rates, now: Millis) {
        if self.at > now.saturating_add(MAX_BACKWARDS) {
            self.at = now;
        }
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.full_at = self.at;
        for (level, rate) in self.levels.iter_mut().zip(rates.by_metered()) {
            let gained = milli(elapsed.saturating_mul(rate.per_second));
            *level = level.saturating_add(gained).clamp(rate.lowest(), rate.full());
            let wait = rate.time_for(rate.full().saturating_sub(*level));
            self.full_at = self.full_at.max(self.at.saturating_add(wait));
        }
    }

    /// Milliseconds from `now` until a bucket that has been refilled has `cost` milli-tokens, or is full.
    pub fn wait(&mut self, rate: Rate, metered: Metered, cost: u64, now: Millis) -> Millis {
        let missing = milli(cost).min(rate.full()).saturating_sub(*self.level(metered));
        if missing <= 0 { 0 } else { self.at.saturating_add(rate.time_for(missing)).saturating_sub(now) }
    }

    /// Takes `cost` milli-tokens from a bucket that has been refilled.
    pub fn take(&mut self, rate: Rate, metered: Metered, cost: u64) {
        let level = self.level(metered);
        *level = level.saturating_sub(milli(cost)).max(rate.lowest());
        let wait = rate.time_for(rate.full().saturating_sub(*level));
        self.full_at = self.full_at.max(self.at.saturating_add(wait));
    }

    /// Reads back what [`Quotas::saved`](super::quota::Quotas::saved) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (times, levels) = text.split_once(';')?;
        let (at, full_in) = times.split_once(',')?;
        let (at, full_in): (Millis, Millis) = (at.parse().ok()?, full_in.parse().ok()?);
        let levels: Vec<i64> = levels.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let levels = levels.try_into().ok()?;
        (full_in > 0).then_some(Self { at, full_at: at.saturating_add(full_in), reported: None, levels })
    }

    /// Keeps the lower levels of two that may both hold. The rates are not known here: what the older
    /// one has gained since is lost, unless it was full by the time of the newer and says nothing.
    pub fn merge(&mut self, other: Self) {
        if other.full_at <= self.at {
            return;
        }
        if self.full_at <= other.at {
            self.levels = other.levels;
        }
        for (level, other) in self.levels.iter_mut().zip(other.levels) {
            *level = other.min(*level);
        }
        self.at = self.at.max(other.at);
        self.full_at = self.full_at.max(other.full_at);
    }
}

/// Forgets the buckets that are full by `now`, as nobody need know them, and of more than `most` those that are full
/// soonest.
pub(super) fn forget_full<K: Ord, B>(buckets: &mut BTreeMap<K, B>, most: usize, now: u64, full_at: impl Fn(&B) -> u64) {
    buckets.retain(|_, bucket| full_at(bucket) > now);
    let mut excess = buckets.len().saturating_sub(most);
    if excess > 0 {
        let mut times: Vec<u64> = buckets.values().map(&full_at).collect();
        times.sort_unstable();
        let last = times.get(excess - 1).copied().unwrap_or_default();
        buckets.retain(|_, bucket| {
            let goes = excess > 0 && full_at(bucket) <= last;
            excess -= usize::from(goes);
            !goes
        });
    }
}
