//! How what was counted has grown: snapshots of the counts, and what happened between them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// What was counted at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Unix seconds.
    pub at: u64,
    /// Events ever stored.
    pub stored: u64,
    /// Jobs in each state.
    pub states: BTreeMap<String, i64>,
    /// Jobs by the time to their result: the buckets of a [`Histogram`].
    pub results: BTreeMap<usize, u64>,
}

impl Snapshot {
    fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        for (state, jobs) in &other.states {
            *self.states.entry(state.clone()).or_default() += jobs;
        }
        for (bucket, jobs) in &other.results {
            *self.results.entry(*bucket).or_default() += jobs;
        }
    }
}

/// What happened between two moments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The later one, Unix seconds.
    pub at: u64,
    /// Events ever stored.
    pub stored: u64,
    /// Jobs in each state then.
    pub states: BTreeMap<String, i64>,
    /// Jobs answered since the point before.
    pub results: u64,
    /// Half of these took at most so many milliseconds.
    pub p50_ms: Option<u64>,
    /// 99 of 100 of these did.
    pub p99_ms: Option<u64>,
}

/// The points of a history, of its snapshots in their order.
pub fn points(snapshots: Vec<Snapshot>) -> Vec<Point> {
    let mut before: Option<Histogram> = None;
    let point = |snapshot: Snapshot| {
        let results: Histogram = snapshot.results.into_iter().collect();
        let since = before.as_ref().map(|before| results.since(before)).unwrap_or_default();
        before = Some(results);
        Point {
            at: snapshot.at,
            stored: snapshot.stored,
            states: snapshot.states,
            results: since.count(),
            p50_ms: since.quantile(0.5),
            p99_ms: since.quantile(0.99),
        }
    };
    snapshots.into_iter().map(point).collect()
}

/// Histories of several databases as one. Each ends now, and has a snapshot only where something was stored: between two
/// it was as at the first of them, and before the first as then.
pub fn together(mut histories: Vec<Vec<Snapshot>>) -> Vec<Snapshot> {
    let now = histories.iter().filter_map(|history| history.last()).map(|last| last.at).max();
    for last in histories.iter_mut().filter_map(|history| history.last_mut()) {
        last.at = now.unwrap_or(last.at);
    }
    let moments: BTreeSet<u64> = histories.iter().flatten().map(|snapshot| snapshot.at).collect();
    let of_all = |at: u64| {
        let mut all = Snapshot { at, ..Snapshot::default() };
        for history in &histories {
            let passed = history.partition_point(|snapshot| snapshot.at <= at);
            if let Some(snapshot) = history.get(passed.saturating_sub(1)) {
                all.add(snapshot);
            }
        }
        all
    };
    moments.into_iter().map(of_all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at: u64, stored: u64, answered: u64) -> Snapshot {
        let states = BTreeMap::from([("success".to_owned(), answered.cast_signed())]);
        Snapshot { at, stored, states, results: BTreeMap::from([(3, answered)]) }
    }

    #[test]
    fn histories_are_put_beside_each_other() {
        let one = vec![snapshot(60, 10, 4), snapshot(180, 20, 8), snapshot(200, 21, 8)];
        let other = vec![snapshot(120, 5, 1), snapshot(199, 9, 3)];
        let together = together(vec![one, other]);
        let told: Vec<_> = together.iter().map(|all| (all.at, all.stored)).collect();
        assert_eq!(told, [(60, 15), (120, 15), (180, 25), (200, 30)]);
        let results: Vec<_> = points(together).iter().map(|point| point.results).collect();
        assert_eq!(results, [0, 0, 4, 2], "nothing is counted that was answered before the first snapshot");
    }
}
