//! Group commit: one group of events is on its way to the store, the next one gathers.
//!
//! Nothing is told to anybody before the store has answered. A group whose commit is reported as
//! failed may have landed all the same, so it is written once more (writing is idempotent), and the
//! numbers tell which events are new: those above `told`, the highest number that subscribers have
//! been told of. Whatever lands later still shows as a gap below the next group and is told then.

use super::{ConnId, Millis, Ticket};
use crate::nostr::{Prefix, Reason};
use crate::store::write::{self, NewEvent, Totals};

/// Events in one group, and the bytes they take in its parameter: what D1 takes (2 MB) with room to
/// spare, in a batch that takes some milliseconds.
const MAX_EVENTS: usize = 256;
const MAX_BYTES: usize = 1_000_000;
/// Bytes that may wait for the group in flight before more is refused.
const MAX_WAITING: usize = 16_000_000;

/// An event and who waits for its OK.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub new: NewEvent,
    pub conns: Vec<ConnId>,
    pub bytes: usize,
}

/// The group that is being committed.
#[derive(Debug)]
pub struct InFlight {
    pub ticket: Ticket,
    pub events: Vec<Waiting>,
    pub since: Millis,
    pub retried: bool,
}

/// What the writer knows of the store's numbers.
#[derive(Debug, Default)]
enum Log {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The question is out.
    Asked,
    /// Subscribers have been told of everything up to the number.
    Told(u64),
}

/// Events on their way to the store.
#[derive(Debug, Default)]
pub struct Writer {
    log: Log,
    totals: Option<Totals>,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    pub in_flight: Option<InFlight>,
}

impl Writer {
    /// The totals as of the last answer.
    pub fn totals(&self) -> Option<Totals> {
        self.totals
    }

    /// The highest number subscribers were told of.
    pub fn told(&self) -> u64 {
        match self.log {
            Log::Told(seq) => seq,
            Log::Unknown | Log::Asked => 0,
        }
    }

    /// Whether the numbers are known.
    pub fn is_known(&self) -> bool {
        matches!(self.log, Log::Told(_))
    }

    /// Whether the totals must be asked for now; they are asked for once.
    pub fn ask(&mut self) -> bool {
        let ask = matches!(self.log, Log::Unknown);
        if ask {
            self.log = Log::Asked;
        }
        ask
    }

    /// The answer, or `None` when it failed and must be asked for again.
    pub fn learn(&mut self, totals: Option<Totals>) {
        self.log = totals.map_or(Log::Unknown, |totals| Log::Told(totals.last_seq));
        self.totals = totals;
    }

    /// A group was committed.
    pub fn advance(&mut self, totals: Totals) {
        self.log = Log::Told(totals.last_seq);
        self.totals = Some(totals);
    }

    /// Adds an event to the group that gathers. An event that is already there or in flight gains a
    /// waiting connection.
    pub fn add(&mut self, new: NewEvent, conn: ConnId) -> Result<(), Reason> {
        let id = new.event.id;
        let in_flight = self.in_flight.iter_mut().flat_map(|group| group.events.iter_mut());
        if let Some(known) = in_flight.chain(self.waiting.iter_mut()).find(|w| w.new.event.id == id) {
            known.conns.push(conn);
            return Ok(());
        }
        if self.waiting_bytes >= MAX_WAITING {
            return Err(Reason::new(Prefix::Error, "the store is behind; try again in a few seconds"));
        }
        let bytes = write::parameter_size(&new);
        self.waiting_bytes += bytes;
        self.waiting.push(Waiting { new, conns: vec![conn], bytes });
        Ok(())
    }

    /// Takes the next group, if none is in flight and one may go.
    pub fn next_group(&mut self) -> Option<Vec<Waiting>> {
        if self.in_flight.is_some() || self.waiting.is_empty() || !matches!(self.log, Log::Told(_)) {
            return None;
        }
        let mut bytes = 0;
        let mut fits = |w: &Waiting| {
            bytes += w.bytes;
            bytes <= MAX_BYTES
        };
        let count = self.waiting.iter().take(MAX_EVENTS).map_while(|w| fits(w).then_some(())).count().max(1);
        let rest = self.waiting.split_off(count.min(self.waiting.len()));
        let group = std::mem::replace(&mut self.waiting, rest);
        self.waiting_bytes = self.waiting.iter().map(|w| w.bytes).sum();
        Some(group)
    }

    /// Gives up everything that waits.
    pub fn drain(&mut self) -> Vec<Waiting> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}
