//! What a write is made of, and what follows when the store has answered or failed: it is asked again after pauses that
//! grow, for as long as somebody may wait.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Partition;
use super::log::What;
use super::queue::Waiting;
use crate::log::Level;
use crate::message::{NewEvent, Outcome, Publisher, ToGateway, Verdict};
use crate::nostr::{EventId, Reason, refusal};
use crate::seam::{Effect, Millis};
use crate::store::counts::{self, Totals};
use crate::store::log::Write;
use crate::store::write::{self, Committed};
use crate::store::{ErrorKind, Rows, Statement, StoreError, history, market, sweep};

/// Milliseconds.
const MINUTE: Millis = 60_000;

/// What the answer to a write says.
pub(super) enum Done {
    Group(Box<Committed>),
    /// Its rows, and the totals after it.
    Removal(Rows, Totals),
    /// The totals after it, and the row of the counts.
    Counts(Totals, String),
    Seen,
}

impl Partition {
    /// Sends the group that gathers on its way after what has arrived with its first event.
    pub(super) fn commit_soon(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if !self.log.is_known() || self.log.is_unresolved() {
            self.go_on(now, out);
        } else if !self.log.is_on_its_way() && !self.yielding {
            self.yielding = true;
            out.push(Effect::Yield);
        }
    }

    pub fn yielded(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.yielding = false;
        self.go_on(now, out);
    }

    /// The statements of a write.
    pub(super) fn statements_to_write(
        &mut self,
        what: &What,
        write: &Write,
        totals: Totals,
        now: Millis,
    ) -> Vec<Statement> {
        match what {
            What::Group => {
                let group: Vec<Arc<NewEvent>> =
                    self.writer.group.iter().flatten().map(|waiting| waiting.new.clone()).collect();
                let flush = self.counters.flush(totals, now);
                let mut statements = write::statements(&group, &flush, totals.early > now / 1000, write);
                // After the first statement, which looks whose the log is.
                statements.splice(1..1, self.snapshot(now));
                statements
            }
            What::Removal(found) => sweep::remove(found, write),
            What::Counts => counts::save(&self.counters.flush(totals, now), write),
            What::Seen(keys) => market::seen(keys, now / 1000, write),
        }
    }

    /// With the first group of a minute, a snapshot of the counts for the history, until one is known to have landed. An
    /// attempt more changes nothing.
    fn snapshot(&self, now: Millis) -> Vec<Statement> {
        let minute = now / MINUTE;
        match self.last_snapshot {
            Some(last) if last == minute => Vec::new(),
            last => history::snapshot(minute, last.is_none_or(|last| last / 60 < minute / 60)),
        }
    }

    /// Reads the answer to a write; `before` are the totals before it.
    pub(super) fn decode(&self, what: &What, rows: Rows, before: Totals) -> Result<Done, StoreError> {
        Ok(match what {
            What::Group => Done::Group(Box::new(self.decode_group(&rows, before)?)),
            What::Removal(_) => {
                let (totals, _) = counts::decode_saved(&rows)?;
                Done::Removal(rows, totals)
            }
            What::Counts => {
                let (totals, counts) = counts::decode_saved(&rows)?;
                Done::Counts(totals, counts)
            }
            What::Seen(_) => Done::Seen,
        })
    }

    /// Reads what became of the events of the group.
    pub(super) fn decode_group(&self, rows: &Rows, before: Totals) -> Result<Committed, StoreError> {
        let ids: Vec<EventId> = self.writer.group.iter().flatten().map(|waiting| waiting.new.event.id).collect();
        write::decode(&ids, rows, before)
    }

    /// A write that was sent at `since` was answered.
    pub(super) fn follow(&mut self, what: What, done: Done, since: Millis, now: Millis, out: &mut Vec<Effect>) {
        match done {
            Done::Group(committed) => {
                self.last_snapshot = Some(since / MINUTE);
                let group = self.writer.group.as_deref().unwrap_or_default();
                if group.len() < committed.outcomes.len() {
                    // Some were refused while they were on their way, and nobody was told of them.
                    let before = committed.before;
                    return self.has_landed(what, before, committed.totals, now, out);
                }
                let group = self.writer.group.take().unwrap_or_default();
                self.landed(group, *committed, true, now, out);
            }
            Done::Removal(rows, totals) => {
                self.note_removal(&rows);
                self.advance(totals);
                if let What::Removal(found) = what {
                    self.removed(&found, now, out);
                }
            }
            Done::Counts(totals, counts) => {
                self.facts.written(Some(counts), Vec::new());
                self.advance(totals);
                self.counters.flushed(totals);
            }
            Done::Seen => {}
        }
    }

    /// The store has failed: what waits for too long is refused, and it is asked again after a pause.
    pub(super) fn store_failed(&mut self, error: &StoreError, now: Millis, out: &mut Vec<Effect>) {
        self.writer.failed(error, now);
        self.give_up(true, now, out);
        self.look_later(now, out);
    }

    /// While the store fails, looks again when the pause is over or somebody has waited for too long, whatever is on its
    /// way then.
    pub(super) fn look_later(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if let Some(at) = self.writer.next_look(now) {
            self.commit_due = Some(self.commit_due.map_or(at, |due| due.min(at)));
            out.push(Effect::TimerAt { at });
        }
    }

    /// The pause may be over, or somebody has waited for too long.
    pub(super) fn commit_again(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.give_up(false, now, out);
        self.go_on(now, out);
        self.look_later(now, out);
    }

    /// Refuses the events that wait in vain, also those that are on their way.
    fn give_up(&mut self, has_failed: bool, now: Millis, out: &mut Vec<Effect>) {
        let Some((error, mut refused, others)) = self.writer.give_up(has_failed, now) else { return };
        if !refused.is_empty() {
            // They may be stored all the same.
            self.may_have_to_sweep(now, out);
        }
        refused.extend(others);
        if !refused.is_empty() {
            self.log(Level::Error, "events are refused, the store fails", &failed(&refused, &error), out);
            self.refuse_all(refused, &not_stored(&error));
        }
    }

    /// Says that a write has failed.
    pub(super) fn log_failed_write(&self, what: &What, error: &StoreError, out: &mut Vec<Effect>) {
        match what {
            What::Group => {
                let group = self.writer.group.as_deref().unwrap_or_default();
                self.log(Level::Warn, "commit failed", &failed(group, error), out);
            }
            What::Removal(_) => self.log(Level::Warn, "sweep failed", &[("error", error.to_string())], out),
            What::Counts | What::Seen(_) => {}
        }
    }

    /// Refuses all that waits and saves what was counted: nothing is written any more after that.
    pub fn leave(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.now = now;
        let waiting = self.writer.drain(!self.log.is_on_its_way());
        self.refuse_all(waiting, &refusal::restarting_unstored());
        self.save(now, out);
    }

    pub(super) fn refuse_all(&mut self, events: Vec<Waiting>, reason: &Reason) {
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
