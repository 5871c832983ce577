//! The pages of several partitions as one: of each filter the newest that any has, as many as were asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::message::{Answer, COMPLETED_BY, MAX_ANSWER_BYTES, PAGE, Page, StoredEvent, Text};
use crate::nostr::relay_msg::Completeness;
use crate::nostr::{Event, EventId, Filter};

/// What was asked of all.
#[derive(Debug)]
pub struct Asked {
    filters: Arc<[Filter]>,
    /// The number of events where a filter has none, and the largest there is.
    limits: (u64, u64),
}

impl Asked {
    pub fn new(filters: Arc<[Filter]>, limits: (u64, u64)) -> Self {
        Self { filters, limits }
    }
}

/// How many events are counted, and by how many keys: partitions have no event in common.
pub fn add(answers: Vec<Answer>) -> Answer {
    let (mut all, mut registers) = (0, None::<Vec<u8>>);
    for answer in answers {
        let Answer::Count(count, hll) = answer else { continue };
        all += count;
        let Some(more) = hll.and_then(|hll| hex::decode(hll).ok()) else { continue };
        registers = Some(match registers {
            None => more,
            Some(known) => known.into_iter().zip(more).map(|(known, more)| known.max(more)).collect(),
        });
    }
    Answer::Count(all, registers.map(hex::encode))
}

/// The pages as one, with as many events of each filter as it asks for, if there are so many; a page of one filter is
/// completed to a whole second where all of that is known. The only one is as it is.
///
/// What a partition had no room for is older than the last event that it has sent: from there on nothing is sent of the
/// others either.
pub fn merge(asked: &Asked, answers: Vec<Answer>) -> Page {
    let mut pages: Vec<Page> = answers.into_iter().map(Answer::stored).collect();
    if pages.len() == 1 {
        return pages.pop().unwrap_or_default();
    }
    let completeness = |which| pages.iter().any(|page| page.completeness == which);
    let (mut more, unknown) = (completeness(Completeness::More), completeness(Completeness::Unknown));
    let known_from = pages.iter().map(|page| page.known_from).max().unwrap_or_default();
    let end = pages.iter().filter_map(|page| page.end).map(|(at, id)| (std::cmp::Reverse(at), id)).min();
    let mut all = Page::default();
    for page in pages {
        all.events.extend(page.events);
        all.missed.extend(page.missed);
    }
    all.events.sort_by(StoredEvent::newest_first);
    if let Some(end) = end {
        let known = all.events.partition_point(|event| (std::cmp::Reverse(event.created_at), event.id) <= end);
        more |= known < all.events.len();
        all.events.truncate(known);
    }
    let wanted = wanted(asked, &all.events, known_from);
    let before = all.events.len();
    all.events.retain(|event| wanted.contains(&event.id));
    more |= all.events.len() < before;
    if let Some(at) = StoredEvent::too_many(&all.events, MAX_ANSWER_BYTES) {
        all.events.truncate(at);
        more = true;
    }
    all.completeness = Completeness::of(more, unknown);
    all
}

/// Those of the events, newest first, that some filter asks for; all are known from a second on.
fn wanted(Asked { filters, limits }: &Asked, events: &[StoredEvent], known_from: u64) -> BTreeSet<EventId> {
    let limit = |filter: &Filter| usize::try_from(filter.limit_of(*limits)).unwrap_or(usize::MAX);
    let filters: Vec<&Filter> = filters.iter().filter(|filter| !filter.is_void() && limit(filter) > 0).collect();
    if let [only] = filters.as_slice() {
        let count = completed(events, limit(only), known_from);
        return events.iter().take(count).map(|event| event.id).collect();
    }
    let mut left: Vec<(&Filter, usize)> = filters.into_iter().map(|filter| (filter, limit(filter))).collect();
    let mut wanted = BTreeSet::new();
    for event in events {
        let Text::Json(json) = &event.text else { continue };
        let Ok(parsed) = Event::parse(json) else { continue };
        for (filter, left) in &mut left {
            if *left > 0 && filter.matches(&parsed) {
                *left -= 1;
                wanted.insert(event.id);
            }
        }
    }
    wanted
}

/// How many events make a page of `limit`: with the rest of its last second (NIP-67), if that is known and not much.
fn completed(events: &[StoredEvent], limit: usize, known_from: u64) -> usize {
    let is_page = limit as u64 >= PAGE;
    let second = limit.checked_sub(1).and_then(|last| events.get(last)).map(|event| event.created_at);
    let Some(second) = second.filter(|second| is_page && *second >= known_from) else {
        return limit;
    };
    let rest = events.iter().skip(limit).take_while(|event| event.created_at == second).count();
    if rest as u64 <= limit as u64 / COMPLETED_BY { limit + rest } else { limit }
}
