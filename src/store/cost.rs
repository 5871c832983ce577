//! How many rows an event costs, reckoned before it is written: what D1 bills for storing it and, in advance, for its
//! removal, whoever asks for that. So what removes events costs next to nothing itself. `tests/costs.rs` holds it against
//! D1's own meter.

use std::collections::BTreeSet;

use crate::ledger::{Changes, NewEvent};
use crate::market::retention::Kept;
use crate::market::{JobRole, Part, State, privacy, reputation};
use crate::nostr::kind;
use crate::trees::Gather;

/// Of an event in its table and indexes, when nothing else is to be said of it; of its removal.
const EVENT: u64 = 4;
const REMOVAL: u64 = 1;
/// Of what is written once a group, and so at worst once an event: the totals.
const GROUP: u64 = 1;
/// Of the job of an event: it is written when the event comes and when it goes, with the index of those of which nothing is
/// held, and forgotten.
const JOB: u64 = 4;
/// Of what is known of who answers, with its index, and its removal.
const PROVIDER: u64 = 3;
/// Of what a customer had of a provider, with its index; once more when the customer becomes known; and its removal.
const DEALING: u64 = 5;
/// Of what a deletion request names, besides removing that: what keeps it out, and its job.
const TARGET: u64 = 4;
/// Of a request to vanish: what keeps events out, and that and how far they are being removed.
const VANISHES: u64 = 16;

/// Rows that storing `new` and removing it writes at most, besides what is [unforeseen]; of what is stored in another
/// partition, what it deletes. `kept` says how long events of jobs are kept.
pub fn rows(new: &NewEvent, kept: &Kept) -> u64 {
    let event = &new.event;
    let deletes = if new.vanishes() { VANISHES } else { TARGET * new.deletes.len() as u64 };
    if new.is_elsewhere {
        return GROUP + deletes;
    }
    let tags: BTreeSet<(u8, &str)> = event.tags.iter().filter_map(|tag| tag.indexed()).gather();
    let readers = privacy::readers(event, new.part.as_ref(), false).map_or(0, |readers| readers.len());
    let unique = event.replacement_key().is_some() || new.part.as_ref().is_some_and(Part::is_answer);
    // A vote, and that it is about a result's author.
    let labelled = if event.kind == kind::LABEL { event.tag_values("e").count() as u64 } else { 0 };
    let entries = (tags.len() + readers) as u64 + labelled + reputation::votes_max(event);
    // What goes by itself may go alone.
    let goes = new.expires_at.map_or(0, |_| GROUP);
    let indexes = u64::from(kept.own_expiry(event, new.expires_at).is_some()) + u64::from(unique);
    let job = new.part.as_ref().map_or(0, |part| match part.role {
        JobRole::Request => JOB,
        JobRole::Feedback if part.state != Some(State::Error) => JOB + PROVIDER,
        JobRole::Feedback | JobRole::Result => JOB + PROVIDER + DEALING,
    });
    GROUP + EVENT + indexes + REMOVAL + goes + 2 * entries + job + deletes
}

/// Rows that a group writes beyond that: an answer does not say that its request is encrypted, nor what follows for it when
/// it came before its request.
pub fn unforeseen(changes: &Changes) -> u64 {
    let is_told = |new: &NewEvent| privacy::readers(&new.event, new.part.as_ref(), false).is_some();
    let private = changes.fresh.iter().filter(|fresh| fresh.private && !is_told(&fresh.new));
    let readers: usize = private.map(|fresh| 2 * fresh.extra.len()).sum();
    let moved = changes.hidden.iter().map(|(held, readers)| 2 * (held.keys().len() + readers.len()));
    let corrected = changes.left.len() + changes.unmoving.len();
    (readers + moved.sum::<usize>() + corrected) as u64 + EVENT * changes.hidden.len() as u64
}
