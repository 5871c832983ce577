//! COUNT (NIP-45): an exact count of what a REQ would find, with HyperLogLog registers where the NIP
//! defines them, or a refusal.

use super::asking::Question;
use super::{ConnId, Effect, Millis, Relay};
use crate::nostr::hll::Registers;
use crate::nostr::{Filter, Reason, relay_msg};
use crate::store::read::{self, Viewer};
use crate::store::{Rows, Statement, StoreError};

/// Bytes that a COUNT takes besides its filters.
const COUNTING_BYTES: usize = 500;
/// Bytes of an event that is counted, and of its number and its author in the answer of the store.
const COUNTED_BYTES: usize = 70;
const NUMBER_BYTES: usize = 9;
const AUTHOR_BYTES: usize = 65;

/// A COUNT that waits for the store.
#[derive(Debug)]
pub(super) struct Counting {
    pub conn: ConnId,
    query: String,
    filters: Vec<Filter>,
    /// When the store failed to answer it first.
    pub failed_at: Option<Millis>,
}

impl Counting {
    /// Bytes it takes while it waits.
    pub fn memory_bytes(&self) -> usize {
        COUNTING_BYTES + self.filters.iter().map(Filter::memory_bytes).sum::<usize>()
    }

    /// Bytes the answer of the store may take.
    pub fn answer_bytes(&self) -> usize {
        let rows = usize::try_from(read::MAX_ENTRIES).unwrap_or(usize::MAX);
        let authors = if self.registers().is_some() { AUTHOR_BYTES } else { 0 };
        rows * (COUNTED_BYTES + authors + 2 * NUMBER_BYTES * self.filters.len())
    }

    /// Registers, if NIP-45 defines them for what is counted.
    fn registers(&self) -> Option<Registers> {
        match self.filters.as_slice() {
            [filter] => Registers::of(filter),
            _ => None,
        }
    }

    /// What the store is asked.
    pub fn statements(&self, viewer: &Viewer) -> Vec<Statement> {
        let authors = self.registers().is_some();
        self.filters.iter().flat_map(|filter| read::all(filter, authors, viewer)).collect()
    }
}

impl Relay {
    pub(super) fn count(
        &mut self,
        conn: ConnId,
        query: String,
        filters: Vec<Filter>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if let Err(reason) = self.admit_question(conn, &query, &filters) {
            self.counters.refused_reqs += 1;
            self.send(conn, relay_msg::closed(&query, &reason), out);
            return self.count_refusal(conn, reason.prefix, out);
        }
        let counting = Counting { conn, query, filters, failed_at: None };
        if counting.filters.iter().all(Filter::is_void) {
            self.count_answered(counting, Ok(Rows::new()), now, out);
        } else {
            if let Some(state) = self.conns.get_mut(&conn) {
                state.counting.insert(counting.query.clone());
            }
            self.remember(conn, out);
            self.ask(conn, Question::Count(counting), now, out);
        }
    }

    /// Answers a COUNT that cannot be counted.
    pub(super) fn refuse_count(&mut self, counting: &Counting, reason: &Reason, out: &mut Vec<Effect>) {
        self.counted(counting, out);
        self.send(counting.conn, relay_msg::closed(&counting.query, reason), out);
    }

    /// A COUNT waits no longer.
    fn counted(&mut self, counting: &Counting, out: &mut Vec<Effect>) {
        let state = self.conns.get_mut(&counting.conn);
        if state.is_some_and(|state| state.counting.remove(&counting.query)) {
            self.remember(counting.conn, out);
        }
    }

    pub(super) fn count_answered(
        &mut self,
        counting: Counting,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let asked = result.as_ref().is_ok_and(|rows| !rows.is_empty());
        let found = match result.and_then(read::decode_counted) {
            Ok(Ok(found)) => found,
            Ok(Err(over)) => return self.refuse_count(&counting, &over, out),
            Err(error) => return self.repeat_count(counting, error, now, out),
        };
        if asked {
            self.repeats.succeeded();
        }
        self.counted(&counting, out);
        let hll = counting.registers().map(|mut registers| {
            found.values().flatten().for_each(|author| registers.add(author));
            registers.to_hex()
        });
        self.send(counting.conn, relay_msg::count(&counting.query, found.len() as u64, hll.as_deref()), out);
    }
}
