//! What partitions tell: each message goes to who waits for it.

use std::sync::Arc;

use super::{ConnId, Gateway};
use crate::market::handler::can_be_ranked;
use crate::message::{Interest, Outcome, Part, PartitionId, Push, ToGateway, ToPartition, Verdict};
use crate::nostr::{EventId, Reason, kind, relay_msg};
use crate::seam::{Effect, Millis};

impl Gateway {
    /// Takes what a partition tells.
    pub(crate) fn hear(&mut self, from: PartitionId, message: ToGateway, now: Millis, out: &mut Vec<Effect>) {
        if !self.partitions.are_several() {
            return self.take_told(from, message, now, out);
        }
        for message in self.partitions.hear(from, message) {
            self.take_told(from, message, now, out);
        }
    }

    fn take_told(&mut self, from: PartitionId, message: ToGateway, now: Millis, out: &mut Vec<Effect>) {
        self.now = now;
        self.untold.changed |= !matches!(message, ToGateway::Position(_) | ToGateway::Facts { .. });
        match message {
            ToGateway::Position(Ok(upto)) => {
                self.advance(from, upto);
                self.ask_next(now, out);
            }
            ToGateway::Position(Err(error)) => self.position_failed(error, now, out),
            ToGateway::Rulings(rulings) => self.ruled(Arc::unwrap_or_clone(rulings), out),
            ToGateway::Acted(new) => self.acted(&new, out),
            ToGateway::Verdict(outcome) => self.decided(outcome, out),
            ToGateway::Push(push) => self.pushed(from, push, out),
            ToGateway::Ephemeral(event) => {
                self.hand_out(&event, out);
            }
            ToGateway::Answer { ticket, answer, rows_read, from_memory } => {
                self.counters.from_memory += u64::from(from_memory);
                self.answered(ticket, answer, rows_read, now, out);
            }
            ToGateway::Later { ticket, bytes } => self.put_in_line(ticket, bytes, now, out),
            ToGateway::Known { ticket, known } => self.keys_known(ticket, known, now, out),
            ToGateway::Facts { ticket, facts, rows_read, gauges } => {
                self.requests.partition = *gauges;
                self.facts_told(ticket, facts, rows_read, now, out);
            }
        }
    }

    /// Tells a partition that knows nothing of this gateway what it cares for, and how far its clients were told.
    pub(crate) fn introduce(&mut self, to: PartitionId) {
        let interest = match self.alone {
            true => Interest::Everything,
            false => Interest::Keys { came: self.subs.keys(), went: Arc::default() },
        };
        self.partitions.tell(to, ToPartition::Interest(interest));
        self.partitions.tell(to, ToPartition::Woke(self.told_upto_of(to)));
        self.partitions.forget_greeting(to);
        if !self.alone {
            if to == PartitionId::HOME {
                self.tell_presence_anew();
            }
            let gauges = Box::new(self.gauges_to_tell());
            self.partitions.tell_gauges(to, gauges);
        }
    }

    /// A group was stored: answers the authors and tells the subscribers, in the order the events were numbered.
    fn pushed(&mut self, from: PartitionId, mut push: Push, out: &mut Vec<Effect>) {
        if let Some(told) = self.position.told(from).filter(|told| *told < push.after) {
            // It does not follow what was told before: what is between is asked for, and this again.
            push.parts.retain(|part| matches!(part, Part::Outcome(_)));
            push.upto = told;
            self.partitions.tell(from, ToPartition::Woke(Some(told)));
        }
        let events = || {
            push.parts.iter().filter_map(|part| match part {
                Part::Event((new, _)) => Some(new),
                Part::Outcome(_) | Part::Cancelled(..) => None,
            })
        };
        for new in events().filter(|new| new.vanishes()) {
            self.vanish(&new.event);
        }
        for part in push.parts {
            match part {
                Part::Event((new, _)) if self.late.takes(&new.event) || self.rulings.bans(&new.event.id) => {}
                Part::Event((new, readers)) => {
                    self.fan_out(&new.event, readers.as_ref(), &new.text, out);
                    if new.part.is_none() && new.event.kind == kind::HANDLER && can_be_ranked(&new.event) {
                        self.provides(&new.event.pubkey);
                    }
                }
                Part::Outcome(outcome) => self.decided(outcome, out),
                Part::Cancelled(job, key) => {
                    // A subscription to kind 5 would say so, too, but not everybody has one.
                    for (conn, _) in self.conns.iter().filter(|(_, state)| state.keys.contains(&key)) {
                        self.send(*conn, relay_msg::cancelled(&job), out);
                    }
                }
            }
        }
        self.advance(from, push.upto);
    }

    /// Answers an event.
    fn decided(&mut self, Outcome { to, id, verdict }: Outcome, out: &mut Vec<Effect>) {
        if self.managing.waits(to) {
            return self.act_decided(to, verdict, out);
        }
        let conn = ConnId(to.0);
        if let Some(state) = self.conns.get_mut(&conn) {
            state.unanswered = state.unanswered.saturating_sub(1);
        }
        match verdict {
            Verdict::Stored => self.accept(conn, &id, out),
            Verdict::Duplicate(reason) => self.duplicate(conn, &id, &reason, out),
            Verdict::Refused(reason) => self.reject(conn, &id.to_string(), None, &reason, out),
        }
    }

    fn duplicate(&mut self, conn: ConnId, id: &EventId, reason: &Reason, out: &mut Vec<Effect>) {
        self.counters.duplicates += 1;
        self.send(conn, relay_msg::ok(&id.to_string(), true, reason), out);
    }
}
