//! What follows when a group was stored: its authors are answered and its events pushed, in the order of their numbers,
//! and what is kept in memory follows.

use std::collections::BTreeMap;

use super::Partition;
use super::gateways::Pushes;
use super::log::Decided;
use super::queue::Waiting;
use crate::ledger::{Decision, Disagreement, Fresh, Outcome};
use crate::market::privacy;
use crate::message::{NewEvent, Verdict};
use crate::nostr::deletion::Vanished;
use crate::nostr::{EventId, Reason, refusal};
use crate::seam::{Effect, Millis};
use crate::store::cost;
use crate::trees::Gather;

impl Partition {
    /// Answers the authors and pushes the events, in the order of their numbers.
    pub(super) fn landed(&mut self, group: Vec<Waiting>, decided: Decided, now: Millis, out: &mut Vec<Effect>) {
        let Decided { decision: Decision { outcomes, cancelled, events, elsewhere, changes }, after } = decided;
        let before = self.log.totals().unwrap_or_default();
        self.spend(None, cost::unforeseen(&changes));
        let mut pushes = Pushes::default();
        if after.totals.version > before.version {
            self.recent.settle(before.newest);
        }
        self.recent.follow(&events, &self.settings.profile);
        for new in changes.fresh.iter().map(|fresh| &fresh.new).chain(&elsewhere) {
            self.handlers.stored(new);
            if new.vanishes() {
                self.vanish(&Vanished::by(&new.event));
            }
            self.acted(new);
        }
        for key in changes.vanishing.keys() {
            self.facts.vanished(key);
            self.will_vanish(now, out);
        }
        let mut group: BTreeMap<EventId, Waiting> =
            group.into_iter().map(|waiting| (waiting.new.event.id, waiting)).gather();
        // Nobody waits any more for some that are stored.
        for Fresh { seq, new, private, .. } in &changes.fresh {
            let readers = privacy::readers(&new.event, new.part.as_ref(), *private);
            pushes.event(&self.gateways, *seq, (new.clone(), readers));
            self.follow_up(new, now, out);
            if let Some(waiting) = group.remove(&new.event.id) {
                self.answer(waiting, Ok(true), &mut pushes);
            }
        }
        let unanswered = |id: &EventId| matches!(outcomes.get(id), Some(Outcome::Stored { first: true, .. }));
        self.recent.add(&changes.fresh, unanswered);
        for (id, waiting) in group {
            let verdict = match outcomes.get(&id) {
                Some(Outcome::Elsewhere) => Ok(true),
                Some(Outcome::Stored { .. }) => Ok(false),
                outcome => Err(untaken(&waiting.new, outcome)),
            };
            self.answer(waiting, verdict, &mut pushes);
        }
        if !changes.acts.is_empty() {
            // Older versions of what was kept out may wait again.
            self.refuse_ruled_out();
        }
        for (job, key) in cancelled {
            pushes.cancelled(&self.gateways, job, key);
        }
        self.push(pushes, before.last_seq, after.totals.last_seq);
        let active = changes.active.iter().filter_map(|key| Some((*key, changes.providers.get(key)?.active)));
        self.facts.written(&after, active, now);
        self.advance(after);
    }

    /// Answers who waits for an event: whether it is stored by this group, or why it is not stored. What another partition
    /// stores is done for each who waits.
    fn answer(&mut self, mut waiting: Waiting, stored: Result<bool, Reason>, pushes: &mut Pushes) {
        let older = waiting.take_older();
        let id = waiting.new.event.id;
        for (at, to) in waiting.publishers.into_iter().enumerate() {
            let verdict = match &stored {
                Ok(true) if at == 0 || waiting.new.is_elsewhere => Verdict::Stored,
                Ok(_) => Verdict::Duplicate(refusal::already_have()),
                Err(reason) => Verdict::Refused(reason.clone()),
            };
            pushes.outcome(to, id, verdict);
        }
        match older {
            // A newer version came in time and is stored.
            Some(older) if stored.is_ok() => {
                for Waiting { new, publishers, .. } in older.into_versions() {
                    for to in publishers {
                        pushes.outcome(to, new.event.id, Verdict::Duplicate(refusal::newer_stored()));
                    }
                }
            }
            // It is written after all.
            Some(older) => self.writer.put_back(older),
            None => {}
        }
    }

    /// What follows from a stored event, now or later.
    fn follow_up(&mut self, new: &NewEvent, now: Millis, out: &mut Vec<Effect>) {
        if let Some(second) = new.expires_at {
            self.will_expire(second, now, out);
        }
        if let Some(part) = new.part.as_ref().filter(|part| !part.is_answer()) {
            self.writer.hold(part.job);
        }
    }

    /// A request to vanish was carried out, and its OK is to come: nothing that it takes is told any more.
    pub(super) fn vanish(&mut self, vanished: &Vanished) {
        self.recent.vanish(vanished);
        self.reads.vanish(vanished);
    }
}

/// Why the store did not take an event.
fn untaken(new: &NewEvent, outcome: Option<&Outcome>) -> Reason {
    match outcome {
        Some(Outcome::Deleted) => refusal::deleted(),
        Some(Outcome::Cancelled) => refusal::job_cancelled(),
        Some(Outcome::TooMuch) => refusal::concerns_too_much(),
        Some(Outcome::Disagrees(Disagreement::Customer)) => refusal::answer_not_the_customer(),
        Some(Outcome::Disagrees(Disagreement::Kind)) => refusal::answer_kind(),
        Some(Outcome::Disagrees(Disagreement::Provider)) => refusal::answer_not_asked(),
        Some(Outcome::Disagrees(Disagreement::Feedbacks)) => refusal::unasked_feedback(),
        Some(Outcome::Disagrees(Disagreement::Keys)) => refusal::unasked_keys(),
        Some(Outcome::Disagrees(Disagreement::Early)) => refusal::early_answers(),
        _ if new.part.is_some() => refusal::answered_already(),
        _ => refusal::newer_stored(),
    }
}
