//! Groups on their way to the store, and what follows when it fails: they are written again after pauses that grow,
//! for as long as somebody may wait for them. What follows when it has answered is [`landed`](super::landed)'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::queue::Waiting;
use super::writer::InFlight;
use super::{Partition, Purpose, SHARD, landed};
use crate::log::Level;
use crate::message::{Outcome, Publisher, ToGateway, Verdict};
use crate::nostr::{EventId, Reason, refusal};
use crate::seam::{Effect, Millis, Ticket};
use crate::store::counts;
use crate::store::write::{self, NewEvent};
use crate::store::{ErrorKind, Rows, Statement, StoreError, history};

/// Milliseconds.
const MINUTE: Millis = 60_000;

impl Partition {
    /// Sends the group that gathers on its way after what has arrived with its first event.
    pub(super) fn commit_soon(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if !self.writer.is_known() {
            self.commit_next(now, out);
        } else if self.writer.in_flight.is_none() && !self.yielding {
            self.yielding = true;
            out.push(Effect::Yield);
        }
    }

    pub fn yielded(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.yielding = false;
        self.commit_next(now, out);
    }

    /// Sends the group that gathers on its way, unless one is.
    pub(super) fn commit_next(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.writer.is_paused(now) {
            return self.commit_later(out);
        }
        self.ask_totals(now, out);
        if let Some(events) = self.writer.next_group() {
            self.commit(events, now, out);
        }
    }

    /// Asks for the totals, unless they are known or asked for, and for what there will be to remove.
    pub(super) fn ask_totals(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.writer.ask() {
            self.query(Purpose::Totals, self.waking_statements(), now, out);
        }
    }

    fn commit(&mut self, events: Vec<Waiting>, now: Millis, out: &mut Vec<Effect>) {
        let ticket = self.next_ticket();
        let group: Vec<Arc<NewEvent>> = events.iter().map(|waiting| waiting.new.clone()).collect();
        let flush = self.counters.flush(SHARD, self.writer.totals().unwrap_or_default(), now);
        let early = now < self.doubt_until || self.writer.totals().is_none_or(|totals| totals.early > now / 1000);
        let mut statements = write::statements(&group, &flush, early, None);
        // After the first statement, whose answer is the totals before the group.
        statements.splice(1..1, self.snapshot(now));
        out.push(Effect::Commit { ticket, statements });
        self.writer.in_flight = Some(InFlight { ticket: Some(ticket), events, since: now });
    }

    /// With the first group of a minute, a snapshot of the counts for the history.
    fn snapshot(&mut self, now: Millis) -> Vec<Statement> {
        let (minute, last) = (now / MINUTE, self.last_snapshot.replace(now / MINUTE));
        match last {
            Some(last) if last == minute => Vec::new(),
            last => history::snapshot(minute, last.is_none_or(|last| last / 60 < minute / 60)),
        }
    }

    pub(super) fn totals_answered(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        self.due_found(result.as_ref().ok().and_then(|rows| rows.get(1)).map(Vec::as_slice), now, out);
        let totals = result.and_then(|rows| counts::decode_totals(&rows, SHARD));
        let error = totals.as_ref().err().cloned();
        self.writer.learn(totals.ok());
        match error {
            None => {
                self.totals_known(now, out);
                self.tell_position(self.writer.told());
                self.commit_next(now, out);
            }
            Some(error) => {
                self.store_failed(&error, now, out);
                self.tell_all(&ToGateway::Position(Err(error)));
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
        if self.saving.take_if(|(saving, _)| *saving == ticket).is_some() {
            return self.saved(result);
        }
        let Some(group) = self.writer.in_flight.take_if(|group| group.ticket == Some(ticket)) else { return };
        let ids: Vec<EventId> = group.events.iter().map(|waiting| waiting.new.event.id).collect();
        let result = result.and_then(|rows| write::decode(&ids, &rows, SHARD, None));
        self.counters.storage.committed(now.saturating_sub(group.since), result.as_ref().err());
        match result {
            Ok(committed) => {
                self.landed(group.events, committed, now, out);
                self.commit_next(now, out);
            }
            Err(error) => {
                self.doubt_until = now + self.host.doubt();
                self.handlers.clear();
                self.log(Level::Warn, "commit failed", &failed(&group.events, &error), out);
                self.writer.in_flight = Some(InFlight { ticket: None, ..group });
                self.store_failed(&error, now, out);
            }
        }
    }

    fn store_failed(&mut self, error: &StoreError, now: Millis, out: &mut Vec<Effect>) {
        self.writer.failed(error, now);
        self.give_up(now, out);
        self.commit_later(out);
    }

    fn commit_later(&mut self, out: &mut Vec<Effect>) {
        if let Some(at) = self.writer.next_attempt() {
            self.commit_due = Some(self.commit_due.map_or(at, |due| due.min(at)));
            out.push(Effect::TimerAt { at });
        }
    }

    /// Asks the store again that has failed, when it is time to.
    pub(super) fn commit_again(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.give_up(now, out);
        if self.writer.is_paused(now) {
            return self.commit_later(out);
        }
        match self.writer.in_flight.take_if(|group| group.ticket.is_none()) {
            Some(group) => self.commit(group.events, now, out),
            None => self.commit_next(now, out),
        }
    }

    /// Refuses the events that wait in vain.
    fn give_up(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some((error, mut refused, others)) = self.writer.give_up(now) else { return };
        if !refused.is_empty() {
            // It may have removed anything that it was to remove.
            self.recent.start_over(landed::newest(&refused));
            self.may_have_to_sweep(now, out);
            if self.writer.in_flight.is_none() {
                self.query(Purpose::Landed, counts::read_totals(), now, out);
            }
        }
        refused.extend(others);
        if !refused.is_empty() {
            self.log(Level::Error, "events are refused, the store fails", &failed(&refused, &error), out);
            self.refuse_all(refused, &not_stored(&error));
        }
    }

    /// Refuses all that waits and saves what was counted: nothing is written any more after that.
    pub fn leave(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.now = now;
        let waiting = self.writer.drain();
        self.refuse_all(waiting, &refusal::restarting_unstored());
        self.save(now, out);
    }

    fn refuse_all(&mut self, events: Vec<Waiting>, reason: &Reason) {
        for waiting in events.into_iter().flat_map(Waiting::into_versions) {
            let id = waiting.new.event.id;
            for (gateway, to) in waiting.publishers {
                self.tell(gateway, ToGateway::Verdict(Outcome { to, id, verdict: Verdict::Refused(reason.clone()) }));
            }
        }
    }
}

/// Why an event is refused when the store fails, and what its author can do.
pub(super) fn not_stored(error: &StoreError) -> Reason {
    match error.kind {
        ErrorKind::Quota => refusal::not_stored_today(error.cause()),
        ErrorKind::Full => refusal::not_stored_full(error.cause()),
        ErrorKind::Overloaded | ErrorKind::TimedOut | ErrorKind::Other => refusal::not_stored(error.cause()),
    }
}

/// What the log says of a group that was not committed: whose events are in it, among others.
fn failed(events: &[Waiting], error: &StoreError) -> [(&'static str, String); 4] {
    let conns: BTreeSet<Publisher> = events.iter().flat_map(|waiting| &waiting.publishers).map(|(_, to)| *to).collect();
    let conns: Vec<String> = conns.iter().map(Publisher::to_string).collect();
    [
        ("connection", conns.join(" ")),
        ("events", events.len().to_string()),
        ("error", error.to_string()),
        ("kind", error.kind.as_str().to_owned()),
    ]
}
