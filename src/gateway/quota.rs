//! Quotas: token buckets that say how much a holder may do, and when it may do more.
//!
//! Owns the levels of every holder's buckets and the text they are saved as. Never reads a clock,
//! does IO, decides who is of which class or what a message costs, or knows more holders than there is
//! memory for. A bucket that is full again need not be known: an unknown holder's are full.
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::bucket::{Buckets, forget_full};
use super::class::{Metered, Rate, Rates};
use super::share::Shares;
use super::{ConnId, Millis};
use crate::budget::{Budget, Share};
use crate::nostr::PublicKey;

/// Bytes a holder takes.
const HOLDER_BYTES: usize = size_of::<(Holder, Buckets)>() * 8 / 5;
/// Holders below which nobody looks for those that can be forgotten.
const FEW_HOLDERS: usize = 1024;
/// Milliseconds a proven key's message waits at the most for a bucket to have its cost.
pub(super) const PATIENCE: Millis = 2000;
/// Milliseconds between two reports that a holder should be saved.
const REPORT_EVERY: Millis = 1000;
/// Where connections come from, as quotas know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Net {
    /// What [`network`](super::network) makes of an address.
    Address(IpAddr),
    /// A connection whose address nobody knows is a network of its own.
    Unknown(ConnId),
}

/// Who has a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// All connections of a network that have proven no key.
    Guests(Net),
    /// A proven key: all its connections together.
    Key(PublicKey),
    /// All keys of a network together.
    Network(Net),
}

/// Who pays, and at which rates.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Who pays.
    pub holder: Holder,
    /// The holder's.
    pub rates: &'a Rates,
    /// The network that pays the same once more, if one does, and its rates.
    pub network: Option<(Net, &'a Rates)>,
}

/// Why a cost is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// Seconds after which it would be.
    pub seconds: u64,
    /// Whether it is too much for the network, and not for the holder.
    pub for_network: bool,
}

/// The buckets of all holders.
#[derive(Debug)]
pub struct Quotas {
    /// Holders known at the most.
    max: usize,
    holders: BTreeMap<Holder, Buckets>,
    shares: Shares,
    /// How many holders there may be before those that are full are looked for.
    purge_at: usize,
}

impl Quotas {
    /// Quotas of nobody yet. Holders take half of the share, and a quarter what keys take of their network's rate.
    pub(super) fn new(budget: &Budget) -> Self {
        let bytes = budget.max(Share::Quotas);
        let shares = Shares::new(bytes / 4);
        Self { max: bytes / 2 / HOLDER_BYTES, holders: BTreeMap::new(), shares, purge_at: 0 }
    }

    /// Bytes in use.
    pub(super) fn memory_bytes(&self) -> usize {
        self.holders.len() * HOLDER_BYTES + self.shares.memory_bytes()
    }

    /// Takes `cost` milli-tokens if the bucket has them or is full, or will in `patience` ms, and answers in how
    /// many. So a bucket can owe what it gains in that time, and more by a cost above the burst. Otherwise nothing is
    /// taken.
    pub fn charge(
        &mut self,
        account: &Account<'_>,
        metered: Metered,
        cost: u64,
        patience: Millis,
        now: Millis,
    ) -> Result<Millis, TooMuch> {
        let too_much = |wait: Millis, for_network| TooMuch { seconds: wait.div_ceil(1000), for_network };
        let rate = account.rates.of(metered);
        let own = self.refilled(account.holder, account.rates, now);
        let (before, wait) = (*own.level(metered), own.wait(rate, metered, cost, now));
        if wait > patience {
            return Err(too_much(wait, false));
        }
        own.take(rate, metered, cost);
        match self.charge_network(account, metered, cost, patience, now) {
            Ok(more) => Ok(wait.max(more)),
            Err(wait) => {
                *self.refilled(account.holder, account.rates, now).level(metered) = before;
                Err(too_much(wait, true))
            }
        }
    }

    /// The same of the network's bucket: what it has not, the holder's share of it may have.
    fn charge_network(
        &mut self,
        account: &Account<'_>,
        metered: Metered,
        cost: u64,
        patience: Millis,
        now: Millis,
    ) -> Result<Millis, Millis> {
        let Some((net, rates)) = account.network else { return Ok(0) };
        let buckets = self.refilled(Holder::Network(net), rates, now);
        if buckets.wait(rates.of(metered), metered, cost, now) == 0 {
            buckets.take(rates.of(metered), metered, cost);
            return Ok(0);
        }
        let wait = self.shares.charge((net, account.holder), rates, (metered, cost), patience, now)?;
        self.refilled(Holder::Network(net), rates, now).take(rates.of(metered), metered, cost);
        Ok(wait)
    }

    /// Takes `cost` milli-tokens, whether the buckets have them or not, down to [`Rate::lowest`].
    pub fn debit(&mut self, account: &Account<'_>, metered: Metered, cost: u64, now: Millis) {
        self.refilled(account.holder, account.rates, now).take(account.rates.of(metered), metered, cost);
        if let Some((net, rates)) = account.network {
            let buckets = self.refilled(Holder::Network(net), rates, now);
            buckets.take(rates.of(metered), metered, cost);
            if *buckets.level(metered) < 0 {
                self.shares.debit((net, account.holder), rates, (metered, cost), now);
            }
        }
    }

    /// Whether a bucket is below half its burst, so that the holder is worth saving. Says so once a
    /// second, and whenever another eighth of a burst is gone.
    pub fn needs_saving(&mut self, holder: &Holder, rates: &Rates, now: Millis) -> bool {
        let Some(buckets) = self.holders.get_mut(holder) else { return false };
        buckets.refill(rates, now);
        let much = |at: Millis, levels: [i64; 4]| {
            let fallen = |((level, before), rate): ((&i64, i64), Rate)| before.saturating_sub(*level) > rate.full() / 8;
            now.abs_diff(at) >= REPORT_EVERY || buckets.levels.iter().zip(levels).zip(rates.by_metered()).any(fallen)
        };
        if !buckets.reported.is_none_or(|(at, levels)| much(at, levels)) {
            return false;
        }
        let low = buckets.levels.iter().zip(rates.by_metered()).any(|(level, rate)| *level < rate.full() / 2);
        if low {
            buckets.reported = Some((now, buckets.levels));
        }
        low
    }

    /// The holder's buckets as text that [`restore`](Self::restore) reads: the time of the levels in
    /// Unix milliseconds, milliseconds from then until all are full, and the levels in milli-tokens, as
    /// in "1700000000000,5000;100000,200000,200000,4194304000". `None` if they are full by now.
    pub fn saved(&self, holder: &Holder, now: Millis) -> Option<String> {
        let Buckets { at, full_at, levels: [events, answers, queries, bytes], .. } =
            self.holders.get(holder).filter(|buckets| buckets.full_at > now.max(buckets.at))?;
        Some(format!("{at},{};{events},{answers},{queries},{bytes}", full_at.saturating_sub(*at)))
    }

    /// Takes up what [`saved`](Self::saved) wrote, and ignores anything else. Never raises a level.
    pub fn restore(&mut self, holder: Holder, text: &str) {
        let Some(restored) = Buckets::parse(text) else { return };
        if let Some(buckets) = self.holders.get_mut(&holder) {
            return buckets.merge(restored);
        }
        // The time is not known here, so nobody is taken for full.
        self.make_room(0);
        self.holders.insert(holder, restored);
    }

    fn refilled(&mut self, holder: Holder, rates: &Rates, now: Millis) -> &mut Buckets {
        if self.holders.len() >= self.purge_at {
            self.make_room(now);
        }
        let buckets = self.holders.entry(holder).or_insert_with(|| Buckets::new(now));
        buckets.refill(rates, now);
        buckets
    }

    #[cfg(test)]
    pub(super) const fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Before one more holder: when they have doubled in number, forgets those that are full, and if
    /// that leaves too many, those that will be full soonest.
    fn make_room(&mut self, now: Millis) {
        if self.holders.len() < self.purge_at {
            return;
        }
        forget_full(&mut self.holders, self.max / 4 * 3, now, |buckets| buckets.full_at);
        self.purge_at = self.holders.len().saturating_mul(2).clamp(FEW_HOLDERS, self.max.max(FEW_HOLDERS));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::budget::OBJECT_BYTES;

    const NOW: Millis = 1_700_000_000_000;
    const LANES: [Metered; 4] = [Metered::Events, Metered::Answers, Metered::Queries, Metered::Bytes];

    fn none() -> Quotas {
        Quotas::new(&Budget::new(OBJECT_BYTES))
    }

    fn rates() -> Rates {
        static RATES: LazyLock<Rates> =
            LazyLock::new(|| "events 20/200 queries 7/10 bytes 262144/4194304".parse().unwrap());
        *RATES
    }

    fn key(n: u32) -> Holder {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Holder::Key(PublicKey::new(bytes))
    }

    /// Without patience, of somebody whose network does not pay.
    fn charge(quotas: &mut Quotas, holder: Holder, metered: Metered, cost: u64, now: Millis) -> Result<(), u64> {
        let account = Account { holder, rates: &rates(), network: None };
        quotas
            .charge(&account, metered, cost, 0, now)
            .map(|wait| assert_eq!(wait, 0))
            .map_err(|too_much| too_much.seconds)
    }

    fn debit(quotas: &mut Quotas, holder: Holder, metered: Metered, cost: u64, now: Millis) {
        quotas.debit(&Account { holder, rates: &rates(), network: None }, metered, cost, now);
    }

    /// How many charges of `cost` succeed at `now`, in one metered of the first holder.
    fn drain(quotas: &mut Quotas, metered: Metered, cost: u64, now: Millis) -> usize {
        (0..).take_while(|_| charge(quotas, key(0), metered, cost, now).is_ok()).count()
    }

    fn next(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn a_burst_and_then_the_rate_to_the_token() {
        let mut quotas = none();
        assert_eq!(drain(&mut quotas, Metered::Events, 1000, NOW), 200);
        let taken: usize = (1..=100_000).map(|ms| drain(&mut quotas, Metered::Events, 1000, NOW + ms)).sum();
        assert_eq!(taken, 100 * 20);
        assert_eq!(drain(&mut quotas, Metered::Events, 1000, NOW + 110_000), 200);
        assert_eq!(
            drain(&mut quotas, Metered::Events, 1000, NOW + 999_999_999),
            200,
            "no more than the burst is saved up"
        );
        assert_eq!(
            drain(&mut quotas, Metered::Events, 100, NOW + 1_000_000_000),
            0,
            "20 of 100 milli-tokens are there"
        );
        assert_eq!(
            drain(&mut quotas, Metered::Events, 100, NOW + 1_000_000_999),
            200,
            "tenths, and the 20 were not lost"
        );
    }

    #[test]
    fn the_seconds_to_wait_are_true() {
        let mut seed = 42;
        for _ in 0..2000 {
            let mut quotas = none();
            let (metered, used) = (LANES[next(&mut seed) as usize % 4], next(&mut seed) % 100_000_000);
            let cost = 1 + next(&mut seed) % 6_000_000;
            debit(&mut quotas, key(0), metered, used, NOW);
            let now = NOW + next(&mut seed) % 4000 - 2000;
            if let Err(seconds) = charge(&mut quotas, key(0), metered, cost, now) {
                let before = now + (seconds - 1) * 1000;
                assert!(charge(&mut quotas, key(0), metered, cost, before).is_err());
                assert_eq!(charge(&mut quotas, key(0), metered, cost, before + 1000), Ok(()));
            }
        }
    }

    #[test]
    fn debts_are_made_bounded_and_paid() {
        let mut quotas = none();
        assert_eq!(charge(&mut quotas, key(0), Metered::Queries, 24_000, NOW), Ok(()), "2.4 bursts from a full bucket");
        assert_eq!(charge(&mut quotas, key(0), Metered::Queries, 0, NOW), Err(2), "14 tokens are owed");
        assert_eq!(charge(&mut quotas, key(0), Metered::Queries, u64::MAX, NOW), Err(4), "full again after 24 tokens");
        assert_eq!(charge(&mut quotas, key(0), Metered::Queries, 0, NOW + 2000), Ok(()), "refusals cost nothing");
        debit(&mut quotas, key(1), Metered::Queries, u64::MAX, NOW);
        assert_eq!(charge(&mut quotas, key(1), Metered::Queries, 0, NOW), Err(15), "10 bursts of 10 at 7 a second");
    }

    #[test]
    fn lanes_and_holders_are_apart() {
        let mut quotas = none();
        debit(&mut quotas, key(0), Metered::Events, 900_000, NOW);
        assert_eq!(drain(&mut quotas, Metered::Events, 1000, NOW), 0);
        assert_eq!(drain(&mut quotas, Metered::Answers, 1000, NOW), 200);
        assert_eq!(drain(&mut quotas, Metered::Queries, 1000, NOW), 10);
        assert_eq!(drain(&mut quotas, Metered::Bytes, 1_000_000, NOW), 4194);
        let net = Net::Unknown(ConnId(0));
        for network in [Holder::Guests(net), Holder::Network(net)] {
            assert_eq!(charge(&mut quotas, network, Metered::Events, 200_000, NOW), Ok(()));
        }
    }

    #[test]
    fn what_is_saved_is_restored_and_never_raises_a_level() {
        let mut quotas = none();
        assert_eq!(quotas.saved(&key(0), NOW), None);
        assert_eq!(drain(&mut quotas, Metered::Events, 1000, NOW), 200);
        let empty = quotas.saved(&key(0), NOW).unwrap();
        assert_eq!(empty, format!("{NOW},10000;0,200000,10000,4194304000"));
        let mut woken = none();
        woken.restore(key(0), &empty);
        assert_eq!(woken.saved(&key(0), NOW + 9999), Some(empty.clone()));
        assert_eq!(woken.saved(&key(0), NOW + 10_000), None, "full by then");
        assert_eq!(drain(&mut woken, Metered::Events, 1000, NOW + 500), 10);

        // Another connection's text: older, newer, outdated, or nonsense.
        woken.restore(key(0), &format!("{},9000;20000,5000,10000,4194304000", NOW + 1000));
        assert_eq!(drain(&mut woken, Metered::Events, 1000, NOW + 1000), 0);
        assert_eq!(drain(&mut woken, Metered::Answers, 1000, NOW + 1000), 5);
        assert_eq!(drain(&mut woken, Metered::Events, 1000, NOW + 9000), 160);
        woken.restore(key(0), &format!("{},50000;-100000,0,0,0", NOW));
        assert_eq!(drain(&mut woken, Metered::Events, 0, NOW + 13_999), 0, "owes 100 at the time of the newer");
        assert!(charge(&mut woken, key(0), Metered::Events, 0, NOW + 14_000).is_ok());
        woken.restore(key(0), &empty);
        assert_eq!(drain(&mut woken, Metered::Answers, 1000, NOW + 14_000), 100, "5 seconds, as before");
        let before = woken.saved(&key(0), NOW + 14_000);
        for text in
            ["", ";", "1,2", "1,2;3,4,5", "1,2;3,4,5,6,7", "1,0;3,4,5,6", "x,2;3,4,5,6", "1,2;3,4,5,\u{e9}", "1;2;3"]
        {
            woken.restore(key(0), text);
            woken.restore(key(1), text);
        }
        assert_eq!((woken.saved(&key(0), NOW + 14_000), woken.holders.len()), (before, 1));
    }

    #[test]
    fn extreme_numbers_do_no_harm() {
        let (max, min, net) = (u64::MAX, i64::MIN, Net::Unknown(ConnId(0)));
        for (at, rate) in [(0, Rate { per_second: 0, burst: 0 }), (max, Rate { per_second: max, burst: max })] {
            let (mut quotas, rates) = (none(), Rates { events: rate, queries: rate, bytes: rate });
            quotas.restore(key(0), &format!("{at},{max};{min},{},0,-1", i64::MAX));
            quotas.restore(key(0), &format!("{max},1;{min},{min},{min},{min}"));
            for (metered, now) in LANES.into_iter().zip([0, max, 0, NOW]) {
                let account = Account { holder: key(0), rates: &rates, network: Some((net, &rates)) };
                for patience in [0, PATIENCE, max] {
                    let _ = quotas.charge(&account, metered, max, patience, now);
                    quotas.debit(&account, metered, max, now);
                }
                let _ = (quotas.needs_saving(&key(0), &rates, now), quotas.saved(&key(0), now));
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut quotas = none();
        assert_eq!(drain(&mut quotas, Metered::Events, 1000, NOW), 200);
        for now in [NOW - 1000, NOW, NOW - 3_000_000, NOW - 1, NOW] {
            assert_eq!(drain(&mut quotas, Metered::Events, 1, now), 0);
        }
        assert_eq!(charge(&mut quotas, key(0), Metered::Events, 20_000, NOW - 5000), Err(6), "5 to catch up");
        // The clock was hours ahead and is set right.
        assert_eq!(drain(&mut quotas, Metered::Events, 1, NOW - 9_000_000), 0);
        assert_eq!(drain(&mut quotas, Metered::Events, 1000, NOW - 9_000_000 + 1000), 20);
    }

    #[test]
    fn a_low_holder_is_reported_once_a_second() {
        let (mut quotas, rates) = (none(), rates());
        assert!(!quotas.needs_saving(&key(0), &rates, NOW));
        debit(&mut quotas, key(0), Metered::Answers, 100_000, NOW);
        assert!(!quotas.needs_saving(&key(0), &rates, NOW), "half is left");
        debit(&mut quotas, key(0), Metered::Answers, 100_000, NOW);
        let told = [0, 1, 999, 1000, 1999, 2000].map(|ms| quotas.needs_saving(&key(0), &rates, NOW + ms));
        assert_eq!(told, [true, false, false, true, false, true]);
        assert!(!quotas.needs_saving(&key(0), &rates, NOW + 5000), "half is back");
    }

    #[test]
    fn memory_is_bounded_and_the_full_are_forgotten() {
        let mut quotas = none();
        for n in 0..50_000 {
            // Full again after 100 ms, one of them each millisecond.
            debit(&mut quotas, key(n), Metered::Events, 2000, NOW + Millis::from(n));
            assert!(quotas.holders.len() <= FEW_HOLDERS);
        }
        for n in 0..250_000 {
            let cost = if n % 100 == 0 { 100_000 } else { 2000 };
            debit(&mut quotas, key(n), Metered::Events, cost, NOW + 50_000);
            if n % 2 == 0 {
                quotas.restore(key(n + 1_000_000), &format!("{NOW},50001;0,0,0,0"));
            }
            assert!(quotas.holders.len() <= quotas.max);
        }
        let indebted = (0..250_000).step_by(100).filter(|n| quotas.holders.contains_key(&key(*n))).count();
        assert_eq!(indebted, 2500, "those that need it longest are kept");
        assert!(quotas.memory_bytes() <= Share::Quotas.of(OBJECT_BYTES));
    }

    #[test]
    fn who_is_patient_waits_as_long_as_it_takes_and_no_longer() {
        let (mut quotas, rates) = (none(), rates());
        let account = Account { holder: key(0), rates: &rates, network: None };
        let waits: Vec<Millis> =
            (0..).map_while(|_| quotas.charge(&account, Metered::Events, 1000, PATIENCE, NOW).ok()).collect();
        let expected: Vec<Millis> = (0..240).map(|n: Millis| n.saturating_sub(199) * 50).collect();
        assert_eq!(waits, expected);
        let refused = TooMuch { seconds: 3, for_network: false };
        assert_eq!(quotas.charge(&account, Metered::Events, 1000, PATIENCE, NOW), Err(refused));
        // No faster than the rate, however long it goes on.
        let taken = |ms| {
            (0..).take_while(|_| quotas.charge(&account, Metered::Events, 1000, PATIENCE, NOW + ms).is_ok()).count()
        };
        assert_eq!((1..=10_000).map(taken).sum::<usize>(), 200);
        // A bucket that is smaller than what is waited for.
        let small = "events 1000/1 queries 1/1 bytes 1/1".parse().unwrap();
        let account = Account { holder: key(1), rates: &small, network: None };
        let taken = (0..5000).filter(|_| quotas.charge(&account, Metered::Events, 1000, PATIENCE, NOW).is_ok()).count();
        assert_eq!(taken, 2001);
    }

    /// The model gains each millisecond on its own and forgets nothing.
    #[test]
    fn any_run_agrees_with_a_dumb_model() {
        for run in 1..=20_u64 {
            let (mut seed, rates, mut now) = (run * 0x9e37_79b9, rates(), NOW);
            let full = rates.by_metered().map(Rate::full);
            let (mut quotas, mut model) = (none(), [full; 5]);
            for _ in 0..3000 {
                for _ in 0..next(&mut seed) % 20 * (next(&mut seed) % 20) {
                    now += 1;
                    for (level, rate) in model.iter_mut().flat_map(|levels| levels.iter_mut().zip(rates.by_metered())) {
                        *level = rate.full().min(*level + rate.per_second as i64);
                    }
                }
                let (who, metered) = (next(&mut seed) as usize % 5, next(&mut seed) as usize % 4);
                let cost = next(&mut seed)
                    % [1500, full[metered] as u64 / 2, full[metered] as u64 * 3][next(&mut seed) as usize % 3];
                let (level, holder) = (&mut model[who][metered], key(who as u32));
                let taken = cost as i64;
                match next(&mut seed) % 10 {
                    0 => {
                        debit(&mut quotas, holder, LANES[metered], cost, now);
                        *level = (*level - taken).max(full[metered] * -10);
                    }
                    1 => {
                        quotas.purge_at = 0;
                        quotas.make_room(now);
                    }
                    2 => {
                        let mut woken = none();
                        for holder in (0..5).map(key) {
                            let text = quotas.saved(&holder, now);
                            text.into_iter().for_each(|text| woken.restore(holder, &text));
                        }
                        quotas = woken;
                    }
                    _ => {
                        let may = *level >= taken.min(full[metered]);
                        assert_eq!(charge(&mut quotas, holder, LANES[metered], cost, now).is_ok(), may, "run {run}");
                        *level -= if may { taken } else { 0 };
                    }
                }
            }
        }
    }
}
