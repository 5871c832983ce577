//! A group of events as the one JSON parameter its statements share.

use serde::Serialize;
use serde_json::value::RawValue;

use super::write::NewEvent;
use super::{PRIVATE, deletion, key};
use crate::market::privacy;
use crate::market::{JobRole, Part};
use crate::nostr::deletion::Target;
use crate::nostr::{Event, EventId, PublicKey, kind};

/// The letter of the tags a private event has for its readers.
pub const READER: u8 = b'>';

/// What searches and rules need of an event.
#[derive(Serialize)]
struct Head {
    id: EventId,
    pubkey: PublicKey,
    kind: u16,
    created_at: u64,
}

/// One element of the group parameter.
#[derive(Serialize)]
pub struct Item<'a> {
    e: Head,
    /// The event's canonical text, for the one statement that keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<&'a RawValue>,
    /// Its shelf.
    s: u32,
    /// When it came, Unix milliseconds.
    m: u64,
    /// What there is one of per author and kind.
    d: Option<String>,
    /// Keys of its tags, each once.
    k: Vec<String>,
    /// Unix seconds it expires at.
    x: Option<u64>,
    /// Keys of deletions that would keep it out.
    b: Vec<String>,
    /// Deletions it makes: key and the `created_at` it reaches to.
    pub t: Vec<(String, u64)>,
    /// Ids it deletes.
    i: Vec<EventId>,
    /// Kind and `d` key of the coordinates it deletes.
    a: Vec<(u16, String)>,
    /// Whether it makes its author vanish.
    pub v: bool,
    /// Its part in a job.
    pub j: Option<JobItem>,
    /// Unix seconds until which the job it asks is remembered.
    u: u64,
    /// Results it labels (NIP-32).
    pub l: Option<Vec<EventId>>,
}

/// An event's part in a job.
#[derive(Serialize)]
pub struct JobItem {
    /// The job.
    i: EventId,
    /// Whether it answers the job; else it is the request.
    pub a: bool,
    /// Whether it is a result.
    r: bool,
    /// The state it brings the job to.
    z: u8,
    /// Kind of the request.
    n: Option<u16>,
    /// Customer.
    c: PublicKey,
    /// Who was asked.
    p: Option<Vec<PublicKey>>,
    /// Whether it says that it is encrypted.
    y: bool,
    /// Tags of its readers, should the job be encrypted.
    w: Vec<String>,
    /// The key of the deletion that cancels the job.
    q: String,
}

impl Item<'_> {
    /// Leaves the text out.
    pub fn without_text(mut self) -> Self {
        self.f = None;
        self
    }

    /// Whether newer events replace it.
    pub fn is_replaceable(&self) -> bool {
        self.d.is_some() && self.j.is_none()
    }

    /// Whether it is a job request.
    pub fn is_request(&self) -> bool {
        self.j.as_ref().is_some_and(|job| !job.a)
    }

    /// Whether it answers a job.
    pub fn is_answer(&self) -> bool {
        self.j.as_ref().is_some_and(|job| job.a)
    }
}

/// Writes one event down; `text` is its canonical text.
pub fn item<'a>(new: &NewEvent, text: &'a RawValue) -> Item<'a> {
    let event = &new.event;
    let part = new.part.as_ref();
    // Whether the job of an answer is encrypted is known to the database.
    let readers = privacy::readers(event, part, false);
    let shelf = u32::from(event.kind) + if readers.is_some() { PRIVATE } else { 0 };
    let tags = event.tags.iter().filter_map(|tag| tag.indexed()).map(|(letter, value)| key::of(letter, value));
    let mut keys: Vec<String> = tags.chain(readers.iter().flatten().map(reader)).collect();
    keys.sort_unstable();
    keys.dedup();
    let one_of = match part {
        Some(part) if part.role == JobRole::Result => Some(key::of(b'e', &part.job.to_string())),
        _ => event.replacement_key().map(|d| key::of(b'd', d)),
    };
    let labelled = || event.tag_values("e").filter_map(EventId::parse).collect();
    let mut item = Item {
        e: Head { id: event.id, pubkey: event.pubkey, kind: event.kind, created_at: event.created_at },
        f: Some(text),
        s: shelf,
        m: new.came_ms,
        d: one_of,
        k: keys,
        x: new.expires_at,
        b: deletion::keeping_out(event, part),
        t: Vec::new(),
        i: Vec::new(),
        a: Vec::new(),
        v: false,
        j: part.map(|part| job_item(part, event)),
        u: new.remember_until,
        l: (event.kind == kind::LABEL).then(labelled),
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

fn job_item(part: &Part, event: &Event) -> JobItem {
    JobItem {
        i: part.job,
        a: part.is_answer(),
        r: part.role == JobRole::Result,
        z: part.state.rank(),
        n: part.kind,
        c: part.customer,
        p: (!part.providers.is_empty()).then(|| part.providers.clone()),
        y: part.encrypted,
        w: part.is_answer().then(|| part.parties(event)).iter().flatten().map(reader).collect(),
        q: deletion::key(&part.customer, &Target::Event(part.job)),
    }
}

/// The tag a private event has for one who may read it.
pub fn reader(reader: &PublicKey) -> String {
    key::of(READER, &reader.to_string())
}
