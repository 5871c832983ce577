//! REQ and CLOSE: a subscription is installed before its stored events are read, live events wait
//! until these are sent, and EOSE or CLOSED always follows.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::conn::{Backlog, MAX_BUFFERED, MAX_REMEMBERED, Sub};
use super::{ConnId, Effect, Millis, Purpose, Relay};
use crate::nostr::{Event, EventId, Filter, Prefix, Reason, relay_msg};
use crate::store::StoreError;
use crate::store::read::{self, StoredEvent};

/// A subscription whose stored events are being read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub conn: ConnId,
    pub subscription: Rc<str>,
}

impl Relay {
    pub(super) fn subscribe(
        &mut self,
        conn: ConnId,
        subscription: String,
        filters: Vec<Filter>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        // A REQ under a known id ends the subscription of that id, whatever becomes of the new one.
        let ended = self.end_subscription(conn, &subscription);
        if let Err(reason) = self.admit(conn, &subscription, &filters) {
            self.counters.refused_reqs += 1;
            if ended {
                self.remember(conn, out);
            }
            return self.send(conn, relay_msg::closed(&subscription, &reason), out);
        }
        let subscription: Rc<str> = subscription.into();
        self.install(conn, subscription.clone(), filters.into());
        self.read_stored(Reading { conn, subscription }, now, out);
        self.remember(conn, out);
    }

    pub(super) fn unsubscribe(&mut self, conn: ConnId, subscription: &str, out: &mut Vec<Effect>) {
        if self.end_subscription(conn, subscription) {
            self.remember(conn, out);
        }
    }

    /// Takes a subscription out; says whether there was one.
    pub(super) fn end_subscription(&mut self, conn: ConnId, subscription: &str) -> bool {
        let Some((id, sub)) = self.conns.get_mut(&conn).and_then(|state| state.subs.remove_entry(subscription)) else {
            return false;
        };
        self.subs.remove(conn, &id, &sub.filters);
        if let Some(backlog) = sub.reading {
            self.queries.remove(&backlog.ticket);
        }
        true
    }

    fn admit(&self, conn: ConnId, subscription: &str, filters: &[Filter]) -> Result<(), Reason> {
        if let Some(reason) = self.locked(conn) {
            return Err(reason);
        }
        let limits = &self.config.limits;
        let restricted = |text: String| Err(Reason::new(Prefix::Restricted, text));
        if subscription.chars().count() as u64 > limits.max_subid_length {
            return restricted(format!("subscription id is over {} characters", limits.max_subid_length));
        }
        if filters.len() as u64 > limits.max_filters {
            return restricted(format!("more than {} filters in one REQ", limits.max_filters));
        }
        if filters.iter().any(|filter| filter.value_count() as u64 > limits.max_filter_values) {
            return restricted(format!("more than {} values in one filter", limits.max_filter_values));
        }
        let subs = self.conns.get(&conn).map(|state| &state.subs);
        if subs.is_some_and(|subs| subs.len() as u64 >= limits.max_subscriptions) {
            return restricted(format!("more than {} open subscriptions; CLOSE one", limits.max_subscriptions));
        }
        let held: usize = subs.map_or(0, |subs| subs.values().map(|sub| sub.size).sum());
        if held + size(filters) > MAX_REMEMBERED {
            return restricted(format!("the filters of this connection are over {MAX_REMEMBERED} bytes; CLOSE some"));
        }
        Ok(())
    }

    /// Makes a subscription receive live events.
    pub(super) fn install(&mut self, conn: ConnId, id: Rc<str>, filters: Rc<[Filter]>) {
        if let Some(state) = self.conns.get_mut(&conn) {
            self.subs.insert(conn, &id, &filters);
            state.subs.insert(id, Sub { size: size(&filters), filters, reading: None, ahead: BTreeSet::new() });
        }
    }

    /// Asks the store for the stored events of an installed subscription.
    pub(super) fn read_stored(&mut self, reading: Reading, now: Millis, out: &mut Vec<Effect>) {
        let Some(sub) = self.conns.get(&reading.conn).and_then(|state| state.subs.get(&reading.subscription)) else {
            return;
        };
        let limits = &self.config.limits;
        let limit = |filter: &Filter| filter.limit.unwrap_or(limits.default_limit).min(limits.max_limit);
        let statements = read::statements(&sub.filters, limit);
        if statements.is_empty() {
            return self.send(reading.conn, relay_msg::eose(&reading.subscription), out);
        }
        let ticket = self.query(Purpose::Stored(reading.clone()), statements, now, out);
        if let Some(sub) = self.sub_mut(&reading) {
            sub.reading = Some(Backlog { ticket, live: Vec::new() });
        }
    }

    pub(super) fn stored_answered(
        &mut self,
        reading: Reading,
        result: Result<Vec<StoredEvent>, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let Reading { conn, subscription } = &reading;
        let Some(backlog) = self.sub_mut(&reading).and_then(|sub| sub.reading.take()) else { return };
        match result {
            Ok(events) => {
                let sent: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
                let ahead = self.writer.untold(&sent);
                if let Some(sub) = self.sub_mut(&reading) {
                    sub.ahead = ahead;
                }
                for event in &events {
                    self.send(*conn, relay_msg::event(subscription, &event.json), out);
                }
                self.counters.events_sent += events.len() as u64;
                self.send(*conn, relay_msg::eose(subscription), out);
                for (_, json) in backlog.live.iter().filter(|(id, _)| !sent.contains(id)) {
                    self.counters.events_sent += 1;
                    self.send(*conn, relay_msg::event(subscription, json), out);
                }
            }
            Err(error) => {
                self.end_subscription(*conn, subscription);
                let reason = Reason::new(Prefix::Error, format!("stored events could not be read: {error}; try again"));
                self.send(*conn, relay_msg::closed(subscription, &reason), out);
            }
        }
        self.remember(*conn, out);
    }

    /// Sends `event` to every subscription it is for; returns how many there are.
    pub(super) fn fan_out(&mut self, event: &Event, json: &str, out: &mut Vec<Effect>) -> usize {
        let matching = self.subs.matching(event);
        let mut shared: Option<Rc<str>> = None;
        let count = matching.len();
        for (conn, subscription) in matching {
            let reading = Reading { conn, subscription };
            let Some(sub) = self.sub_mut(&reading) else { continue };
            if sub.ahead.remove(&event.id) {
                continue;
            }
            let Some(backlog) = &mut sub.reading else {
                self.counters.events_sent += 1;
                self.send(conn, relay_msg::event(&reading.subscription, json), out);
                continue;
            };
            if backlog.live.len() < MAX_BUFFERED {
                let json = shared.get_or_insert_with(|| json.into()).clone();
                backlog.live.push((event.id, json));
            } else {
                self.end_subscription(conn, &reading.subscription);
                let reason = Reason::new(Prefix::Error, "more live events than can be kept while the stored are read");
                self.send(conn, relay_msg::closed(&reading.subscription, &reason), out);
                self.remember(conn, out);
            }
        }
        count
    }

    fn sub_mut(&mut self, reading: &Reading) -> Option<&mut Sub> {
        self.conns.get_mut(&reading.conn)?.subs.get_mut(&reading.subscription)
    }
}

fn size(filters: &[Filter]) -> usize {
    filters.iter().map(|filter| serde_json::to_string(filter).map_or(0, |text| text.len())).sum()
}
