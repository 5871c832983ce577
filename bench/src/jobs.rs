//! Keys, and signed events of jobs: what is sent is made before the clock starts.

use std::time::{SystemTime, UNIX_EPOCH};

use nexus::nostr::{Event, EventId, PublicKey, Signature, Tag};
use secp256k1::{Keypair, schnorr};
use sha2::{Digest, Sha256};

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Somebody with a key; the same name is the same key.
pub struct Author(Keypair);

impl Author {
    pub fn new(name: &str) -> Self {
        Self(Keypair::from_secret_bytes(hash(name)).expect("a hash is a key, but for one in 2^128"))
    }

    pub fn key(&self) -> PublicKey {
        PublicKey::new(self.0.x_only_public_key().0.to_byte_array())
    }

    pub fn sign(&self, kind: u16, created_at: u64, tags: &[&[&str]], content: String) -> Event {
        let tags = tags_of(tags);
        let text = serde_json::to_string(&(0, self.key(), created_at, kind, &tags, &content)).expect("strings");
        let id = hash(&text);
        let sig = Signature::new(schnorr::sign_no_aux_rand(&id, &self.0).to_byte_array());
        Event { id: EventId::new(id), pubkey: self.key(), created_at, kind, tags, content, sig }
    }
}

pub fn tags_of(tags: &[&[&str]]) -> Vec<Tag> {
    tags.iter().map(|tag| Tag::new(tag.iter().copied()).expect("a tag has a name")).collect()
}

/// An EVENT message, ready to be sent.
pub struct Frame {
    pub id: String,
    pub text: String,
}

impl Frame {
    pub fn new(event: &Event) -> Self {
        Self { id: event.id.to_string(), text: format!("[\"EVENT\",{}]", event.to_json()) }
    }
}

/// A job request of `author`; no two of the same `name` and `n` are alike.
pub fn request(author: &Author, name: &str, n: usize, created_at: u64) -> Event {
    let prompt = format!("{name} {n}: what is a relay, and why would an agent trade over one?");
    let tags: &[&[&str]] = &[&["i", &prompt, "text"], &["output", "text/plain"], &["bid", "21000"], &["t", "bench"]];
    author.sign(5050, created_at, tags, filler(n))
}

/// Text that makes events of 600 to 1200 bytes.
fn filler(n: usize) -> String {
    const WORDS: &str = "compute is bought and sold by agents that wait for nobody; ";
    WORDS.chars().cycle().take(50 + n * 37 % 500).collect()
}

/// Requests, feedback and results in the order of a market: `events` of them, one job after the other, `pace` a
/// second by their `created_at`, which begins with `start` (Unix seconds).
pub fn mix(name: &str, events: usize, start: u64, pace: f64) -> Vec<Event> {
    let (customer, provider) = (Author::new(&format!("{name} customer")), Author::new(&format!("{name} provider")));
    let to = customer.key().to_string();
    let mut list = Vec::with_capacity(events + 2);
    for n in 0..events.div_ceil(3) {
        let from = start + (3.0 * n as f64 / pace) as u64;
        let request = request(&customer, name, n, from);
        let job = request.id.to_string();
        let about: [&[&str]; 2] = [&["e", &job], &["p", &to]];
        list.push(request);
        list.push(provider.sign(7000, from, &[&about[..], &[&["status", "processing"]]].concat(), filler(n + 5)));
        list.push(provider.sign(6050, from, &[&about[..], &[&["amount", "21000"]]].concat(), filler(n + 9)));
    }
    list.truncate(events);
    list
}
