//! Answers that are kept for a moment, so that many who ask cost no more than one.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Api, Millis};

/// Answers that are kept, and the bytes of all.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 8_000_000;

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

    /// Keeps an answer, unless those that are fresh are too many or too large; others go.
    pub fn keep(&mut self, api: Api, body: Rc<str>, now: Millis, fresh: Millis) {
        self.0.remove(&api);
        self.0.retain(|_, (at, _)| now.saturating_sub(*at) <= fresh);
        let bytes: usize = self.0.values().map(|(_, body)| body.len()).sum();
        if self.0.len() < MAX_KEPT && bytes + body.len() <= MAX_KEPT_BYTES {
            self.0.insert(api, (now, body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_while_they_are_fresh_and_as_long_as_there_is_room() {
        let mut kept = Kept::new();
        kept.keep(Api::Stats, "a".into(), 1000, 2000);
        assert_eq!(kept.get(Api::Stats, 3000, 2000).as_deref(), Some("a"));
        assert_eq!(kept.get(Api::Metrics, 3000, 2000), None);
        assert_eq!(kept.get(Api::Stats, 3001, 2000), None);
        kept.keep(Api::Stats, "b".into(), 3001, 2000);
        assert_eq!(kept.get(Api::Stats, 3001, 2000).as_deref(), Some("b"));
        let half: Rc<str> = "x".repeat(MAX_KEPT_BYTES / 2).into();
        for kind in 0..3 {
            kept.keep(Api::Handlers(kind), half.clone(), 3001, 2000);
        }
        assert!(kept.get(Api::Handlers(0), 3001, 2000).is_some());
        assert!(kept.get(Api::Handlers(1), 3001, 2000).is_none(), "too large besides the others");
        for kind in 0..1000 {
            kept.keep(Api::Handlers(kind), "x".into(), 9000, 2000);
        }
        assert_eq!(kept.0.len(), MAX_KEPT);
    }
}
