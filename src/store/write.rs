//! Writing: a group of events as one atomic list of statements, and what became of each event.
//!
//! The group travels as a few parameters, so the number of statements does not grow with it. Every
//! statement is idempotent: a group that landed although it was reported as failed may be written
//! again, and counts nothing twice.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::counts::{Flush, Totals, decode_totals};
use super::group::{self, Of, Shape};
use super::item::{Item, item};
use super::log::{self, Write};
use super::{Param, Rows, Statement, StoreError, integer, json, json_text};
use crate::market::Part;
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, PublicKey};

/// Bytes of what an item has besides its tags, and of a deletion it makes.
const ITEM: usize = 1000;
const DELETION: usize = 300;
/// Bytes an event takes in memory besides its text and fields.
const LISTED: usize = 700;

/// An event on its way into the database.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Verified.
    pub event: Event,
    /// Its canonical text, which is kept and sent.
    pub text: Arc<str>,
    /// When it came, Unix milliseconds.
    pub came_ms: u64,
    /// Unix seconds from which on it is not served.
    pub expires_at: Option<u64>,
    /// What it asks to be rid of (NIP-09, NIP-62).
    pub deletes: Vec<Target>,
    /// Its part in a job.
    pub part: Option<Part>,
    /// Of a job request: Unix seconds until which the job is remembered.
    pub remember_until: u64,
}

impl NewEvent {
    /// Bytes it takes in memory at most: the text, the event it was parsed into, what a string takes besides its
    /// characters for each two quotes, and the lists it is in.
    pub fn memory_bytes(&self) -> usize {
        let quotes = self.text.bytes().filter(|byte| *byte == b'"').count();
        LISTED + 2 * self.text.len() + 20 * quotes + self.deletes.len() * size_of::<Target>()
    }
}

/// What became of an event of a committed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the database.
    Stored {
        /// Its number.
        seq: u64,
        /// Whether it is for its readers alone.
        private: bool,
        /// Whether it is a job request, and no answer to it was stored before its group.
        first: bool,
    },
    /// A newer event has its place; of results, another one of the same provider.
    Superseded,
    /// Its author has deleted it, before or after it came.
    Deleted,
    /// It answers a job whose customer has cancelled it.
    Cancelled,
    /// It does not agree with the job request it answers.
    Disagrees(Disagreement),
}

/// What an answer and its job's request do not agree in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// Another key asked.
    Customer,
    /// A request of another kind is answered like this.
    Kind,
    /// Others were asked.
    Provider,
    /// The request is not known, and many answers to it are here.
    Early,
    /// Its author was not asked and has given as much feedback as such a key may.
    Feedbacks,
    /// Its author was not asked, and as many such keys as may have answered.
    Keys,
}

/// What a transaction has done to an event that was stored before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The event of this number is not stored any more.
    Removed(u64),
    /// The event of this number is for its parties alone from now on.
    Hidden(u64),
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Before the group: every event with a number above [`Totals::last_seq`] is new to the reader.
    pub before: Totals,
    /// By event id.
    pub outcomes: BTreeMap<EventId, Outcome>,
    /// Jobs that the group cancelled, each with one who had answered it.
    pub cancelled: Vec<(EventId, PublicKey)>,
    /// Providers who are more active now than is known, each with the slot of
    /// [`ACTIVE_SLOT`](super::dealings::ACTIVE_SLOT) seconds since 1970.
    pub active: Vec<(PublicKey, u64)>,
    /// What it did to other events. A group that is written again does not say what it did at first.
    pub changes: Vec<Change>,
    /// After the group.
    pub totals: Totals,
    /// The row of [`read_counts`](super::counts::read_counts), after the group.
    pub counts: String,
}

/// Bytes `new` takes in the parameters of its group, about.
pub fn parameter_size(new: &NewEvent) -> usize {
    // Besides the text, an item has the event's tags and the deletions that concern it, and little else.
    2 * new.text.len() + ITEM + DELETION * new.deletes.len()
}

/// The statements that store `group` atomically, and add `flush` to the totals; `early` says whether
/// answers may be here whose request is among the group ([`Totals::early`]). A group of which nothing is stored leaves
/// the totals as they are. Decode their answer with [`decode`].
pub fn statements(group: &[impl Borrow<NewEvent>], flush: &Flush, early: bool, write: &Write) -> Vec<Statement> {
    as_write(&Listed::new(group, Shape { early, ..Shape::default() }), flush, write)
}

/// The same for a group that was taken once already, as an export has it: nothing counts as too much of it.
pub fn restore(group: &[impl Borrow<NewEvent>], write: &Write) -> Vec<Statement> {
    let known = Shape { early: true, restores: true, ..Shape::default() };
    as_write(&Listed::new(group, known), &Flush::default(), write)
}

fn as_write(group: &Listed, flush: &Flush, write: &Write) -> Vec<Statement> {
    let counted = [json(flush), log::name(write)];
    log::guarded(write, group.fill(&group::plan(group.shape), &counted, 0))
}

/// What [`statements`] of `group` have said, asked afterwards: for a write whose answer was lost, and that has
/// [landed](log::Landing::Landed). `before` are the totals before it. Decode with [`decode`]. What the group
/// removed and hid and who is more active by it is not told, and of those who answered a job that it cancelled none who
/// deletes his answers in it.
pub fn fates(group: &[impl Borrow<NewEvent>], before: &Totals) -> Vec<Statement> {
    let group = Listed::new(group, Shape::default());
    group.fill(&group::fates(group.shape), &[], before.last_seq)
}

/// A group as the parameters that its statements share.
struct Listed {
    shape: Shape,
    others: Param,
    others_texts: Param,
    answers: Param,
    answers_texts: Param,
    requests: Vec<EventId>,
}

impl Listed {
    fn new(group: &[impl Borrow<NewEvent>], known: Shape) -> Self {
        let is_answer = |(_, new): &(usize, &NewEvent)| new.part.as_ref().is_some_and(Part::is_answer);
        let numbered = group.iter().enumerate().map(|(at, new)| (at + 1, new.borrow()));
        let (answers, others): (Vec<_>, Vec<_>) = numbered.partition(is_answer);
        let requests: Vec<EventId> = others.iter().filter_map(|(_, new)| Some(new.part.as_ref()?.job)).collect();
        let mut shape = Shape {
            others: !others.is_empty(),
            requests: !requests.is_empty(),
            early: known.early && !requests.is_empty(),
            answers: !answers.is_empty(),
            ..known
        };
        let (others, others_texts) = list(&others, |item| {
            shape.labels |= item.l.is_some();
            shape.deletes |= !item.v && !item.t.is_empty();
            shape.vanishes |= item.v;
            shape.replaces |= item.is_replaceable();
        });
        let (answers, answers_texts) = list(&answers, |_| {});
        Self { shape, others, others_texts, answers, answers_texts, requests }
    }

    /// The statements with their parameters; `counted` is what the engine has counted, and the write's name.
    fn fill(&self, plan: &[(Arc<str>, Of)], counted: &[Param], before: u64) -> Vec<Statement> {
        let params = |of: Of| match of {
            Of::Nothing => vec![],
            Of::Others => vec![self.others.clone()],
            Of::OthersTexts => vec![self.others.clone(), self.others_texts.clone()],
            Of::OthersBefore => vec![self.others.clone(), integer(before)],
            Of::AnswersTexts => vec![self.answers.clone(), self.answers_texts.clone()],
            Of::Both => vec![self.others.clone(), self.answers.clone()],
            Of::Requests => vec![json(&self.requests)],
            Of::Flush => counted.to_vec(),
            Of::FlushOthers => [counted, std::slice::from_ref(&self.others)].concat(),
        };
        plan.iter().map(|(sql, of)| Statement { sql: sql.clone(), params: params(*of) }).collect()
    }
}

/// Events, each with its number, as a list of items and one of texts; each item is shown first.
fn list(events: &[(usize, &NewEvent)], mut show: impl FnMut(&Item)) -> (Param, Param) {
    let size: usize = events.iter().map(|(_, new)| new.text.len()).sum();
    let (mut items, mut texts) = (String::with_capacity(size + ITEM * events.len()), String::with_capacity(size));
    for (n, new) in events {
        let item = item(new, *n, texts.len() + 1);
        show(&item);
        items.push(if items.is_empty() { '[' } else { ',' });
        items.push_str(&json_text(&item));
        texts.push_str(&new.text);
    }
    items.push_str(if events.is_empty() { "[]" } else { "]" });
    (Param::Text(items.into()), Param::Text(texts.into()))
}

/// What the answer to [`statements`] says of the events with `ids`; `before` are the totals before the group.
pub fn decode(ids: &[EventId], rows: &Rows, before: Totals) -> Result<Committed, StoreError> {
    let [between @ .., stored, totals] = rows.as_slice() else {
        return Err(StoreError::new("the commit was answered with too few results"));
    };
    let counts = totals.first().cloned().unwrap_or_default();
    let totals = decode_totals(&vec![totals.clone()])?;
    let outcomes: BTreeMap<EventId, Outcome> = stored
        .iter()
        .map(|row| outcome(row).ok_or_else(|| StoreError::new(format!("outcome row: {row}"))))
        .collect::<Result<_, _>>()?;
    if ids.iter().any(|id| !outcomes.contains_key(id)) {
        return Err(StoreError::new("the commit was answered for a part of its group"));
    }
    let (mut cancelled, mut active, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for row in between.iter().flatten() {
        match row.split(' ').collect::<Vec<_>>().as_slice() {
            ["cancelled", job, key] => cancelled.extend(EventId::parse(job).zip(PublicKey::parse(key))),
            ["active", key, slot] => active.extend(PublicKey::parse(key).zip(slot.parse().ok())),
            _ => changes.push(change(row).ok_or_else(|| StoreError::new(format!("group row: {row}")))?),
        }
    }
    Ok(Committed { before, outcomes, cancelled, active, changes, totals, counts })
}

/// What the answer to [`sweep::remove`](super::sweep::remove) says of events that are gone.
pub fn decode_changes(rows: &Rows) -> Vec<Change> {
    rows.iter().flatten().filter_map(|row| change(row)).collect()
}

fn change(row: &str) -> Option<Change> {
    let (what, seq) = row.split_once(' ')?;
    let seq = seq.parse().ok()?;
    match what {
        "removed" => Some(Change::Removed(seq)),
        "hidden" => Some(Change::Hidden(seq)),
        _ => None,
    }
}

fn outcome(row: &str) -> Option<(EventId, Outcome)> {
    let (id, fate) = row.split_once(' ')?;
    let outcome = match fate {
        "superseded" => Outcome::Superseded,
        "deleted" => Outcome::Deleted,
        "cancelled" => Outcome::Cancelled,
        "customer" => Outcome::Disagrees(Disagreement::Customer),
        "kind" => Outcome::Disagrees(Disagreement::Kind),
        "provider" => Outcome::Disagrees(Disagreement::Provider),
        "early" => Outcome::Disagrees(Disagreement::Early),
        "feedbacks" => Outcome::Disagrees(Disagreement::Feedbacks),
        "keys" => Outcome::Disagrees(Disagreement::Keys),
        stored => {
            let (seq, what) = stored.split_once(' ').unwrap_or((stored, ""));
            Outcome::Stored { seq: seq.parse().ok()?, private: what == "private", first: what == "first" }
        }
    };
    Some((EventId::parse(id)?, outcome))
}
