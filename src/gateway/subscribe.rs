//! REQ and CLOSE: a subscription is installed before its stored events are read, live events wait
//! until these are sent, and EOSE or CLOSED always follows.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

use super::conn::{LIVE_BYTES, MAX_BUFFERED, Sub};
use super::frames::POLICY_VIOLATION;
use super::{ConnId, Effect, Gateway, Millis, subs};
use crate::budget::{Level, Reservation, Share};
use crate::market::privacy::{self, Readers};
use crate::nostr::{Event, Filter, refusal, relay_msg};

/// Bytes a subscription takes besides its filters: its entry, its place in the index, its name twice.
const SUB_BYTES: usize = size_of::<Sub>() + 180;

impl Gateway {
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
        let admitted = self.admit_question(conn, &subscription, &filters);
        let admitted = admitted.and_then(|()| self.admit_subscription(conn, &subscription, &filters));
        let (text, memory) = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => {
                self.counters.refused_reqs += 1;
                if ended {
                    self.remember(conn);
                }
                self.send(conn, relay_msg::closed(&subscription, &reason), out);
                return self.count_refusal(conn, None, &reason, out);
            }
        };
        let subscription: Rc<str> = subscription.into();
        self.install(conn, subscription.clone(), filters.into(), text, memory);
        self.read_stored(conn, subscription, now, out);
        self.remember(conn);
    }

    pub(super) fn unsubscribe(&mut self, conn: ConnId, subscription: &str) {
        if self.end_subscription(conn, subscription) {
            self.remember(conn);
        }
    }

    /// Takes a subscription out; says whether there was one.
    pub(super) fn end_subscription(&mut self, conn: ConnId, subscription: &str) -> bool {
        let Some(sub) = self.conns.get_mut(&conn).and_then(|state| state.subs.remove(subscription)) else {
            return false;
        };
        self.subs.remove(sub.number);
        if sub.reading.is_some() {
            self.drop_question(conn, subscription);
        }
        true
    }

    /// Makes a subscription receive live events.
    pub(super) fn install(
        &mut self,
        conn: ConnId,
        id: Rc<str>,
        filters: Arc<[Filter]>,
        text: Box<RawValue>,
        memory: Reservation,
    ) {
        if let Some(state) = self.conns.get_mut(&conn) {
            let number = self.subs.insert(conn, &id, &filters);
            let sub = Sub { filters, text, number, memory, reading: None };
            state.subs.insert(id, Box::new(sub));
        }
    }

    /// Sends `event` to every subscription it is for and whose reader is among `readers` (`None` is
    /// everybody); returns how many there are.
    pub(super) fn fan_out(
        &mut self,
        event: &Event,
        readers: Option<&Readers>,
        json: &str,
        out: &mut Vec<Effect>,
    ) -> usize {
        let mut kept: Option<Rc<str>> = None;
        // Many give their subscriptions the same id, as their software does.
        let mut frames: BTreeMap<Rc<str>, Arc<str>> = BTreeMap::new();
        let (mut count, mut over, now) = (0, Vec::new(), self.now);
        let rate = self.config.quotas.as_ref().map(|classes| classes.network.bytes);
        for (conn, subscription) in self.subs.matching(event) {
            let Some(state) = self.conns.get_mut(&conn).filter(|state| privacy::may_read(readers, &state.keys)) else {
                continue;
            };
            count += 1;
            let Some(sub) = state.subs.get_mut(&subscription) else { continue };
            let Some(backlog) = &mut sub.reading else {
                let frame = || relay_msg::event(&subscription, json).into();
                let frame = frames.entry(subscription.clone()).or_insert_with(frame).clone();
                if let Some(rate) = rate
                    && let Some(network) = &state.used
                {
                    let with = |level: Level| level.with(frame.len() as u64, rate.per_second, now);
                    state.live = with(state.live);
                    network.live.set(with(network.live.get()));
                    if network.live.get().bytes() > rate.burst {
                        over.push(conn);
                    }
                }
                self.counters.events_sent += 1;
                self.send(conn, frame, out);
                continue;
            };
            let memory = match backlog.memory.take() {
                Some(memory) => memory,
                None => self.budget.nothing(self.network_use(conn).as_ref(), Share::Backlogs),
            };
            let Some(backlog) = self.sub_mut(conn, &subscription).and_then(|sub| sub.reading.as_mut()) else {
                continue;
            };
            let memory = backlog.memory.insert(memory);
            if memory.bytes() < MAX_BUFFERED && memory.grow(json.len() + LIVE_BYTES).is_ok() {
                let json = kept.get_or_insert_with(|| json.into()).clone();
                backlog.live.push((event.id, json));
            } else {
                self.end_subscription(conn, &subscription);
                self.send(conn, relay_msg::closed(&subscription, &refusal::too_many_live()), out);
                self.remember(conn);
            }
        }
        self.end_flooded(over, out);
        count
    }

    /// Ends connections of networks that are sent more live events than their rate: those that were sent more than half
    /// of the average in this second.
    fn end_flooded(&mut self, mut over: Vec<ConnId>, out: &mut Vec<Effect>) {
        over.dedup();
        for conn in over {
            let Some(rate) = self.config.quotas.as_ref().map(|classes| classes.network.bytes.per_second) else {
                return;
            };
            let Some(state) = self.conns.get(&conn) else { continue };
            let (Some(network), Some(name)) = (self.network_use(conn), &state.network) else { continue };
            let average = network.live.get().in_second() / self.networks.open(name).max(1) as u64;
            if state.live.in_second() >= average / 2 {
                self.end(conn, POLICY_VIOLATION, refusal::live_too_fast(rate), out);
            }
        }
    }

    pub(super) fn send_event(&mut self, conn: ConnId, subscription: &str, json: &str, out: &mut Vec<Effect>) {
        self.counters.events_sent += 1;
        self.send(conn, relay_msg::event(subscription, json), out);
    }

    pub(super) fn sub_mut(&mut self, conn: ConnId, subscription: &str) -> Option<&mut Sub> {
        self.conns.get_mut(&conn)?.subs.get_mut(subscription).map(Box::as_mut)
    }
}

/// The filters of a subscription as they are remembered, and the bytes it takes.
pub(super) fn remembered(id: &str, filters: &[Filter]) -> (Box<RawValue>, usize) {
    let text = to_raw_value(filters).unwrap_or_default();
    let own: usize = filters.iter().map(Filter::memory_bytes).sum();
    let bytes = SUB_BYTES + id.len() + text.get().len() + own + subs::entry_count(filters) * subs::ENTRY_BYTES;
    (text, bytes)
}
