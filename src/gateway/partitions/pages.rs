//! The pages of several partitions as one: of each filter the newest that any has, as many as were asked for.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::message::{COMPLETED_BY, MAX_ANSWER_BYTES, PAGE, Page, StoredEvent, Text};
use crate::nostr::relay_msg::Completeness;
use crate::nostr::{Event, EventId, Filter};
use crate::trees::Gather;

/// The pages that came, as one, with as many events of each filter as it asks for, if there are so many; a page of one filter
/// is completed to a whole second where all of that is known. The only one is as it is.
///
/// What a partition had no room for is older than the last event that it has sent: from there on nothing is sent of the
/// others either. Whatever comes, no more is held than one page may have.
#[derive(Debug)]
pub struct Pages {
    filters: Arc<[Filter]>,
    /// The number of events where a filter has none, and the largest there is.
    limits: (u64, u64),
    /// The first one as it is, and then all that came.
    page: Option<Page>,
    /// Which of the filters each event of it matches, in its order, once there are others; of one filter nothing.
    matches: Option<Vec<Matches>>,
}

/// The places of filters.
type Matches = BTreeSet<usize>;

/// The higher one of each of the registers by which keys are counted.
pub fn highest(known: Option<Vec<u8>>, more: Option<String>) -> Option<Vec<u8>> {
    let Some(more) = more.and_then(|more| hex::decode(more).ok()) else { return known };
    Some(match known {
        None => more,
        Some(known) => known.into_iter().zip(more).map(|(known, more)| known.max(more)).collect(),
    })
}

impl Pages {
    /// No page yet; `limits` are the number of events where a filter has none, and the largest there is.
    pub const fn new(filters: Arc<[Filter]>, limits: (u64, u64)) -> Self {
        Self { filters, limits, page: None, matches: None }
    }

    /// All that came.
    pub fn into_page(self) -> Page {
        self.page.unwrap_or_default()
    }

    /// One more page.
    pub fn add(&mut self, other: Page) {
        let Some(page) = self.page.take() else {
            self.page = Some(other);
            return;
        };
        let is = |which| page.completeness == which || other.completeness == which;
        let (mut more, unknown) = (is(Completeness::More), is(Completeness::Unknown));
        let mut known_from = page.known_from.max(other.known_from);
        let newest_first = |(at, id): (u64, EventId)| (Reverse(at), id);
        let mut end = [page.end, other.end].into_iter().flatten().min_by_key(|end| newest_first(*end));
        let known = self.matches.take().unwrap_or_else(|| self.matches_of(&page.events));
        let missed = [page.missed, other.missed].concat();
        let of_other = self.matches_of(&other.events);
        let mut all: Vec<(StoredEvent, Matches)> = page.events.into_iter().zip(known).collect();
        all.extend(other.events.into_iter().zip(of_other));
        all.sort_by(|(a, _), (b, _)| StoredEvent::newest_first(a, b));
        if let Some(end) = end {
            let known =
                all.partition_point(|(event, _)| newest_first((event.created_at, event.id)) <= newest_first(end));
            more |= known < all.len();
            all.truncate(known);
        }
        // The newest that no filter asks for any more: from its second on nothing is known.
        if let Some(left_out) = self.leave_out(&mut all, known_from) {
            more = true;
            known_from = known_from.max(left_out + 1);
        }
        let (mut events, mut matches): (Vec<StoredEvent>, Vec<Matches>) = all.into_iter().unzip();
        if let Some(at) = StoredEvent::too_many(&events, MAX_ANSWER_BYTES) {
            let second = events.get(at).map_or(0, |event| event.created_at);
            events.truncate(at);
            matches.truncate(at);
            end = events.last().map(|event| (event.created_at, event.id));
            (more, known_from) = (true, known_from.max(second + 1));
        }
        self.matches = Some(matches);
        self.page = Some(Page { events, completeness: Completeness::of(more, unknown), missed, end, known_from });
    }

    /// The filters that ask for something, each with its place and as many events as it may have.
    fn asking(&self) -> Vec<(usize, usize)> {
        let limit = |filter: &Filter| usize::try_from(filter.limit_of(self.limits)).unwrap_or(usize::MAX);
        let places = self.filters.iter().enumerate().filter(|(_, filter)| !filter.is_void());
        places.map(|(at, filter)| (at, limit(filter))).filter(|(_, limit)| *limit > 0).collect()
    }

    /// Which filters each of the events matches; of one filter all do.
    fn matches_of(&self, events: &[StoredEvent]) -> Vec<Matches> {
        let asking = self.asking();
        if asking.len() <= 1 {
            return vec![Matches::new(); events.len()];
        }
        let parsed = |event: &StoredEvent| match &event.text {
            Text::Json(json) => Event::parse(json).ok(),
            Text::Large(_) => None,
        };
        let filters = |event: &Event| -> Matches {
            let matches = |at: &usize| self.filters.get(*at).is_some_and(|filter| filter.matches(event));
            asking.iter().map(|(at, _)| *at).filter(matches).gather()
        };
        events.iter().map(|event| parsed(event).map_or_else(Matches::new, |event| filters(&event))).collect()
    }

    /// Leaves those out, newest first, that no filter asks for; gives the second of the newest of them. All are known from a
    /// second on.
    fn leave_out(&self, all: &mut Vec<(StoredEvent, Matches)>, known_from: u64) -> Option<u64> {
        let mut asking = self.asking();
        if let [(_, limit)] = asking.as_slice() {
            let count = completed(all, *limit, known_from);
            let left_out = all.get(count).map(|(event, _)| event.created_at);
            all.truncate(count);
            return left_out;
        }
        let mut left_out = None;
        all.retain(|(event, matches)| {
            let mut is_wanted = false;
            for (_, left) in asking.iter_mut().filter(|(at, left)| *left > 0 && matches.contains(at)) {
                *left -= 1;
                is_wanted = true;
            }
            if !is_wanted {
                left_out.get_or_insert(event.created_at);
            }
            is_wanted
        });
        left_out
    }
}

/// How many events make a page of `limit`: with the rest of its last second (NIP-67), if that is known and not much.
fn completed(events: &[(StoredEvent, Matches)], limit: usize, known_from: u64) -> usize {
    let is_page = limit as u64 >= PAGE;
    let second = limit.checked_sub(1).and_then(|last| events.get(last)).map(|(event, _)| event.created_at);
    let Some(second) = second.filter(|second| is_page && *second >= known_from) else {
        return limit;
    };
    let rest = events.iter().skip(limit).take_while(|(event, _)| event.created_at == second).count();
    if rest as u64 <= limit as u64 / COMPLETED_BY { limit + rest } else { limit }
}
