//! How long events are kept, by what they are to the market.

use std::ops::RangeInclusive;

use super::job::{JobProfile, JobRole};
use crate::nostr::{Event, kind};

/// Seconds from an event's `created_at` until it is gone; 0 keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Job requests.
    pub requests: u64,
    /// Job feedback.
    pub feedback: u64,
    /// Job results.
    pub results: u64,
    /// Handler information, kept until it is replaced when 0.
    pub handlers: u64,
    /// Everything else.
    pub others: u64,
}

/// How long the events of jobs are kept: a rule that their kind and time say all of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept([(RangeInclusive<u16>, u64); 3]);

impl Kept {
    /// When an event of a job is gone; none for what is kept, and what is no event of a job.
    pub fn until(&self, kind: u16, created_at: u64) -> Option<u64> {
        let rule = self.by_kind().find(|(kinds, _)| kinds.contains(&kind));
        rule.map(|(_, seconds)| created_at.saturating_add(seconds))
    }

    /// When an event is gone that expires at a time, where the rule does not say it.
    pub fn own_expiry(&self, event: &Event, expires_at: Option<u64>) -> Option<u64> {
        expires_at.filter(|at| self.until(event.kind, event.created_at) != Some(*at))
    }

    /// Seconds for which some answer to a job is kept.
    pub fn answers_max(&self) -> u64 {
        let [_, feedback, results] = &self.0;
        let seconds = |(_, seconds): &(RangeInclusive<u16>, u64)| if *seconds == 0 { u64::MAX } else { *seconds };
        seconds(feedback).max(seconds(results))
    }

    /// Kinds that are not kept for ever, and for how many seconds they are.
    pub fn by_kind(&self) -> impl Iterator<Item = (&RangeInclusive<u16>, u64)> {
        self.0.iter().filter(|(_, seconds)| *seconds > 0).map(|(kinds, seconds)| (kinds, *seconds))
    }
}

/// Seconds a job is remembered when its results are kept for ever.
const MONTH: u64 = 30 * 86_400;

impl Retention {
    /// How long the events of jobs are kept.
    pub fn of_jobs(&self, profile: &JobProfile) -> Kept {
        let results = profile.requests.start() + profile.result_offset..=profile.requests.end() + profile.result_offset;
        Kept([
            (profile.requests.clone(), self.requests),
            (profile.feedback..=profile.feedback, self.feedback),
            (results, self.results),
        ])
    }

    /// The Unix second until which the job that `request` asks is remembered when all its events are
    /// gone: as long as a result would be kept.
    pub const fn remember_until(&self, request: &Event) -> u64 {
        let kept = if self.results == 0 { MONTH } else { self.results };
        request.created_at.saturating_add(kept)
    }

    /// The Unix second from which on `event` is not kept. `tagged` is what its own `expiration` tag says
    /// (NIP-40); the sooner one holds.
    pub fn expires_at(&self, profile: &JobProfile, event: &Event, tagged: Option<u64>) -> Option<u64> {
        let kept = match profile.role(event.kind) {
            Some(JobRole::Request) => self.requests,
            Some(JobRole::Feedback) => self.feedback,
            Some(JobRole::Result) => self.results,
            None if event.kind == kind::HANDLER => self.handlers,
            // What keeps others out must stay.
            None if matches!(event.kind, kind::DELETION | kind::VANISH) => 0,
            None => self.others,
        };
        let ours = (kept > 0).then(|| event.created_at.saturating_add(kept));
        match (ours, tagged) {
            (Some(ours), Some(tagged)) => Some(ours.min(tagged)),
            (one, other) => one.or(other),
        }
    }
}
