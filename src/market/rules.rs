//! What a market event must look like to be taken (NIP-90, NIP-89). A reason names the tag.

use super::job::{JobProfile, JobRole, State};
use super::metadata::metadata;
use crate::nostr::{Event, EventId, Prefix, PublicKey, Reason, Tag, kind};

type Checked = Result<(), Reason>;

fn wrong(what: impl Into<String>) -> Checked {
    Err(Reason::new(Prefix::Invalid, what))
}

/// Checks an event by its own tags; events that are no part of the market are left alone.
pub fn check(profile: &JobProfile, event: &Event) -> Checked {
    if event.kind == kind::HANDLER {
        return handler(event);
    }
    match profile.role(event.kind) {
        None => Ok(()),
        Some(JobRole::Request) => request(event),
        Some(JobRole::Feedback) => answer(event).and_then(|()| feedback(event)),
        Some(JobRole::Result) => answer(event).and_then(|()| result(profile, event)),
    }
}

fn request(event: &Event) -> Checked {
    each(event, "p", |tag| is_key(tag.value()), "must name a public key, 64 lower-case hex digits")?;
    each(event, "e", |tag| is_id(tag.value()), "must name an event, 64 lower-case hex digits")?;
    each(event, "i", is_input, "must have a value, and for the types event and job that is an event id")?;
    each(event, "output", |tag| has_value(tag.value()), "must name a MIME type")?;
    each(event, "param", |tag| has_value(tag.value()), "must name a parameter")?;
    each(event, "relays", |tag| has_value(tag.value()), "must name a relay")
}

fn answer(event: &Event) -> Checked {
    if !event.tags.iter().any(|tag| tag.name() == "e") {
        return wrong("e tag is missing; it names the job request");
    }
    each(event, "e", |tag| is_id(tag.value()), "must be an event id, 64 lower-case hex digits")?;
    one(event, "e", "names several events; an answer is about one job")?;
    if !event.tags.iter().any(|tag| tag.name() == "p") {
        return wrong("p tag is missing; it names the customer");
    }
    // Who may read the answer to an encrypted job is decided by the first of these tags.
    if is_key(event.tag_value("p")) { Ok(()) } else { wrong("p tag must be a public key, 64 lower-case hex digits") }
}

fn feedback(event: &Event) -> Checked {
    // Encrypted feedback has its status inside.
    if event.tag_value("status").is_some() || event.tags.iter().any(|tag| tag.name() == "encrypted") {
        Ok(())
    } else {
        wrong("status tag is missing; only encrypted feedback has none")
    }
}

/// The state an answer brings its job to, if its tags leave no doubt: one customer, one status that NIP-90 knows,
/// amounts in whole msats.
pub(super) fn said(event: &Event, role: JobRole) -> Option<State> {
    one(event, "p", "")
        .and_then(|()| one(event, "status", ""))
        .and_then(|()| each(event, "amount", is_amount, ""))
        .ok()?;
    match role {
        JobRole::Request => Some(State::Open),
        JobRole::Result => Some(State::Success),
        JobRole::Feedback => {
            let state = State::of_status(event.tag_value("status")?)?;
            (state != State::PaymentRequired || event.tag_value("amount").is_some()).then_some(state)
        }
    }
}

fn result(profile: &JobProfile, event: &Event) -> Checked {
    let Some(tag) = event.tags.iter().find(|tag| tag.name() == "request") else { return Ok(()) };
    one(event, "request", "is given several times, and differently")?;
    let Some(Ok(request)) = tag.value().map(Event::parse) else {
        return wrong("request tag must be the job request as JSON");
    };
    if Some(request.id) != event.tag_value("e").and_then(EventId::parse) {
        return wrong("request tag is another event than the e tag names");
    }
    if !request.id_matches() {
        return wrong("request tag is not the event whose id it has");
    }
    if Some(request.pubkey) != event.tag_value("p").and_then(PublicKey::parse) {
        return wrong("request tag is of another key than the p tag names");
    }
    if Some(request.kind) != profile.request_of(event.kind) {
        return wrong(format!("request tag is of kind {}, which kind {} does not answer", request.kind, event.kind));
    }
    Ok(())
}

/// NIP-89. Without `d` or `k` it is an event like any other, and not ranked.
fn handler(event: &Event) -> Checked {
    // As `#k` filters ask for it.
    let is_kind = |k: &str| k.parse::<u16>().is_ok_and(|kind| kind.to_string() == k);
    each(event, "k", |tag| tag.value().is_some_and(is_kind), "must be a kind, 0 to 65535")?;
    if event.content.is_empty() || metadata(&event.content).is_some() {
        Ok(())
    } else {
        wrong("content must be empty or a JSON object")
    }
}

fn each(event: &Event, name: &str, holds: impl Fn(&Tag) -> bool, must: &str) -> Checked {
    if event.tags.iter().filter(|tag| tag.name() == name).all(holds) {
        Ok(())
    } else {
        wrong(format!("{name} tag {must}"))
    }
}

/// All tags of the name say the same.
fn one(event: &Event, name: &str, otherwise: &str) -> Checked {
    let first = event.tags.iter().find(|tag| tag.name() == name).map(Tag::value);
    each(event, name, |tag| Some(tag.value()) == first, otherwise)
}

fn is_id(value: Option<&str>) -> bool {
    value.is_some_and(|value| EventId::parse(value).is_some())
}

fn is_key(value: Option<&str>) -> bool {
    value.is_some_and(|value| PublicKey::parse(value).is_some())
}

fn is_msats(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok())
}

/// Msats, and a bolt11 invoice or none.
fn is_amount(tag: &Tag) -> bool {
    let is_invoice = |text: &str| text.is_empty() || text.to_ascii_lowercase().starts_with("ln");
    is_msats(tag.value()) && tag.element(2).is_none_or(is_invoice)
}

fn has_value(value: Option<&str>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

fn is_input(tag: &Tag) -> bool {
    match tag.element(2) {
        Some("event" | "job") => is_id(tag.value()),
        _ => tag.value().is_some(),
    }
}
