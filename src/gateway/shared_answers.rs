//! Answers that are kept for a moment, so that many who ask cost no more than one.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Api, Millis};
use crate::budget::{OBJECT_BYTES, Share};

/// Answers that are kept, and the bytes of all.
const MAX_KEPT: usize = 256;
const MAX_KEPT_BYTES: usize = Share::Http.of(OBJECT_BYTES);

/// Milliseconds that an answer is given on while somebody asks for a new one.
const ASKING: Millis = 1000;

/// What was answered last to each question, as plain text.
#[derive(Debug, Default)]
pub struct SharedAnswers(BTreeMap<Api, Answer>);

#[derive(Debug)]
struct Answer {
    at: Millis,
    body: Rc<str>,
    /// Whether somebody was sent to ask anew.
    asked: bool,
}

impl SharedAnswers {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The answer, when it is `fresh` milliseconds old at most.
    pub fn get(&self, api: Api, now: Millis, fresh: Millis) -> Option<Rc<str>> {
        let answer = self.0.get(&api)?;
        (now.saturating_sub(answer.at) <= fresh).then(|| answer.body.clone())
    }

    /// The same for many who ask at once: the first to find it too old asks anew, the others are given it on
    /// meanwhile, for [`ASKING`] at the most.
    pub fn get_or_ask(&mut self, api: Api, now: Millis, fresh: Millis) -> Option<Rc<str>> {
        let answer = self.0.get_mut(&api)?;
        let age = now.saturating_sub(answer.at);
        if age <= fresh || age <= fresh.saturating_add(ASKING) && answer.asked {
            return Some(answer.body.clone());
        }
        answer.asked = true;
        None
    }

    /// Bytes of all answers.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|answer| answer.body.len()).sum()
    }

    /// Keeps an answer, for which others go: the oldest of those that can be asked for in many ways, then the oldest.
    /// One that is too large by itself is not kept.
    pub fn keep(&mut self, api: Api, body: Rc<str>, now: Millis) {
        self.0.remove(&api);
        if body.len() > MAX_KEPT_BYTES {
            return;
        }
        let mut bytes = body.len() + self.bytes();
        while self.0.len() >= MAX_KEPT || bytes > MAX_KEPT_BYTES {
            let oldest = self.0.iter().min_by_key(|(api, answer)| (api.is_shared(), answer.at)).map(|(api, _)| *api);
            let Some(gone) = oldest.and_then(|oldest| self.0.remove(&oldest)) else { break };
            bytes -= gone.body.len();
        }
        self.0.insert(api, Answer { at: now, body, asked: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_while_they_are_fresh() {
        let mut kept = SharedAnswers::new();
        kept.keep(Api::Stats, "a".into(), 1000);
        assert_eq!(kept.get(Api::Stats, 3000, 2000).as_deref(), Some("a"));
        assert_eq!(kept.get(Api::Metrics, 3000, 2000), None);
        assert_eq!(kept.get(Api::Stats, 3001, 2000), None);
        kept.keep(Api::Stats, "b".into(), 3001);
        assert_eq!(kept.get(Api::Stats, 3001, 2000).as_deref(), Some("b"));
    }

    #[test]
    fn one_of_many_asks_anew() {
        let mut kept = SharedAnswers::new();
        assert_eq!(kept.get_or_ask(Api::Stats, 0, 2000), None);
        kept.keep(Api::Stats, "a".into(), 0);
        let mut given = |now| kept.get_or_ask(Api::Stats, now, 2000).is_some();
        assert_eq!([2000, 2001, 2002, 3000].map(&mut given), [true, false, true, true]);
        // It was not answered: all ask.
        assert_eq!([3001, 3002].map(&mut given), [false, false]);
        kept.keep(Api::Stats, "b".into(), 4000);
        let mut given = |now| kept.get_or_ask(Api::Stats, now, 2000).is_some();
        assert_eq!([6000, 6001, 6002].map(&mut given), [true, false, true]);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut kept = SharedAnswers::new();
        let half: Rc<str> = "x".repeat(MAX_KEPT_BYTES / 2).into();
        for kind in 0..3 {
            kept.keep(Api::Handlers(kind), half.clone(), Millis::from(kind));
        }
        let there = |kept: &SharedAnswers, kind| kept.get(Api::Handlers(kind), 0, 0).is_some();
        assert_eq!([0, 1, 2].map(|kind| there(&kept, kind)), [false, true, true]);
        kept.keep(Api::Handlers(1), "x".repeat(MAX_KEPT_BYTES + 1).into(), 9);
        assert_eq!([1, 2].map(|kind| there(&kept, kind)), [false, true], "too large by itself");
        kept.keep(Api::Stats, "x".into(), 0);
        for kind in 0..1000 {
            kept.keep(Api::Handlers(kind), "x".into(), 1000 - Millis::from(kind) % 10);
        }
        assert_eq!(kept.0.len(), MAX_KEPT);
        assert!(kept.get(Api::Stats, 0, 0).is_some(), "what can be asked for in many ways goes first");
    }
}
