//! What is wrong with a database that does not do what it is asked: told apart once, here, as what can be done
//! about it differs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ErrorKind {
    /// It has too much to do at this moment.
    Overloaded,
    /// What may be asked of it in a day (UTC) has been asked.
    Quota,
    /// It has no room for more.
    Full,
    /// It gave no answer in time.
    TimedOut,
    /// Something else, in its own words.
    Other,
}

/// What D1 and the SQLite of an object say, by a part of it in lower case.
const CLOUDFLARE: [(&str, ErrorKind); 13] = [
    ("d1 db is overloaded", ErrorKind::Overloaded),
    ("exceeded its memory limit", ErrorKind::Overloaded),
    ("exceeded its cpu time limit", ErrorKind::Overloaded),
    ("sqlite_busy", ErrorKind::Overloaded),
    ("sqlite_nomem", ErrorKind::Overloaded),
    ("free tier daily", ErrorKind::Quota),
    ("durable objects free tier", ErrorKind::Quota),
    ("daily limit", ErrorKind::Quota),
    ("exceeded maximum db size", ErrorKind::Full),
    ("maximum account storage", ErrorKind::Full),
    ("sqlite_full", ErrorKind::Full),
    ("storage operation exceeded timeout", ErrorKind::TimedOut),
    ("sqlite_interrupt", ErrorKind::TimedOut),
];

/// SQLite's primary result codes.
const SQLITE: [(i32, ErrorKind); 4] = [
    (5, ErrorKind::Overloaded), // SQLITE_BUSY
    (6, ErrorKind::Overloaded), // SQLITE_LOCKED
    (7, ErrorKind::Overloaded), // SQLITE_NOMEM
    (13, ErrorKind::Full),      // SQLITE_FULL
];

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Overloaded, Self::Quota, Self::Full, Self::TimedOut, Self::Other];

    /// Its name in `/api/stats` and `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Quota => "quota",
            Self::Full => "full",
            Self::TimedOut => "timed_out",
            Self::Other => "other",
        }
    }
}

/// Why a list of statements has no answer. Whether they took effect is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreError {
    /// What the database or the host said.
    pub message: String,
    /// What is wrong.
    pub kind: ErrorKind,
}

impl StoreError {
    /// An error that is none of those that are told apart.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: ErrorKind::Other }
    }

    /// What D1 said, or the SQLite of an object.
    pub fn of_cloudflare(message: impl Into<String>) -> Self {
        let message = message.into();
        let said = message.to_ascii_lowercase();
        let known = CLOUDFLARE.into_iter().find(|(part, _)| said.contains(part));
        Self { kind: known.map_or(ErrorKind::Other, |(_, kind)| kind), message }
    }

    /// What SQLite said, with its result code, extended or not.
    pub fn of_sqlite(code: Option<i32>, message: impl Into<String>) -> Self {
        let known = SQLITE.into_iter().find(|(primary, _)| code.is_some_and(|code| code & 0xff == *primary));
        Self { kind: known.map_or(ErrorKind::Other, |(_, kind)| kind), message: message.into() }
    }

    /// Whether a write has found that the log is another writer's: see [`log`](super::log). Nothing has changed then.
    pub fn is_fenced(&self) -> bool {
        self.message.contains("NOT NULL constraint failed: totals.version")
    }

    /// Whether a write has found something that it was assumed is not there: see [`facts::assume`](super::facts::assume).
    /// Nothing has changed then, and the log is the writer's.
    pub fn is_surprise(&self) -> bool {
        self.message.contains("NOT NULL constraint failed: totals.writer")
    }

    /// There was no answer in time.
    pub fn timed_out() -> Self {
        Self { message: "the database did not answer in time".to_owned(), kind: ErrorKind::TimedOut }
    }

    /// What is wrong, for a client.
    pub fn cause(&self) -> &str {
        match self.kind {
            ErrorKind::Overloaded => "the relay's database is overloaded",
            ErrorKind::Quota => "the relay's database allowance for today is used up",
            ErrorKind::Full => "the relay's database is full",
            ErrorKind::TimedOut => "the database did not answer in time",
            ErrorKind::Other => &self.message,
        }
    }
}

impl std::error::Error for StoreError {}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cloudflare_says_is_told_apart() {
        let cases = [
            ("D1 DB is overloaded. Requests queued for too long.", ErrorKind::Overloaded),
            ("D1 DB is overloaded. Too many requests queued.", ErrorKind::Overloaded),
            ("D1 DB's isolate exceeded its memory limit and was reset.", ErrorKind::Overloaded),
            ("D1 DB exceeded its CPU time limit and was reset.", ErrorKind::Overloaded),
            ("database is locked: SQLITE_BUSY", ErrorKind::Overloaded),
            (
                "Your account has exceeded D1's free tier daily row write limit. Upgrade to a paid plan",
                ErrorKind::Quota,
            ),
            ("Your account has exceeded D1's free tier daily row read limit.", ErrorKind::Quota),
            ("Exceeded allowed rows written in Durable Objects free tier.", ErrorKind::Quota),
            ("Exceeded maximum DB size.", ErrorKind::Full),
            ("Your account has exceeded D1's maximum account storage limit, please contact", ErrorKind::Full),
            ("database or disk is full: SQLITE_FULL", ErrorKind::Full),
            ("D1 DB storage operation exceeded timeout which caused object to be reset.", ErrorKind::TimedOut),
            ("Network connection lost.", ErrorKind::Other),
            ("D1 DB reset because its code was updated.", ErrorKind::Other),
            ("no such table: events: SQLITE_ERROR", ErrorKind::Other),
        ];
        for (text, kind) in cases {
            let error = StoreError::of_cloudflare(text);
            assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
        }
    }

    #[test]
    fn who_is_fenced_is_told_by_either() {
        let text = "NOT NULL constraint failed: totals.version";
        assert!(StoreError::of_cloudflare(format!("{text}: SQLITE_CONSTRAINT_NOTNULL")).is_fenced());
        assert!(StoreError::of_sqlite(Some(1299), text).is_fenced());
        assert!(!StoreError::of_sqlite(Some(1299), "NOT NULL constraint failed: totals.last_seq").is_fenced());
    }

    #[test]
    fn what_sqlite_says_is_told_apart_by_its_code() {
        // The second of each is extended: SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_WRITE.
        let cases = [
            (Some(5), ErrorKind::Overloaded),
            (Some(517), ErrorKind::Overloaded),
            (Some(7), ErrorKind::Overloaded),
            (Some(13), ErrorKind::Full),
            (Some(10), ErrorKind::Other),
            (Some(778), ErrorKind::Other),
            (None, ErrorKind::Other),
        ];
        for (code, kind) in cases {
            assert_eq!(StoreError::of_sqlite(code, "").kind, kind, "{code:?}");
        }
    }
}
