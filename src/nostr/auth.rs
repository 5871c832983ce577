//! NIP-42: what an AUTH event must say.

use super::refusal::{self, Reason};
use super::{Event, kind};

/// How far `created_at` of an AUTH event may be from now, in seconds (NIP-42: "~10 minutes").
pub const AUTH_WINDOW: u64 = 600;

/// Host and port of a relay, which is all that is compared of its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: u16,
}

impl Authority {
    /// Of a `ws://` or `wss://` URL (default ports 80 and 443); `None` when it is not one.
    pub fn of(text: &str) -> Option<Self> {
        let parts = Parts::of(text.trim())?;
        let is_socket = matches!(&*parts.scheme, "ws" | "wss");
        parts.authority().filter(|_| is_socket)
    }

    /// Of a `ws://`, `wss://`, `http://` or `https://` URL, with its path and query.
    pub(super) fn with_path(text: &str) -> Option<(Self, String)> {
        let mut parts = Parts::of(text.trim())?;
        let path = std::mem::take(&mut parts.path);
        Some((parts.authority()?, path))
    }
}

/// What a URL has; a port only where it is not the scheme's own.
struct Parts {
    scheme: String,
    host: String,
    port: Option<u16>,
    /// With the query.
    path: String,
}

impl Parts {
    #[cfg(not(all(target_arch = "wasm32", feature = "cloudflare")))]
    fn of(text: &str) -> Option<Self> {
        let url = url::Url::parse(text).ok()?;
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port(),
            path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        })
    }

    /// The same by the platform's own parser of the same standard: ours would bring 60 kB of Unicode's tables.
    #[cfg(all(target_arch = "wasm32", feature = "cloudflare"))]
    fn of(text: &str) -> Option<Self> {
        let url = web_sys::Url::new(text).ok()?;
        Some(Self {
            scheme: url.protocol().trim_end_matches(':').to_owned(),
            host: url.hostname(),
            port: url.port().parse().ok(),
            path: url.pathname() + &url.search(),
        })
    }

    fn authority(self) -> Option<Authority> {
        let usual = match &*self.scheme {
            "ws" | "http" => 80,
            "wss" | "https" => 443,
            _ => return None,
        };
        Some(Authority { host: self.host.trim_end_matches('.').to_owned(), port: self.port.unwrap_or(usual) })
    }
}

/// Checks everything NIP-42 asks of `event` but its id and signature.
///
/// `challenge` is the one sent on this connection, `relays` the names we answer to, `now` Unix
/// seconds. The reason says which part does not hold.
pub fn check(event: &Event, challenge: &str, relays: &[Authority], now: u64) -> Result<(), Reason> {
    if event.kind != kind::AUTHENTICATION {
        return Err(refusal::auth_kind());
    }
    if event.created_at.abs_diff(now) > AUTH_WINDOW {
        return Err(refusal::auth_time());
    }
    if event.tag_value("challenge") != Some(challenge) {
        return Err(refusal::auth_challenge());
    }
    match event.tag_value("relay").map(Authority::of) {
        Some(Some(relay)) if relays.contains(&relay) => Ok(()),
        Some(Some(_)) => Err(refusal::auth_other_relay()),
        _ => Err(refusal::auth_relay()),
    }
}
