//! Messages from client to relay (NIP-01, NIP-42, NIP-45). Every frame becomes a message or a [`Refusal`]
//! that says how to answer it: under the id of the event, subscription or query it is about, wherever it has one.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::{self, Reason};
use super::{Event, Filter, PublicKey, event};

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

impl ClientMessage {
    /// Whose event it says that it brings, if it brings one to be published.
    pub fn author(&self) -> Option<&PublicKey> {
        match self {
            Self::Event(event) => Some(&event.pubkey),
            _ => None,
        }
    }
}

/// What to answer to a frame that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `OK false` under the id the event claims.
    Ok(String, Reason),
    /// CLOSED for a REQ or CLOSE; a subscription of that id ends.
    Closed(String, Reason),
    /// CLOSED for a COUNT; a subscription of that id goes on (NIP-45).
    Uncounted(String, Reason),
    /// NEG-ERR for a reconciliation that was to begin or go on (NIP-77).
    NegErr(String, Reason),
    /// NOTICE, as there is nothing to address an answer to.
    Notice(Reason),
}

impl ClientMessage {
    /// Parses one text frame.
    pub fn parse(frame: &str) -> Result<Self, Refusal> {
        let Elements { verb, rest, whole } = Elements::of(frame);
        let subject = || Subject::of(&verb, &rest);
        let refuse = |reason: Reason| subject().refuse(reason);
        whole.map_err(refuse)?;
        match (verb.as_str(), rest.as_slice()) {
            ("EVENT", [json]) => Event::parse(json).map(Box::new).map(Self::Event).map_err(refuse),
            ("AUTH", [json]) => Event::parse(json).map(Box::new).map(Self::Auth).map_err(refuse),
            ("REQ", [id, filters @ ..]) => {
                let (subscription, filters) = question(id, filters).map_err(refuse)?;
                Ok(Self::Req { subscription, filters })
            }
            ("COUNT", [id, filters @ ..]) => {
                let (query, filters) = question(id, filters).map_err(refuse)?;
                Ok(Self::Count { query, filters })
            }
            ("CLOSE", [id]) => subscription_id(id).map(Self::Close).map_err(refuse),
            ("EVENT" | "AUTH", _) => Err(refuse(refusal::takes_one_event(&verb))),
            ("REQ" | "COUNT", _) => Err(refuse(refusal::takes_filters(&verb))),
            ("CLOSE", _) => Err(refuse(refusal::takes_one_id())),
            ("NEG-OPEN" | "NEG-MSG", _) => {
                // The NIP has two codes; this is the one for what the relay will not do.
                Err(refuse(refusal::no_negentropy()))
            }
            _ => {
                let verb: String = verb.chars().take(32).collect();
                Err(refuse(refusal::unknown_type(format_args!("{verb:?}"))))
            }
        }
    }
}

/// To whom a frame that is refused unread has to be answered, as far as a look at it tells.
pub fn refuse(frame: &str, reason: Reason) -> Refusal {
    let Elements { verb, rest, .. } = Elements::of(frame);
    Subject::of(&verb, &rest).refuse(reason)
}

/// A frame taken apart.
struct Elements<'a> {
    /// The first element; empty when it is no string.
    verb: String,
    /// The others as they were written, up to where the frame stops being JSON.
    rest: Vec<&'a str>,
    /// What is wrong with the frame as a whole.
    whole: Result<(), Reason>,
}

impl<'a> Elements<'a> {
    fn of(frame: &'a str) -> Self {
        let mut elements = Vec::new();
        let mut json = serde_json::Deserializer::from_str(frame);
        let read = json.deserialize_seq(Collect(&mut elements)).and_then(|()| json.end());
        let mut whole = read.map_err(|e| refusal::not_an_array(event::describe(&e)));
        let mut rest = elements.into_iter().map(RawValue::get);
        let verb: Option<String> = rest.next().and_then(|verb| serde_json::from_str(verb).ok());
        if whole.is_ok() && verb.is_none() {
            whole = Err(refusal::typeless());
        }
        Self { verb: verb.unwrap_or_default(), rest: rest.collect(), whole }
    }
}

/// Collects the elements of an array, and keeps what was read when a later one is broken.
struct Collect<'v, 'a>(&'v mut Vec<&'a RawValue>);

impl<'a> Visitor<'a> for Collect<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.push(element);
        }
        Ok(())
    }
}

/// What a frame is about: whom an answer to it has to name.
enum Subject {
    Event(String),
    Subscription(String),
    Query(String),
    Reconciliation(String),
    Unknown,
}

impl Subject {
    fn of(verb: &str, rest: &[&str]) -> Self {
        let event = || rest.iter().find_map(|json| claimed_id(json));
        let id = || rest.first().and_then(|json| serde_json::from_str::<String>(json).ok());
        let found = match verb {
            "EVENT" | "AUTH" => event().map(Self::Event),
            "REQ" | "CLOSE" => id().map(Self::Subscription),
            "COUNT" => id().map(Self::Query),
            "NEG-OPEN" | "NEG-MSG" => id().map(Self::Reconciliation),
            _ => None,
        };
        found.unwrap_or(Self::Unknown)
    }

    fn refuse(self, reason: Reason) -> Refusal {
        match self {
            Self::Event(id) => Refusal::Ok(id, reason),
            Self::Subscription(id) => Refusal::Closed(id, reason),
            Self::Query(id) => Refusal::Uncounted(id, reason),
            Self::Reconciliation(id) => Refusal::NegErr(id, reason),
            Self::Unknown => Refusal::Notice(reason),
        }
    }
}

/// The `id` of something that may be no well-formed event, if it has one to answer to. Of two the last counts,
/// as it does in JavaScript.
fn claimed_id(json: &str) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    serde_json::from_str(members.get("id")?.get()).ok()
}

fn subscription_id(json: &str) -> Result<String, Reason> {
    let id: Option<String> = serde_json::from_str(json).ok();
    id.filter(|id| !id.is_empty()).ok_or_else(refusal::subscription_id)
}

fn question(id: &str, filters: &[&str]) -> Result<(String, Vec<Filter>), Reason> {
    let id = subscription_id(id)?;
    if filters.is_empty() {
        return Err(refusal::no_filters());
    }
    let filters = filters.iter().map(|json| Filter::parse(json)).collect::<Result<_, _>>()?;
    Ok((id, filters))
}
