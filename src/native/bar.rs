//! How far work on a file has come, for who waits for it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::log;

/// How often progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Progress on stderr: a line that is written over on a terminal, else one now and then.
pub struct Bar {
    size: u64,
    from: u64,
    what: &'static str,
    counted: u64,
    start: Instant,
    told: Instant,
    terminal: bool,
}

impl Bar {
    /// Of a file of `size` bytes, of which those before `from` are done: so many of `what` is counted.
    pub fn new(size: u64, from: u64, what: &'static str, counted: u64) -> Self {
        let now = Instant::now();
        Self { size, from, what, counted, start: now, told: now, terminal: std::io::stderr().is_terminal() }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        log::put(&format!("{}{text}", if self.terminal { "\r\x1b[K" } else { "" }));
    }

    /// So many bytes of the file are done, and so much of what is counted.
    pub fn show(&mut self, bytes: u64, count: u64) {
        let every = if self.terminal { Duration::from_millis(100) } else { TELL_EVERY };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let rate = count.saturating_sub(self.counted) as f64 / seconds;
        let share = bytes as f64 / self.size.max(1) as f64;
        let left = self.size.saturating_sub(bytes) as f64 * seconds / bytes.saturating_sub(self.from).max(1) as f64;
        let text = format!("{:5.1} %, {count} {}, {rate:.0}/s, {left:.0} s left", share * 100.0, self.what);
        if self.terminal {
            let full = (share * 30.0) as usize;
            let bar = ["=".repeat(full), " ".repeat(30 - full.min(30))].concat();
            let _ = write!(std::io::stderr(), "\r\x1b[K[{bar}] {text}");
        } else {
            log::put(&text);
        }
    }

    /// Nothing is left of it.
    pub fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
