//! COUNT (NIP-45): an exact count of what a REQ would find, with HyperLogLog registers where the NIP
//! defines them, or a refusal. The partition counts.

use std::sync::Arc;

use super::asking::Question;
use super::{ConnId, Gateway};
use crate::message::{self, Answer, StoreError, When};
use crate::nostr::{Filter, Reason, relay_msg};
use crate::seam::{Effect, Millis};

/// Bytes that a COUNT takes besides its filters.
const COUNTING_BYTES: usize = 500;

/// A COUNT that waits.
#[derive(Debug)]
pub(super) struct Counting {
    pub conn: ConnId,
    query: String,
    filters: Arc<[Filter]>,
    /// When it could not be answered first.
    pub failed_at: Option<Millis>,
}

impl Counting {
    /// Bytes it takes while it waits.
    pub fn memory_bytes(&self) -> usize {
        COUNTING_BYTES + self.filters.iter().map(Filter::memory_bytes).sum::<usize>()
    }
}

impl Gateway {
    pub(super) fn count(&mut self, conn: ConnId, query: String, filters: Vec<Filter>, out: &mut Vec<Effect>) {
        if let Err(reason) = self.admit_question(conn, &query, &filters) {
            self.counters.refused_reqs += 1;
            self.send(conn, relay_msg::closed(&query, &reason), out);
            return self.count_refusal(conn, None, &reason, out);
        }
        let counting = Counting { conn, query, filters: filters.into(), failed_at: None };
        if let Some(state) = self.conns.get_mut(&conn) {
            state.counting.insert(counting.query.clone());
        }
        self.remember(conn);
        if let Some(question) = self.count_question(&counting) {
            self.ask(conn, Question::Count(counting), question, When::Later);
        }
    }

    /// What a COUNT asks.
    pub(super) fn count_question(&self, counting: &Counting) -> Option<message::Question> {
        let keys = self.conns.get(&counting.conn)?.keys.clone();
        Some(message::Question::Count { filters: counting.filters.clone(), keys })
    }

    /// Answers a COUNT that cannot be counted.
    pub(super) fn refuse_count(&mut self, counting: &Counting, reason: &Reason, out: &mut Vec<Effect>) {
        self.counted(counting);
        self.send(counting.conn, relay_msg::closed(&counting.query, reason), out);
    }

    /// A COUNT waits no longer.
    fn counted(&mut self, counting: &Counting) {
        let state = self.conns.get_mut(&counting.conn);
        if state.is_some_and(|state| state.counting.remove(&counting.query)) {
            self.remember(counting.conn);
        }
    }

    pub(super) fn count_answered(
        &mut self,
        counting: Counting,
        answer: Result<Result<Answer, Reason>, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let (count, hll) = match answer {
            Ok(Ok(Answer::Count(count, hll))) => (count, hll),
            Ok(Ok(Answer::Stored(_))) => return,
            Ok(Err(reason)) => return self.refuse_count(&counting, &reason, out),
            Err(error) => return self.repeat_count(counting, error, now, out),
        };
        self.counted(&counting);
        self.send(counting.conn, relay_msg::count(&counting.query, count, hll.as_deref()), out);
    }
}
