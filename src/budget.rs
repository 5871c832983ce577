//! The memory of a relay: one budget, of which everything that clients can make grow has a named share in bytes.
//!
//! What is about to be kept is reserved before, and given back when what holds the [`Reservation`] is dropped. A share
//! that is full refuses more, or, where it is a cache, its oldest goes. Of a share that clients could fill for all, a
//! network takes no more than a part of what is left ([`Share::of_left`]), so a few leave room, and who has nothing is
//! the last to be refused.
//!
//! Bytes are what things take in memory, overhead included, reckoned with pointers of 8 bytes; Workers have shorter ones.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, de};

use crate::seam::Millis;

/// Bytes of the budget in a Durable Object, half of what objects of an isolate have together, and natively of each
/// gateway and of the partition, which take different shares of it.
pub(crate) const OBJECT_BYTES: usize = 64 << 20;
pub(crate) const NATIVE_BYTES: usize = 256 << 20;
/// Parts a budget is divided into.
const PARTS: usize = 64;

/// Something that takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// Connections and the keys they have proven.
    Connections,
    /// Filters of open subscriptions and their index.
    Subscriptions,
    /// Questions that wait to be asked, or asked again.
    Questions,
    /// What the store answers, while it is asked and until it is sent.
    Answers,
    /// Live events that wait behind stored ones.
    Backlogs,
    /// Messages that wait for their turn.
    Turns,
    /// Events that wait for the store or are in flight.
    Events,
    /// The same of answers to jobs that are held, which go first.
    Answered,
    /// Jobs whose answers go first, and what is remembered of jobs that move.
    Jobs,
    /// Events that were stored last.
    Recent,
    /// What the store has answered about handlers.
    Handlers,
    /// Answers over HTTP.
    Http,
    /// Levels of buckets, and what networks have taken.
    Quotas,
}

impl Share {
    /// All, each with its name.
    pub(crate) const ALL: [(Self, &str); 13] = [
        (Self::Connections, "connections"),
        (Self::Subscriptions, "subscriptions"),
        (Self::Questions, "questions"),
        (Self::Answers, "answers"),
        (Self::Backlogs, "backlogs"),
        (Self::Turns, "turns"),
        (Self::Events, "events"),
        (Self::Answered, "job_answers"),
        (Self::Jobs, "jobs"),
        (Self::Recent, "recent"),
        (Self::Handlers, "handlers"),
        (Self::Http, "http"),
        (Self::Quotas, "quotas"),
    ];

    /// Of [`PARTS`].
    const fn parts(self) -> usize {
        match self {
            Self::Connections => 12,
            Self::Subscriptions => 11,
            Self::Questions => 2,
            Self::Answers => 8,
            Self::Backlogs => 4,
            Self::Turns => 2,
            Self::Events => 6,
            Self::Answered => 2,
            Self::Jobs => 2,
            Self::Recent => 9,
            Self::Handlers => 2,
            Self::Http => 1,
            Self::Quotas => 3,
        }
    }

    /// What a network has of it is at most such a part of what is left: of what clients hold for as long as they like a
    /// ninth (alone a tenth of all), of what passes by itself a third (alone a quarter).
    const fn of_left(self) -> usize {
        match self {
            Self::Connections | Self::Subscriptions => 9,
            _ => 3,
        }
    }

    /// Its bytes of a budget.
    pub(crate) const fn of(self, budget_bytes: usize) -> usize {
        budget_bytes / PARTS * self.parts()
    }
}

/// Reads what is told by the names of shares.
pub(crate) fn by_share<'de, D, T>(deserializer: D) -> Result<BTreeMap<&'static str, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let mut named = BTreeMap::new();
    for (told, value) in BTreeMap::<String, T>::deserialize(deserializer)? {
        let known = Share::ALL.into_iter().find(|(_, name)| *name == told);
        let (_, name) = known.ok_or_else(|| de::Error::custom("must be the name of a share"))?;
        named.insert(name, value);
    }
    Ok(named)
}

/// Bytes in use, by share.
#[derive(Debug, Default)]
struct Used([Cell<u32>; Share::ALL.len()]);

impl Used {
    fn get(&self, share: Share) -> usize {
        self.0.get(share as usize).map_or(0, |used| used.get() as usize)
    }

    fn set(&self, share: Share, bytes: usize) {
        if let Some(used) = self.0.get(share as usize) {
            used.set(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }
}

/// What the connections of one network have reserved, and what they were sent live lately.
#[derive(Debug, Default)]
pub struct NetworkUse {
    used: Used,
    pub(crate) live: Cell<Level>,
}

/// Bytes that were sent lately: what is sent adds to them, and they fall by a rate. Those of the last second, too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    bytes: u64,
    at: Millis,
    in_second: u64,
}

impl Level {
    /// With so many bytes more, after it has fallen by so many a second until now.
    pub(crate) fn with(self, bytes: u64, per_second: u64, now: Millis) -> Self {
        let fallen = now.saturating_sub(self.at).saturating_mul(per_second) / 1000;
        let in_second = if self.at / 1000 == now / 1000 { self.in_second } else { 0 };
        let level = self.bytes.saturating_sub(fallen).saturating_add(bytes);
        Self { bytes: level, at: now.max(self.at), in_second: in_second.saturating_add(bytes) }
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Those of the second of the last change.
    pub(crate) const fn in_second(self) -> u64 {
        self.in_second
    }
}

/// The budget.
#[derive(Debug)]
pub(crate) struct Budget {
    whole: usize,
    /// What there is of it.
    bytes: Cell<usize>,
    used: Used,
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Whether there is room for others, but not for this network.
    pub for_network: bool,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self { whole: bytes, bytes: Cell::new(bytes), used: Used::default() })
    }

    /// Bytes of a share.
    pub fn max(&self, share: Share) -> usize {
        share.of(self.bytes.get())
    }

    /// So many share the memory that this one could have: where more is in use nothing more is reserved.
    pub fn divide(&self, among: usize) {
        self.bytes.set(self.whole / among.max(1));
    }

    /// Bytes of it that are in use.
    pub fn used(&self, share: Share) -> usize {
        self.used.get(share)
    }

    /// Reserves bytes of a share, for a network when that is given.
    pub fn reserve(
        self: &Rc<Self>,
        network: Option<&Rc<NetworkUse>>,
        share: Share,
        bytes: usize,
    ) -> Result<Reservation, Full> {
        let mut reservation = self.nothing(network, share);
        reservation.grow(bytes).map(|()| reservation)
    }

    /// Bytes of a share that a network may reserve yet, or everybody when none is given.
    pub fn left(&self, network: Option<&Rc<NetworkUse>>, share: Share) -> usize {
        let left = self.max(share).saturating_sub(self.used(share));
        // Of what it takes less is left.
        network.map_or(left, |network| {
            (left.saturating_sub(share.of_left() * network.used.get(share))) / (share.of_left() + 1)
        })
    }

    /// Bytes that are there already, so they are counted whether there is room or not.
    pub fn hold(self: &Rc<Self>, network: Option<&Rc<NetworkUse>>, share: Share, bytes: usize) -> Reservation {
        let mut reservation = self.nothing(network, share);
        reservation.set(bytes);
        reservation
    }

    /// A reservation of nothing yet.
    pub fn nothing(self: &Rc<Self>, network: Option<&Rc<NetworkUse>>, share: Share) -> Reservation {
        Reservation { budget: self.clone(), network: network.cloned(), share, bytes: 0 }
    }
}

/// Bytes that are in use until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Rc<Budget>,
    network: Option<Rc<NetworkUse>>,
    share: Share,
    bytes: usize,
}

impl Reservation {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves so many bytes more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let used = self.budget.used(self.share).saturating_add(bytes);
        let Some(left) = self.budget.max(self.share).checked_sub(used) else {
            return Err(Full { for_network: false });
        };
        if let Some(network) = &self.network {
            let own = network.used.get(self.share);
            if own.saturating_add(bytes) > left / self.share.of_left() {
                return Err(Full { for_network: own > 0 });
            }
        }
        self.set(self.bytes.saturating_add(bytes));
        Ok(())
    }

    /// Gives so many bytes back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_sub(bytes));
    }

    /// Makes it so many bytes, whether there is room or not: of what is there already.
    pub(crate) fn set(&mut self, bytes: usize) {
        let (more, less) = (bytes.saturating_sub(self.bytes), self.bytes.saturating_sub(bytes));
        for used in [Some(&self.budget.used), self.network.as_ref().map(|network| &network.used)].into_iter().flatten()
        {
            used.set(self.share, used.get(self.share).saturating_add(more).saturating_sub(less));
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_shares_are_the_budget() {
        assert_eq!(Share::ALL.map(|(share, _)| share.parts()).iter().sum::<usize>(), PARTS);
        assert!(Share::ALL.iter().enumerate().all(|(at, (share, _))| *share as usize == at));
    }

    #[test]
    fn what_is_reserved_is_given_back() {
        let budget = Budget::new(PARTS * MIB);
        let first = budget.reserve(None, Share::Questions, MIB).unwrap();
        let mut second = budget.reserve(None, Share::Questions, MIB).unwrap();
        assert_eq!(second.grow(1), Err(Full { for_network: false }));
        assert!(budget.reserve(None, Share::Turns, 2 * MIB).is_ok(), "another share");
        drop(first);
        assert_eq!(second.grow(MIB), Ok(()));
        assert_eq!(budget.used(Share::Questions), 2 * MIB);
        second.set(3 * MIB);
        assert_eq!(budget.used(Share::Questions), 3 * MIB, "what is there is counted");
        second.set(5);
        assert_eq!((budget.used(Share::Questions), second.bytes()), (5, 5));
        drop(second);
        assert_eq!(Share::ALL.map(|(share, _)| budget.used(share)), [0; 13]);
    }

    #[test]
    fn a_network_takes_a_part_of_what_is_left() {
        let budget = Budget::new(PARTS * MIB);
        let all = budget.max(Share::Turns);
        let fill = |network: &Rc<NetworkUse>, share| {
            let mut held = budget.nothing(Some(network), share);
            while held.grow(1000).is_ok() {}
            held
        };
        let networks = [(); 20].map(|()| Rc::new(NetworkUse::default()));
        let [first, second] = [0, 1].map(|n| fill(&networks[n], Share::Turns));
        let part = |held: &Reservation| all as f64 / held.bytes() as f64;
        assert!((4.0..4.1).contains(&part(&first)), "{}", part(&first));
        assert!((5.3..5.4).contains(&part(&second)), "{}", part(&second));
        let held: Vec<Reservation> = networks.iter().map(|network| fill(network, Share::Subscriptions)).collect();
        let subscriptions = budget.max(Share::Subscriptions);
        assert!((9.9..10.1).contains(&(subscriptions as f64 / held[0].bytes() as f64)));
        assert!(budget.used(Share::Subscriptions) < subscriptions / 10 * 9, "twenty leave a tenth");
        let full = budget.reserve(Some(&networks[0]), Share::Subscriptions, 1000).unwrap_err();
        assert_eq!(full, Full { for_network: true });
        let other = Rc::new(NetworkUse::default());
        assert!(budget.reserve(Some(&other), Share::Subscriptions, 100_000).is_ok(), "who has nothing");
        assert!(budget.reserve(Some(&networks[0]), Share::Events, 1000).is_ok(), "of another share");
        drop((first, second, held));
        assert_eq!(Share::ALL.map(|(share, _)| budget.used(share)), [0; 13]);
    }
}
