//! What gateways and partitions tell each other. A gateway has the clients, a partition has a database; neither knows
//! the other's room, and both know this file.
//!
//! Between the two messages keep their order. What is moved here within a thread could be sent to another one.

mod gauges;
mod seen;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use gauges::{Counted, GatewayGauges, Latency, PartitionGauges, Storage, metered_keys};
pub use seen::{Refused, Seen, Sender};
use serde::{Deserialize, Serialize};

pub use crate::ledger::{MAX_UNASKED_FEEDBACK, MAX_UNASKED_KEYS, NewEvent};
pub use crate::market::history::Snapshot;
use crate::market::privacy::Readers;
pub use crate::moderation::AUDIT_LINES;
use crate::moderation::{Rulings, Sort};
use crate::nostr::relay_msg::Completeness;
use crate::nostr::{Event, EventId, Filter, PublicKey, Reason, Values};
use crate::seam::{Millis, Network, Ticket};
pub use crate::store::cost;
pub use crate::store::counts::Counts;
pub use crate::store::history::Step;
pub use crate::store::jobs::{JobAnswer, JobFound, JobRows};
pub use crate::store::market::{Found, Known, ProviderRecord};
pub use crate::store::read::{MAX_ENTRIES, MAX_RANGES, StoredEvent, Text};
pub use crate::store::{ErrorKind, StoreError};

/// One of the gateways of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayId(pub u32);

impl GatewayId {
    /// The lowest and the highest there may be.
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const LAST: Self = Self(u32::MAX);
}

/// One of the partitions of a relay: the first is *home*, and has all that is no event of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionId(pub u32);

impl PartitionId {
    /// The one that every relay has.
    pub const HOME: Self = Self(0);

    /// The partition of a job, of so many: by its id, which nobody chooses.
    pub fn of_job(job: &EventId, partitions: u32) -> Self {
        let number = job.as_bytes().iter().rev().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte));
        Self(number % partitions.max(1))
    }

    /// The partition of an event, of so many.
    pub fn of_event(new: &NewEvent, partitions: u32) -> Self {
        new.part.as_ref().map_or(Self::HOME, |part| Self::of_job(&part.job, partitions))
    }

    /// All there are of so many.
    pub fn all(partitions: u32) -> impl Iterator<Item = Self> {
        (0..partitions).map(Self)
    }
}

/// What a gateway cares for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interest {
    /// All there is, as it may be because nobody else is told of anything.
    Everything,
    /// What stands under [keys](crate::interest).
    Keys {
        /// Those that came.
        came: Arc<[u64]>,
        /// Those that went.
        went: Arc<[u64]>,
    },
}

/// A key that is proven at a gateway and has a live handler (NIP-89).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Provider {
    /// Whether it has served nobody yet: those come last.
    pub is_new: bool,
    /// Whose handler it is.
    pub key: PublicKey,
}

/// Who waits for the OK of an event, by its gateway's own name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Publisher(pub u64);

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a gateway tells a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToPartition {
    /// It woke, and clients had been told of everything up to this number, as far as any of them remembers; answered with
    /// [`ToGateway::Position`].
    Woke(Option<u64>),
    /// What it cares for, before anything that is asked after that.
    Interest(Interest),
    /// An ephemeral event for other gateways.
    Ephemeral {
        /// Who waits for its OK, if that depends on the others: answered with [`ToGateway::Verdict`].
        from: Option<Publisher>,
        /// What.
        event: Arc<Event>,
    },
    /// An event to be stored; answered with [`ToGateway::Verdict`].
    Publish(Box<Publish>),
    /// A question; answered with [`ToGateway::Answer`], or first with [`ToGateway::Later`].
    Read {
        /// To answer with.
        ticket: Ticket,
        /// What.
        question: Question,
        /// When the database is asked.
        when: When,
    },
    /// The database is asked a question that was to be asked later.
    Go(Ticket),
    /// Nobody wants the answer to a question any more.
    Drop(Ticket),
    /// What is known of keys; answered with [`ToGateway::Known`].
    WhoIs {
        /// To answer with.
        ticket: Ticket,
        /// Which.
        keys: Vec<PublicKey>,
    },
    /// Providers are not connected any more.
    Left {
        /// Their keys.
        keys: Vec<PublicKey>,
        /// Who pays.
        network: Option<Network>,
    },
    /// What was counted, by key, to be saved.
    Counted(BTreeMap<String, u64>),
    /// Something that is asked over HTTP; answered with [`ToGateway::Facts`].
    Ask {
        /// To answer with.
        ticket: Ticket,
        /// What.
        asked: Asked,
        /// Whether the database is asked when it is not known without.
        database: bool,
    },
    /// How far the log is; answered with [`ToGateway::Position`].
    Position,
    /// What it knows of its clients, for whom the other gateways are asked of the relay.
    Gauges(Box<GatewayGauges>),
    /// Which providers have come to it, and which are not there any more.
    Present {
        /// Those that came.
        came: Vec<Provider>,
        /// Those that went.
        went: Vec<Provider>,
    },
}

/// An event on its way to the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    /// Who waits for the OK.
    pub from: Publisher,
    /// What.
    pub new: NewEvent,
    /// Where it comes from.
    pub network: Option<Network>,
    /// Whether that network has to keep to its part of the memory.
    pub is_limited: bool,
    /// Which rows it may take.
    pub allowance: Allowance,
}

/// Which part of the rows that may be written in a day somebody may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allowance {
    /// All there are, and more.
    Listed,
    /// What is kept for keys that have dealt, too.
    Dealt,
    /// What is for everybody.
    Everybody,
}

/// A question of a client's, with the keys it has proven.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// The newest events that filters match, as a REQ asks for them.
    Stored {
        /// Each with the number of events that are asked for at most.
        filters: Arc<[Filter]>,
        /// That number where a filter has none, and the largest there is.
        limits: (u64, u64),
        /// Bytes of the longest event.
        event_bytes_max: u64,
        /// Proven keys.
        keys: Values<PublicKey>,
        /// The numbers, above the first up to the second, of which what was live has to be found, too.
        missed: Option<(u64, u64)>,
    },
    /// How many events filters match (NIP-45).
    Count {
        /// Which.
        filters: Arc<[Filter]>,
        /// Proven keys.
        keys: Values<PublicKey>,
    },
}

/// When a database is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// When [`ToPartition::Go`] says so, if what is in memory is not the whole answer.
    Known,
    /// When [`ToPartition::Go`] says so.
    Later,
    /// Now.
    Now,
}

/// From this limit on an answer is a page, which is completed to a whole second (NIP-67).
pub const PAGE: u64 = 100;
/// A page is completed by as many events as this part of its limit has.
pub const COMPLETED_BY: u64 = 4;
/// Bytes of texts in one answer.
pub const MAX_ANSWER_BYTES: u64 = 4_000_000;
/// Numbers of the log that are read to find what was stored while memory was lost: more than one group takes, and what
/// one answer can hold.
pub const MISSED_MAX: u64 = 1000;

/// What a partition tells a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToGateway {
    /// How far the log is, or why that is not known.
    Position(Result<u64, StoreError>),
    /// What became of an event.
    Verdict(Outcome),
    /// A group was stored.
    Push(Push),
    /// An ephemeral event of another gateway's.
    Ephemeral(Arc<Event>),
    /// Answers [`ToPartition::Read`].
    Answer {
        /// Of the question.
        ticket: Ticket,
        /// The answer; an inner error when it is refused.
        answer: Result<Result<Answer, Reason>, StoreError>,
        /// Rows that were read for it.
        rows_read: u64,
        /// Whether the database was not asked.
        from_memory: bool,
    },
    /// The database has to be asked a question.
    Later {
        /// Of the question.
        ticket: Ticket,
        /// Bytes the question takes while it waits.
        bytes: usize,
    },
    /// All that the operator has ruled.
    Rulings(Arc<Rulings>),
    /// What the operator has done now.
    Acted(Arc<NewEvent>),
    /// Answers [`ToPartition::WhoIs`].
    Known {
        /// Of the question.
        ticket: Ticket,
        /// Keys of which something is known.
        known: Result<Vec<(PublicKey, Known)>, StoreError>,
    },
    /// Answers [`ToPartition::Ask`].
    Facts {
        /// Of the question.
        ticket: Ticket,
        /// None when the database would have to be asked.
        facts: Option<Result<Facts, StoreError>>,
        /// Rows that were read for it.
        rows_read: u64,
        /// What the partition knows beside its database.
        gauges: Box<PartitionGauges>,
    },
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Who waits for the OK.
    pub to: Publisher,
    /// Of the event.
    pub id: EventId,
    /// What.
    pub verdict: Verdict,
}

/// What is said of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is stored.
    Stored,
    /// It need not be stored.
    Duplicate(Reason),
    /// It is not stored.
    Refused(Reason),
}

/// What was stored, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// The number up to which the gateway had been told of everything before.
    pub after: u64,
    /// The number up to which the gateway has been told of everything then.
    pub upto: u64,
    /// In order.
    pub parts: Vec<Part>,
}

/// A part of what is pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// An event that was stored.
    Event(Stored),
    /// What became of one of the gateway's own.
    Outcome(Outcome),
    /// A customer has cancelled a job that this key has answered.
    Cancelled(EventId, PublicKey),
}

/// An event that was stored, and who may read it; `None` is everybody.
pub type Stored = (Arc<NewEvent>, Option<Readers>);

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Stored`].
    Stored(Page),
    /// To [`Question::Count`]: how many, and the registers in hexadecimal digits where NIP-45 has them.
    Count(u64, Option<String>),
}

impl Answer {
    /// The stored events it is; to anything else nothing.
    pub fn stored(self) -> Page {
        match self {
            Self::Stored(page) => page,
            Self::Count(..) => Page::default(),
        }
    }
}

/// The stored events of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Newest first.
    pub events: Vec<StoredEvent>,
    /// What EOSE says of them.
    pub completeness: Completeness,
    /// What was live while memory was lost.
    pub missed: Vec<Stored>,
    /// The last event, where the answer ends there because it has as many bytes as one may have; of what is older nothing
    /// is known.
    pub end: Option<(u64, EventId)>,
    /// The second from which on all events are here that any of the filters matches.
    pub known_from: u64,
}

/// Providers that are connected, and whose handlers are looked at whatever others publish.
pub const ONLINE_MAX: usize = 4000;

/// What is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Asked {
    /// What was counted.
    Counts,
    /// Handlers of a kind, those of these keys among them whatever others publish.
    Handlers(u16, Vec<PublicKey>),
    /// What these keys did as providers.
    Records(Vec<PublicKey>),
    /// Snapshots of the counts.
    History(Step),
    /// Whether the database answers and has the schema that this version needs.
    Health,
    /// What is ruled of a sort.
    Rulings(Sort),
    /// The last acts of operators, or those before a number.
    Acts(Option<u64>),
    /// What is known of a job.
    Job(EventId),
    /// When this key deleted the request of a job.
    Cancelled(EventId, PublicKey),
    /// What the other gateways have seen of their clients.
    Seen,
}

/// What is known of that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Facts {
    /// What was counted, how many providers are active, and what was counted at the moments of the last minute, now the last.
    Counts(Box<Counts>, u64, Vec<Snapshot>),
    /// Handlers of a kind, and of those the keys that are proven at other gateways.
    Handlers(Vec<Found>, Vec<PublicKey>),
    /// What those of the keys did that did anything.
    Records(Vec<ProviderRecord>),
    /// Snapshots of the counts.
    History(Vec<Snapshot>),
    /// It does.
    Healthy,
    /// What is ruled, or was done: each as JSON that the management API gives.
    Moderation(Vec<String>),
    /// What is known of a job, if anything is.
    Job(Option<JobRows>),
    /// When a job was cancelled, Unix milliseconds, if that is known.
    Cancelled(Option<Millis>),
    /// What the other gateways have seen of their clients.
    Seen(Box<Seen>),
}
