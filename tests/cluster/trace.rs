//! What happened in a run: a number that is the same when all was, and lines for people when they ask.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::pool::Pool;

pub struct Trace {
    hasher: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn new(is_read: bool) -> Self {
        Self { hasher: DefaultHasher::new(), lines: is_read.then(Vec::new) }
    }

    pub fn note(&mut self, now: u64, pool: &Pool, line: impl FnOnce() -> String) {
        let line = line();
        (now, &line).hash(&mut self.hasher);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now:7} {}", pool.readable(&line)));
        }
    }

    /// The number, and the lines.
    pub fn end(self) -> (u64, Vec<String>) {
        (self.hasher.finish(), self.lines.unwrap_or_default())
    }
}
