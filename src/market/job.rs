//! Jobs (NIP-90): which event is a request, feedback or a result, and of which job.

use std::ops::RangeInclusive;

use crate::nostr::{Event, EventId};

/// Which kinds make up a job. NIP-90 is one such set; its successors are others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProfile {
    /// Kinds a customer asks with.
    pub requests: RangeInclusive<u16>,
    /// A result's kind is its request's plus this.
    pub result_offset: u16,
    /// The kind of feedback.
    pub feedback: u16,
}

/// NIP-90: requests 5000-5999, results 6000-6999, feedback 7000.
pub const NIP90: JobProfile = JobProfile { requests: 5000..=5999, result_offset: 1000, feedback: 7000 };

/// The part an event plays in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRole {
    /// Opens the job; the job is named by this event's id.
    Request,
    /// Reports on it.
    Feedback,
    /// Answers it.
    Result,
}

impl JobRole {
    /// The word the store keeps it under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Feedback => "feedback",
            Self::Result => "result",
        }
    }
}

impl JobProfile {
    /// The part an event of `kind` plays, if any.
    pub fn role(&self, kind: u16) -> Option<JobRole> {
        if self.requests.contains(&kind) {
            Some(JobRole::Request)
        } else if kind == self.feedback {
            Some(JobRole::Feedback)
        } else {
            let asked = kind.checked_sub(self.result_offset)?;
            self.requests.contains(&asked).then_some(JobRole::Result)
        }
    }

    /// The job `event` belongs to and its part in it. Feedback and results name the request in
    /// their first `e` tag; one that names none belongs to no job.
    pub fn job_of(&self, event: &Event) -> Option<(EventId, JobRole)> {
        let role = self.role(event.kind)?;
        let job = match role {
            JobRole::Request => event.id,
            JobRole::Feedback | JobRole::Result => EventId::parse(event.tag_value("e")?)?,
        };
        Some((job, role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nip90_kinds_have_their_roles() {
        let roles = [4999, 5000, 5050, 5999, 6000, 6050, 6999, 7000, 7001, 0].map(|kind| NIP90.role(kind));
        let (request, result) = (Some(JobRole::Request), Some(JobRole::Result));
        assert_eq!(
            roles,
            [None, request, request, request, result, result, result, Some(JobRole::Feedback), None, None]
        );
    }
}
