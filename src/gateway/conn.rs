//! What is held of one connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::Millis;
use super::keeper::Positions;
use super::turn::MessageQueue;
use super::unheard::Unheard;
use crate::budget::{Level, NetworkUse, Reservation};
use crate::message::Known;
use crate::nostr::{EventId, Filter, PublicKey, Values};

/// Names a connection for as long as it is open, across hibernation and resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl ConnId {
    /// A name, and the challenge of the connection (NIP-42), of 24 bytes that nobody can guess.
    pub fn fresh(random: [u8; 24]) -> (Self, String) {
        let (name, challenge) = random.split_at(8);
        (Self(name.iter().fold(0, |name, byte| (name << 8) | u64::from(*byte))), hex::encode(challenge))
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16).map(Self)
    }
}

/// What connections are counted by: an IPv4 address, or the /64 an IPv6 address is in, as whoever has
/// one address of it has all.
pub fn network(ip: &str) -> Option<String> {
    match ip.trim().parse().ok()? {
        IpAddr::V4(ip) => Some(ip.to_string()),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => Some(ip.to_string()),
            None => Some(Ipv6Addr::from(u128::from(ip) >> 64 << 64).to_string()),
        },
    }
}

/// Keys one connection can prove: more has no use and would grow without bound.
pub const MAX_KEYS: usize = 16;
/// Bytes of filters that one connection can keep open; what is remembered and indexed of it follows.
pub const MAX_REMEMBERED: usize = 256_000;
/// Bytes of live events kept for a subscription whose stored ones are still being read.
pub const MAX_BUFFERED: usize = 1_000_000;
/// Bytes one such event takes besides its text.
pub const LIVE_BYTES: usize = 80;
/// Bytes a connection takes, its challenge, its names and its places in lists among them; and a key it has proven.
pub const CONN_BYTES: usize = size_of::<Conn>() + 450;
pub const KEY_BYTES: usize = 400;

/// One connection.
#[derive(Debug, Default)]
pub struct Conn {
    /// The network it comes from, as far as the host knows.
    pub network: Option<Rc<str>>,
    /// What all of that network have reserved.
    pub used: Option<Rc<NetworkUse>>,
    /// What it takes by itself.
    pub memory: Option<Reservation>,
    /// When it was opened.
    pub opened_at: Millis,
    /// What it was sent and is not known to have read.
    pub unheard: Unheard,
    /// Binary frames it has sent.
    pub binary_frames: u32,
    /// What it has said and waits for its turn.
    pub waiting: MessageQueue,
    /// What it was refused lately.
    pub refusals: Refusals,
    /// What an AUTH event must repeat.
    pub challenge: String,
    /// Proven keys.
    pub keys: Values<PublicKey>,
    /// The one proven first: it pays for what no other of them does.
    pub first_key: Option<PublicKey>,
    /// What the store knows of them, as far as it has said.
    pub known: Vec<(PublicKey, Known)>,
    /// Whether what the host remembers of it is out of date.
    pub outdated: bool,
    /// What it was sent live lately.
    pub live: Level,
    /// Events it has published that are not answered.
    pub unanswered: usize,
    /// COUNTs that wait for the store.
    pub counting: BTreeSet<String>,
    /// By subscription id.
    pub subs: BTreeMap<Rc<str>, Box<Sub>>,
}

impl Conn {
    /// Notes a key that was proven; whether it is a new one.
    pub fn prove(&mut self, key: PublicKey) -> bool {
        self.first_key.get_or_insert(key);
        let new = !self.keys.contains(&key);
        if new {
            self.keys = self.keys.with(key);
        }
        new
    }

    /// What is known of a proven key.
    pub fn known(&self, key: &PublicKey) -> Known {
        self.known.iter().find(|(known, _)| known == key).map(|(_, known)| *known).unwrap_or_default()
    }

    /// What is known of a key, to be changed.
    pub fn known_mut(&mut self, key: PublicKey) -> Option<&mut Known> {
        if !self.known.iter().any(|(known, _)| *known == key) {
            self.known.push((key, Known::default()));
        }
        self.known.iter_mut().find(|(known, _)| *known == key).map(|(_, known)| known)
    }

    /// The proven keys that have a live handler (NIP-89).
    pub fn handlers(&self) -> impl Iterator<Item = &PublicKey> {
        self.known.iter().filter(|(_, known)| known.handler).map(|(key, _)| key)
    }
}

/// Refusals within a window of time.
#[derive(Debug, Default)]
pub struct Refusals {
    /// When the window began.
    since: Millis,
    count: u32,
}

impl Refusals {
    /// Counts one more at `now`; the refusals in the window of `window` ms that is open, this one included.
    pub fn add(&mut self, now: Millis, window: Millis) -> u32 {
        if now.abs_diff(self.since) >= window {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

/// One subscription.
#[derive(Debug)]
pub struct Sub {
    /// As parsed.
    pub filters: Arc<[Filter]>,
    /// The filters as they are remembered: a JSON array.
    pub text: Box<RawValue>,
    /// Its number in the index.
    pub number: usize,
    /// What all this takes.
    pub memory: Reservation,
    /// Set until the stored events are sent.
    pub reading: Option<Box<Backlog>>,
}

/// A subscription whose stored events are being read: live ones wait here, so that none is lost,
/// none is sent twice, and EOSE comes between stored and live.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Id and canonical text, in the order they came.
    pub live: Vec<(EventId, Rc<str>)>,
    /// What they take.
    pub memory: Option<Reservation>,
    /// What subscribers had been told of when the stored events were asked for, as far as is known.
    pub after: Positions,
    /// Whether memory was lost since: what waited here then is in the log.
    pub lost: bool,
    /// When the stored events could not be read first.
    pub failed_at: Option<Millis>,
}
