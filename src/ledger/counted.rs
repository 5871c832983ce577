//! What a group adds to the counts: see [`store::counts`](crate::store::counts) for the keys.

use std::collections::BTreeMap;

use super::decide::Fresh;
use super::job::Job;
use crate::market::State;
use crate::market::histogram::bucket;

/// A key, the one that is used where there is no room for it, and what is added.
type Counts = Vec<(String, String, i64)>;

/// Events that are stored.
pub(super) fn stored(fresh: &[Fresh], counts: &mut Counts) {
    let mut kinds: BTreeMap<u16, i64> = BTreeMap::new();
    fresh.iter().for_each(|fresh| *kinds.entry(fresh.new.event.kind).or_default() += 1);
    counts.extend(kinds.into_iter().map(|(kind, n)| (format!("e {kind}"), "e *".to_owned(), n)));
}

/// A job that is moved: as its counts leave and come.
pub(super) fn moved(before: Option<&Job>, now: &Job, counts: &mut Counts) {
    let Some(asked) = &now.asked else { return };
    let mut count = |state: u8, n: i64| {
        let name = State::ALL.iter().find(|known| known.rank() == state).map_or("", |known| known.as_str());
        counts.push((format!("j {} {name}", asked.kind), format!("j * {name}"), n));
    };
    // One whose request has not been seen was not counted.
    let before = before.filter(|job| job.asked.is_some());
    if before.is_none_or(|before| before.state != now.state) {
        before.into_iter().for_each(|before| count(before.state, -1));
        count(now.state, 1);
    }
    let first = |letter: char, before: Option<u64>, now: Option<u64>, counts: &mut Counts| {
        if let (None, Some(at)) = (before, now) {
            let took = at.saturating_sub(asked.came_ms);
            let [key, sum] = [format!("{letter} {}", bucket(took)), format!("{letter} sum")];
            counts.push((key.clone(), key, 1));
            if took > 0 {
                counts.push((sum.clone(), sum, i64::try_from(took).unwrap_or(i64::MAX)));
            }
        }
    };
    first('f', before.and_then(|job| job.reported_ms), now.reported_ms, counts);
    first('r', before.and_then(|job| job.answered_ms), now.answered_ms, counts);
}
