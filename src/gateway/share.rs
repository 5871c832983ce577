//! How the keys behind one address share its rate. While the network's bucket has no tokens, a key that wants some is
//! served from a share of its own, and all shares together fill at the rate of the network. So who asks for little is
//! served beside those who have emptied the bucket.
//!
//! Each share fills at the whole rate, and what is taken from one counts as often as there are shares. A share is made
//! empty, holds two seconds of the rate, and is forgotten once it owes nothing and nobody has asked for it in a while.

use std::collections::BTreeMap;

use super::Millis;
use super::bucket::MAX_BACKWARDS;
use super::class::{Metered, Rates, milli};
use super::quota::{Holder, Net, PATIENCE};

/// Bytes a share takes.
const SHARE_BYTES: usize = size_of::<(Holder, Share)>() * 8 / 5 + 100;
/// Milliseconds a share is kept after it was asked for.
const KEPT: Millis = 10_000;
/// Milliseconds between two looks for shares that can be forgotten.
const LOOK_EVERY: Millis = 1000;

/// The shares of all networks whose buckets were empty lately.
#[derive(Debug)]
pub(super) struct Shares {
    /// How many there may be, and are at the most.
    max: usize,
    count: usize,
    networks: BTreeMap<Net, BTreeMap<Holder, Share>>,
    /// When shares to be forgotten were looked for.
    looked: Millis,
}

/// What one key may take of its network's rate.
#[derive(Debug)]
struct Share {
    /// The time of the levels.
    at: Millis,
    /// Milli-tokens by metered; below zero is a debt.
    levels: [i64; 4],
}

impl Share {
    /// The level of a metered at a time, at a rate of so many tokens a second.
    fn level(&self, metered: Metered, per_second: u64, now: Millis) -> i64 {
        let gained = milli(now.saturating_sub(self.at).saturating_mul(per_second));
        let mut levels = self.levels;
        metered.level(&mut levels).saturating_add(gained).min(milli(PATIENCE.saturating_mul(per_second)))
    }

    fn refill(&mut self, rates: &Rates, now: Millis) {
        if self.at > now.saturating_add(MAX_BACKWARDS) {
            self.at = now;
        }
        self.levels = Metered::ALL.map(|metered| self.level(metered, rates.of(metered).per_second, now));
        self.at = self.at.max(now);
    }

    fn owes(&self, rates: &Rates, now: Millis) -> bool {
        Metered::ALL.iter().any(|metered| self.level(*metered, rates.of(*metered).per_second, now) < 0)
    }
}

impl Shares {
    /// None yet, and never more than fit so many bytes.
    pub const fn new(max_bytes: usize) -> Self {
        Self { max: max_bytes / SHARE_BYTES, count: 0, networks: BTreeMap::new(), looked: 0 }
    }

    /// Bytes in use.
    pub const fn memory_bytes(&self) -> usize {
        self.count * SHARE_BYTES
    }

    /// Takes `cost` milli-tokens from a key's share if it has them or is full, or will in `patience` ms, and answers in
    /// how many. Otherwise nothing is taken, and the error is the milliseconds until it would have them.
    pub fn charge(
        &mut self,
        (net, key): (Net, Holder),
        rates: &Rates,
        (metered, cost): (Metered, u64),
        patience: Millis,
        now: Millis,
    ) -> Result<Millis, Millis> {
        let Some((share, cost)) = self.share((net, key), rates, cost, now) else {
            return Err(LOOK_EVERY.saturating_add(patience));
        };
        let (rate, level) = (rates.of(metered), metered.level(&mut share.levels));
        let missing = cost.min(milli(PATIENCE.saturating_mul(rate.per_second))).saturating_sub(*level);
        let wait = if missing <= 0 { 0 } else { share.at.saturating_add(rate.time_for(missing)).saturating_sub(now) };
        if wait > patience {
            return Err(wait);
        }
        *level = level.saturating_sub(cost);
        Ok(wait)
    }

    /// Takes `cost` milli-tokens from a key's share, whether it has them or not.
    pub fn debit(&mut self, payer: (Net, Holder), rates: &Rates, (metered, cost): (Metered, u64), now: Millis) {
        let Some((share, cost)) = self.share(payer, rates, cost, now) else { return };
        let level = metered.level(&mut share.levels);
        *level = level.saturating_sub(cost);
    }

    /// A key's share as it is now, and how much of it `cost` takes; nothing when there is no memory for one more.
    fn share(&mut self, (net, key): (Net, Holder), rates: &Rates, cost: u64, now: Millis) -> Option<(&mut Share, i64)> {
        if self.looked.abs_diff(now) >= LOOK_EVERY {
            self.looked = now;
            self.count = 0;
            self.networks.retain(|_, shares| {
                shares.retain(|_, share| now.abs_diff(share.at) < KEPT || share.owes(rates, now));
                self.count += shares.len();
                !shares.is_empty()
            });
        }
        let shares = self.networks.entry(net).or_default();
        let new = !shares.contains_key(&key);
        if new && self.count >= self.max {
            return None;
        }
        self.count += usize::from(new);
        let sharing = shares.len() as u64 + u64::from(new);
        let share = shares.entry(key).or_insert(Share { at: now, levels: [0; 4] });
        share.refill(rates, now);
        Some((share, milli(cost.saturating_mul(sharing))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConnId;
    use super::super::quota::{Account, Quotas};
    use super::*;
    use crate::budget::{Budget, OBJECT_BYTES};
    use crate::nostr::PublicKey;

    const NOW: Millis = 1_700_000_000_000;
    const NET: Net = Net::Unknown(ConnId(1));

    /// Keys of one network at a relay where a network may do what one key may, and each key without end.
    struct World {
        quotas: Quotas,
        plenty: Rates,
        network: Rates,
        now: Millis,
    }

    impl World {
        fn new() -> Self {
            let [plenty, network] = ["1000000/1000000", "20/200"]
                .map(|rate| format!("events {rate} queries {rate} bytes {rate}").parse().unwrap());
            Self { quotas: Quotas::new(&Budget::new(OBJECT_BYTES)), plenty, network, now: NOW }
        }

        /// A charge of so many tokens to a key.
        fn pay(&mut self, key: u32, tokens: u64, patience: Millis) -> Result<Millis, u64> {
            let account = Account { holder: holder(key), rates: &self.plenty, network: Some((NET, &self.network)) };
            self.quotas.charge(&account, Metered::Events, tokens * 1000, patience, self.now).map_err(|too_much| {
                assert!(too_much.for_network);
                too_much.seconds
            })
        }

        /// What so many flooders get in a second and a neighbour, who wants one token, waits for it.
        fn second(&mut self, flooders: u32, patience: Millis) -> (u64, Result<Millis, u64>) {
            let mut taken = 0;
            for _ in 0..40 {
                self.now += 25;
                for key in 0..flooders {
                    taken += u64::from(self.pay(key, 1, patience).is_ok());
                }
            }
            (taken, self.pay(1000, 1, PATIENCE))
        }
    }

    fn holder(key: u32) -> Holder {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&key.to_be_bytes());
        Holder::Key(PublicKey::new(bytes))
    }

    #[test]
    fn a_neighbour_is_served_beside_those_who_have_emptied_the_bucket() {
        for (flooders, patience) in [(1, 0), (1, PATIENCE), (10, PATIENCE), (15, 0), (15, PATIENCE)] {
            let mut world = World::new();
            for key in 0..flooders {
                while world.pay(key, 1, 0).is_ok() {}
            }
            for n in 0..10 {
                let wait = world.second(flooders, patience).1;
                // Of 20 tokens a second each of the keys gets its part.
                let part = 50 * (Millis::from(flooders) + 1);
                assert!(wait.is_ok_and(|wait| wait <= part), "{wait:?} beside {flooders} after {n} s");
            }
        }
    }

    #[test]
    fn keys_together_get_the_rate_of_the_network() {
        for (flooders, patience) in [(1, 0), (1, PATIENCE), (10, 0), (10, PATIENCE), (100, 0), (100, PATIENCE)] {
            let mut world = World::new();
            for _ in 0..30 {
                let _ = world.second(flooders, patience);
            }
            let taken: u64 = (0..50).map(|_| world.second(flooders, patience).0).sum();
            assert!((900..=1000).contains(&taken), "{flooders} flooders got {taken} of 1000");
        }
    }

    #[test]
    fn what_one_key_does_not_take_others_may() {
        let mut world = World::new();
        for key in 0..2 {
            while world.pay(key, 1, 0).is_ok() {}
        }
        world.now += 5000;
        // The share of the other is there, and the bucket has what nobody took meanwhile.
        let taken = (0..1000).filter(|_| world.pay(0, 1, 0).is_ok()).count();
        assert!((115..=125).contains(&taken), "{taken}");
    }

    #[test]
    fn a_cost_above_a_share_is_taken_when_that_is_full_and_is_owed() {
        let mut world = World::new();
        let _ = world.second(10, 0);
        world.now += 2000;
        // Two seconds of a tenth are 4 tokens.
        assert!((0..10).all(|key| world.pay(key, 30, 0).is_ok()));
        for _ in 0..12 {
            assert!((1..10).all(|key| world.pay(key, 1, 0).is_err()), "260 tokens and more are owed");
            world.now += 1000;
        }
        // Neither is it forgotten by not asking, nor is it owed for ever.
        world.now += 3000;
        assert!((1..10).all(|key| world.pay(key, 1, 0).is_ok()));
    }

    #[test]
    fn shares_are_forgotten() {
        let mut world = World::new();
        for key in 0..500 {
            let _ = world.pay(key, 10, PATIENCE);
        }
        assert!(world.quotas.shares().count > 400);
        world.now += 3_600_000;
        for _ in 0..300 {
            let _ = world.pay(1, 1, 0);
        }
        assert_eq!(world.quotas.shares().count, 1);
    }
}
