//! What a market event must look like to be taken (NIP-90, NIP-89). A reason names the tag.

use super::job::{JobProfile, JobRole, State};
use super::metadata::metadata;
use crate::nostr::{Event, EventId, PublicKey, Reason, Tag, kind, refusal};

type Checked = Result<(), Reason>;

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
    each(event, "p", |tag| is_key(tag.value()), refusal::request_provider)?;
    each(event, "e", |tag| is_id(tag.value()), refusal::request_event)?;
    each(event, "i", is_input, refusal::request_input)?;
    each(event, "output", |tag| has_value(tag.value()), refusal::request_output)?;
    each(event, "param", |tag| has_value(tag.value()), refusal::request_param)?;
    each(event, "relays", |tag| has_value(tag.value()), refusal::request_relays)
}

fn answer(event: &Event) -> Checked {
    if !event.tags.iter().any(|tag| tag.name() == "e") {
        return Err(refusal::answer_job_missing());
    }
    each(event, "e", |tag| is_id(tag.value()), refusal::answer_job_spelled)?;
    one(event, "e", refusal::answer_several_jobs)?;
    if !event.tags.iter().any(|tag| tag.name() == "p") {
        return Err(refusal::answer_customer_missing());
    }
    // Who may read the answer to an encrypted job is decided by the first of these tags.
    if is_key(event.tag_value("p")) { Ok(()) } else { Err(refusal::answer_customer_spelled()) }
}

fn feedback(event: &Event) -> Checked {
    // Encrypted feedback has its status inside.
    if event.tag_value("status").is_some() || event.tags.iter().any(|tag| tag.name() == "encrypted") {
        Ok(())
    } else {
        Err(refusal::feedback_status_missing())
    }
}

/// The state an answer brings its job to, if its tags leave no doubt: one customer, one status that NIP-90 knows,
/// amounts in whole msats.
pub(super) fn said(event: &Event, role: JobRole) -> Option<State> {
    let clear = agree(event, "p") && agree(event, "status") && all(event, "amount", is_amount);
    if !clear {
        return None;
    }
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
    one(event, "request", refusal::result_several)?;
    let Some(Ok(request)) = tag.value().map(Event::parse) else {
        return Err(refusal::result_spelled());
    };
    if Some(request.id) != event.tag_value("e").and_then(EventId::parse) {
        return Err(refusal::result_job());
    }
    if !request.id_matches() {
        return Err(refusal::result_id());
    }
    if Some(request.pubkey) != event.tag_value("p").and_then(PublicKey::parse) {
        return Err(refusal::result_customer());
    }
    if Some(request.kind) != profile.request_of(event.kind) {
        return Err(refusal::result_kind(request.kind, event.kind));
    }
    Ok(())
}

/// NIP-89. Without `d` or `k` it is an event like any other, and not ranked.
fn handler(event: &Event) -> Checked {
    // As `#k` filters ask for it.
    let is_kind = |k: &str| k.parse::<u16>().is_ok_and(|kind| kind.to_string() == k);
    each(event, "k", |tag| tag.value().is_some_and(is_kind), refusal::handler_kind)?;
    if event.content.is_empty() || metadata(&event.content).is_some() {
        Ok(())
    } else {
        Err(refusal::handler_content())
    }
}

fn each(event: &Event, name: &str, holds: impl Fn(&Tag) -> bool, otherwise: fn() -> Reason) -> Checked {
    if all(event, name, holds) { Ok(()) } else { Err(otherwise()) }
}

fn one(event: &Event, name: &str, otherwise: fn() -> Reason) -> Checked {
    if agree(event, name) { Ok(()) } else { Err(otherwise()) }
}

fn all(event: &Event, name: &str, holds: impl Fn(&Tag) -> bool) -> bool {
    event.tags.iter().filter(|tag| tag.name() == name).all(holds)
}

/// Whether all tags of the name say the same.
fn agree(event: &Event, name: &str) -> bool {
    let first = event.tags.iter().find(|tag| tag.name() == name).map(Tag::value);
    all(event, name, |tag| Some(tag.value()) == first)
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
