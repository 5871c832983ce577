//! Figures, and how they are told: a line of JSON for each case, `{section, case, figures: [[name, value]]}`.

use std::time::Duration;

/// Tells the figures of a case.
pub fn tell(section: &str, case: &str, figures: &[(&str, f64)]) {
    println!("{}", serde_json::json!({ "section": section, "case": case, "figures": figures }));
}

/// Times of one case.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `share` of all lie at or below, in milliseconds.
    pub fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(at.max(1) - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}
