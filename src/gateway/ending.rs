//! Connections of which nothing more can be read: they end, with a code that says why, when the events they have
//! published before were answered.

use super::timer::Due;
use super::{ConnId, Effect, Gateway, Millis};

/// Milliseconds after which a connection ends whatever is not answered.
const ANSWERED_WITHIN_MS: Millis = 10_000;

/// How a connection ends, and when at the latest.
#[derive(Debug)]
pub(super) struct Ending {
    code: u16,
    reason: String,
    until: Millis,
}

impl Gateway {
    /// Ends a connection when its events that are on their way were answered; until then it is not listened to.
    pub(super) fn end_answered(&mut self, conn: ConnId, code: u16, reason: String, now: Millis, out: &mut Vec<Effect>) {
        if self.conns.contains_key(&conn) && !self.is_ending(conn) {
            self.ending.insert(conn, Ending { code, reason, until: now + ANSWERED_WITHIN_MS });
            self.end_whose_events_are_answered(now, out);
        }
    }

    /// Whether a connection is about to end, so that it is not listened to.
    pub(super) fn is_ending(&self, conn: ConnId) -> bool {
        self.ending.contains_key(&conn)
    }

    /// Ends the connections that have nothing more to wait for, or have waited long enough.
    pub(super) fn end_whose_events_are_answered(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.ending.is_empty() {
            return;
        }
        let unanswered = |conn: &ConnId| self.conns.get(conn).is_some_and(|state| state.unanswered > 0);
        let is_over = |conn: &ConnId, ending: &mut Ending| now >= ending.until || !unanswered(conn);
        let over: Vec<(ConnId, Ending)> = self.ending.extract_if(.., is_over).collect();
        for (conn, Ending { code, reason, .. }) in over {
            self.end(conn, code, reason, out);
        }
        if let Some(until) = self.ending.values().map(|ending| ending.until).min() {
            self.do_at(Due::Ending, until, out);
        }
    }
}
