//! The stored events of a subscription: asked for step by step, sent, EOSE. What an answer is made of is
//! `page`'s to know; whether the store is asked at once, `asking`'s.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::asking::Question;
use super::conn::Backlog;
use super::handlers::Handlers;
use super::page::Reading;
use super::{ConnId, Effect, Millis, Relay};
use crate::nostr::{EventId, Filter, Reason, Values, refusal, relay_msg};
use crate::store::read::{StoredEvent, Text, Viewer};
use crate::store::{Rows, StoreError};

/// Bytes an event takes that was sent before subscribers were told of it.
pub(super) const AHEAD_BYTES: usize = 48;

impl Relay {
    /// Asks the store for the stored events of an installed subscription.
    pub(super) fn read_stored(&mut self, conn: ConnId, subscription: Rc<str>, now: Millis, out: &mut Vec<Effect>) {
        let may_send = !self.has_to_read(conn, now, out);
        let Some(mut reading) = self.reading(conn, &subscription, now) else { return };
        let handlers = self.known_handlers(now);
        let known =
            may_send && self.viewed(conn, now, |viewer| reading.remember(&self.recent, handlers, viewer)).is_some();
        if known {
            self.counters.from_memory += 1;
            self.send_stored(reading, out);
        } else {
            self.read_on(reading, true, now, out);
        }
    }

    /// A reading of what a subscription asks, from its beginning.
    pub(super) fn reading(&self, conn: ConnId, subscription: &Rc<str>, now: Millis) -> Option<Reading> {
        let sub = self.conns.get(&conn)?.subs.get(subscription)?;
        let limits = &self.config.limits;
        let limit = |filter: &Filter| filter.limit.unwrap_or(limits.default_limit).min(limits.max_limit);
        let changes = self.known_handlers(now).map(Handlers::changes);
        let made = |viewer: &Viewer| Reading::new(conn, subscription.clone(), &sub.filters, limit, changes, viewer);
        Some(self.viewed(conn, now, made))
    }

    /// What is known of handlers, unless a commit may land that nobody was told of.
    fn known_handlers(&self, now: Millis) -> Option<&Handlers> {
        (now >= self.doubt_until).then_some(&self.handlers)
    }

    /// Asks what is left to ask, or sends the answer when nothing is.
    fn read_on(&mut self, reading: Reading, first: bool, now: Millis, out: &mut Vec<Effect>) {
        if !(first || reading.goes_on()) || !reading.asks() {
            return self.send_stored(reading, out);
        }
        let after = self.told_upto();
        if let Some(sub) = self.sub_mut(reading.conn, &reading.subscription) {
            sub.reading.get_or_insert_with(|| Box::new(Backlog { after, ..Backlog::default() }));
        }
        self.ask(reading.conn, Question::Stored(Box::new(reading)), now, out);
    }

    pub(super) fn stored_answered(
        &mut self,
        mut reading: Reading,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        match result.and_then(|rows| reading.take(rows)) {
            Ok(taken) => {
                self.repeats.succeeded();
                if let Err(reason) = taken {
                    return self.refuse_stored(reading.conn, &reading.subscription, &reason, out);
                }
                if reading.lost {
                    let reason = refusal::lost_request();
                    return self.refuse_stored(reading.conn, &reading.subscription, &reason, out);
                }
                reading.teach(&mut self.handlers);
                self.read_on(reading, false, now, out);
            }
            Err(error) => self.repeat_stored(reading.conn, &reading.subscription, error, now, out),
        }
    }

    /// Ends a subscription whose stored events cannot be sent.
    pub(super) fn refuse_stored(&mut self, conn: ConnId, subscription: &str, reason: &Reason, out: &mut Vec<Effect>) {
        self.end_subscription(conn, subscription);
        self.send(conn, relay_msg::closed(subscription, reason), out);
        self.remember(conn, out);
    }

    pub(super) fn send_stored(&mut self, mut reading: Reading, out: &mut Vec<Effect>) {
        let (conn, subscription) = (reading.conn, reading.subscription.clone());
        let (mut found, vanished) = (std::mem::take(&mut reading.found), reading.vanished.clone());
        let (events, completeness) = reading.into_answer();
        let sent: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
        // What is here and was told to nobody yet will be told: not to this subscription.
        let told = self.writer.told();
        let untold = |event: &&StoredEvent| event.seq > told || self.log.is_open(event.seq);
        let ahead: BTreeSet<EventId> = events.iter().filter(untold).map(|event| event.id).collect();
        let (mut backlog, mut filters) = (None, None);
        if let Some(sub) = self.sub_mut(conn, &subscription) {
            sub.memory.shrink(sub.ahead.len() * AHEAD_BYTES);
            sub.ahead = ahead;
            sub.memory.set(sub.memory.bytes() + sub.ahead.len() * AHEAD_BYTES);
            backlog = sub.reading.take();
            filters = Some(sub.filters.clone());
        }
        for event in &events {
            if let Text::Json(json) = &event.text {
                self.send_event(conn, &subscription, json, out);
            }
        }
        self.send(conn, relay_msg::eose(&subscription, completeness), out);
        if let Some(backlog) = backlog {
            // What waited when memory was lost, before what waits since.
            let known = |id: &EventId| sent.contains(id) || backlog.live.iter().any(|(waits, _)| waits == id);
            found.retain(|event| !known(&event.id));
            for (_, json) in self.live_for(conn, filters.as_deref().unwrap_or_default(), &found, out) {
                if !vanished.iter().any(|vanished| vanished.takes_text(json)) {
                    self.send_event(conn, &subscription, json, out);
                }
            }
            for (_, json) in backlog.live.iter().filter(|(id, _)| !sent.contains(id)) {
                self.send_event(conn, &subscription, json, out);
            }
            self.remember(conn, out);
        }
    }

    /// Makes something for the keys a connection has proven.
    pub(super) fn viewed<T>(&self, conn: ConnId, now: Millis, make: impl FnOnce(&Viewer) -> T) -> T {
        let nobody = Values::default();
        let keys = self.conns.get(&conn).map_or(&nobody, |state| &state.keys);
        make(&Viewer { keys, profile: &self.config.profile, now: now / 1000 })
    }
}
