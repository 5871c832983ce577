//! Answers that are kept for a moment, so that many who ask cost no more than one.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::budget::{OBJECT_BYTES, Share};
use super::{Api, Millis};

/// Answers that are kept, and the bytes of all.
const MAX_KEPT: usize = 256;
const MAX_KEPT_BYTES: usize = Share::Http.of(OBJECT_BYTES);

/// What was answered last to each question, as plain text.
#[derive(Debug, Default)]
pub struct Kept(BTreeMap<Api, (Millis, Rc<str>)>);

impl Kept {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The answer, when it is `fresh` milliseconds old at most.
    pub fn get(&self, api: Api, now: Millis, fresh: Millis) -> Option<Rc<str>> {
        let (at, body) = self.0.get(&api)?;
        (now.saturating_sub(*at) <= fresh).then(|| body.clone())
    }

    /// Bytes of all answers.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|(_, body)| body.len()).sum()
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
            let oldest = self.0.iter().min_by_key(|(api, (at, _))| (api.is_shared(), *at)).map(|(api, _)| *api);
            let Some((_, gone)) = oldest.and_then(|oldest| self.0.remove(&oldest)) else { break };
            bytes -= gone.len();
        }
        self.0.insert(api, (now, body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_while_they_are_fresh() {
        let mut kept = Kept::new();
        kept.keep(Api::Stats, "a".into(), 1000);
        assert_eq!(kept.get(Api::Stats, 3000, 2000).as_deref(), Some("a"));
        assert_eq!(kept.get(Api::Metrics, 3000, 2000), None);
        assert_eq!(kept.get(Api::Stats, 3001, 2000), None);
        kept.keep(Api::Stats, "b".into(), 3001);
        assert_eq!(kept.get(Api::Stats, 3001, 2000).as_deref(), Some("b"));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut kept = Kept::new();
        let half: Rc<str> = "x".repeat(MAX_KEPT_BYTES / 2).into();
        for kind in 0..3 {
            kept.keep(Api::Handlers(kind), half.clone(), Millis::from(kind));
        }
        let there = |kept: &Kept, kind| kept.get(Api::Handlers(kind), 0, 0).is_some();
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
