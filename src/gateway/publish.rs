//! EVENT: admitted here, and stored by the partition; ephemeral events are passed on and not stored.

use std::sync::Arc;

use super::class::Class;
use super::quota::{Holder, Net};
use super::{ConnId, Gateway};
use crate::market::privacy;
use crate::message::{Allowance, NewEvent, Publish, Publisher, ToPartition};
use crate::nostr::{Event, EventId, KindClass, PublicKey, Reason, deletion, refusal, relay_msg};
use crate::seam::{Effect, Millis};

/// What became of an event that is not refused.
enum Admitted {
    /// It is passed on and not kept.
    Done,
    /// It waits for the partition.
    Waiting,
}

impl Gateway {
    pub(super) fn publish(&mut self, conn: ConnId, event: Event, now: Millis, out: &mut Vec<Effect>) {
        let (id, of) = (event.id, (event.pubkey, event.kind));
        let may = match self.locked(conn) {
            Some(reason) => Err(reason),
            None => self.may_publish(conn, &event),
        };
        let admitted = may.and_then(|()| self.admit_event(conn, &event, now / 1000)).and_then(|expires_at| {
            if event.class() == KindClass::Ephemeral {
                return self.pass_on(conn, event, out);
            }
            let deletes = deletion::targets(&event, &self.config.relays)?;
            let part = self.config.profile.part_of(&event);
            let remember_until = self.config.retention.remember_until(&event);
            let text = event.to_json().into();
            let new = NewEvent {
                event,
                text,
                came_ms: now,
                expires_at,
                deletes,
                part,
                remember_until,
                is_elsewhere: false,
                act: None,
            };
            self.store(conn, new);
            Ok(Admitted::Waiting)
        });
        match admitted {
            Ok(Admitted::Done) => self.accept(conn, &id, out),
            Ok(Admitted::Waiting) => {}
            Err(reason) => self.reject(conn, &id.to_string(), Some(of), &reason, out),
        }
    }

    /// Has the partition store an event.
    fn store(&mut self, conn: ConnId, new: NewEvent) {
        let allowance = self.allowance(conn, &new.event.pubkey);
        let network = match self.net(conn) {
            Net::Address(ip) => Some(ip),
            Net::Unknown(_) => None,
        };
        let is_limited = self.network_use(conn).is_some();
        if let Some(state) = self.conns.get_mut(&conn) {
            state.unanswered += 1;
        }
        let publish = Publish { from: Publisher(conn.0), new, network, is_limited, allowance };
        self.partitions.publish(Box::new(publish));
    }

    /// Which rows an author's event may take.
    fn allowance(&self, conn: ConnId, author: &PublicKey) -> Allowance {
        let payer = self.payer(conn, Some(author));
        let dealt = |key: &PublicKey| self.conns.get(&conn).is_some_and(|state| state.known(key).dealt);
        match payer.holder {
            _ if payer.class == Class::Listed => Allowance::Listed,
            Holder::Key(key) if dealt(&key) => Allowance::Dealt,
            _ => Allowance::Everybody,
        }
    }

    /// Hands an ephemeral event to whoever listens, here and at other gateways; it is never stored.
    fn pass_on(&mut self, conn: ConnId, event: Event, out: &mut Vec<Effect>) -> Result<Admitted, Reason> {
        let listeners = self.hand_out(&event, out);
        if self.alone {
            return if listeners > 0 { Ok(Admitted::Done) } else { Err(refusal::nobody_listens()) };
        }
        let from = (listeners == 0).then_some(Publisher(conn.0));
        if let (Some(_), Some(state)) = (from, self.conns.get_mut(&conn)) {
            state.unanswered += 1;
        }
        self.partitions.tell_home(ToPartition::Ephemeral { from, event: Arc::new(event) });
        Ok(if from.is_some() { Admitted::Waiting } else { Admitted::Done })
    }

    /// Gives an ephemeral event to whoever listens here; how many these are.
    pub(super) fn hand_out(&mut self, event: &Event, out: &mut Vec<Effect>) -> usize {
        let readers = privacy::readers(event, None, false);
        self.fan_out(event, readers.as_ref(), &event.to_json(), out)
    }

    pub(super) fn accept(&mut self, conn: ConnId, id: &EventId, out: &mut Vec<Effect>) {
        self.counters.accepted += 1;
        self.send(conn, relay_msg::accepted(id), out);
    }
}
