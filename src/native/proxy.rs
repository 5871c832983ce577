//! Whose word about a client's address is taken, and what it says. Never trusts a peer that the operator has not
//! named.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};

use crate::moderation::Range;

/// A header in which proxies name the client's address, and where those proxies are.
#[derive(Clone, Debug)]
pub struct Proxies {
    pub header: HeaderName,
    pub trusted: Arc<[Range]>,
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
