//! The last minute of the counts, second by second: so that who looks once in a while sees what happened meanwhile.

use std::collections::VecDeque;

use super::history::Snapshot;

/// Seconds that are remembered.
pub const REMEMBERED: u64 = 75;

/// What was counted at the end of each second in which something was.
#[derive(Debug, Default)]
pub struct Moments {
    /// In the order of time, each as it was until the next one: one at the most is older than what is remembered.
    past: VecDeque<Snapshot>,
    /// The second of the last change, which may not be over.
    changed: Option<u64>,
}

impl Moments {
    /// Something changes at `now` (Unix seconds), where `before` says what was counted until then, if that is known.
    pub fn change(&mut self, now: u64, before: Option<impl FnOnce(u64) -> Snapshot>) {
        if self.changed.is_some_and(|changed| changed >= now) {
            return;
        }
        let Some(before) = before else { return self.forget() };
        // What was there before the first change had been there for some time.
        self.past.push_back(before(self.changed.unwrap_or(now.saturating_sub(1))));
        self.changed = Some(now);
        while self.past.get(1).is_some_and(|next| next.at + REMEMBERED < now) {
            self.past.pop_front();
        }
    }

    /// What was counted is not known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is remembered at `now` (Unix seconds), the last of it what is counted now.
    pub fn told(&self, now: u64, counted: impl Fn(u64) -> Snapshot) -> Vec<Snapshot> {
        let since = now.saturating_sub(REMEMBERED);
        let mut told: Vec<Snapshot> = Vec::new();
        match self.changed {
            Some(changed) if changed > since => {
                let old = self.past.partition_point(|moment| moment.at <= since);
                let first = old.checked_sub(1).and_then(|first| self.past.get(first));
                told.extend(first.map(|first| Snapshot { at: since, ..first.clone() }));
                told.extend(self.past.iter().skip(old).cloned());
                // Nothing that is remembered is newer than the last change.
                told.extend((changed < now).then(|| counted(changed)));
            }
            Some(_) => told.push(counted(since)),
            None => {}
        }
        told.push(counted(now));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(stored: u64) -> impl Fn(u64) -> Snapshot {
        move |at| Snapshot { at, stored, ..Snapshot::default() }
    }

    fn told(moments: &Moments, now: u64, stored: u64) -> Vec<(u64, u64)> {
        moments.told(now, counted(stored)).iter().map(|moment| (moment.at, moment.stored)).collect()
    }

    #[test]
    fn each_second_has_what_was_counted_at_its_end() {
        let mut moments = Moments::default();
        assert_eq!(told(&moments, 1000, 5), [(1000, 5)]);
        // From 5 to 9 within one second, then to 20 two seconds later.
        moments.change(1000, Some(counted(5)));
        moments.change(1000, Some(counted(7)));
        assert_eq!(told(&moments, 1000, 9), [(999, 5), (1000, 9)]);
        moments.change(1002, Some(counted(9)));
        assert_eq!(told(&moments, 1002, 20), [(999, 5), (1000, 9), (1002, 20)]);
        assert_eq!(told(&moments, 1004, 20), [(999, 5), (1000, 9), (1002, 20), (1004, 20)]);
        assert_eq!(told(&moments, 1076, 20), [(1001, 9), (1002, 20), (1076, 20)], "from where it is remembered on");
        assert_eq!(told(&moments, 5000, 20), [(4925, 20), (5000, 20)]);
    }

    #[test]
    fn what_is_old_goes() {
        let mut moments = Moments::default();
        for second in 0..1000 {
            moments.change(1000 + second, Some(counted(second)));
        }
        assert_eq!(moments.past.len() as u64, REMEMBERED + 1);
        moments.change(9000, None::<fn(u64) -> Snapshot>);
        assert_eq!(told(&moments, 9000, 3), [(9000, 3)]);
    }
}
