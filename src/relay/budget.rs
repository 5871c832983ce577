//! The memory of a relay: one budget, of which everything that clients can make grow has a named share in bytes.
//!
//! What is about to be kept is reserved before, and given back when what holds the [`Reservation`] is dropped. A share
//! that is full refuses more, or, where it is a cache, its oldest goes. Of a share that one client could fill for all,
//! one network takes [`NETWORK_PART`] at the most.
//!
//! Bytes are what things take in memory, overhead included, reckoned with pointers of 8 bytes; Workers have shorter ones.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of the budget in a Durable Object, half of what objects of an isolate have together, and of each native shard.
pub(super) const OBJECT_BYTES: usize = 64 << 20;
pub(super) const NATIVE_BYTES: usize = 256 << 20;
/// Parts a budget is divided into.
const PARTS: usize = 64;
/// One network takes at most such a part of a share it reserves from.
const NETWORK_PART: usize = 4;

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
    /// Jobs whose answers go first.
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
    pub(super) const ALL: [(Self, &str); 13] = [
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
            Self::Events => 7,
            Self::Answered => 2,
            Self::Jobs => 1,
            Self::Recent => 9,
            Self::Handlers => 2,
            Self::Http => 1,
            Self::Quotas => 3,
        }
    }

    /// Its bytes of a budget.
    pub(super) const fn of(self, budget_bytes: usize) -> usize {
        budget_bytes / PARTS * self.parts()
    }
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

/// What the connections of one network have reserved.
#[derive(Debug, Default)]
pub struct NetworkUse(Used);

/// The budget.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    used: Used,
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// Whether the part of the network is used up, and not the share.
    pub for_network: bool,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self { bytes, used: Used::default() })
    }

    /// Bytes of a share.
    pub const fn max(&self, share: Share) -> usize {
        share.of(self.bytes)
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
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves so many bytes more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let max = self.budget.max(self.share);
        let fits = |used: &Used, max: usize| used.get(self.share).saturating_add(bytes) <= max;
        if !fits(&self.budget.used, max) {
            return Err(Full { for_network: false });
        }
        if !self.network.as_ref().is_none_or(|network| fits(&network.0, max / NETWORK_PART)) {
            return Err(Full { for_network: true });
        }
        self.set(self.bytes.saturating_add(bytes));
        Ok(())
    }

    /// Makes it so many bytes, whether there is room or not: of what is there already.
    pub(super) fn set(&mut self, bytes: usize) {
        let (more, less) = (bytes.saturating_sub(self.bytes), self.bytes.saturating_sub(bytes));
        for used in [Some(&self.budget.used), self.network.as_ref().map(|network| &network.0)].into_iter().flatten() {
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
    fn one_network_takes_its_part() {
        let budget = Budget::new(PARTS * MIB);
        let networks = [(); 5].map(|()| Rc::new(NetworkUse::default()));
        let quarter = 2 * MIB / NETWORK_PART;
        let mut held: Vec<Reservation> =
            networks.iter().take(4).map(|n| budget.reserve(Some(n), Share::Turns, quarter).unwrap()).collect();
        assert_eq!(budget.reserve(Some(&networks[4]), Share::Turns, 1).unwrap_err(), Full { for_network: false });
        held.pop();
        assert_eq!(budget.reserve(Some(&networks[0]), Share::Turns, 1).unwrap_err(), Full { for_network: true });
        assert!(budget.reserve(Some(&networks[3]), Share::Turns, 1).is_ok());
        assert!(budget.reserve(Some(&networks[0]), Share::Events, quarter).is_ok(), "of another share");
    }
}
