//! What follows when a group was stored: its authors are answered and its events pushed, in the order of their numbers,
//! and what is kept in memory follows.

use super::Partition;
use super::gateways::Pushes;
use super::queue::Waiting;
use crate::market::privacy;
use crate::message::{NewEvent, Verdict};
use crate::nostr::deletion::{Target, Vanished};
use crate::nostr::{EventId, PublicKey, Reason, refusal};
use crate::seam::{Effect, Millis};
use crate::store::write::{self, Disagreement, Outcome};

impl Partition {
    /// Answers the authors and pushes the events, in the order of their numbers; those of a group that was found in the
    /// log were pushed from there, and are not `live`.
    pub(super) fn landed(
        &mut self,
        events: Vec<Waiting>,
        committed: write::Committed,
        live: bool,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let before = committed.before.last_seq;
        let (mut cancelled, mut pushes) = (Vec::new(), Pushes::default());
        if live && committed.totals.version > committed.before.version {
            self.recent.settle(committed.before.newest);
        }
        let is_new =
            |id: &EventId| matches!(committed.outcomes.get(id), Some(Outcome::Stored { seq, .. }) if *seq > before);
        self.recent.follow(&committed.changes);
        for Waiting { new, .. } in events.iter().filter(|waiting| is_new(&waiting.new.event.id)) {
            self.handlers.stored(new);
            if new.deletes.contains(&Target::Everything) {
                self.vanish(&Vanished::by(&new.event));
            }
        }
        for mut waiting in events {
            let older = waiting.take_older();
            let Waiting { new, publishers, .. } = waiting;
            let id = new.event.id;
            let stored = match committed.outcomes.get(&id) {
                Some(Outcome::Stored { seq, private, first }) => Ok((*seq, *private, *first)),
                refused => Err(untaken(&new, refused)),
            };
            let fresh = stored.as_ref().is_ok_and(|(seq, ..)| *seq > before);
            if let (Ok((seq, private, _)), true) = (&stored, fresh) {
                if live {
                    let readers = privacy::readers(&new.event, new.part.as_ref(), *private);
                    pushes.event(&self.gateways, *seq, (new.clone(), readers));
                }
                self.follow_up(&new, now, out);
                let of_request = |(job, _): &&(EventId, PublicKey)| new.deletes.contains(&Target::Event(*job));
                cancelled.extend(committed.cancelled.iter().filter(of_request).copied());
            }
            for (at, to) in publishers.into_iter().enumerate() {
                let verdict = match &stored {
                    Ok(_) if fresh && at == 0 => Verdict::Stored,
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
            if let (Ok((seq, private, first)), true) = (stored, fresh && live) {
                self.recent.add(seq, new, private, first);
            }
        }
        for (job, key) in cancelled {
            pushes.cancelled(&self.gateways, job, key);
        }
        self.push(pushes, before, committed.totals.last_seq);
        self.facts.written(Some(committed.counts), committed.active);
        self.advance(committed.totals);
        self.counters.flushed(committed.totals);
    }

    /// What follows from a stored event, now or later.
    fn follow_up(&mut self, new: &NewEvent, now: Millis, out: &mut Vec<Effect>) {
        if new.deletes.contains(&Target::Everything) {
            self.facts.vanished(&new.event.pubkey);
            self.will_vanish(now, out);
        }
        if let Some(second) = new.expires_at {
            self.will_expire(second, now, out);
        }
        if let Some(part) = new.part.as_ref().filter(|part| !part.is_answer()) {
            self.writer.hold(part.job);
        }
    }

    /// A request to vanish was stored, and its OK is to come: nothing that it takes is told any more.
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
