//! Messages from relay to client (NIP-01, NIP-42).

use serde::{Deserialize, Serialize};

use super::EventId;
use super::refusal::{self, Reason};

fn frame(parts: impl Serialize) -> String {
    // Strings, booleans and numbers into memory: serialization cannot fail.
    serde_json::to_string(&parts).unwrap_or_default()
}

/// `["AUTH", challenge]` (NIP-42).
pub fn auth(challenge: &str) -> String {
    frame(("AUTH", challenge))
}

/// `["OK", id, accepted, reason]`. The id is text so that an event whose id could not be parsed is
/// answered under the name it came with.
pub fn ok(id: &str, accepted: bool, reason: &Reason) -> String {
    frame(("OK", id, accepted, reason.to_string()))
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completeness {
    /// All of them.
    Finish,
    /// There are older ones.
    More,
    /// Nobody looked.
    #[default]
    Unknown,
}

impl Completeness {
    /// Whether there are older ones, and whether nobody knows where there are none.
    pub const fn of(more: bool, unknown: bool) -> Self {
        match (more, unknown) {
            (true, _) => Self::More,
            (false, true) => Self::Unknown,
            (false, false) => Self::Finish,
        }
    }
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
    frame(("NOTICE", refusal::job_withdrawn(job)))
}

/// `["NOTICE", reason]`.
pub fn notice(reason: &Reason) -> String {
    frame(("NOTICE", reason.to_string()))
}
