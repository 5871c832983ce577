//! Whose word about a client's address is taken, and what it says. Never trusts a peer that the operator has not
//! named.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};

/// A header in which proxies name the client's address, and where those proxies are.
#[derive(Clone, Debug)]
pub struct Proxies {
    pub header: HeaderName,
    pub trusted: Arc<[Range]>,
}

/// The addresses whose first bits are these.
#[derive(Clone, Copy, Debug)]
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
    fn has(&self, ip: IpAddr) -> bool {
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
}

impl Proxies {
    /// Whether a peer's header counts.
    pub fn trust(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|range| range.has(peer))
    }

    /// The client's address: the last one in all lines of the header, as a proxy adds the one that it sees at the
    /// end. The peer's if that is no address, or the peer is nobody's proxy.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let line = headers.get_all(&self.header).iter().next_back().filter(|_| self.trust(peer));
        let last = line.and_then(|line| line.to_str().ok()?.rsplit(',').next());
        last.and_then(address).unwrap_or(peer)
    }
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok();
    text.parse::<SocketAddr>().ok().map(|address| address.ip()).or_else(bare)
}
