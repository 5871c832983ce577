//! Signed events, made with libsecp256k1.

use nexus::ledger::NewEvent;
use nexus::market::job;
use nexus::nostr::{Event, EventId, PublicKey, Signature, Tag, deletion};
use secp256k1::{Keypair, schnorr};
use sha2::{Digest, Sha256};

/// A time all tests agree on, in seconds.
pub const NOW: u64 = 1_800_000_000;

/// Somebody with a key; the same `seed` is the same key.
#[derive(Clone)]
pub struct Author(Keypair);

impl Author {
    pub fn new(seed: u8) -> Self {
        Self(Keypair::from_secret_bytes([seed.max(1); 32]).unwrap())
    }

    /// One of many.
    pub fn numbered(number: u32) -> Self {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        Self(Keypair::from_secret_bytes(secret).unwrap())
    }

    pub fn key(&self) -> PublicKey {
        PublicKey::new(self.0.x_only_public_key().0.to_byte_array())
    }

    /// Signs an event; tags are written `[["e", "…"], …]`.
    pub fn sign(&self, kind: u16, created_at: u64, tags: &[&[&str]], content: &str) -> Event {
        let tags: Vec<Tag> = tags.iter().map(|tag| Tag::new(tag.iter().copied()).unwrap()).collect();
        let text = serde_json::to_string(&(0, self.key(), created_at, kind, &tags, content)).unwrap();
        let id: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let sig = schnorr::sign_no_aux_rand(&id, &self.0).to_byte_array();
        Event {
            id: EventId::new(id),
            pubkey: self.key(),
            created_at,
            kind,
            tags,
            content: content.to_owned(),
            sig: Signature::new(sig),
        }
    }

    /// Feedback or a result at [`NOW`] for a job, with more tags.
    pub fn answer(&self, kind: u16, request: &Event, more: &[&[&str]]) -> Event {
        let (id, customer) = (request.id.to_string(), request.pubkey.to_string());
        self.sign(kind, NOW, &[&[&["e", &id] as &[&str], &["p", &customer]], more].concat(), "")
    }

    /// Signs an event at [`NOW`] that has, after some tags, one of a name for each of the values.
    pub fn sign_list(&self, kind: u16, more: &[&[&str]], name: &str, values: &[String], content: &str) -> Event {
        let list: Vec<[&str; 2]> = values.iter().map(|value| [name, value.as_str()]).collect();
        let tags: Vec<&[&str]> = more.iter().copied().chain(list.iter().map(|tag| tag.as_slice())).collect();
        self.sign(kind, NOW, &tags, content)
    }

    /// An event of about 100 KB, nearly all of it tags that can be asked for.
    pub fn large(&self, kind: u16, n: u64, more: &[&[&str]]) -> Event {
        let values: Vec<String> = (0..1800).map(|m| format!("{n:020}{m:020}")).collect();
        self.sign_list(kind, more, "t", &values, "")
    }

    /// A deletion request that names events.
    pub fn delete(&self, events: &[Event]) -> Event {
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        self.sign_list(5, &[], "e", &ids, "")
    }

    /// So many job requests, each of which names as many providers as have room, the first of them
    /// [`numbered`](Self::numbered) 0.
    pub fn ask_many(&self, requests: u64) -> Vec<Event> {
        let keys: Vec<String> = (0..1700).map(|n| Self::numbered(n).key().to_string()).collect();
        (0..requests).map(|n| self.sign_list(5050, &[], "p", &keys, &n.to_string())).collect()
    }

    /// A regular event of kind 1 at [`NOW`].
    pub fn note(&self, content: &str) -> Event {
        self.sign(1, NOW, &[], content)
    }
}

/// An event on its way into the store, with nothing the engine would add but its part in a job.
pub fn new_event(event: &Event) -> NewEvent {
    NewEvent {
        text: event.to_json().into(),
        came_ms: event.created_at * 1000,
        expires_at: event.expiration().unwrap(),
        // What the engine would refuse deletes nothing.
        deletes: deletion::targets(event, &[]).unwrap_or_default(),
        part: job::NIP90.part_of(event),
        remember_until: event.created_at + 7 * 86_400,
        is_elsewhere: false,
        act: None,
        event: event.clone(),
    }
}
