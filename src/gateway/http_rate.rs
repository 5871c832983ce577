//! How many HTTP requests of a network reach the engine, each sort for itself. A host counts here whatever it cannot
//! answer from its own memory, before it asks the engine: so a flood ends where it is cheapest.
//!
//! Each costs what a connection does, at the rate of guests; no other bucket pays. A network is known by the moment its
//! bucket will be full, and forgotten then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::bucket::forget_full;
use super::class::Class;
use super::conn::network;
use super::{Api, Config, Millis, TurnedAway, charge};
use crate::nostr::refusal;

/// Buckets known at the most, and left when there were more.
const MAX_BUCKETS: usize = 4096;
const KEPT_BUCKETS: usize = 3072;

/// What a request is for; each sort of a network has a bucket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// An answer that everybody shares.
    Shared,
    /// An answer to what can be asked in many ways.
    Question,
    /// A WebSocket.
    Socket,
}

/// The buckets of all networks.
#[derive(Debug, Default)]
pub struct HttpRate {
    /// Microseconds of Unix time at which each will be full.
    full_at: BTreeMap<(Sort, IpAddr), u64>,
}

impl Sort {
    /// Of a question.
    pub const fn of(api: Api) -> Self {
        if api.is_shared() { Self::Shared } else { Self::Question }
    }
}

impl HttpRate {
    /// Nobody has asked yet.
    pub const fn new() -> Self {
        Self { full_at: BTreeMap::new() }
    }

    /// Takes a request from an address, or says why it does not reach the engine. Who has no address is not counted.
    pub fn pass(&mut self, config: &Config, sort: Sort, ip: Option<&str>, now: Millis) -> Result<(), TurnedAway> {
        let Some(classes) = &config.quotas else { return Ok(()) };
        let Some(ip) = ip.and_then(network).and_then(|network| network.parse().ok()) else { return Ok(()) };
        let rate = classes.rates(Class::Guest).bytes;
        let micros = |bytes: u64| bytes.saturating_mul(1_000_000) / rate.per_second.max(1);
        let (cost, full) = (micros(charge::OPENING_BYTES), micros(rate.burst.max(charge::OPENING_BYTES)));
        let now = now.saturating_mul(1000);
        // A clock that goes back lets nobody wait for longer than an empty bucket takes.
        self.make_room(now);
        let full_at = self.full_at.entry((sort, ip)).or_insert(now);
        *full_at = (*full_at).clamp(now, now.saturating_add(full));
        let then = full_at.saturating_add(cost);
        let wait = then.saturating_sub(now.saturating_add(full));
        if wait > 0 {
            let seconds = wait.div_ceil(1_000_000);
            let rate = (rate.per_second / charge::OPENING_BYTES).max(1);
            let reason = refusal::too_fast(rate, "requests", "network", seconds).to_string();
            return Err(TurnedAway { status: 429, reason, retry_after_s: Some(seconds) });
        }
        *full_at = then;
        Ok(())
    }

    /// Before one more: forgets the buckets that are full, and if too many are left, those that are full soonest.
    fn make_room(&mut self, now: u64) {
        if self.full_at.len() < MAX_BUCKETS {
            return;
        }
        forget_full(&mut self.full_at, KEPT_BUCKETS, now, |at| *at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    fn config(limits: &str, guests: &str) -> Config {
        let rates = format!("events 1/1 queries 1/1 bytes {guests}");
        let read = |key: &str| match key {
            "RELAY_URL" => Some("wss://nexus.example".to_owned()),
            "RATE_LIMITS" => Some(limits.to_owned()),
            "RATE_GUEST" => Some(rates.clone()),
            _ => None,
        };
        Config::read(read).unwrap()
    }

    /// How many questions of an address pass at a time.
    fn passed(http_rate: &mut HttpRate, config: &Config, ip: &str, now: Millis) -> usize {
        (0..10_000).take_while(|_| http_rate.pass(config, Sort::Question, Some(ip), now).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_the_rate_of_a_network() {
        let (mut http_rate, config) = (HttpRate::new(), config("on", "65536/1048576"));
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW), 256);
        let later: usize = (1..=10_000).map(|ms| passed(&mut http_rate, &config, "192.0.2.1", NOW + ms)).sum();
        assert_eq!(later, 160);
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.2", NOW), 256, "another network");
        assert!(http_rate.pass(&config, Sort::Socket, Some("192.0.2.1"), NOW + 10_000).is_ok(), "another sort");
        assert_eq!(passed(&mut http_rate, &config, "2001:db8::1", NOW), 256);
        assert_eq!(passed(&mut http_rate, &config, "2001:db8::2:1", NOW), 0, "the same /64");
        assert_eq!(
            passed(&mut http_rate, &config, "192.0.2.1", NOW + 1_000_000),
            256,
            "no more than the burst is saved up"
        );
    }

    #[test]
    fn the_seconds_to_wait_are_true() {
        let (mut http_rate, config) = (HttpRate::new(), config("on", "1000/5000"));
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW), 1);
        let away = http_rate.pass(&config, Sort::Question, Some("192.0.2.1"), NOW).unwrap_err();
        assert_eq!((away.status, away.retry_after_s), (429, Some(4)));
        assert_eq!(away.reason, "rate-limited: 1 requests a second for one network; retry in 4 s");
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW + 3000), 0);
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW + 4000), 1);
    }

    #[test]
    fn who_has_no_address_and_who_asks_a_relay_without_limits_passes() {
        let mut http_rate = HttpRate::new();
        let (on, off) = (config("on", "1/1"), config("off", "1/1"));
        for _ in 0..1000 {
            assert!(http_rate.pass(&on, Sort::Question, None, NOW).is_ok());
            assert!(http_rate.pass(&off, Sort::Question, Some("192.0.2.1"), NOW).is_ok());
        }
        assert_eq!(passed(&mut http_rate, &on, "192.0.2.1", NOW), 1, "a burst is one request at the least");
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let (mut http_rate, config) = (HttpRate::new(), config("on", "4096/40960"));
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW), 10);
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW - 9_000_000), 0);
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW - 8_995_000), 5);
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", 0), 0);
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW), 10);
    }

    #[test]
    fn memory_is_bounded_and_those_who_owe_most_are_kept() {
        let (mut http_rate, config) = (HttpRate::new(), config("on", "4096/409600"));
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW), 100);
        for n in 0..100_000_u32 {
            let ip = std::net::Ipv4Addr::from(n + 0x0a00_0000).to_string();
            assert!(http_rate.pass(&config, Sort::Question, Some(&ip), NOW).is_ok());
            assert!(http_rate.full_at.len() <= MAX_BUCKETS);
        }
        assert_eq!(passed(&mut http_rate, &config, "192.0.2.1", NOW), 0);
    }
}
