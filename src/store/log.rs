//! Whose the log is: what a write must find in the totals, and what it leaves there. One that finds another version than
//! its writer knows changes nothing, so who is not the last writer any more learns it then.
//!
//! Decides what became of a write by what is read afterwards; does not decide when to read or to write again.

use std::fmt;

use super::counts::Totals;
use super::{Statement, integer};

/// A write, and its place in the log. It is sent again as it is until it is known what became of it: no other write
/// may expect the same version before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The version it must find: how many writes the log has had.
    pub expected: u64,
    /// What it is called.
    pub name: WriteName,
}

/// What one write is called, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteName {
    /// Who writes: a random number for each loss of memory.
    pub incarnation: u64,
    /// Which of its writes it is.
    pub number: u64,
}

/// What has become of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It has not been made, or has left the totals as they were: it may be sent again.
    NotLanded,
    /// It has been made, and nothing after it.
    Landed,
    /// Another writer has the log.
    Fenced,
}

impl Write {
    /// What has become of it, when its answer was lost and `found` was read after that.
    pub fn landing(&self, found: &Totals) -> Landing {
        if found.version == self.expected {
            Landing::NotLanded
        } else if found.version == self.expected + 1 && found.writer == Some(self.name) {
            Landing::Landed
        } else {
            Landing::Fenced
        }
    }

    /// Fails, and with it the whole batch, where the version is another one: it may not be NULL. Writes no row otherwise.
    fn guard(&self) -> Statement {
        Statement::new("UPDATE totals SET version = NULL WHERE version <> ?1", vec![integer(self.expected)])
    }
}

impl WriteName {
    /// Reads what [`Display`](fmt::Display) writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (incarnation, number) = text.split_once(' ')?;
        Some(Self { incarnation: u64::from_str_radix(incarnation, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for WriteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}", self.incarnation, self.number)
    }
}

/// `statements` as a write that leaves the totals as they are: first of all it is checked that the log is its writer's.
pub(super) fn guarded(write: &Write, mut statements: Vec<Statement>) -> Vec<Statement> {
    statements.insert(0, write.guard());
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for (incarnation, number) in [(0, 0), (1, 7), (u64::MAX, u64::MAX)] {
            let name = WriteName { incarnation, number };
            assert_eq!(WriteName::parse(&name.to_string()), Some(name));
        }
        for other in ["", "1", "g 1", "1 x", "1 -1"] {
            assert_eq!(WriteName::parse(other), None);
        }
    }

    #[test]
    fn what_became_of_a_write_is_told_by_the_version_and_the_writer() {
        let name = WriteName { incarnation: 1, number: 7 };
        let write = Write { expected: 4, name };
        let cases = [
            (4, None, Landing::NotLanded),
            (4, Some(WriteName { incarnation: 2, number: 7 }), Landing::NotLanded),
            (5, Some(name), Landing::Landed),
            (5, Some(WriteName { incarnation: 2, number: 7 }), Landing::Fenced),
            (5, Some(WriteName { incarnation: 1, number: 6 }), Landing::Fenced),
            (5, None, Landing::Fenced),
            (6, Some(name), Landing::Fenced),
            (3, Some(name), Landing::Fenced),
        ];
        for (version, writer, landing) in cases {
            assert_eq!(
                write.landing(&Totals { version, writer, ..Totals::default() }),
                landing,
                "{version} {writer:?}"
            );
        }
    }
}
