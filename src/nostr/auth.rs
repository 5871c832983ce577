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
        let (scheme, host, port) = parts(text.trim())?;
        let usual = match &*scheme {
            "ws" => 80,
            "wss" => 443,
            _ => return None,
        };
        Some(Self { host: host.trim_end_matches('.').to_owned(), port: port.unwrap_or(usual) })
    }
}

/// Scheme, host and port of a URL, which names a port only where it is not the scheme's own.
#[cfg(not(all(target_arch = "wasm32", feature = "cloudflare")))]
fn parts(text: &str) -> Option<(String, String, Option<u16>)> {
    let url = url::Url::parse(text).ok()?;
    Some((url.scheme().to_owned(), url.host_str()?.to_owned(), url.port()))
}

/// The same by the platform's own parser of the same standard: ours would bring 60 kB of Unicode's tables.
#[cfg(all(target_arch = "wasm32", feature = "cloudflare"))]
fn parts(text: &str) -> Option<(String, String, Option<u16>)> {
    let url = web_sys::Url::new(text).ok()?;
    Some((url.protocol().trim_end_matches(':').to_owned(), url.hostname(), url.port().parse().ok()))
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
