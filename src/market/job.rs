//! Jobs (NIP-90): which event is a request, feedback or a result, of which job, and how a job lives.
//!
//! Pure rules. A job's state is the furthest of what its events say, so that any order of arrival ends
//! in the same one.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::rules;
use crate::nostr::{Event, EventId, PublicKey};

/// Which kinds make up a job. NIP-90 is one such set; its successors are others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProfile {
    /// What settings call it.
    pub name: &'static str,
    /// Kinds a customer asks with.
    pub requests: RangeInclusive<u16>,
    /// A result's kind is its request's plus this.
    pub result_offset: u16,
    /// The kind of feedback.
    pub feedback: u16,
}

/// NIP-90: requests 5000-5999, results 6000-6999, feedback 7000.
pub const NIP90: JobProfile = JobProfile { name: "nip90", requests: 5000..=5999, result_offset: 1000, feedback: 7000 };

/// Every profile an operator can choose.
pub const PROFILES: &[JobProfile] = &[NIP90];

/// The part an event plays in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobRole {
    /// Opens the job; the job is named by this event's id.
    Request,
    /// Reports on it.
    Feedback,
    /// Answers it.
    Result,
}

/// How far a job has come. A job only moves to a greater state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Asked, and nothing heard.
    Open,
    /// A provider wants to be paid first.
    PaymentRequired,
    /// A provider works on it.
    Processing,
    /// A part of the result was delivered.
    Partial,
    /// Its request expired before it was answered. A late answer still counts.
    Expired,
    /// A provider gave up, and none has answered.
    Error,
    /// A result was delivered.
    Success,
    /// Its customer deleted the request (NIP-09).
    Cancelled,
}

impl State {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::PaymentRequired,
        Self::Processing,
        Self::Partial,
        Self::Expired,
        Self::Error,
        Self::Success,
        Self::Cancelled,
    ];

    /// The word for it; of those that are a feedback's `status`, that.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::PaymentRequired => "payment-required",
            Self::Processing => "processing",
            Self::Partial => "partial",
            Self::Expired => "expired",
            Self::Error => "error",
            Self::Success => "success",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state a feedback's `status` brings a job to (NIP-90).
    pub fn of_status(status: &str) -> Option<Self> {
        let said = [Self::PaymentRequired, Self::Processing, Self::Partial, Self::Error, Self::Success];
        said.into_iter().find(|state| state.as_str() == status)
    }

    /// Its number, as it is stored.
    pub const fn rank(self) -> u8 {
        self as u8
    }
}

/// An event's part in a job, with what has to agree among the job's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The job: the id of its request.
    pub job: EventId,
    /// What the event is to it.
    pub role: JobRole,
    /// The state it brings the job to; `None` when that cannot be understood, and it moves nothing.
    pub state: Option<State>,
    /// Kind of the request; feedback does not say.
    pub kind: Option<u16>,
    /// Who asked, as far as this event says.
    pub customer: PublicKey,
    /// Who was asked, when not everybody (requests only).
    pub providers: Vec<PublicKey>,
    /// Whether the event says that it is for its parties alone.
    pub encrypted: bool,
}

impl Part {
    /// Whether it is feedback or a result.
    pub fn is_answer(&self) -> bool {
        self.role != JobRole::Request
    }

    /// Those an answer to an encrypted job is for: its customer and the answer's author.
    pub fn parties(&self, answer: &Event) -> BTreeSet<PublicKey> {
        BTreeSet::from([self.customer, answer.pubkey])
    }
}

impl JobProfile {
    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.iter().find(|profile| profile.name == name).cloned()
    }

    /// The part an event of `kind` plays, if any.
    pub fn role(&self, kind: u16) -> Option<JobRole> {
        if self.requests.contains(&kind) {
            Some(JobRole::Request)
        } else if kind == self.feedback {
            Some(JobRole::Feedback)
        } else {
            self.request_of(kind).map(|_| JobRole::Result)
        }
    }

    /// The request's kind for a result's.
    pub fn request_of(&self, result: u16) -> Option<u16> {
        result.checked_sub(self.result_offset).filter(|kind| self.requests.contains(kind))
    }

    /// Whether events of `kind` answer jobs, so that some of them are for their parties alone.
    pub fn is_answer(&self, kind: u16) -> bool {
        matches!(self.role(kind), Some(JobRole::Feedback | JobRole::Result))
    }

    /// The job `event` belongs to and its part in it; `None` for other events and for those whose tags
    /// do not say ([`rules::check`](super::rules::check) refuses these).
    pub fn part_of(&self, event: &Event) -> Option<Part> {
        let role = self.role(event.kind)?;
        // A result may say so by the request it repeats.
        let repeated = || event.tag_value("request").and_then(|text| Event::parse(text).ok());
        let encrypted =
            says_encrypted(event) || role == JobRole::Result && repeated().is_some_and(|r| says_encrypted(&r));
        let key = |name| event.tag_value(name).and_then(PublicKey::parse);
        Some(match role {
            JobRole::Request => Part {
                job: event.id,
                role,
                state: Some(State::Open),
                kind: Some(event.kind),
                customer: event.pubkey,
                providers: event.tag_values("p").filter_map(PublicKey::parse).collect(),
                encrypted,
            },
            JobRole::Feedback | JobRole::Result => Part {
                job: EventId::parse(event.tag_value("e")?)?,
                role,
                state: rules::said(event, role),
                kind: self.request_of(event.kind),
                customer: key("p")?,
                providers: Vec::new(),
                encrypted,
            },
        })
    }
}

fn says_encrypted(event: &Event) -> bool {
    event.tags.iter().any(|tag| tag.name() == "encrypted")
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

    #[test]
    fn another_profile_is_data() {
        let other = JobProfile { name: "other", requests: 100..=109, result_offset: 20, feedback: 140 };
        let roles = [99, 100, 109, 110, 119, 120, 129, 130, 140].map(|kind| other.role(kind));
        let (request, result) = (Some(JobRole::Request), Some(JobRole::Result));
        assert_eq!(roles, [None, request, request, None, None, result, result, None, Some(JobRole::Feedback)]);
        assert_eq!(other.request_of(125), Some(105));
    }

    #[test]
    fn states_are_numbered_in_their_order() {
        for (rank, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.rank()), rank);
        }
        assert_eq!(State::of_status("payment-required"), Some(State::PaymentRequired));
        assert_eq!(State::of_status("open"), None);
    }
}
