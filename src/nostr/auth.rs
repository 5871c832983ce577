//! NIP-42: what an AUTH event must say.

use url::Url;

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
        let url = Url::parse(text.trim()).ok()?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return None;
        }
        Some(Self { host: url.host_str()?.trim_end_matches('.').to_owned(), port: url.port_or_known_default()? })
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
