//! Who takes part in the simulated day, and the events they sign.

use nexus::nostr::{Event, EventId, PublicKey, Signature};
use serde_json::json;

use crate::common::events::Author;

/// Seconds that requests, feedback and results are kept on this day.
pub const RETAIN: [u64; 3] = [7_200, 10_800, 21_600];

/// What an event is to the market, by its kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Request,
    Feedback,
    Result,
    Deletion,
    Other,
}

/// An event, and what the model wants to know of it.
pub struct Ev {
    pub event: Event,
    pub role: Role,
    /// The EVENT message.
    pub message: String,
    /// The job and its customer, as the event says.
    pub job: EventId,
    pub customer: PublicKey,
    /// Unix second from which on it is gone.
    pub expires: Option<u64>,
    /// Whether it was made to be refused.
    pub malformed: bool,
}

impl Ev {
    pub fn new(event: Event, malformed: bool) -> Self {
        let role = match event.kind {
            5 => Role::Deletion,
            5000..=5999 => Role::Request,
            6000..=6999 => Role::Result,
            7000 => Role::Feedback,
            _ => Role::Other,
        };
        let kept = match role {
            Role::Request => Some(RETAIN[0]),
            Role::Feedback => Some(RETAIN[1]),
            Role::Result => Some(RETAIN[2]),
            _ => None,
        };
        let tagged = event.tag_value("expiration").map(|text| text.parse().unwrap());
        let expires = kept.map(|kept| event.created_at + kept).into_iter().chain(tagged).min();
        let answers = matches!(role, Role::Feedback | Role::Result);
        let job = event.tag_value("e").filter(|_| answers).and_then(EventId::parse).unwrap_or(event.id);
        let customer = event.tag_value("p").filter(|_| answers).and_then(PublicKey::parse).unwrap_or(event.pubkey);
        Self { role, message: json!(["EVENT", event]).to_string(), job, customer, expires, malformed, event }
    }

    pub fn id(&self) -> EventId {
        self.event.id
    }

    pub fn is_answer(&self) -> bool {
        matches!(self.role, Role::Feedback | Role::Result)
    }
}

pub type Tags = Vec<Vec<String>>;

/// One tag.
pub fn tag<const N: usize>(elements: [&str; N]) -> Vec<String> {
    elements.map(str::to_owned).to_vec()
}

pub fn sign(author: &Author, kind: u16, second: u64, tags: &Tags, content: &str) -> Event {
    let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    author.sign(kind, second, &tags, content)
}

/// An event under the signature of another.
pub fn forged(event: &Event, other: &Event) -> Event {
    Event { sig: Signature::clone(&other.sig), ..event.clone() }
}

/// Somebody of this day, with the key at hand.
pub struct Person {
    pub author: Author,
    pub key: PublicKey,
}

pub struct People {
    pub customers: Vec<Person>,
    pub providers: Vec<Person>,
    pub liars: Vec<Person>,
}

impl People {
    pub fn new() -> Self {
        let some = |range: std::ops::Range<u32>| {
            let person = |number| {
                let author = Author::numbered(number);
                Person { key: author.key(), author }
            };
            range.map(person).collect()
        };
        Self { customers: some(1..301), providers: some(1001..1041), liars: some(2001..2006) }
    }
}
