//! What a provider is worth by those it has worked for: each customer has one share, whatever the number of its jobs,
//! and how large that is depends on what is known of the customer.
//!
//! Owns the weights. Never counts: the caller brings the sums.

use serde::{Deserialize, Serialize};

/// Providers whose results make a customer known: so it has dealt with two others than the one that is judged.
pub const KNOWN_AT: u64 = 3;
/// What a known customer weighs.
pub const KNOWN_WEIGHT: f64 = 1.0;
/// What anybody else weighs, as keys cost nothing, and all of them together at most.
const OTHER_WEIGHT: f64 = 0.05;
const OTHERS_WEIGHT_MAX: f64 = 0.25;

/// The speed of a result that takes no time.
pub const SPEED_MAX: u64 = 1_000_000;
/// The time at which speed is half of that, in milliseconds.
pub const HALF_SPEED_MS: u64 = 10_000;
/// A share of nobody's is one half: so much weight is neither good nor bad.
const DOUBT: f64 = 2.0;

/// What one customer had of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealing {
    /// Whether the customer is known.
    pub known: bool,
    /// Results it was given.
    pub results: u64,
    /// Errors that were reported to it.
    pub errors: u64,
    /// The speeds of the results together: each [`SPEED_MAX`] × [`HALF_SPEED_MS`] / ([`HALF_SPEED_MS`] + its milliseconds).
    pub speed: u64,
}

/// What dealings come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth {
    /// Known customers.
    pub known_customers: u64,
    /// The share of results in results and errors, 0 to 1; one half while there are none.
    pub success: f64,
    /// 1 for at once, to 0; one half while nothing is known.
    pub speed: f64,
    /// The time of a result in milliseconds, as half of the customers by weight have it or less.
    pub median_ms: Option<u64>,
}

/// What each of `count` who are not known weighs.
pub fn weight_of_others(count: usize) -> f64 {
    OTHER_WEIGHT.min(OTHERS_WEIGHT_MAX / count.max(1) as f64)
}

/// What the dealings of a provider come to, one of each customer.
pub fn worth(dealings: &[Dealing]) -> Worth {
    let others = weight_of_others(dealings.iter().filter(|dealing| !dealing.known).count());
    let weight = |dealing: &Dealing| if dealing.known { KNOWN_WEIGHT } else { others };
    let (mut success, mut speed) = (Share::default(), Share::default());
    let mut times: Vec<(u64, f64)> = Vec::new();
    for dealing in dealings {
        let (results, errors) = (dealing.results as f64, dealing.errors as f64);
        if results + errors > 0.0 {
            success.add(weight(dealing), results / (results + errors));
        }
        if let Some(mean) = dealing.speed.checked_div(dealing.results) {
            speed.add(weight(dealing), mean as f64 / SPEED_MAX as f64);
            times.push((time_of(mean), weight(dealing)));
        }
    }
    Worth {
        known_customers: dealings.iter().filter(|dealing| dealing.known).count() as u64,
        success: success.value(),
        speed: speed.value(),
        median_ms: median(times),
    }
}

/// The milliseconds of a result of that speed.
fn time_of(speed: u64) -> u64 {
    HALF_SPEED_MS.saturating_mul(SPEED_MAX) / speed.clamp(1, SPEED_MAX) - HALF_SPEED_MS
}

/// The least of the values that half of all weight is at or below.
fn median(mut values: Vec<(u64, f64)>) -> Option<u64> {
    values.sort_unstable_by_key(|(value, _)| *value);
    let half: f64 = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    // What is added in another order differs in its last digits.
    values.iter().find_map(|(value, weight)| {
        below += weight;
        (below >= half - 1e-9).then_some(*value)
    })
}

/// A weighted mean of values from 0 to 1.
#[derive(Default)]
struct Share {
    weight: f64,
    sum: f64,
}

impl Share {
    fn add(&mut self, weight: f64, value: f64) {
        self.weight += weight;
        self.sum += weight * value.clamp(0.0, 1.0);
    }

    fn value(&self) -> f64 {
        (self.sum + DOUBT / 2.0) / (self.weight + DOUBT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dealing with results of so many milliseconds each.
    fn dealing(known: bool, results: u64, errors: u64, ms: u64) -> Dealing {
        Dealing { known, results, errors, speed: results * (SPEED_MAX * HALF_SPEED_MS / (HALF_SPEED_MS + ms)) }
    }

    #[test]
    fn nothing_known_is_one_half() {
        let nothing = Worth { known_customers: 0, success: 0.5, speed: 0.5, median_ms: None };
        assert_eq!(worth(&[]), nothing);
        assert_eq!(worth(&[Dealing::default()]), nothing);
    }

    #[test]
    fn a_customer_has_one_share_whatever_the_number_of_its_jobs() {
        let few = worth(&[dealing(true, 1, 0, 0), dealing(true, 0, 1, 0)]);
        let many = worth(&[dealing(true, 1_000, 0, 0), dealing(true, 0, 1, 0)]);
        assert_eq!((few.success, few.speed), (0.5, 2.0 / 3.0));
        assert_eq!(few, many);
    }

    #[test]
    fn those_who_are_not_known_weigh_a_quarter_together() {
        let of = |count: usize| worth(&vec![dealing(false, 9, 0, 0); count]).success;
        assert_eq!((of(1), of(5)), (1.05 / 2.05, 1.25 / 2.25));
        assert!((of(200) - of(5)).abs() < 1e-9);
        assert!(worth(&[dealing(true, 1, 0, 0)]).success > of(200));
    }

    #[test]
    fn the_median_is_of_customers() {
        let slow = dealing(true, 1, 0, 60_000);
        let told = worth(&[vec![slow; 5], vec![dealing(false, 1_000, 0, 1); 200]].concat());
        assert!((59_900..60_100).contains(&told.median_ms.unwrap()), "{told:?}");
        assert_eq!(worth(&[dealing(false, 3, 0, 10_000)]).median_ms, Some(10_000));
        assert_eq!(worth(&[dealing(false, 0, 3, 0)]).median_ms, None);
    }

    #[test]
    fn any_sums_give_finite_numbers() {
        let odd = |known| Dealing { known, results: u64::MAX, errors: u64::MAX, speed: u64::MAX };
        let told = worth(&[odd(true), odd(false), Dealing { results: 1, ..Dealing::default() }]);
        assert!(told.success.is_finite() && told.speed.is_finite() && told.median_ms.is_some());
    }
}
