//! The stored events of a subscription: read, completed to whole seconds, sent, EOSE.
//!
//! A page that ends at the limit would leave a client that goes on with `until` no way to get the rest
//! of its last second. So a page (a limit of [`PAGE`] or more) is completed by that whole second
//! (NIP-67), in a second query when there is a rest. A smaller limit asks for the newest few and is met
//! exactly.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::asking::Question;
use super::handlers::{self, Handlers};
use super::recent::Recent;
use super::{ConnId, Effect, Millis, Relay};
use crate::nostr::relay_msg::Completeness;
use crate::nostr::{EventId, Filter, Prefix, Reason, relay_msg};
use crate::store::read::{self, OverBudget, StoredEvent, Text, Viewer};
use crate::store::{Rows, Statement, StoreError};

/// From this limit on an answer is a page.
const PAGE: u64 = 100;
/// Events of one second that complete a page.
const MAX_SECOND: u64 = 10_000;
/// Bytes of events in one answer.
const MAX_ANSWER: u64 = 4_000_000;

/// A subscription whose stored events are being read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub conn: ConnId,
    pub subscription: Rc<str>,
    lanes: Vec<Lane>,
    /// Whether some filter asked for no stored events at all, so that nothing is known of them.
    unasked: bool,
    /// The whole answer, when all of it is known but some texts.
    answer: Option<Answer>,
    /// How often handlers had changed when the store was asked, unless nothing may be kept of what it says,
    /// and what it said of them.
    changes: Option<u64>,
    handlers: Vec<(Filter, Vec<StoredEvent>)>,
}

/// What is sent.
#[derive(Clone, Debug)]
struct Answer {
    events: Vec<StoredEvent>,
    completeness: Completeness,
}

impl Reading {
    /// Whether a part of the answer is there already.
    pub fn goes_on(&self) -> bool {
        self.answer.is_some() || self.lanes.iter().any(|lane| lane.cut.is_some())
    }

    /// Whether the store has to be asked for what is missing.
    fn asks(&self) -> bool {
        let large = |answer: &Answer| answer.events.iter().any(|event| matches!(event.text, Text::Large(_)));
        self.answer.as_ref().map_or(!self.lanes.is_empty(), large)
    }

    /// The statements that are needed next; none when the answer is complete. What comes back is
    /// bounded: a text that would take more than its share of the answer is got by itself.
    pub fn statements(&mut self, viewer: &Viewer) -> Vec<Statement> {
        if let Some(answer) = &self.answer {
            let seqs: Vec<u64> = answer
                .events
                .iter()
                .filter(|event| matches!(event.text, Text::Large(_)))
                .map(|event| event.seq)
                .collect();
            return if seqs.is_empty() { Vec::new() } else { vec![read::texts(&seqs)] };
        }
        let lanes = (self.lanes.len() as u64).max(1);
        if self.goes_on() {
            let share = MAX_ANSWER / lanes / MAX_SECOND;
            let cut = self.lanes.iter_mut().filter_map(|lane| Some(lane.rest(lane.cut?, share, viewer)));
            return cut.flatten().collect();
        }
        let first = |lane: &mut Lane| {
            let share = MAX_ANSWER / lanes / (lane.limit + 1);
            let statements = read::newest(&lane.filter, lane.limit + 1, share, viewer);
            lane.asked = statements.len();
            statements
        };
        self.lanes.iter_mut().flat_map(first).collect()
    }

    /// Takes the rows of [`statements`](Self::statements).
    fn take(&mut self, rows: Rows) -> Result<(), Reason> {
        let mut rows = rows.into_iter();
        let mut next = |count: usize| {
            let mut all = Vec::new();
            for _ in 0..count {
                match rows.next().map(read::decode) {
                    Some(Ok(Ok(events))) => all.extend(events),
                    Some(Ok(Err(over))) => return Err(refused_search(over)),
                    Some(Err(error)) => return Err(unreadable(error)),
                    None => return Err(unreadable(StoreError::new("a query was answered with too few results"))),
                }
            }
            // Public events and those for the viewer alone come in one list each.
            if count > 1 {
                all.sort_by(newest_first);
            }
            Ok(all)
        };
        if let Some(answer) = &mut self.answer {
            answer.fill(next(1)?);
            return Ok(());
        }
        let goes_on = self.lanes.iter().any(|lane| lane.cut.is_some());
        for lane in &mut self.lanes {
            match (goes_on, lane.cut) {
                (false, _) => {
                    let events = next(lane.asked)?;
                    let kept = self.changes.is_some() && handlers::asks_for_handlers(&lane.filter);
                    let handlers = kept.then(|| events.clone());
                    lane.take(events);
                    // The rest of a second that was cut is read later, and not kept.
                    self.handlers
                        .extend(handlers.filter(|_| lane.cut.is_none()).map(|found| (lane.filter.clone(), found)));
                }
                (true, None) => {}
                (true, Some(second)) => lane.complete(second, next(lane.asked)?, &next(lane.asked)?)?,
            }
        }
        if !self.goes_on() {
            self.answer = Some(self.whole()?);
        }
        Ok(())
    }

    /// Makes the answer of what is held in memory, if nothing can be missing there.
    fn remember(
        &mut self,
        recent: &Recent,
        handlers: Option<&Handlers>,
        viewer: &Viewer,
    ) -> Option<Result<(), Reason>> {
        let known = |filter| recent.matching(filter, viewer).or_else(|| handlers?.get(filter, viewer.now));
        let found: Option<Vec<_>> = self.lanes.iter().map(|lane| known(&lane.filter)).collect();
        for (lane, mut events) in self.lanes.iter_mut().zip(found?) {
            let rest = events.split_off(events.len().min(lane.limit as usize + 1));
            lane.take(events.clone());
            if let Some(second) = lane.cut {
                events.extend(rest);
                let (older, within): (Vec<_>, Vec<_>) =
                    events.into_iter().filter(|e| e.created_at <= second).partition(|e| e.created_at < second);
                if let Err(reason) = lane.complete(second, within, &older) {
                    return Some(Err(reason));
                }
            }
        }
        Some(self.whole().map(|answer| self.answer = Some(answer)))
    }

    /// All lanes together: each event once, newest first, whole seconds up to the budget.
    fn whole(&mut self) -> Result<Answer, Reason> {
        let left_out: Vec<EventId> = self.lanes.iter().filter_map(|lane| lane.next).collect();
        let mut events: Vec<StoredEvent> = self.lanes.drain(..).flat_map(|lane| lane.events).collect();
        events.sort_by(newest_first);
        events.dedup_by(|a, b| a.id == b.id);
        // What one filter's limit cut off another filter may have sent; then nobody knows of the rest.
        let sent = |id: &EventId| events.iter().any(|event| event.id == *id);
        let mut more = !left_out.iter().all(sent);
        let unknown = self.unasked || !left_out.is_empty();
        let mut bytes = 0;
        let over = events.iter().find(|event| {
            bytes += event.text.size();
            bytes > MAX_ANSWER
        });
        if let Some(second) = over.map(|event| event.created_at) {
            events.retain(|event| event.created_at > second);
            more = true;
            if events.is_empty() {
                return Err(over_budget());
            }
        }
        let completeness = match (more, unknown) {
            (true, _) => Completeness::More,
            (false, true) => Completeness::Unknown,
            (false, false) => Completeness::Finish,
        };
        Ok(Answer { events, completeness })
    }
}

impl Answer {
    /// Puts the texts that were got by themselves in their places; an event that was deleted meanwhile
    /// has none and is left out.
    fn fill(&mut self, texts: Vec<StoredEvent>) {
        let mut texts: BTreeMap<EventId, Text> = texts.into_iter().map(|event| (event.id, event.text)).collect();
        self.events.retain_mut(|event| match event.text {
            Text::Json(_) => true,
            Text::Large(_) => texts.remove(&event.id).map(|text| event.text = text).is_some(),
        });
    }
}

/// One filter's part of the answer.
#[derive(Clone, Debug)]
struct Lane {
    filter: Filter,
    limit: u64,
    events: Vec<StoredEvent>,
    /// The second at which the page was cut, until it is completed.
    cut: Option<u64>,
    /// How many statements were asked last.
    asked: usize,
    /// The newest event that the limit leaves out.
    next: Option<EventId>,
}

impl Lane {
    fn rest(&mut self, second: u64, share: u64, viewer: &Viewer) -> Vec<Statement> {
        let within = Filter { since: Some(second), until: Some(second), ..self.filter.clone() };
        let before = match second.checked_sub(1) {
            Some(until) => Filter { until: Some(until), ..self.filter.clone() },
            None => Filter { since: Some(1), until: Some(0), ..self.filter.clone() },
        };
        let within = read::newest(&within, MAX_SECOND + 1, share, viewer);
        self.asked = within.len();
        // Void filters, as before the first second, ask nothing.
        let mut before = read::newest(&before, 1, 0, viewer);
        before.resize(self.asked, read::nothing());
        within.into_iter().chain(before).collect()
    }

    /// Takes the first answer: all there is, or one more than the limit.
    fn take(&mut self, events: Vec<StoredEvent>) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        self.events = events;
        self.next = self.events.get(limit).map(|event| event.id);
        if let (Some(last), Some(next)) = (self.events.get(limit.saturating_sub(1)), self.events.get(limit))
            && self.limit >= PAGE
            && last.created_at == next.created_at
        {
            self.cut = Some(last.created_at);
        }
        self.events.truncate(limit);
    }

    /// Takes the rest of the second at which the page was cut.
    fn complete(&mut self, second: u64, rest: Vec<StoredEvent>, older: &[StoredEvent]) -> Result<(), Reason> {
        if rest.len() as u64 > MAX_SECOND {
            return Err(over_budget());
        }
        self.events.retain(|event| event.created_at > second);
        self.events.extend(rest);
        self.next = older.first().map(|event| event.id);
        self.cut = None;
        Ok(())
    }
}

impl Relay {
    /// Asks the store for the stored events of an installed subscription.
    pub(super) fn read_stored(&mut self, conn: ConnId, subscription: Rc<str>, now: Millis, out: &mut Vec<Effect>) {
        let Some(sub) = self.conns.get(&conn).and_then(|state| state.subs.get(&subscription)) else { return };
        let limits = &self.config.limits;
        let limit = |filter: &Filter| filter.limit.unwrap_or(limits.default_limit).min(limits.max_limit);
        let lanes: Vec<Lane> = sub
            .filters
            .iter()
            .filter(|filter| !filter.is_void())
            .map(|filter| Lane {
                limit: limit(filter),
                filter: filter.clone(),
                events: vec![],
                cut: None,
                asked: 0,
                next: None,
            })
            .collect();
        let asked: Vec<Lane> = lanes.iter().filter(|lane| lane.limit > 0).cloned().collect();
        let unasked = asked.len() < lanes.len();
        let handlers = (now >= self.doubt_until).then_some(&self.handlers);
        let changes = handlers.map(Handlers::changes);
        let mut reading =
            Reading { conn, subscription, lanes: asked, unasked, answer: None, changes, handlers: vec![] };
        match self.viewed(conn, now, |viewer| reading.remember(&self.recent, handlers, viewer)) {
            None => self.read_on(reading, true, now, out),
            Some(Ok(())) => {
                self.counters.from_memory += 1;
                self.send_stored(reading, out);
            }
            Some(Err(reason)) => self.refuse_stored(&reading, &reason, out),
        }
    }

    /// Asks what is left to ask, or sends the answer when nothing is.
    fn read_on(&mut self, reading: Reading, first: bool, now: Millis, out: &mut Vec<Effect>) {
        if !(first || reading.goes_on()) || !reading.asks() {
            return self.send_stored(reading, out);
        }
        if let Some(sub) = self.sub_mut(reading.conn, &reading.subscription) {
            sub.reading.get_or_insert_default();
        }
        self.ask(reading.conn, Question::Stored(reading), now, out);
    }

    pub(super) fn stored_answered(
        &mut self,
        mut reading: Reading,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        match result.map_err(unreadable).and_then(|rows| reading.take(rows)) {
            Ok(()) => {
                if let Some(changes) = reading.changes {
                    let found = reading.handlers.drain(..);
                    found.for_each(|(filter, events)| self.handlers.keep(&filter, &events, changes));
                }
                self.read_on(reading, false, now, out);
            }
            Err(reason) => self.refuse_stored(&reading, &reason, out),
        }
    }

    /// Ends a subscription whose stored events cannot be sent.
    pub(super) fn refuse_stored(&mut self, reading: &Reading, reason: &Reason, out: &mut Vec<Effect>) {
        self.end_subscription(reading.conn, &reading.subscription);
        self.send(reading.conn, relay_msg::closed(&reading.subscription, reason), out);
        self.remember(reading.conn, out);
    }

    fn send_stored(&mut self, reading: Reading, out: &mut Vec<Effect>) {
        let Reading { conn, subscription, unasked, answer, .. } = reading;
        let completeness = if unasked { Completeness::Unknown } else { Completeness::Finish };
        let Answer { events, completeness } = answer.unwrap_or(Answer { events: vec![], completeness });
        let sent: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
        // What is here and was told to nobody yet will be told: not to this subscription.
        let told = self.writer.told();
        let untold = |event: &&StoredEvent| event.seq > told || self.log.is_open(event.seq);
        let ahead = events.iter().filter(untold).map(|event| event.id).collect();
        let backlog = self.sub_mut(conn, &subscription).and_then(|sub| {
            sub.ahead = ahead;
            sub.reading.take()
        });
        for event in &events {
            if let Text::Json(json) = &event.text {
                self.send_event(conn, &subscription, json, out);
            }
        }
        self.send(conn, relay_msg::eose(&subscription, completeness), out);
        if let Some(backlog) = backlog {
            for (_, json) in backlog.live.iter().filter(|(id, _)| !sent.contains(id)) {
                self.send_event(conn, &subscription, json, out);
            }
            self.remember(conn, out);
        }
    }

    /// Makes something for the keys a connection has proven.
    pub(super) fn viewed<T>(&self, conn: ConnId, now: Millis, make: impl FnOnce(&Viewer) -> T) -> T {
        let nobody = BTreeSet::new();
        let keys = self.conns.get(&conn).map_or(&nobody, |state| &state.keys);
        make(&Viewer { keys, profile: &self.config.profile, now: now / 1000 })
    }
}

pub(super) fn newest_first(a: &StoredEvent, b: &StoredEvent) -> Ordering {
    b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id))
}

/// What an answer that would be too large is refused with.
fn over_budget() -> Reason {
    let text = "this would read too many events; narrow it by kinds, authors, tags or time";
    Reason::new(Prefix::Restricted, text)
}

/// What a search that would read too much is refused with.
pub(super) fn refused_search(OverBudget(text): OverBudget) -> Reason {
    Reason::new(Prefix::Restricted, text)
}

/// What a client is told when the store fails.
pub(super) fn unreadable(error: StoreError) -> Reason {
    Reason::new(Prefix::Error, format!("stored events could not be read: {error}; try again"))
}
