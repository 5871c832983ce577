//! What the operator decides while the relay runs: rulings over keys, events, networks and kinds, and the acts that make
//! them (NIP-86). Pure data and rules; knows no connection, no SQL and no clock.

mod nip86;
mod range;

use std::fmt;
use std::str::FromStr;

pub use nip86::{AUDIT_LINES, Call, Method, Task};
pub use range::Range;
use serde::{Deserialize, Serialize};

use crate::nostr::{Event, EventId, PublicKey, Reason, refusal};

/// Rulings there may be: each object keeps them in memory.
pub const RULINGS_MAX: usize = 10_000;

/// Who may do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody may do all.
    #[default]
    Open,
    /// Who is allowed publishes.
    Members,
    /// Who is allowed enters.
    Closed,
}

impl FromStr for Access {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "open" => Ok(Self::Open),
            "members" => Ok(Self::Members),
            "closed" => Ok(Self::Closed),
            _ => Err(()),
        }
    }
}

/// One thing that the operator has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ruling {
    /// Addresses that may not connect.
    BlockedNetwork(Range),
    /// A key that may not publish or prove itself.
    BannedKey(PublicKey),
    /// A key that may write, or enter, where not everybody may.
    AllowedKey(PublicKey),
    /// An event that may not be here.
    BannedEvent(EventId),
    /// A kind that is not taken.
    DisallowedKind(u16),
    /// A key that may use a method as the owner may.
    Manager(PublicKey, Method),
}

/// The sorts of rulings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sort {
    /// Of [`Ruling::BlockedNetwork`].
    BlockedNetwork,
    /// Of [`Ruling::BannedKey`].
    BannedKey,
    /// Of [`Ruling::AllowedKey`].
    AllowedKey,
    /// Of [`Ruling::BannedEvent`].
    BannedEvent,
    /// Of [`Ruling::DisallowedKind`].
    DisallowedKind,
    /// Of [`Ruling::Manager`].
    Manager,
}

impl Sort {
    /// All, each with its word in the database.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::BlockedNetwork, "blocked network"),
        (Self::BannedKey, "banned key"),
        (Self::AllowedKey, "allowed key"),
        (Self::BannedEvent, "banned event"),
        (Self::DisallowedKind, "disallowed kind"),
        (Self::Manager, "manager"),
    ];

    /// Its word in the database.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(sort, _)| *sort == self).map_or("", |(_, word)| *word)
    }

    /// The sort of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(sort, _)| *sort)
    }
}

impl Ruling {
    /// Its sort.
    pub const fn sort(&self) -> Sort {
        match self {
            Self::BlockedNetwork(_) => Sort::BlockedNetwork,
            Self::BannedKey(_) => Sort::BannedKey,
            Self::AllowedKey(_) => Sort::AllowedKey,
            Self::BannedEvent(_) => Sort::BannedEvent,
            Self::DisallowedKind(_) => Sort::DisallowedKind,
            Self::Manager(..) => Sort::Manager,
        }
    }

    /// The ruling of a sort over what a text names, as [`Display`](fmt::Display) writes it.
    pub fn of(sort: Sort, item: &str) -> Option<Self> {
        Some(match sort {
            Sort::BlockedNetwork => Self::BlockedNetwork(Range::from_str(item).ok()?),
            Sort::BannedKey => Self::BannedKey(PublicKey::parse(item)?),
            Sort::AllowedKey => Self::AllowedKey(PublicKey::parse(item)?),
            Sort::BannedEvent => Self::BannedEvent(EventId::parse(item)?),
            Sort::DisallowedKind => Self::DisallowedKind(item.parse().ok()?),
            Sort::Manager => {
                let (key, method) = item.split_once(' ')?;
                Self::Manager(PublicKey::parse(key)?, Method::named(method)?)
            }
        })
    }
}

impl fmt::Display for Ruling {
    /// What it is over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockedNetwork(range) => write!(f, "{range}"),
            Self::BannedKey(key) | Self::AllowedKey(key) => write!(f, "{key}"),
            Self::BannedEvent(id) => write!(f, "{id}"),
            Self::DisallowedKind(kind) => write!(f, "{kind}"),
            Self::Manager(key, method) => write!(f, "{key} {}", method.name()),
        }
    }
}

/// What an owner, or who acts for one, has done at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who.
    pub by: PublicKey,
    /// By which method (NIP-86).
    pub method: Method,
    /// With which parameters, as JSON.
    pub params: String,
    /// What is ruled from now on, with a reason for people, and what no longer.
    pub rulings: Vec<(Ruling, Option<String>)>,
}

/// All that is ruled, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rulings(Vec<Ruling>);

impl Rulings {
    /// Adds one.
    pub fn add(&mut self, ruling: Ruling) {
        if let Err(at) = self.0.binary_search(&ruling) {
            self.0.insert(at, ruling);
        }
    }

    fn take_back(&mut self, ruling: &Ruling) {
        if let Ok(at) = self.0.binary_search(ruling) {
            self.0.remove(at);
        }
    }

    fn has(&self, ruling: &Ruling) -> bool {
        self.0.binary_search(ruling).is_ok()
    }

    /// Does what an act does.
    pub fn apply(&mut self, act: &Act) {
        for (ruling, reason) in &act.rulings {
            match reason {
                Some(_) => self.add(*ruling),
                None => self.take_back(ruling),
            }
        }
    }

    /// Whether there is room for what an act rules.
    pub fn have_room(&self, rulings: &[(Ruling, Option<String>)]) -> bool {
        let of = |comes: bool| {
            rulings.iter().filter(|(one, reason)| reason.is_some() == comes && self.has(one) != comes).count()
        };
        of(true) <= of(false) || self.0.len() + of(true) <= RULINGS_MAX + of(false)
    }

    /// Whether nothing is ruled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why a key may do nothing here.
    pub fn of_key(&self, key: &PublicKey) -> Option<Reason> {
        self.has(&Ruling::BannedKey(*key)).then(refusal::blocked_key)
    }

    /// Why an address may not connect.
    pub fn of_address(&self, ip: std::net::IpAddr) -> Option<Reason> {
        let is_blocked = |range| self.has(&Ruling::BlockedNetwork(range));
        // They are the first ones.
        let some_are = matches!(self.0.first(), Some(Ruling::BlockedNetwork(_)));
        (some_are && Range::around(ip).any(is_blocked)).then(refusal::blocked_network)
    }

    /// Whether an event may not be here, whatever else is ruled.
    pub fn bans(&self, id: &EventId) -> bool {
        self.has(&Ruling::BannedEvent(*id))
    }

    /// Why an event may not be here; of an answer, `job` is what it answers.
    pub fn of(&self, event: &Event, job: Option<&EventId>) -> Option<Reason> {
        let is_banned = |job: &&EventId| **job != event.id && self.bans(job);
        self.of_event(event).or_else(|| job.filter(is_banned).map(|_| refusal::job_cancelled()))
    }

    /// Why an event may not be here, whatever it answers.
    pub fn of_event(&self, event: &Event) -> Option<Reason> {
        if self.0.is_empty() {
            return None;
        }
        if self.bans(&event.id) {
            return Some(refusal::banned_event());
        }
        let of_kind = || self.has(&Ruling::DisallowedKind(event.kind)).then(|| refusal::disallowed_kind(event.kind));
        self.of_key(&event.pubkey).or_else(of_kind)
    }

    /// Whether a key may write, or enter, where not everybody may.
    pub fn allows(&self, key: &PublicKey) -> bool {
        self.has(&Ruling::AllowedKey(*key))
    }

    /// Whether a key may use a method as the owner may.
    pub fn may(&self, key: &PublicKey, method: Method) -> bool {
        self.has(&Ruling::Manager(*key, method))
    }

    /// Whether a key may use any.
    pub fn manages(&self, key: &PublicKey) -> bool {
        let at = self.0.partition_point(|ruling| *ruling < Ruling::Manager(*key, Method::FIRST));
        matches!(self.0.get(at), Some(Ruling::Manager(manager, _)) if manager == key)
    }
}
