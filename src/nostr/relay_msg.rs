//! Messages from relay to client (NIP-01, NIP-42) and the reasons they carry.

use std::fmt;

use serde::Serialize;

use super::EventId;

/// The machine-readable first word of an OK or CLOSED message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prefix {
    /// Authentication comes first (NIP-42).
    AuthRequired,
    /// Refused for good.
    Blocked,
    /// Already here, or a newer version is.
    Duplicate,
    /// Fault of the relay; trying again may help.
    Error,
    /// Not of the form the protocol asks for.
    Invalid,
    /// An ephemeral event that nobody was listening to.
    Mute,
    /// Too little proof of work (NIP-13).
    Pow,
    /// Too fast; the text ends with `retry in N s`.
    RateLimited,
    /// Well-formed, but over a limit or not allowed.
    Restricted,
    /// A part of the protocol this relay does not speak.
    Unsupported,
}

impl Prefix {
    /// All prefixes this relay uses.
    pub const ALL: [Self; 10] = [
        Self::AuthRequired,
        Self::Blocked,
        Self::Duplicate,
        Self::Error,
        Self::Invalid,
        Self::Mute,
        Self::Pow,
        Self::RateLimited,
        Self::Restricted,
        Self::Unsupported,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequired => "auth-required",
            Self::Blocked => "blocked",
            Self::Duplicate => "duplicate",
            Self::Error => "error",
            Self::Invalid => "invalid",
            Self::Mute => "mute",
            Self::Pow => "pow",
            Self::RateLimited => "rate-limited",
            Self::Restricted => "restricted",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why something was refused: `prefix: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For programs.
    pub prefix: Prefix,
    /// For people.
    pub text: String,
}

impl Reason {
    /// A reason in the words of `text`.
    pub fn new(prefix: Prefix, text: impl Into<String>) -> Self {
        Self { prefix, text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.prefix.as_str(), self.text)
    }
}

fn frame(parts: impl Serialize) -> String {
    // Strings, booleans and numbers into memory: serialization cannot fail.
    serde_json::to_string(&parts).unwrap_or_default()
}

/// `["AUTH", challenge]` (NIP-42).
pub fn auth(challenge: &str) -> String {
    frame(("AUTH", challenge))
}

/// `["OK", id, accepted, message]`. The id is text so that an event whose id could not be parsed is
/// answered under the name it came with.
pub fn ok(id: &str, accepted: bool, message: &str) -> String {
    frame(("OK", id, accepted, message))
}

/// OK true without a message.
pub fn accepted(id: &EventId) -> String {
    frame(("OK", id, true, ""))
}

/// `["EVENT", subscription, event]`; `event_json` is the event's canonical text.
pub fn event(subscription: &str, event_json: &str) -> String {
    let mut text = frame(("EVENT", subscription));
    text.pop();
    text.reserve(event_json.len() + 2);
    text.push(',');
    text.push_str(event_json);
    text.push(']');
    text
}

/// Whether the stored events of a subscription have all been sent (NIP-67).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All of them.
    Finish,
    /// There are older ones.
    More,
    /// Nobody looked.
    Unknown,
}

/// `["EOSE", subscription]`, with NIP-67's hint when there is one.
pub fn eose(subscription: &str, completeness: Completeness) -> String {
    match completeness {
        Completeness::Finish => frame(("EOSE", subscription, ["finish"])),
        Completeness::More => frame(("EOSE", subscription, ["more"])),
        Completeness::Unknown => frame(("EOSE", subscription)),
    }
}

/// `["COUNT", query, {"count": n, "hll": registers}]` (NIP-45).
pub fn count(query: &str, count: u64, hll: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Counted<'a> {
        count: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        hll: Option<&'a str>,
    }
    frame(("COUNT", query, Counted { count, hll }))
}

/// `["CLOSED", subscription, reason]`.
pub fn closed(subscription: &str, reason: &Reason) -> String {
    frame(("CLOSED", subscription, reason.to_string()))
}

/// `["NEG-ERR", subscription, reason]` (NIP-77).
pub fn neg_err(subscription: &str, reason: &Reason) -> String {
    frame(("NEG-ERR", subscription, reason.to_string()))
}

/// `["NOTICE", "cancelled: job ID …"]`: to those who have answered a job whose customer has deleted
/// the request (NIP-90, NIP-09).
pub fn cancelled(job: &EventId) -> String {
    frame(("NOTICE", format!("cancelled: job {job} was cancelled by its customer")))
}

/// `["NOTICE", reason]`.
pub fn notice(reason: &Reason) -> String {
    frame(("NOTICE", reason.to_string()))
}
