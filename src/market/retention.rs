//! How long events are kept, by what they are to the market.
//!
//! A relay cannot add an `expiration` tag (it would change the id), so this ends up in a column.

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

/// Seconds a job is remembered when its results are kept for ever.
const MONTH: u64 = 30 * 86_400;

impl Retention {
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
