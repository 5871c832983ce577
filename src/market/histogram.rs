//! How long jobs take: counts in fixed buckets of time, and the quantiles read from them.
//!
//! Owns the bounds of the buckets and what a bucket says. Never measures a time: it reads no clock
//! and knows no job. Bounds are part of what is stored: a change of them changes old counts' meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Upper bounds in milliseconds, each inside its bucket: bucket `i` holds the times above bound
/// `i - 1` and up to bound `i`. One more bucket, number `BOUNDS_MS.len()`, holds all above 24 hours.
pub const BOUNDS_MS: [u64; 25] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, // up to half a second
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, // up to 50 seconds
    100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, // up to 83 minutes
    10_000_000, 20_000_000, 50_000_000, 86_400_000, // up to 24 hours
];

/// The bucket of a time in milliseconds: 0 to `BOUNDS_MS.len()`.
pub fn bucket(ms: u64) -> usize {
    BOUNDS_MS.partition_point(|bound| *bound < ms)
}

/// How many times fell into each bucket. Its JSON is an object of bucket number to count, such as
/// `{"7":3}`; what is no bucket or no count is left out when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Histogram(BTreeMap<usize, u64>);

impl Histogram {
    /// Counts one time in milliseconds.
    pub fn add(&mut self, ms: u64) {
        self.add_to(bucket(ms), 1);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The time in milliseconds that a share of `q` (0 to 1) of all times does not exceed, as if the
    /// times were spread evenly over their bucket; 24 hours when it is in the open bucket. `None`
    /// when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = q.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0_u64;
        for (bucket, count) in &self.0 {
            let up_to = below.saturating_add(*count);
            if rank <= up_to as f64 {
                let (lower, upper) = edges(*bucket);
                let part = (rank - below as f64) / *count as f64;
                return Some(lower.saturating_add((upper.saturating_sub(lower) as f64 * part).round() as u64));
            }
            below = up_to;
        }
        None
    }

    /// What was counted after `before` was what was counted.
    pub fn since(&self, before: &Self) -> Self {
        let more = |(bucket, count): (&usize, &u64)| {
            (*bucket, count.saturating_sub(before.0.get(bucket).copied().unwrap_or_default()))
        };
        self.0.iter().map(more).collect()
    }

    /// What is told of it.
    pub fn report(&self) -> Report {
        Report {
            count: self.count(),
            p50_ms: self.quantile(0.5),
            p90_ms: self.quantile(0.9),
            p99_ms: self.quantile(0.99),
            buckets: self.0.iter().map(|(bucket, count)| (BOUNDS_MS.get(*bucket).copied(), *count)).collect(),
        }
    }

    fn add_to(&mut self, bucket: usize, count: u64) {
        if bucket <= BOUNDS_MS.len() && count > 0 {
            let sum = self.0.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

/// From buckets and their counts; numbers that are no bucket's are left out.
impl FromIterator<(usize, u64)> for Histogram {
    fn from_iter<I: IntoIterator<Item = (usize, u64)>>(counts: I) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in counts {
            histogram.add_to(bucket, count);
        }
        histogram
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let entries = value.as_object().into_iter().flatten();
        Ok(entries.filter_map(|(bucket, count)| Some((bucket.parse().ok()?, count.as_u64()?))).collect())
    }
}

/// A histogram as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many times were counted.
    pub count: u64,
    /// The median in milliseconds.
    pub p50_ms: Option<u64>,
    /// What nine of ten do not exceed, in milliseconds.
    pub p90_ms: Option<u64>,
    /// What 99 of 100 do not exceed, in milliseconds.
    pub p99_ms: Option<u64>,
    /// The upper bound in milliseconds (`None`: the open bucket) and count of each bucket that is not
    /// empty, shortest times first.
    pub buckets: Vec<(Option<u64>, u64)>,
}

/// The lower and upper end of a bucket in milliseconds. The open bucket is all at its lower end.
fn edges(bucket: usize) -> (u64, u64) {
    let lower = bucket.checked_sub(1).and_then(|before| BOUNDS_MS.get(before)).copied().unwrap_or_default();
    (lower, BOUNDS_MS.get(bucket).copied().unwrap_or(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|ms| histogram.add(*ms));
        histogram
    }

    #[test]
    fn bounds_grow_and_belong_to_their_bucket() {
        assert!(BOUNDS_MS.is_sorted_by(|a, b| a < b));
        for (index, bound) in BOUNDS_MS.into_iter().enumerate() {
            assert_eq!((bucket(bound), bucket(bound + 1)), (index, index + 1));
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BOUNDS_MS.len()));
    }

    #[test]
    fn quantiles_are_in_the_bucket_of_the_exact_ones() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..500 {
            let many = random() % 300 + 1;
            // All orders of magnitude, up to some 36 hours.
            let mut times: Vec<u64> = (0..many).map(|_| (random() % (1 << 27)) >> (random() % 28)).collect();
            let histogram = of(&times);
            times.sort_unstable();
            assert_eq!(histogram.count(), many);
            let mut last = 0;
            for q in [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0] {
                let nth = ((q * many as f64).ceil() as usize).max(1);
                let exact = times[nth - 1];
                let (lower, upper) = edges(bucket(exact));
                let found = histogram.quantile(q).unwrap();
                assert!((lower..=upper).contains(&found), "q {q} of {times:?} is {exact}, not {found}");
                assert!(found >= last, "quantiles never fall");
                last = found;
            }
        }
    }

    #[test]
    fn a_quantile_is_as_far_into_its_bucket_as_its_rank() {
        let even = of(&[1001, 1002, 1003, 1004]);
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|q| even.quantile(q)), [1000, 1250, 1500, 2000].map(Some));
        let two = of(&[15, 15, 15, 3_000]);
        assert_eq!([0.75, 0.875, 1.0].map(|q| two.quantile(q)), [20, 3500, 5000].map(Some));
        assert_eq!(of(&[u64::MAX]).quantile(0.5), Some(86_400_000));
        assert_eq!([-1.0, 2.0].map(|q| even.quantile(q)), [1000, 2000].map(Some));
        assert_eq!((even.quantile(f64::NAN), Histogram::default().quantile(0.5)), (None, None));
    }

    #[test]
    fn json_is_an_object_and_garbage_is_left_out() {
        let histogram = of(&[150, 150, 180, 90_000_000]);
        assert_eq!(serde_json::to_string(&histogram).unwrap(), r#"{"7":3,"25":1}"#);
        let read = |text: &str| serde_json::from_str::<Histogram>(text).unwrap();
        assert_eq!(read(r#"{"7":3,"25":1}"#), histogram);
        assert_eq!(read(r#"{"7":3,"25":1,"26":9,"-1":2,"x":1,"3":-4,"4":1.5,"5":"6","8":null,"9":0}"#), histogram);
        for empty in ["{}", "[]", "null", "7", "\"7\"", "[[7,3]]"] {
            assert_eq!(read(empty), Histogram::default());
        }
        let full = read(r#"{"3":18446744073709551615,"4":18446744073709551615}"#);
        assert_eq!((full.count(), full.quantile(0.5)), (u64::MAX, Some(8)));
    }

    #[test]
    fn a_report_names_the_upper_bounds() {
        let report = serde_json::to_string(&of(&[150, 150, 180, 90_000_000]).report()).unwrap();
        assert_eq!(
            report,
            r#"{"count":4,"p50_ms":167,"p90_ms":86400000,"p99_ms":86400000,"buckets":[[200,3],[null,1]]}"#
        );
        assert_eq!(Histogram::default().report().p50_ms, None);
    }
}
