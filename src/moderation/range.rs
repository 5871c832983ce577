//! Networks, by the first bits of their addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The addresses whose first bits are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range {
    first: IpAddr,
    bits: u32,
}

impl FromStr for Range {
    type Err = ();

    /// `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`, `::ffff:192.0.2.7`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().map_err(drop)?;
        let most = length(first);
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(drop))?;
        let first = first.to_canonical();
        // Of an address of IPv4 that is written as one of IPv6 those in front are no part.
        let bits = if bits > most { None } else { bits.checked_sub(most - length(first)) };
        bits.map(|bits| Self::of(first, bits)).ok_or(())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == length(self.first) {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}/{}", self.first, self.bits)
        }
    }
}

/// Bits of an address.
const fn length(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl Range {
    /// The addresses whose first bits, so many at the most, are those of one. The others are 0, so that one range is
    /// written in one way.
    fn of(ip: IpAddr, bits: u32) -> Self {
        let bits = bits.min(length(ip));
        let first = match ip {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & !u32::MAX.checked_shr(bits).unwrap_or(0)).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::MAX.checked_shr(bits).unwrap_or(0)).into()),
        };
        Self { first, bits }
    }

    /// All ranges that an address is in.
    pub fn around(ip: IpAddr) -> impl Iterator<Item = Self> {
        (0..=length(ip)).map(move |bits| Self::of(ip, bits))
    }

    /// Whether an address is in it.
    pub fn has(&self, ip: IpAddr) -> bool {
        length(ip) == length(self.first) && Self::of(ip, self.bits) == *self
    }

    /// The same for the networks that connections are counted by: an IPv6 network is a /64 at the least.
    pub fn of_networks(self) -> Self {
        Self::of(self.first, self.bits.min(64))
    }
}
