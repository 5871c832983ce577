//! EVENT: on its way into a group, and what follows when the store has answered.

use super::writer::{InFlight, Waiting};
use super::{ConnId, Effect, Millis, Purpose, Relay, Ticket};
use crate::market::job;
use crate::nostr::deletion::{self, Target};
use crate::nostr::{Event, EventId, KindClass, Prefix, Reason, relay_msg};
use crate::store::write::{self, NewEvent, Outcome, Totals};
use crate::store::{Rows, StoreError};

impl Relay {
    pub(super) fn publish(&mut self, conn: ConnId, event: Event, now: Millis, out: &mut Vec<Effect>) {
        let id = event.id;
        let admitted = self.admit_event(conn, &event, now / 1000).and_then(|expires_at| {
            if event.class() == KindClass::Ephemeral {
                return self.pass_on(&event, out);
            }
            let deletes = deletion::targets(&event, &self.config.relays);
            let job = job::NIP90.job_of(&event);
            self.writer.add(NewEvent { event, expires_at, deletes, job }, conn).map(|()| false)
        });
        match admitted {
            Ok(true) => self.accept(conn, &id, out),
            Ok(false) => self.commit_next(now, out),
            Err(reason) => self.reject(conn, &id.to_string(), &reason, out),
        }
    }

    /// Hands an ephemeral event to whoever listens; it never sees the store.
    fn pass_on(&mut self, event: &Event, out: &mut Vec<Effect>) -> Result<bool, Reason> {
        match self.fan_out(event, &event.to_json(), out) {
            0 => Err(Reason::new(Prefix::Mute, "nobody is listening to this ephemeral event")),
            _ => Ok(true),
        }
    }

    fn accept(&mut self, conn: ConnId, id: &EventId, out: &mut Vec<Effect>) {
        self.counters.accepted += 1;
        self.send(conn, relay_msg::accepted(id), out);
    }

    /// Sends the group that gathers on its way, unless one is.
    fn commit_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.writer.ask() {
            self.query(Purpose::Totals, write::read_totals(), now, out);
        }
        if let Some(events) = self.writer.next_group() {
            self.commit(events, false, now, out);
        }
    }

    fn commit(&mut self, events: Vec<Waiting>, retried: bool, now: Millis, out: &mut Vec<Effect>) {
        let ticket = self.next_ticket();
        let group: Vec<NewEvent> = events.iter().map(|waiting| waiting.new.clone()).collect();
        out.push(Effect::Commit { ticket, statements: write::statements(&group) });
        self.writer.in_flight = Some(InFlight { ticket, events, since: now, retried });
    }

    pub(super) fn totals_answered(&mut self, totals: Result<Totals, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let error = totals.as_ref().err().cloned();
        self.writer.learn(totals.ok());
        match error {
            None => self.commit_next(now, out),
            Some(error) => {
                let waiting = self.writer.drain();
                self.give_up(waiting, &error, out);
            }
        }
    }

    pub(super) fn committed(
        &mut self,
        ticket: Ticket,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if let Some((_, more, next_expiry)) = self.removing.take_if(|(removing, ..)| *removing == ticket) {
            return self.removed(more, next_expiry, &result, now, out);
        }
        let Some(group) = self.writer.in_flight.take_if(|group| group.ticket == ticket) else { return };
        let ids: Vec<EventId> = group.events.iter().map(|waiting| waiting.new.event.id).collect();
        let result = result.and_then(|rows| write::decode(&ids, &rows));
        self.counters.storage.committed(now.saturating_sub(group.since), result.is_ok());
        match result {
            Ok(committed) => {
                self.landed(group.events, &committed, now, out);
                self.commit_next(now, out);
            }
            Err(error) if !group.retried => {
                out.push(Effect::Log { line: format!("commit failed, writing the group again: {error}") });
                self.commit(group.events, true, now, out);
            }
            Err(error) => {
                out.push(Effect::Log { line: format!("commit failed twice: {error}") });
                self.give_up(group.events, &error, out);
                if error.timed_out {
                    // Those who wait would wait as long for the same.
                    let waiting = self.writer.drain();
                    self.give_up(waiting, &error, out);
                }
                self.query(Purpose::Landed, write::read_totals(), now, out);
                self.commit_next(now, out);
            }
        }
    }

    /// Answers the authors and tells the subscribers, in the order the events were numbered.
    fn landed(&mut self, events: Vec<Waiting>, committed: &write::Committed, now: Millis, out: &mut Vec<Effect>) {
        let told = self.writer.told();
        for Waiting { new, conns, .. } in events {
            let id = new.event.id;
            let stored = match committed.outcomes.get(&id) {
                Some(Outcome::Stored(seq)) => Ok(*seq),
                Some(Outcome::Deleted) => Err(Reason::new(Prefix::Blocked, "this event was deleted by its author")),
                Some(Outcome::Superseded) | None => {
                    Err(Reason::new(Prefix::Duplicate, "a newer version of this event is stored"))
                }
            };
            let fresh = stored.as_ref().is_ok_and(|seq| *seq > told);
            if fresh {
                // Landed before this commit although it was reported as failed.
                if stored.as_ref().is_ok_and(|seq| *seq <= committed.base) {
                    self.log.told.insert(id);
                }
                self.fan_out(&new.event, &new.event.to_json(), out);
                self.follow_up(&new, now, out);
            }
            for (at, conn) in conns.into_iter().enumerate() {
                match &stored {
                    Ok(_) if fresh && at == 0 => self.accept(conn, &id, out),
                    Ok(_) => {
                        self.counters.duplicates += 1;
                        self.send(
                            conn,
                            relay_msg::ok(&id.to_string(), true, "duplicate: already have this event"),
                            out,
                        );
                    }
                    Err(reason) => self.reject(conn, &id.to_string(), reason, out),
                }
            }
        }
        self.look_for(told, committed.base);
        self.search(now, out);
        self.writer.advance(committed.totals);
    }

    /// What has to be removed because of a stored event, now or later.
    fn follow_up(&mut self, new: &NewEvent, now: Millis, out: &mut Vec<Effect>) {
        if new.deletes.contains(&Target::Everything) {
            self.will_vanish(now, out);
        }
        if new.expires_at.is_some() {
            self.will_expire(now, out);
        }
    }

    fn give_up(&mut self, events: Vec<Waiting>, error: &StoreError, out: &mut Vec<Effect>) {
        let reason = Reason::new(Prefix::Error, format!("the event could not be stored: {error}; publish it again"));
        for waiting in events {
            for conn in waiting.conns {
                self.reject(conn, &waiting.new.event.id.to_string(), &reason, out);
            }
        }
    }
}
