//! A group of events as the JSON parameter its statements share.

use std::collections::BTreeSet;

use serde::Serialize;

use super::write::NewEvent;
use super::{PRIVATE, deletion, key};
use crate::market::{JobRole, Part, State, privacy, reputation};
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, PublicKey, kind};

/// The letter of the tags a private event has for its readers.
pub const READER: u8 = b'>';

/// One element of the group parameter. What is empty is left out, and reads as NULL.
#[derive(Serialize)]
pub struct Item {
    /// Its number in the group, from 1.
    n: usize,
    id: EventId,
    /// Its tie.
    o: u64,
    pubkey: PublicKey,
    kind: u16,
    created_at: u64,
    /// Where its canonical text begins in the texts' parameter, from 1, and how long it is; in bytes.
    f: (usize, usize),
    /// Its shelf.
    s: u32,
    /// When it came, Unix milliseconds.
    m: u64,
    /// What there is one of per author and kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<String>,
    /// Keys of its tags, each once.
    k: Vec<String>,
    /// Unix seconds it expires at.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<u64>,
    /// Keys of deletions that would keep it out.
    b: Vec<String>,
    /// Deletions it makes: key and the `created_at` it reaches to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub t: Vec<(String, u64)>,
    /// Ids it deletes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    i: Vec<EventId>,
    /// Kind and `d` key of the coordinates it deletes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    a: Vec<(u16, String)>,
    /// Whether it makes its author vanish.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub v: bool,
    /// Its part in a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub j: Option<JobItem>,
    /// What it says as a label (NIP-32).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l: Option<LabelItem>,
}

impl Item {
    /// Whether newer events replace it.
    pub fn is_replaceable(&self) -> bool {
        self.d.is_some() && self.j.is_none()
    }
}

/// An event's part in a job.
#[derive(Serialize)]
pub struct JobItem {
    /// The job.
    i: EventId,
    /// Whether it is a result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    r: bool,
    /// The state it brings the job to.
    #[serde(skip_serializing_if = "Option::is_none")]
    z: Option<u8>,
    /// Kind of the request.
    n: Option<u16>,
    /// Customer.
    c: PublicKey,
    /// Who was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    p: Vec<PublicKey>,
    /// Whether it says that it is encrypted.
    y: bool,
    /// Of a request: Unix seconds until which the job is remembered.
    u: u64,
}

/// What a label event says, when it says anything.
#[derive(Serialize)]
pub struct LabelItem {
    /// Events it is about.
    e: Vec<EventId>,
    /// By namespace, its labels.
    n: Vec<(String, Vec<String>)>,
}

/// Writes one event down, number `n` in its group, whose canonical text begins at byte `at` (from 1).
pub fn item(new: &NewEvent, n: usize, at: usize) -> Item {
    let event = &new.event;
    let part = new.part.as_ref();
    // Whether the job of an answer is encrypted is known to the database.
    let readers = privacy::readers(event, part, false);
    let tags = event.tags.iter().filter_map(|tag| tag.indexed()).map(|(letter, value)| key::of(letter, value));
    let mut keys: Vec<String> = tags.chain(readers.iter().flatten().map(reader)).collect();
    keys.sort_unstable();
    keys.dedup();
    let one_of = match part {
        Some(part) if part.role == JobRole::Result => Some(key::of(b'e', &part.job.to_string())),
        _ => event.replacement_key().map(|d| key::of(b'd', d)),
    };
    let mut item = Item {
        n,
        id: event.id,
        o: tie(&event.id),
        pubkey: event.pubkey,
        kind: event.kind,
        created_at: event.created_at,
        f: (at, new.text.len()),
        s: u32::from(event.kind) + if readers.is_some() { PRIVATE } else { 0 },
        m: new.came_ms,
        d: one_of,
        k: keys,
        x: new.expires_at,
        b: deletion::keeping_out(event, part),
        t: Vec::new(),
        i: Vec::new(),
        a: Vec::new(),
        v: false,
        j: part.map(|part| job_item(part, new.remember_until)),
        l: (event.kind == kind::LABEL).then(|| label_item(event)).flatten(),
    };
    for target in &new.deletes {
        item.t.push((deletion::key(&event.pubkey, target), deletion::reach(event, target)));
        match target {
            Target::Event(id) => item.i.push(*id),
            Target::Address { kind, d } => item.a.push((*kind, key::of(b'd', d))),
            Target::Everything => item.v = true,
        }
    }
    item
}

fn label_item(event: &Event) -> Option<LabelItem> {
    let owned = |labels: BTreeSet<&str>| labels.into_iter().map(str::to_owned).collect();
    let said = reputation::said(event).into_iter().map(|(namespace, labels)| (namespace.to_owned(), owned(labels)));
    let item = LabelItem { e: event.tag_values("e").filter_map(EventId::parse).collect(), n: said.collect() };
    (!item.n.is_empty()).then_some(item)
}

fn job_item(part: &Part, remember_until: u64) -> JobItem {
    JobItem {
        i: part.job,
        r: part.role == JobRole::Result,
        z: part.state.map(State::rank),
        n: part.kind,
        c: part.customer,
        p: part.providers.clone(),
        y: part.encrypted,
        u: remember_until,
    }
}

/// The first 60 bits of an id, by which events of one second are ordered (NIP-01: the lowest id first).
fn tie(id: &EventId) -> u64 {
    id.as_bytes().iter().take(8).fold(0, |tie, byte| tie << 8 | u64::from(*byte)) >> 4
}

/// The tag a private event has for one who may read it.
pub fn reader(reader: &PublicKey) -> String {
    key::of(READER, &reader.to_string())
}
