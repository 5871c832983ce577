//! The map of partitions, as each database keeps it: by how many partitions events are placed, and which of them it has.
//!
//! A database of a relay with one partition keeps nothing. One that has events says what it is: they are not found
//! any more where they are when it is taken for another one.

use super::{Statement, StoreError, integer};

/// The version of the map that a relay begins with.
const FIRST: u64 = 1;

/// Which of how many partitions a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which, from 0.
    pub own: u32,
    /// Of how many.
    pub count: u32,
}

/// Reads what is kept; see [`Place::check`].
pub fn read() -> Statement {
    Statement::new("SELECT count || ' ' || own AS r FROM partitions ORDER BY version DESC LIMIT 1", vec![])
}

impl Place {
    /// Keeps this place, unless one is kept.
    pub fn put(self) -> Statement {
        let sql = "INSERT OR IGNORE INTO partitions (version, since, count, own) VALUES (?1, 0, ?2, ?3)";
        Statement::new(sql, vec![integer(FIRST), integer(self.count.into()), integer(self.own.into())])
    }

    /// The place that a database keeps, by the rows of [`read`] in `answer`.
    pub fn kept(answer: &[String]) -> Result<Option<Self>, StoreError> {
        let Some(row) = answer.first() else { return Ok(None) };
        let unreadable = || StoreError::new("the map of partitions cannot be read");
        let (count, own) = row.split_once(' ').ok_or_else(unreadable)?;
        let number = |text: &str| text.parse().map_err(|_| unreadable());
        Ok(Some(Self { own: number(own)?, count: number(count)? }))
    }

    /// Whether a database has this place, by the rows of [`read`] in `answer`: whether that is yet to be kept, or how the
    /// database and the settings differ. `is_empty` says that it has never had an event.
    pub fn check(self, answer: &[String], is_empty: bool) -> Result<bool, StoreError> {
        let kept = match Self::kept(answer)? {
            None if !is_empty => Some(Self { own: 0, count: 1 }),
            kept => kept,
        };
        match kept {
            None => Ok(self.count > 1),
            Some(kept) if kept == self => Ok(false),
            Some(Self { own, count }) => Err(StoreError::new(format!(
                "the database has partition {own} of {count}, and is used as partition {} of {}: PARTITIONS must be {count}, and each \
                 partition needs its own database",
                self.own, self.count
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_the_partition_it_was() {
        let place = |own: u32, count: u32| Place { own, count };
        let row = |row: &str| vec![row.to_owned()];
        assert_eq!(place(0, 1).check(&[], true), Ok(false), "one needs no map");
        assert_eq!(place(0, 1).check(&[], false), Ok(false));
        assert_eq!(place(2, 4).check(&[], true), Ok(true), "it is to be kept");
        assert_eq!(place(2, 4).check(&row("4 2"), false), Ok(false));
        for (place, rows, is_empty) in [
            (place(0, 4), vec![], false),
            (place(1, 4), vec![], false),
            (place(0, 1), row("4 0"), false),
            (place(0, 1), row("4 0"), true),
            (place(1, 4), row("4 2"), false),
            (place(2, 8), row("4 2"), false),
            (place(2, 4), row("so"), false),
        ] {
            assert!(place.check(&rows, is_empty).is_err(), "{place:?} {rows:?}");
        }
    }
}
