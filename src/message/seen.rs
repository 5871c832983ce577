//! What a gateway has seen of its clients lately: whom it has refused something, and who sends most. It is for the owner, has no
//! content of events, and takes some kB whoever comes: the same thing that is refused again to the same is one entry, and of
//! those who send little the one who sends least makes room.

use serde::{Deserialize, Serialize};

use crate::nostr::PublicKey;
use crate::seam::Network;

/// Refusals that are remembered, and those that are told to the other gateways.
const REFUSALS_MAX: usize = 200;
const REFUSALS_TOLD: usize = 50;
/// Bytes of a reason.
const REASON_MAX: usize = 200;
/// Senders that are counted at once, and those that are told to the other gateways.
const SENDERS_MAX: usize = 64;
/// Seconds for which they are counted: they are told of this time and the one before.
const WINDOW_S: u64 = 1800;
/// What an event counts besides its bytes.
const EVENT: u64 = 512;

/// Something that was refused, as often as it was refused for the like since it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Unix seconds, of the last time.
    pub at: u64,
    /// The key that was proven, or whose event it is said to be.
    pub key: Option<PublicKey>,
    /// Whether it was proven.
    pub proven: bool,
    /// Where it came from.
    pub network: Option<Network>,
    /// The event's kind, if it was one.
    pub kind: Option<u16>,
    /// As it was told the last time.
    pub reason: String,
    /// How often.
    pub times: u64,
}

impl Refused {
    /// Whether another one is to the same and for the like. Who has proven nothing can name any key.
    fn is_like(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.key.filter(|_| it.proven), it.network);
        of(self) == of(other) && self.reason.split(':').next() == other.reason.split(':').next()
    }
}

/// What somebody has sent: a proven key, or a network with all that comes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// Whose key.
    pub key: Option<PublicKey>,
    /// Which network.
    pub network: Option<Network>,
    /// Events.
    pub events: u64,
    /// In frames.
    pub bytes: u64,
    /// Unix seconds, of the last frame.
    pub at: u64,
    /// What decides who makes room; who comes takes over that of who goes.
    rank: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The last first to go.
    refusals: Vec<Refused>,
    senders: Vec<Sender>,
    /// Of the time before.
    before: Vec<Sender>,
    /// Since when they are counted, in Unix seconds.
    since: u64,
}

impl Seen {
    /// Notes a refusal.
    pub fn refused(&mut self, mut refused: Refused) {
        refused.reason.truncate(refused.reason.floor_char_boundary(REASON_MAX));
        if let Some(at) = self.refusals.iter().position(|known| known.is_like(&refused)) {
            let known = self.refusals.remove(at);
            let times = known.times + refused.times;
            refused = Refused { times, ..if known.at > refused.at { known } else { refused } };
        } else if self.refusals.len() >= REFUSALS_MAX {
            self.refusals.remove(0);
        }
        let place = self.refusals.partition_point(|known| known.at <= refused.at);
        self.refusals.insert(place, refused);
    }

    /// Notes a frame with so many events, of a key and a network.
    pub fn sent(&mut self, key: Option<PublicKey>, network: Option<Network>, events: u64, bytes: usize, now: u64) {
        if now >= self.since + WINDOW_S {
            std::mem::swap(&mut self.before, &mut self.senders);
            self.senders.clear();
            self.since = now;
        }
        let bytes = bytes as u64;
        let sender = Sender { key: None, network: None, events, bytes, at: now, rank: bytes + EVENT * events };
        if key.is_some() {
            count(&mut self.senders, Sender { key, ..sender });
        }
        if network.is_some() {
            count(&mut self.senders, Sender { network, ..sender });
        }
    }

    /// What is told to the other gateways.
    #[must_use]
    pub fn told(&self) -> Self {
        let from = self.refusals.len().saturating_sub(REFUSALS_TOLD);
        let last = self.refusals.get(from..).unwrap_or_default();
        Self { refusals: last.to_vec(), senders: self.senders.clone(), before: self.before.clone(), since: self.since }
    }

    /// Adds what another gateway has seen.
    pub fn add(&mut self, other: &Self) {
        other.refusals.iter().for_each(|refused| self.refused(refused.clone()));
        other.senders.iter().for_each(|sender| count(&mut self.senders, *sender));
        other.before.iter().for_each(|sender| count(&mut self.before, *sender));
    }

    /// What was refused, the last first.
    pub fn refusals(&self) -> impl Iterator<Item = &Refused> {
        self.refusals.iter().rev()
    }

    /// Who has sent in this time and the one before, who sends most first.
    #[must_use]
    pub fn senders(&self, now: u64) -> Vec<Sender> {
        let mut all: Vec<Sender> = Vec::new();
        let lately = |sender: &&Sender| sender.at + 2 * WINDOW_S > now;
        self.senders.iter().chain(&self.before).filter(lately).for_each(|sender| count(&mut all, *sender));
        let mut sorted = Vec::new();
        while let Some(first) = all.iter().map(|sender| sender.rank).max() {
            sorted.extend(all.extract_if(.., |sender| sender.rank == first));
        }
        sorted
    }
}

/// Counts what somebody has sent; who comes when there are too many takes the place of who has sent least.
fn count(senders: &mut Vec<Sender>, new: Sender) {
    let mut least: Option<&mut Sender> = None;
    let is_full = senders.len() >= SENDERS_MAX;
    for sender in &mut *senders {
        if (sender.key, sender.network) == (new.key, new.network) {
            sender.events += new.events;
            sender.bytes += new.bytes;
            sender.at = sender.at.max(new.at);
            sender.rank += new.rank;
            return;
        }
        if is_full && least.as_ref().is_none_or(|least| sender.rank < least.rank) {
            least = Some(sender);
        }
    }
    match least {
        Some(least) => *least = Sender { rank: least.rank + new.rank, ..new },
        None => senders.push(new),
    }
}
