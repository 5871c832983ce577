//! How many rows an event costs, reckoned before it is written: what D1 bills for storing it and for its removal.
//! `tests/costs.rs` holds it against D1's own meter.

use std::collections::BTreeSet;

use crate::ledger::NewEvent;
use crate::market::retention::Kept;
use crate::market::{Part, reputation};
use crate::nostr::kind;
use crate::trees::Gather;

/// Of an event in any table and index, when nothing else is to be said of it.
const EVENT: u64 = 4;
/// Of what is written once a group, and so at worst once an event: the totals.
const GROUP: u64 = 1;
/// Of a job: a request makes its row; an answer moves it and notes the provider and the dealing.
const REQUEST: u64 = 2;
const ANSWER: u64 = 5;
/// Of removing an event when it has expired or was replaced.
const REMOVAL: u64 = 4;
/// Of what a deletion request names: what keeps it out, and the removal of an event with some tags.
pub const TARGET: u64 = 16;

/// Rows that storing `new` writes at most, and those of its removal, if it will be removed by itself or by a newer
/// version; `kept` says how long events of jobs are kept. Once in the life of a customer, when it becomes known, there are a few more.
pub fn rows(new: &NewEvent, kept: &Kept) -> u64 {
    let tags: BTreeSet<(u8, &str)> = new.event.tags.iter().filter_map(|tag| tag.indexed()).gather();
    let unique = new.event.replacement_key().is_some() || new.part.as_ref().is_some_and(Part::is_answer);
    let held = EVENT
        + u64::from(kept.own_expiry(&new.event, new.expires_at).is_some())
        + u64::from(unique)
        + tags.len() as u64;
    let goes = new.expires_at.is_some() || new.event.replacement_key().is_some();
    let job = match &new.part {
        Some(part) if part.is_answer() => ANSWER,
        Some(_) => REQUEST,
        None => 0,
    };
    // A vote, and that it is about a result's author.
    let labelled = if new.event.kind == kind::LABEL { new.event.tag_values("e").count() as u64 } else { 0 };
    held + GROUP
        + job
        + reputation::votes_max(&new.event)
        + labelled
        + if goes { REMOVAL } else { 0 }
        + TARGET * new.deletes.len() as u64
}
