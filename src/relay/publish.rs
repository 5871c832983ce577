//! EVENT: on its way into a group, and what follows when the store has answered.

use std::sync::Arc;

use super::queue::Waiting;
use super::timer::Due;
use super::{ConnId, Effect, Millis, News, Relay, Ticket, commit};
use crate::market::handler::can_be_ranked;
use crate::market::{Part, privacy};
use crate::nostr::deletion::{self, Target};
use crate::nostr::{Event, EventId, KindClass, PublicKey, Reason, kind, refusal, relay_msg};
use crate::store::Rows;
use crate::store::write::{self, Disagreement, NewEvent, Outcome};

/// Milliseconds after a failed commit for which what the totals said before it is not relied on: it may
/// have landed, or land yet.
pub(super) const DOUBT: Millis = 120_000;
/// Milliseconds other shards have to say whether somebody listens to an ephemeral event.
const PASSING_MAX_MS: Millis = 2000;

/// What a shard tells the others of a commit.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// A group was stored.
    Stored { group: Vec<Arc<NewEvent>> },
    /// What may no longer be kept was removed.
    Swept,
    /// Counts were saved.
    Counted,
}

/// An ephemeral event that other shards pass on, too.
pub(super) struct Passing {
    /// Who waits for its OK.
    pub conn: ConnId,
    id: EventId,
    /// How many listen, as far as is known.
    listeners: usize,
    /// How many shards have yet to say.
    left: u32,
    since: Millis,
}

/// What became of an event that is not refused.
enum Admitted {
    /// It is passed on and not kept.
    Done,
    /// It is stored already.
    Known,
    /// It waits for the store, or for other shards.
    Waiting,
}

impl Relay {
    pub(super) fn publish(&mut self, conn: ConnId, event: Event, now: Millis, out: &mut Vec<Effect>) {
        let id = event.id;
        let part = self.config.profile.part_of(&event);
        let answer = part.as_ref().is_some_and(Part::is_answer);
        let urgent = part.as_ref().is_some_and(|part| answer && self.writer.holds(&part.job));
        let known = self.recent.holds(&event);
        let may = match self.locked(conn).or_else(|| self.config.bans.of_key(&event.pubkey)) {
            Some(reason) => Err(reason),
            None => Ok(()),
        };
        let admitted = may.and_then(|()| self.admit_event(conn, &event, known, now / 1000)).and_then(|expires_at| {
            if event.class() == KindClass::Ephemeral {
                return self.pass_on(conn, event, now, out);
            }
            if known {
                return Ok(Admitted::Known);
            }
            let deletes = deletion::targets(&event, &self.config.relays)?;
            let remember_until = self.config.retention.remember_until(&event);
            let text = event.to_json().into();
            let new = NewEvent { event, text, came_ms: now, expires_at, deletes, part, remember_until };
            if let Some(error) = self.writer.turns_away(&new, now) {
                return Err(commit::not_stored(error));
            }
            let rows = self.afford(conn, &new, now)?;
            self.writer.add(new, urgent, conn, self.network_use(conn).as_ref())?;
            self.spend(conn, rows);
            Ok(Admitted::Waiting)
        });
        match admitted {
            Ok(Admitted::Done) => self.accept(conn, &id, out),
            Ok(Admitted::Known) => self.already(conn, &id, out),
            Ok(Admitted::Waiting) => self.commit_soon(now, out),
            Err(reason) => self.reject(conn, &id.to_string(), &reason, out),
        }
    }

    /// Hands an ephemeral event to whoever listens, here and at the other shards; it never sees the store.
    fn pass_on(&mut self, conn: ConnId, event: Event, now: Millis, out: &mut Vec<Effect>) -> Result<Admitted, Reason> {
        let listeners = self.hand_out(&event, out);
        if self.host.shards > 1 {
            let ticket = self.next_ticket();
            let passing = Passing { conn, id: event.id, listeners, left: self.host.shards - 1, since: now };
            self.passing.insert(ticket, passing);
            self.do_at(Due::Passing, now + PASSING_MAX_MS, out);
            out.push(Effect::Pass { ticket, event: Arc::new(event) });
            return Ok(Admitted::Waiting);
        }
        if listeners > 0 { Ok(Admitted::Done) } else { Err(refusal::nobody_listens()) }
    }

    fn hand_out(&mut self, event: &Event, out: &mut Vec<Effect>) -> usize {
        let readers = privacy::readers(event, None, false);
        self.fan_out(event, readers.as_ref(), &event.to_json(), out)
    }

    /// Another shard has an ephemeral event.
    pub(super) fn passed(&mut self, event: &Event, from: u32, ticket: Ticket, out: &mut Vec<Effect>) {
        let listeners = self.hand_out(event, out);
        out.push(Effect::Heard { shard: from, ticket, listeners });
    }

    /// Another shard has passed on an ephemeral event of this one's.
    pub(super) fn heard(&mut self, ticket: Ticket, more: usize, out: &mut Vec<Effect>) {
        let Some(mut passing) = self.passing.remove(&ticket) else { return };
        passing.listeners += more;
        passing.left = passing.left.saturating_sub(1);
        if passing.left > 0 {
            self.passing.insert(ticket, passing);
        } else {
            self.passed_on(&passing, out);
        }
    }

    /// Answers for the ephemeral events whose time is over; what a shard says of them later is ignored.
    pub(super) fn end_passing(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let is_over = |passing: &Passing| now >= passing.since + PASSING_MAX_MS;
        let over: Vec<Passing> = self.passing.extract_if(.., |_, passing| is_over(passing)).map(|(_, it)| it).collect();
        for passing in &over {
            self.passed_on(passing, out);
        }
        if let Some(since) = self.passing.values().map(|passing| passing.since).min() {
            self.do_at(Due::Passing, since + PASSING_MAX_MS, out);
        }
    }

    fn passed_on(&mut self, passing: &Passing, out: &mut Vec<Effect>) {
        let Passing { conn, id, listeners, left, .. } = passing;
        match (listeners, left) {
            (1.., _) => self.accept(*conn, id, out),
            (0, 0) => self.reject(*conn, &id.to_string(), &refusal::nobody_listens(), out),
            (0, _) => self.reject(*conn, &id.to_string(), &refusal::unknown_listeners(), out),
        }
    }

    /// Answers that an event was here already.
    fn already(&mut self, conn: ConnId, id: &EventId, out: &mut Vec<Effect>) {
        self.duplicate(conn, id, &refusal::already_have(), out);
    }

    /// Answers for versions of an event that were not written, as a newer one came in time and is stored.
    fn absorbed(&mut self, older: Waiting, out: &mut Vec<Effect>) {
        for Waiting { new, conns, .. } in older.into_versions() {
            for conn in conns {
                self.duplicate(conn, &new.event.id, &refusal::newer_stored(), out);
            }
        }
    }

    fn duplicate(&mut self, conn: ConnId, id: &EventId, reason: &Reason, out: &mut Vec<Effect>) {
        self.counters.duplicates += 1;
        self.send(conn, relay_msg::ok(&id.to_string(), true, reason), out);
    }

    fn accept(&mut self, conn: ConnId, id: &EventId, out: &mut Vec<Effect>) {
        self.counters.accepted += 1;
        self.send(conn, relay_msg::accepted(id), out);
    }

    /// Another shard has written to the store.
    pub(super) fn told(&mut self, news: &News, rows: &Rows, now: Millis, out: &mut Vec<Effect>) {
        match &*news.0 {
            Told::Swept => self.note_removal(rows),
            Told::Counted => self.desk.written(rows.last().and_then(|rows| rows.first().cloned()), Vec::new()),
            Told::Stored { group } => {
                let ids: Vec<EventId> = group.iter().map(|new| new.event.id).collect();
                // What cannot be read here is a gap, and found when the next group shows it.
                let Ok(committed) = write::decode(&ids, rows, self.host.shard) else { return };
                if !self.writer.is_known() {
                    self.writer.advance(committed.before);
                }
                let unanswered = |new: &Arc<NewEvent>| Waiting {
                    new: new.clone(),
                    conns: vec![],
                    bytes: 0,
                    _memory: None,
                    older: vec![],
                };
                self.landed(group.iter().map(unanswered).collect(), committed, now, out);
            }
        }
    }

    /// Answers the authors and tells the subscribers, in the order the events were numbered.
    pub(super) fn landed(
        &mut self,
        events: Vec<Waiting>,
        committed: write::Committed,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let told = self.writer.told();
        let mut cancelled = Vec::new();
        if now >= self.doubt_until {
            self.recent.settle(committed.before.newest);
        }
        let number = |id: &EventId| match committed.outcomes.get(id) {
            Some(Outcome::Stored { seq, .. }) => Some(*seq).filter(|seq| *seq > told),
            _ => None,
        };
        if events.iter().filter_map(|waiting| number(&waiting.new.event.id)).any(|seq| seq <= committed.before.last_seq)
        {
            // It landed before, although that was reported as failed, and said nothing of what it removed.
            self.recent.start_over(newest(&events));
        }
        self.recent.follow(&committed.changes);
        for Waiting { new, .. } in events.iter().filter(|waiting| number(&waiting.new.event.id).is_some()) {
            self.handlers.stored(new);
            if new.deletes.contains(&Target::Everything) {
                self.vanish(&new.event);
            }
        }
        for mut waiting in events {
            let older = waiting.take_older();
            let Waiting { new, conns, .. } = waiting;
            let id = new.event.id;
            let stored = match committed.outcomes.get(&id) {
                Some(Outcome::Stored { seq, private, first }) => Ok((*seq, *private, *first)),
                refused => Err(untaken(&new, refused)),
            };
            let fresh = stored.as_ref().is_ok_and(|(seq, ..)| *seq > told);
            if let (Ok((seq, private, _)), true) = (&stored, fresh) {
                // Landed before this commit although it was reported as failed.
                if *seq <= committed.before.last_seq {
                    self.log.told.insert(id);
                }
                let readers = privacy::readers(&new.event, new.part.as_ref(), *private);
                self.fan_out(&new.event, readers.as_ref(), &new.text, out);
                self.follow_up(&new, now, out);
                let of_request = |(job, _): &&(EventId, PublicKey)| new.deletes.contains(&Target::Event(*job));
                cancelled.extend(committed.cancelled.iter().filter(of_request));
            }
            for (at, conn) in conns.into_iter().enumerate() {
                match &stored {
                    Ok(_) if fresh && at == 0 => self.accept(conn, &id, out),
                    Ok(_) => self.already(conn, &id, out),
                    Err(reason) => self.reject(conn, &id.to_string(), reason, out),
                }
            }
            match older {
                Some(older) if stored.is_ok() => self.absorbed(older, out),
                // It is written after all.
                Some(older) => self.writer.put_back(older),
                None => {}
            }
            if let (Ok((seq, private, first)), true) = (stored, fresh) {
                // While something from before may land, an answer to a request may be stored without its being said.
                self.recent.add(seq, new, private, first && now >= self.doubt_until);
            }
        }
        self.tell_cancelled(&cancelled, out);
        self.look_for(told, committed.before.last_seq);
        self.search(now, out);
        self.desk.written(Some(committed.counts), committed.active);
        self.writer.advance(committed.totals);
        self.keep_told(out);
        self.counters.flushed(committed.totals);
    }

    /// Tells those who have answered a job that its customer has cancelled it: a subscription to kind 5
    /// would say so, too, but not everybody has one.
    fn tell_cancelled(&self, cancelled: &[(EventId, PublicKey)], out: &mut Vec<Effect>) {
        if cancelled.is_empty() {
            return;
        }
        for (conn, state) in &self.conns {
            for (job, _) in cancelled.iter().filter(|(_, key)| state.keys.contains(key)) {
                self.send(*conn, relay_msg::cancelled(job), out);
            }
        }
    }

    /// What follows from a stored event, now or later.
    fn follow_up(&mut self, new: &NewEvent, now: Millis, out: &mut Vec<Effect>) {
        if new.deletes.contains(&Target::Everything) {
            self.desk.vanished(&new.event.pubkey);
            self.will_vanish(now, out);
        }
        if let Some(second) = new.expires_at {
            self.will_expire(second, now, out);
        }
        match &new.part {
            Some(part) if !part.is_answer() => self.writer.hold(part.job),
            None if new.event.kind == kind::HANDLER && can_be_ranked(&new.event) => {
                self.provides(&new.event.pubkey, out);
            }
            _ => {}
        }
    }
}

/// The latest `created_at` of events.
pub(super) fn newest(events: &[Waiting]) -> u64 {
    events.iter().map(|waiting| waiting.new.event.created_at).max().unwrap_or_default()
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
