//! The stored events of a subscription: asked for step by step, sent, EOSE. What an answer is made of is
//! `page`'s to know; whether the store is asked at once, `asking`'s.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::asking::Question;
use super::handlers::Handlers;
use super::page::{Reading, unreadable};
use super::{ConnId, Effect, Millis, Relay};
use crate::nostr::{EventId, Filter, Reason, relay_msg};
use crate::store::read::{StoredEvent, Text, Viewer};
use crate::store::{Rows, StoreError};

impl Relay {
    /// Asks the store for the stored events of an installed subscription.
    pub(super) fn read_stored(&mut self, conn: ConnId, subscription: Rc<str>, now: Millis, out: &mut Vec<Effect>) {
        let Some(sub) = self.conns.get(&conn).and_then(|state| state.subs.get(&subscription)) else { return };
        let limits = &self.config.limits;
        let limit = |filter: &Filter| filter.limit.unwrap_or(limits.default_limit).min(limits.max_limit);
        let handlers = (now >= self.doubt_until).then_some(&self.handlers);
        let changes = handlers.map(Handlers::changes);
        let (reading, known) = self.viewed(conn, now, |viewer| {
            let mut reading = Reading::new(conn, subscription, &sub.filters, limit, changes, viewer);
            let known = reading.remember(&self.recent, handlers, viewer).is_some();
            (reading, known)
        });
        if known {
            self.counters.from_memory += 1;
            self.send_stored(reading, out);
        } else {
            self.read_on(reading, true, now, out);
        }
    }

    /// Asks what is left to ask, or sends the answer when nothing is.
    fn read_on(&mut self, reading: Reading, first: bool, now: Millis, out: &mut Vec<Effect>) {
        if !(first || reading.goes_on()) || !reading.asks() {
            return self.send_stored(reading, out);
        }
        if let Some(sub) = self.sub_mut(reading.conn, &reading.subscription) {
            sub.reading.get_or_insert_default();
        }
        self.ask(reading.conn, Question::Stored(reading), now, out);
    }

    pub(super) fn stored_answered(
        &mut self,
        mut reading: Reading,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        match result.map_err(unreadable).and_then(|rows| reading.take(rows)) {
            Ok(()) => {
                reading.teach(&mut self.handlers);
                self.read_on(reading, false, now, out);
            }
            Err(reason) => self.refuse_stored(&reading, &reason, out),
        }
    }

    /// Ends a subscription whose stored events cannot be sent.
    pub(super) fn refuse_stored(&mut self, reading: &Reading, reason: &Reason, out: &mut Vec<Effect>) {
        self.end_subscription(reading.conn, &reading.subscription);
        self.send(reading.conn, relay_msg::closed(&reading.subscription, reason), out);
        self.remember(reading.conn, out);
    }

    fn send_stored(&mut self, reading: Reading, out: &mut Vec<Effect>) {
        let (conn, subscription) = (reading.conn, reading.subscription.clone());
        let (events, completeness) = reading.into_answer();
        let sent: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
        // What is here and was told to nobody yet will be told: not to this subscription.
        let told = self.writer.told();
        let untold = |event: &&StoredEvent| event.seq > told || self.log.is_open(event.seq);
        let ahead = events.iter().filter(untold).map(|event| event.id).collect();
        let backlog = self.sub_mut(conn, &subscription).and_then(|sub| {
            sub.ahead = ahead;
            sub.reading.take()
        });
        for event in &events {
            if let Text::Json(json) = &event.text {
                self.send_event(conn, &subscription, json, out);
            }
        }
        self.send(conn, relay_msg::eose(&subscription, completeness), out);
        if let Some(backlog) = backlog {
            for (_, json) in backlog.live.iter().filter(|(id, _)| !sent.contains(id)) {
                self.send_event(conn, &subscription, json, out);
            }
            self.remember(conn, out);
        }
    }

    /// Makes something for the keys a connection has proven.
    pub(super) fn viewed<T>(&self, conn: ConnId, now: Millis, make: impl FnOnce(&Viewer) -> T) -> T {
        let nobody = BTreeSet::new();
        let keys = self.conns.get(&conn).map_or(&nobody, |state| &state.keys);
        make(&Viewer { keys, profile: &self.config.profile, now: now / 1000 })
    }
}
