//! An answer to a REQ, put together: one page for each filter, completed to whole seconds, and all pages
//! as one answer within its budget. Performs nothing.
//!
//! A page that ends at the limit would leave a client that goes on with `until` no way to get the rest
//! of its last second. So a page (a limit of [`PAGE`] or more) is completed by that whole second
//! (NIP-67), in a second query when there is a rest, as long as that is a quarter of the limit at the most. A
//! smaller limit asks for the newest few and is met exactly.
//!
//! No subscription ends for the size of what is stored. Where a second has more, the page ends inside of it: its
//! lowest ids are sent, as many as the limit says, and EOSE says `more`. A client that goes on with `until` gets
//! that second again from its beginning, and can ask for it alone (`since` = `until`) by authors, kinds or tags.

use std::collections::BTreeMap;

use super::handlers::{self, Handlers};
use super::held::Steps;
use super::recent::{MAX_STEPS, Recent};
use crate::market::privacy;
use crate::message::{COMPLETED_BY, MAX_ANSWER_BYTES, PAGE, Page};
use crate::nostr::deletion::Vanished;
use crate::nostr::relay_msg::Completeness;
use crate::nostr::{EventId, Filter, Reason};
use crate::store::read::{self, StoredEvent, Text, Viewer};
use crate::store::{Rows, Statement, StoreError};
use crate::trees::Gather;

/// Events of one second that complete a page, of all filters together.
const MAX_SECOND: u64 = 10_000;
/// Bytes of texts that come in the first step of an answer.
const MAX_FIRST: u64 = 2_000_000;
/// Bytes a reading takes while it waits, and each of its pages.
const READING_BYTES: usize = size_of::<Reading>() + 300;
const PAGE_BYTES: usize = size_of::<FilterPage>() + 320;
/// Bytes that an event takes besides its text.
const EVENT_BYTES: u64 = 150;

/// A subscription whose stored events are being read.
#[derive(Debug)]
pub(super) struct Reading {
    pages: Vec<FilterPage>,
    /// Whether some filter asked for no stored events at all, or may match events that are not for its viewer:
    /// so nobody can say that all there is was sent. The filters and the proven keys decide this alone; what is
    /// found must not, or the answer would tell of what is withheld.
    silent: bool,
    /// The whole answer, when all of it is known but some texts.
    answer: Option<Answer>,
    /// How often handlers had changed when the store was asked, unless nothing may be kept of what it says,
    /// and what it said of them.
    changes: Option<u64>,
    handlers: Vec<(Filter, Vec<StoredEvent>)>,
    /// What was live while memory was lost lies between these numbers of the log, and what of it was found.
    pub missed: Option<(u64, u64)>,
    pub found: Vec<StoredEvent>,
    /// Whether more was live than one answer holds.
    pub lost: bool,
    /// Keys that vanished while the store was asked.
    pub vanished: Vec<Vanished>,
}

/// What is sent.
#[derive(Debug)]
struct Answer {
    events: Vec<StoredEvent>,
    completeness: Completeness,
    /// As [`Page::end`] says.
    end: Option<(u64, EventId)>,
    /// As [`Page::known_from`] says.
    known_from: u64,
}

impl Reading {
    /// A reading of what `filters` match, at most `limit` of each; `changes` as of [`Handlers::changes`].
    pub fn new(filters: &[Filter], limit: impl Fn(&Filter) -> u64, changes: Option<u64>, viewer: &Viewer) -> Self {
        let filters: Vec<&Filter> = filters.iter().filter(|filter| !filter.is_void()).collect();
        let asked = |filter: &Filter| limit(filter) > 0;
        let open = |filter: &Filter| privacy::shows_all(viewer.profile, filter, viewer.keys);
        let silent = !filters.iter().all(|filter| asked(filter) && open(filter));
        let pages = filters.into_iter().filter(|filter| asked(filter)).map(|filter| FilterPage {
            limit: limit(filter),
            filter: filter.clone(),
            events: vec![],
            first: Some(Search::OfFew),
            cut: None,
            most: 0,
            asked: 0,
            next: None,
            is_whole: true,
        });
        Self {
            pages: pages.collect(),
            silent,
            answer: None,
            changes,
            handlers: vec![],
            missed: None,
            found: vec![],
            lost: false,
            vanished: vec![],
        }
    }

    /// What is sent at the end.
    pub fn into_answer(self) -> Page {
        let nothing = if self.silent { Completeness::Unknown } else { Completeness::Finish };
        let gone = |event: &StoredEvent| match &event.text {
            Text::Json(json) => self.vanished.iter().any(|vanished| vanished.takes_text(json)),
            Text::Large(_) => false,
        };
        let nothing = Answer { events: vec![], completeness: nothing, end: None, known_from: 0 };
        let Answer { mut events, completeness, end, known_from } = self.answer.unwrap_or(nothing);
        events.retain(|event| !gone(event));
        Page { events, completeness, missed: vec![], end, known_from }
    }

    /// Keeps what the store said of handlers.
    pub fn teach(&mut self, handlers: &mut Handlers) {
        if let Some(changes) = self.changes {
            self.handlers.drain(..).for_each(|(filter, events)| handlers.keep(&filter, &events, changes));
        }
    }

    /// Whether the first part of some page is not there yet.
    fn begins(&self) -> bool {
        self.pages.iter().any(|page| page.first.is_some())
    }

    /// Whether all of these are there, and some are to be completed.
    fn completes(&self) -> bool {
        !self.begins() && self.pages.iter().any(|page| page.cut.is_some())
    }

    /// Bytes it takes while it waits; its filters are its subscription's.
    pub fn memory_bytes(&self) -> usize {
        READING_BYTES + self.pages.len() * PAGE_BYTES
    }

    /// Bytes of events that are here.
    pub fn held_bytes(&self) -> usize {
        let pages = self.pages.iter().map(|page| &page.events);
        let events = pages.chain(self.answer.iter().map(|answer| &answer.events)).chain([&self.found]).flatten();
        let bytes = |event: &StoredEvent| match &event.text {
            Text::Json(json) => EVENT_BYTES + json.len() as u64,
            Text::Large(_) => EVENT_BYTES,
        };
        usize::try_from(events.map(bytes).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Bytes that the answer to the next [`statements`](Self::statements) takes at most; no event has more than
    /// `max_event` of text.
    pub fn answer_bytes(&self, max_event: u64) -> usize {
        let large = |event: &StoredEvent| matches!(event.text, Text::Large(_)).then(|| event.text.size());
        let bytes = match &self.answer {
            Some(answer) => answer.events.iter().filter_map(large).sum(),
            None if self.completes() => MAX_ANSWER_BYTES + MAX_SECOND * EVENT_BYTES,
            None => {
                let begun = self.pages.iter().filter(|page| page.first.is_some());
                let rows: u64 = begun.map(|page| page.limit + 1).sum();
                let missed = if self.missed.is_some() { read::MAX_LOG_BYTES } else { 0 };
                missed + rows * EVENT_BYTES + MAX_FIRST.min(rows.saturating_mul(max_event))
            }
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Whether the store has to be asked for what is missing.
    pub fn asks(&self) -> bool {
        let large = |answer: &Answer| answer.events.iter().any(|event| matches!(event.text, Text::Large(_)));
        self.answer.as_ref().map_or(!self.pages.is_empty(), large)
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
        let pages = (self.pages.len() as u64).max(1);
        if self.completes() {
            let cut = self.pages.iter().filter(|page| page.cut.is_some()).count() as u64;
            let (most, share) = (MAX_SECOND / cut.max(1), MAX_ANSWER_BYTES / MAX_SECOND);
            let rests = self.pages.iter_mut().filter_map(|page| Some(page.rest(page.cut?, most, share, viewer)));
            return rests.flatten().collect();
        }
        let first = |page: &mut FilterPage| page.first_part(MAX_FIRST / pages / (page.limit + 1), viewer);
        let missed = self.missed.map(|(after, upto)| read::log(after, upto));
        missed.into_iter().chain(self.pages.iter_mut().flat_map(first)).collect()
    }

    /// Takes the rows of [`statements`](Self::statements); an inner error when the search was not made.
    pub fn take(&mut self, rows: Rows) -> Result<Result<(), Reason>, StoreError> {
        let mut rows = rows.into_iter();
        // An inner error when the store would have had to read too much; none when it has to be asked otherwise.
        let mut next = |count: usize| {
            let (mut all, mut over_budget, mut is_of_many) = (Vec::new(), None, false);
            for _ in 0..count {
                let rows = rows.next().ok_or_else(|| StoreError::new("a query was answered with too few results"))?;
                if read::is_of_many(&rows) {
                    is_of_many = true;
                    continue;
                }
                match read::decode(rows)? {
                    Ok(events) => all.extend(events),
                    Err(over) => over_budget = Some(over),
                }
            }
            // Public events and those for the viewer alone come in one list each.
            if count > 1 {
                all.sort_by(StoredEvent::newest_first);
            }
            Ok(over_budget.map_or(Ok(Some(all).filter(|_| !is_of_many)), Err))
        };
        if self.missed.take().is_some() {
            self.found = next(1)?.ok().flatten().unwrap_or_default();
            self.lost |= self.found.iter().any(|event| matches!(event.text, Text::Large(_)));
        }
        if let Some(answer) = &mut self.answer {
            answer.fill(next(1)?.ok().flatten().unwrap_or_default());
            return Ok(Ok(()));
        }
        let begins = self.begins();
        for page in &mut self.pages {
            match (begins, page.cut) {
                (true, _) if page.first.is_none() => {}
                (true, _) => {
                    let events = match next(page.asked)? {
                        Ok(Some(events)) => events,
                        Ok(None) => {
                            page.first = Some(Search::Whole);
                            continue;
                        }
                        Err(over) => return Ok(Err(over)),
                    };
                    let kept = self.changes.is_some() && handlers::asks_for_handlers(&page.filter);
                    let handlers = kept.then(|| events.clone());
                    page.take(events);
                    // The rest of a second that was cut is read later, and not kept.
                    self.handlers
                        .extend(handlers.filter(|_| page.cut.is_none()).map(|found| (page.filter.clone(), found)));
                }
                (false, None) => {}
                (false, Some(second)) => match (next(page.asked)?, next(page.asked)?) {
                    (Ok(Some(rest)), Ok(Some(older))) => page.complete(second, rest, &older),
                    _ => page.cut = None,
                },
            }
        }
        if !self.begins() && !self.completes() {
            self.answer = Some(self.whole());
        }
        Ok(Ok(()))
    }

    /// Makes the answer of what is held in memory, if nothing can be missing there.
    pub fn remember(&mut self, recent: &Recent, handlers: Option<&Handlers>, viewer: &Viewer) -> Option<()> {
        let steps = Steps::new(MAX_STEPS);
        let known = |page: &FilterPage| {
            let recent = recent.newest(&page.filter, page.looks_at(), viewer, &steps);
            recent.or_else(|| handlers?.get(&page.filter, viewer.now))
        };
        let found: Option<Vec<_>> = self.pages.iter().map(known).collect();
        for (page, events) in self.pages.iter_mut().zip(found?) {
            page.take(events.clone());
            if let Some(second) = page.cut {
                let (older, within): (Vec<_>, Vec<_>) =
                    events.into_iter().filter(|e| e.created_at <= second).partition(|e| e.created_at < second);
                page.complete(second, within, &older);
            }
        }
        self.answer = Some(self.whole());
        Some(())
    }

    /// All pages together: each event once, newest first, whole seconds up to the budget.
    fn whole(&mut self) -> Answer {
        let left_out: Vec<EventId> = self.pages.iter().filter_map(|page| page.next).collect();
        let mut known_from = self.pages.iter().map(FilterPage::known_from).max().unwrap_or_default();
        let mut events: Vec<StoredEvent> = self.pages.drain(..).flat_map(|page| page.events).collect();
        events.sort_by(StoredEvent::newest_first);
        events.dedup_by(|a, b| a.id == b.id);
        // What one filter's limit cut off another filter may have sent; then nobody knows of the rest.
        let sent = |id: &EventId| events.iter().any(|event| event.id == *id);
        let mut more = !left_out.iter().all(sent);
        let unknown = self.silent || !left_out.is_empty();
        let mut end = None;
        if let Some(at) = StoredEvent::too_many(&events, MAX_ANSWER_BYTES) {
            let second = events.get(at).map(|event| event.created_at);
            let newer = events.iter().take_while(|event| Some(event.created_at) > second).count();
            events.truncate(if newer > 0 { newer } else { at });
            end = events.last().map(|event| (event.created_at, event.id));
            known_from = second.map_or(0, |second| second + 1);
            more = true;
        }
        Answer { events, completeness: Completeness::of(more, unknown), end, known_from }
    }
}

impl Answer {
    /// Puts the texts that were got by themselves in their places; an event that was deleted meanwhile
    /// has none and is left out.
    fn fill(&mut self, texts: Vec<StoredEvent>) {
        let mut texts: BTreeMap<EventId, Text> = texts.into_iter().map(|event| (event.id, event.text)).gather();
        self.events.retain_mut(|event| match event.text {
            Text::Json(_) => true,
            Text::Large(_) => texts.remove(&event.id).map(|text| event.text = text).is_some(),
        });
    }
}

/// How a filter's events are searched for.
#[derive(Clone, Copy, Debug)]
enum Search {
    /// By [`read::newest_of_few`].
    OfFew,
    /// By [`read::newest`].
    Whole,
}

/// One filter's part of the answer.
#[derive(Debug)]
struct FilterPage {
    filter: Filter,
    limit: u64,
    events: Vec<StoredEvent>,
    /// How its first part is searched for; none when that is there.
    first: Option<Search>,
    /// The second at which the page was cut, until it is completed.
    cut: Option<u64>,
    /// How many events of that second the page may have.
    most: u64,
    /// How many statements were asked last.
    asked: usize,
    /// The newest event that the limit leaves out.
    next: Option<EventId>,
    /// Whether that is of an earlier second than the last one here.
    is_whole: bool,
}

impl FilterPage {
    /// How many of the newest say all of it: what it has at the most, and one more.
    fn looks_at(&self) -> usize {
        let completed_by = if self.limit >= PAGE { self.limit / COMPLETED_BY + 1 } else { 0 };
        usize::try_from(self.limit + completed_by + 1).unwrap_or(usize::MAX)
    }

    fn first_part(&mut self, share: u64, viewer: &Viewer) -> Vec<Statement> {
        let statements = match self.first {
            Some(Search::OfFew) => read::newest_of_few(&self.filter, self.limit + 1, share, viewer),
            Some(Search::Whole) => read::newest(&self.filter, self.limit + 1, share, viewer),
            None => Vec::new(),
        };
        self.asked = statements.len();
        statements
    }

    fn rest(&mut self, second: u64, most: u64, share: u64, viewer: &Viewer) -> Vec<Statement> {
        self.most = self.most.min(most);
        let most = self.most;
        let within = Filter { since: Some(second), until: Some(second), ..self.filter.clone() };
        let before = match second.checked_sub(1) {
            Some(until) => Filter { until: Some(until), ..self.filter.clone() },
            None => Filter { since: Some(1), until: Some(0), ..self.filter.clone() },
        };
        let within = read::newest(&within, most + 1, share, viewer);
        self.asked = within.len();
        // Void filters, as before the first second, ask nothing.
        let mut before = read::newest(&before, 1, 0, viewer);
        before.resize(self.asked, read::nothing());
        within.into_iter().chain(before).collect()
    }

    /// Takes the first answer: all there is, or one more than the limit.
    fn take(&mut self, events: Vec<StoredEvent>) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        self.first = None;
        self.events = events;
        self.next = self.events.get(limit).map(|event| event.id);
        let second = |at: usize| self.events.get(at).map(|event| event.created_at);
        let last = second(limit.saturating_sub(1)).filter(|last| second(limit) == Some(*last));
        self.is_whole = last.is_none();
        if let Some(second) = last.filter(|_| self.limit >= PAGE) {
            let newer = self.events.iter().take(limit).filter(|event| event.created_at > second).count() as u64;
            self.cut = Some(second);
            self.most = (self.limit + self.limit / COMPLETED_BY).saturating_sub(newer).min(MAX_SECOND);
        }
        self.events.truncate(limit);
    }

    /// Takes the rest of the second at which the page was cut, unless it is too large; `older` begins with the newest
    /// event before it.
    fn complete(&mut self, second: u64, rest: Vec<StoredEvent>, older: &[StoredEvent]) {
        self.cut = None;
        if rest.len() as u64 <= self.most {
            self.events.retain(|event| event.created_at > second);
            self.events.extend(rest);
            self.next = older.first().map(|event| event.id);
            self.is_whole = true;
        }
    }

    /// As [`Page::known_from`] says.
    fn known_from(&self) -> u64 {
        match (self.next, self.events.last()) {
            (Some(_), Some(last)) => last.created_at + u64::from(!self.is_whole),
            // Nothing is left out.
            _ => 0,
        }
    }
}
