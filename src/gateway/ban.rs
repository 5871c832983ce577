//! Whom the operator has blocked: keys, and networks by the first bits of their addresses. A ban holds from the moment
//! the settings have it, for what is open as well. Never knows what else a connection may do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use super::frames::POLICY_VIOLATION;
use super::{ConnId, Effect, Gateway};
use crate::nostr::{PublicKey, Reason, refusal};

/// The addresses whose first bits are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u32,
}

impl FromStr for Range {
    type Err = ();

    /// `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().map_err(drop)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(drop))?;
        if bits > most { Err(()) } else { Ok(Self { first, bits }) }
    }
}

impl Range {
    /// Whether an address is in it.
    pub fn has(&self, ip: IpAddr) -> bool {
        match (self.first, ip) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                (first.to_bits() ^ ip.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                (first.to_bits() ^ ip.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The same for the networks that connections are counted by: an IPv6 network is a /64 at the least.
    pub(super) fn of_networks(self) -> Self {
        let most = if self.first.is_ipv4() { 32 } else { 64 };
        Self { bits: self.bits.min(most), ..self }
    }
}

/// Keys and networks that are blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    keys: BTreeSet<PublicKey>,
    networks: Vec<Range>,
}

impl Bans {
    /// These.
    pub const fn new(keys: BTreeSet<PublicKey>, networks: Vec<Range>) -> Self {
        Self { keys, networks }
    }

    /// Why a key may do nothing here.
    pub fn of_key(&self, key: &PublicKey) -> Option<Reason> {
        self.keys.contains(key).then(refusal::blocked_key)
    }

    /// Why a network, as connections are counted by, may not connect.
    pub fn of_network(&self, network: &str) -> Option<Reason> {
        let ip: IpAddr = network.parse().ok()?;
        self.networks.iter().any(|range| range.has(ip)).then(refusal::blocked_network)
    }
}

impl Gateway {
    /// Ends the connections of who is blocked, as the settings have it now.
    pub(super) fn end_blocked(&mut self, out: &mut Vec<Effect>) {
        let bans = &self.config.bans;
        let blocked: Vec<(ConnId, Reason)> = self
            .conns
            .iter()
            .filter_map(|(conn, state)| {
                let by_network = state.network.as_deref().and_then(|network| bans.of_network(network));
                Some((*conn, by_network.or_else(|| state.keys.iter().find_map(|key| bans.of_key(key)))?))
            })
            .collect();
        for (conn, reason) in blocked {
            self.end(conn, POLICY_VIOLATION, reason.to_string(), out);
        }
    }
}
