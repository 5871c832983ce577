//! What a write is made of, and what follows when the store has answered or failed: it is asked again after pauses that
//! grow, for as long as somebody may wait.

use std::collections::BTreeSet;

use super::Partition;
use super::log::{Decided, What};
use super::queue::Waiting;
use crate::ledger::{Assumed, Decision, Facts, Mode, Outcome, Work};
use crate::log::Level;
use crate::message::{self, Publisher, ToGateway, Verdict};
use crate::nostr::{Reason, refusal};
use crate::seam::{Effect, Millis};
use crate::store::counts::Position;
use crate::store::log::Write;
use crate::store::{ErrorKind, Statement, StoreError, facts, history, market, write};
use crate::trees::Gather;

/// Milliseconds.
const MINUTE: Millis = 60_000;

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

    /// What the group is to do.
    pub(super) fn group_work(&self) -> Work {
        let group = self.writer.group.iter().flatten().map(|waiting| waiting.new.clone()).collect();
        Work::Events(group, Mode::New)
    }

    /// The number of the last event.
    pub(super) fn last_seq(&self) -> u64 {
        self.log.totals().unwrap_or_default().last_seq
    }

    /// Decides what a write does by what the store has told; of the group those are looked at that somebody waits for yet.
    pub(super) fn decide(&self, what: &What, facts: Facts) -> Decision {
        match what {
            What::Group => self.group_work().decide(self.last_seq(), facts),
            What::Removal(found) => found.work().decide(self.last_seq(), facts),
            What::Counts | What::Seen(_) => Decision::default(),
        }
    }

    /// The statements of a write, and where the log is after it.
    pub(super) fn statements_to_write(
        &mut self,
        what: &What,
        (decision, assumed): (&Decision, Option<&Assumed>),
        before: &Position,
        write: &Write,
        now: Millis,
    ) -> (Vec<Statement>, Position) {
        if let What::Seen(keys) = what {
            return (market::seen(keys, now / 1000, write), before.clone());
        }
        let flush = self.counters.flush(before.totals, now);
        let (mut statements, after) = write::statements(&decision.changes, before, &flush, &self.settings.kept, write);
        // After the one that looks whose the log is.
        statements.splice(1..1, assumed.and_then(facts::assume));
        if self.facts.keeps_place {
            statements.push(self.settings.place.put());
        }
        if matches!(what, What::Group) {
            // Of the counts as they are before it.
            statements.splice(0..0, self.snapshot(now));
        }
        (statements, after)
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

    /// A write was made that was sent at `since`, or nothing had to be written.
    pub(super) fn follow(&mut self, what: What, decided: Decided, since: Millis, now: Millis, out: &mut Vec<Effect>) {
        self.log.memory().follow(&decided.decision.changes);
        self.facts.keeps_place &= matches!(what, What::Seen(_)) || decided.decision.changes.is_empty();
        match what {
            What::Group => {
                if !decided.decision.changes.is_empty() {
                    self.last_snapshot = Some(since / MINUTE);
                }
                let group = self.writer.group.take().unwrap_or_default();
                self.landed(group, decided, now, out);
            }
            What::Removal(found) => {
                self.facts.written(&decided.after, [], now);
                self.recent.follow(&decided.decision.events, &self.settings.profile);
                self.handlers.clear();
                self.advance(decided.after);
                self.removed(&found, now, out);
            }
            What::Counts => {
                self.facts.written(&decided.after, [], now);
                self.advance(decided.after);
            }
            What::Seen(_) => {}
        }
    }

    /// What is to be written concerns more than can be looked at at once: half of it is decided first, and one event is
    /// refused.
    pub(super) fn decide_less(&mut self, mut what: What, now: Millis, out: &mut Vec<Effect>) {
        let needed = match &mut what {
            What::Removal(found) => found.halve().then(|| found.work().needed()),
            What::Group => self.writer.halve_group().then(|| self.group_work().needed()),
            What::Counts | What::Seen(_) => None,
        };
        if let Some(needed) = needed {
            return self.ask_facts(what, needed, now, out);
        }
        let What::Group = what else {
            self.removal_failed(now, out);
            return self.go_on(now, out);
        };
        let ids = self.writer.group.iter().flatten().map(|waiting| waiting.new.event.id);
        let outcomes = ids.map(|id| (id, Outcome::TooMuch)).gather();
        self.nothing_to_write(what, Decision { outcomes, ..Decision::default() }, now, out);
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
            self.look_at(at, out);
        }
    }

    /// Looks again at a time.
    pub(super) fn look_at(&mut self, at: Millis, out: &mut Vec<Effect>) {
        let at = self.commit_due.map_or(at, |due| due.min(at));
        self.commit_due = Some(at);
        out.push(Effect::TimerAt { at });
    }

    /// Does what is next, once the store may be asked, as a gateway waits for that and no event may.
    pub(super) fn go_on_in_time(&mut self, now: Millis, out: &mut Vec<Effect>) {
        match self.writer.paused_until(now) {
            Some(at) => self.look_at(at, out),
            None => self.go_on(now, out),
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
        self.log.give_up_deciding();
        let waiting = self.writer.drain(!self.log.is_being_written());
        self.refuse_all(waiting, &refusal::restarting_unstored());
        self.save(now, out);
    }

    pub(super) fn refuse_all(&mut self, events: Vec<Waiting>, reason: &Reason) {
        for waiting in events.into_iter().flat_map(Waiting::into_versions) {
            let id = waiting.new.event.id;
            for (gateway, to) in waiting.publishers {
                self.tell(
                    gateway,
                    ToGateway::Verdict(message::Outcome { to, id, verdict: Verdict::Refused(reason.clone()) }),
                );
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
