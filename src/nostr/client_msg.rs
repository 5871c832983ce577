//! Messages from client to relay (NIP-01, NIP-42). Every frame becomes a message or a [`Refusal`]
//! that says how to answer it.

use serde_json::value::RawValue;

use super::relay_msg::{Prefix, Reason};
use super::{Event, Filter, event};

/// A frame that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// `["EVENT", event]`
    Event(Box<Event>),
    /// `["REQ", subscription, filter…]`
    Req {
        /// 1 character or more; the upper limit is policy.
        subscription: String,
        /// At least one.
        filters: Vec<Filter>,
    },
    /// `["COUNT", query, filter…]` (NIP-45)
    Count {
        /// As a subscription id.
        query: String,
        /// At least one.
        filters: Vec<Filter>,
    },
    /// `["CLOSE", subscription]`
    Close(String),
    /// `["AUTH", event]`
    Auth(Box<Event>),
}

/// What to answer to a frame that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `OK false` under the id the event claimed.
    Ok(String, Reason),
    /// CLOSED for the subscription that was asked for.
    Closed(String, Reason),
    /// NOTICE, as there is nothing to address an answer to.
    Notice(Reason),
}

/// Longest id or subscription that is repeated in an answer, in bytes: an answer must not be an
/// amplifier.
const MAX_ECHO: usize = 256;

impl ClientMessage {
    /// Parses one text frame.
    pub fn parse(frame: &str) -> Result<Self, Refusal> {
        let invalid = |text: &str| Refusal::Notice(Reason::new(Prefix::Invalid, text));
        let parts: Vec<&RawValue> = serde_json::from_str(frame)
            .map_err(|e| invalid(&format!("message must be a JSON array: {}", event::describe(&e))))?;
        let mut parts = parts.into_iter().map(RawValue::get);
        let verb: String = parts
            .next()
            .and_then(|verb| serde_json::from_str(verb).ok())
            .ok_or_else(|| invalid("message must begin with its type, a string"))?;
        let rest: Vec<&str> = parts.collect();
        match (verb.as_str(), rest.as_slice()) {
            ("EVENT", [json]) => signed(json).map(Self::Event),
            ("AUTH", [json]) => signed(json).map(Self::Auth),
            ("REQ", [id, filters @ ..]) => {
                question(id, filters).map(|(subscription, filters)| Self::Req { subscription, filters })
            }
            ("COUNT", [id, filters @ ..]) => {
                question(id, filters).map(|(query, filters)| Self::Count { query, filters })
            }
            ("CLOSE", [subscription]) => parse_subscription(subscription).map(Self::Close),
            ("EVENT" | "AUTH", _) => Err(invalid(&format!("{verb} takes one event"))),
            ("REQ" | "COUNT", []) => Err(invalid(&format!("{verb} takes an id and one or more filters"))),
            ("CLOSE", _) => Err(invalid("CLOSE takes one subscription id")),
            _ => Err(Refusal::Notice(Reason::new(
                Prefix::Unsupported,
                format!("message type {:?}", verb.chars().take(32).collect::<String>()),
            ))),
        }
    }
}

/// To whom a frame that is refused unread has to be answered, as far as a look at it tells.
pub fn refuse(frame: &str, reason: Reason) -> Refusal {
    let parts: Vec<&RawValue> = serde_json::from_str(frame).unwrap_or_default();
    let mut parts = parts.into_iter().map(RawValue::get);
    let verb = parts.next().and_then(|verb| serde_json::from_str::<String>(verb).ok());
    let subject = parts.next();
    match (verb.as_deref(), subject) {
        (Some("EVENT" | "AUTH"), Some(json)) => match claimed_id(json) {
            Some(id) => Refusal::Ok(id, reason),
            None => Refusal::Notice(reason),
        },
        (Some("REQ" | "COUNT"), Some(json)) => match serde_json::from_str::<String>(json) {
            Ok(id) if id.len() <= MAX_ECHO => Refusal::Closed(id, reason),
            _ => Refusal::Notice(reason),
        },
        _ => Refusal::Notice(reason),
    }
}

fn signed(json: &str) -> Result<Box<Event>, Refusal> {
    Event::parse(json).map(Box::new).map_err(|reason| match claimed_id(json) {
        Some(id) => Refusal::Ok(id, reason),
        None => Refusal::Notice(reason),
    })
}

/// The `id` of something that is not a well-formed event, if it has one to answer to.
fn claimed_id(json: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claimed {
        id: String,
    }
    let claimed: Claimed = serde_json::from_str(json).ok()?;
    (claimed.id.len() <= MAX_ECHO).then_some(claimed.id)
}

fn parse_subscription(json: &str) -> Result<String, Refusal> {
    serde_json::from_str::<String>(json)
        .ok()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Refusal::Notice(Reason::new(Prefix::Invalid, "subscription id must be a non-empty string")))
}

fn question(id: &str, filters: &[&str]) -> Result<(String, Vec<Filter>), Refusal> {
    let subscription = parse_subscription(id)?;
    let refuse = |reason: Reason| {
        if subscription.len() <= MAX_ECHO {
            Refusal::Closed(subscription.clone(), reason)
        } else {
            Refusal::Notice(reason)
        }
    };
    if filters.is_empty() {
        return Err(refuse(Reason::new(Prefix::Invalid, "one or more filters are needed")));
    }
    let filters = filters.iter().map(|json| Filter::parse(json)).collect::<Result<_, _>>().map_err(refuse)?;
    Ok((subscription, filters))
}
