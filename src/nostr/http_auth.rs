//! NIP-98: who asks over HTTP, by a signed event in the header `Authorization`.
//!
//! The URL that was signed is compared with those the operator has named, never with what the request says of its host.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::auth::Authority;
use super::refusal::{self, Reason};
use super::{Event, EventId, PublicKey, kind};

/// How far `created_at` may be from now, in seconds (NIP-98: "suggestion 60 seconds").
pub const HTTP_AUTH_WINDOW: u64 = 60;
/// Characters of a header that is looked at.
const MAX_LENGTH: usize = 8192;

/// What was asked over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Its path, with the query.
    pub path: &'a str,
    /// Its body; of what has one the event must name the hash.
    pub body: Option<&'a [u8]>,
}

/// Who has signed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Whose key.
    pub by: PublicKey,
    /// Of the event.
    pub id: EventId,
}

/// Who has signed a request, if its header `Authorization` is as NIP-98 has it.
pub fn signed(header: Option<&str>, asked: &Asked<'_>, relays: &[Authority], now: u64) -> Result<Signed, Reason> {
    let event = read(header)?;
    check(&event, asked, relays, now)?;
    Ok(Signed { by: event.pubkey, id: event.id })
}

/// The event in a header `Authorization`, as `Nostr BASE64`; nothing of it is checked.
pub fn read(header: Option<&str>) -> Result<Event, Reason> {
    let header = header.ok_or_else(refusal::http_auth_missing)?;
    let (scheme, text) = header.trim().split_once(' ').ok_or_else(refusal::http_auth_missing)?;
    if !scheme.eq_ignore_ascii_case("nostr") {
        return Err(refusal::http_auth_missing());
    }
    let text = text.trim();
    if text.len() > MAX_LENGTH {
        return Err(refusal::http_auth_event("it is too long"));
    }
    let padded = if text.ends_with('=') { STANDARD } else { STANDARD_NO_PAD };
    let json = padded.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    Event::parse(&json.ok_or_else(|| refusal::http_auth_event("it is no base64 of an event"))?)
}

/// Checks everything NIP-98 asks of `event`, and its signature last; `relays` are the names we answer to, `now` is in Unix
/// seconds.
pub fn check(event: &Event, asked: &Asked<'_>, relays: &[Authority], now: u64) -> Result<(), Reason> {
    if event.kind != kind::HTTP_AUTH {
        return Err(refusal::http_auth_event("its kind must be 27235"));
    }
    if event.created_at.abs_diff(now) > HTTP_AUTH_WINDOW {
        return Err(refusal::http_auth_event("created_at is more than 60 seconds from now; check your clock"));
    }
    let wanted = asked.path.trim_end_matches('/');
    match event.tag_value("u").map(Authority::with_path) {
        Some(Some((authority, path))) if relays.contains(&authority) && path.trim_end_matches('/') == wanted => {}
        _ => return Err(refusal::http_auth_event("u must be the URL that is asked, at an address of RELAY_URL")),
    }
    if event.tag_value("method").is_none_or(|method| !method.eq_ignore_ascii_case(asked.method)) {
        return Err(refusal::http_auth_event("method must be that of the request"));
    }
    if let Some(body) = asked.body {
        let hash = hex::encode(Sha256::digest(body));
        if event.tag_value("payload").is_none_or(|payload| !payload.eq_ignore_ascii_case(&hash)) {
            return Err(refusal::http_auth_event("payload must be the SHA-256 of the body"));
        }
    }
    event.verify()
}
