//! The form of `/api/jobs/ID`: what becomes of a job, as far as who asks may see it. No content.

use serde_json::{Value, json};

use crate::market::{State, privacy};
use crate::message::{JobAnswer, JobFound};
use crate::nostr::{EventId, PublicKey};
use crate::seam::Millis;
use crate::trees::in_order;

/// The version of the form.
const VERSION: u32 = 1;
/// Keys that were asked which are named.
const MAX_ASKED: usize = 100;

/// What is said to who has proven no key, and to who has proven one that is no party of the job.
const PROVE: &str = "the job's parties are shown all that is theirs: prove the key of its customer, or of a provider that was \
                     asked or has answered (NIP-98, header Authorization)";
const NO_PARTY: &str = "the key that was proven is no party of this job";

/// Whether who has proven this key is a party of a job, as far as that is known: it has asked it, was asked, or has answered.
pub(super) fn is_party(found: &JobFound, key: Option<&PublicKey>) -> bool {
    let is_of = |key: &PublicKey| {
        let is_asked = found.asked.as_ref().is_some_and(|asked| {
            privacy::is_party(&asked.customer, asked.providers.as_deref().unwrap_or_default(), key)
        });
        is_asked || found.answers.iter().any(|answer| answer.by == *key)
    };
    key.is_some_and(is_of)
}

/// What who has proven this key, or none, is told of a job.
pub(super) fn text(id: &EventId, found: &JobFound, key: Option<&PublicKey>, now: Millis) -> String {
    let asked = found.asked.as_ref();
    let encrypted = found.encrypted == Some(true);
    let providers = asked.and_then(|asked| asked.providers.as_deref());
    let is_customer = |key: &PublicKey| asked.is_some_and(|asked| asked.customer == *key);
    let is_party = is_party(found, key);
    let is_theirs = |answer: &JobAnswer| key.is_some_and(|key| *key == answer.by || is_customer(key));
    let more = match key {
        None => Some(PROVE),
        Some(_) => (!is_party).then_some(NO_PARTY),
    };
    let state = state(found, now);
    let mut report = json!({
        "version": VERSION,
        "id": id.to_string(),
        "state": state.as_str(),
        // Those that it is known to have come to, in the order of time.
        "states": states(found, state),
        // Null before its request was seen.
        "encrypted": found.encrypted,
        "first_feedback_ms": found.reported_ms,
        "first_result_ms": found.answered_ms,
        // Unix seconds; null when the request is not served any more.
        "expires_at": found.until.filter(|until| *until > now / 1000),
    });
    let Some(all) = report.as_object_mut() else { return String::new() };
    let mut say = |name: &str, value: Value| _ = all.insert(name.to_owned(), value);
    if !encrypted || is_party {
        let answers = found.answers.iter().filter(|answer| !(encrypted || answer.private) || is_theirs(answer));
        let first = found.first.filter(|first| !encrypted || key.is_some_and(|key| key == first || is_customer(key)));
        let named = |key: &PublicKey| json!({ "pubkey": key.to_string() });
        say("kind", asked.map(|asked| asked.kind).into());
        say("customer", asked.map(|asked| asked.customer.to_string()).into());
        say("bid_msats", asked.and_then(|asked| asked.bid_msats).into());
        // Null where everybody is asked.
        say("asked", providers.map(|all| all.iter().take(MAX_ASKED).map(named).collect::<Value>()).into());
        say("asked_left_out", providers.map_or(0, |all| all.len().saturating_sub(MAX_ASKED)).into());
        say("first_result_by", first.map(|first| first.to_string()).into());
        say("answers", answers.map(answer).collect());
        say("answers_left_out", found.more.into());
    }
    // How to see more, where there may be more.
    if let Some(more) = more {
        say("more", more.into());
    }
    report.to_string()
}

fn answer(answer: &JobAnswer) -> Value {
    json!({
        "id": answer.id.to_string(),
        "kind": answer.kind,
        "pubkey": answer.by.to_string(),
        "at_ms": answer.at_ms,
        // What feedback says, where NIP-90 knows it and it is not encrypted.
        "status": answer.status.map(State::as_str),
        "amount_msats": answer.amount_msats,
        // Whether the job moves by it.
        "counts": answer.moves.is_some(),
    })
}

/// How far it has come. Where its request is over and not removed yet, it has expired.
fn state(found: &JobFound, now: Millis) -> State {
    let is_over = found.until.is_some_and(|until| until <= now / 1000);
    if is_over { found.state.max(State::Expired) } else { found.state }
}

/// What it is known to have been, and is.
fn states(found: &JobFound, now: State) -> Value {
    let came = |state: State| {
        let said = found.answers.iter().filter(|answer| answer.moves == Some(state)).map(|answer| answer.at_ms).min();
        match state {
            State::Open => found.asked_ms,
            State::Success => said.into_iter().chain(found.answered_ms).min(),
            State::Expired => found.until.map(|until| until * 1000).filter(|_| now == State::Expired),
            State::Cancelled => found.cancelled_ms,
            _ => said,
        }
    };
    let all = State::ALL.into_iter().map(|state| (state, came(state)));
    let known: Vec<(State, Option<Millis>)> = all.filter(|(state, at_ms)| at_ms.is_some() || *state == now).collect();
    // What it is, and when is not known, comes last.
    let known = in_order(known, |(_, at_ms)| at_ms.unwrap_or(Millis::MAX));
    known.into_iter().map(|(state, at_ms)| json!({ "state": state.as_str(), "at_ms": at_ms })).collect()
}
