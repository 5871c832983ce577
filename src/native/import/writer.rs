//! The lines of an import on their way into one database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Line, Tally};
use crate::gateway::Config;
use crate::ledger::{Changes, Decision, Mode, Outcome, Work};
use crate::market::retention::Kept;
use crate::message::PartitionId;
use crate::moderation::Rulings;
use crate::native::partition::incarnation;
use crate::native::{place, sqlite};
use crate::nostr::{EventId, MAX_INTEGER, PublicKey, refusal};
use crate::partition::Place;
use crate::store::counts::{self, Flush, Position};
use crate::store::log::{Landing, Write, WriteName};
use crate::store::{StoreError, facts, rulings, write};

/// Lines of one sort that are stored as one transaction, each with its number. Deletions come before all else in a
/// group of events: one waits for the next group when its author has something in this one.
#[derive(Default)]
struct Group {
    lines: Vec<(u64, Line)>,
    authors: BTreeSet<PublicKey>,
    ids: BTreeSet<EventId>,
}

impl Group {
    fn has_room_for(&self, line: &Line) -> bool {
        let Some((_, first)) = self.lines.first() else { return true };
        match (first, line) {
            (Line::Event(_), Line::Event(new)) => {
                !self.ids.contains(&new.event.id)
                    && (new.deletes.is_empty() || !self.authors.contains(&new.event.pubkey))
            }
            (Line::Deletion(..), Line::Deletion(..)) | (Line::Job(_), Line::Job(_)) => true,
            _ => false,
        }
    }

    fn add(&mut self, number: u64, line: Line) {
        if let Line::Event(new) = &line {
            self.authors.insert(new.event.pubkey);
            self.ids.insert(new.event.id);
        }
        self.lines.push((number, line));
    }
}

/// The one writer of a file, while an import is under way.
pub(super) struct Writer<'a> {
    config: &'a Config,
    path: PathBuf,
    db: Connection,
    place: Place,
    /// Whether the database has yet to be told which partition it is.
    keeps_place: bool,
    /// What its last write is called.
    name: WriteName,
    /// As of the last answer.
    position: Position,
    /// What the operator keeps out.
    rulings: Rulings,
}

impl<'a> Writer<'a> {
    /// A writer of the partition's file.
    pub fn new(
        config: &'a Config,
        partition: PartitionId,
        path: &Path,
        mut db: Connection,
    ) -> Result<Self, StoreError> {
        let place = Place { own: partition.0, count: config.partitions };
        let (position, keeps_place) = place::of(&mut db, path, place)?;
        let name = WriteName { incarnation: incarnation(), number: 0 };
        let (rulings, _) = rulings::decode(&sqlite::read(&mut db, &[rulings::read(MAX_INTEGER)])?.rows.concat())?;
        Ok(Self { config, path: path.to_owned(), db, place, keeps_place, name, position, rulings })
    }

    /// The version of its log.
    pub fn version(&self) -> u64 {
        self.position.totals.version
    }

    /// Stores lines in their order, each with its number. An error is the database's.
    pub fn store(&mut self, lines: Vec<(u64, Line)>, tally: &mut Tally) -> Result<(), StoreError> {
        let mut group = Group::default();
        for (number, line) in lines {
            if let Line::Event(new) = &line
                && let Some(reason) = self.rulings.of(&new.event, new.part.as_ref().map(|part| &part.job))
            {
                tally.refuse(number, &reason.to_string());
                continue;
            }
            if !group.has_room_for(&line) {
                self.write(std::mem::take(&mut group).lines, tally)?;
            }
            group.add(number, line);
        }
        self.write(group.lines, tally)
    }

    /// Writes a group. If that fails its lines are written one by one, and those the database does not take although
    /// it can write are refused.
    fn write(&mut self, mut lines: Vec<(u64, Line)>, tally: &mut Tally) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let write = self.next_write();
        let error = match self.make(&lines, &write, tally) {
            Ok(true) => return Ok(()),
            Ok(false) if lines.len() > 1 => return self.write_halves(lines, tally),
            Ok(false) => {
                lines.iter().for_each(|(number, _)| tally.refuse(*number, &refusal::concerns_too_much().to_string()));
                return Ok(());
            }
            Err(error) => error,
        };
        self.locate(&write)?;
        self.probe()?;
        if lines.len() > 1 {
            return lines.drain(..).try_for_each(|line| self.write(vec![line], tally));
        }
        lines.iter().for_each(|(number, _)| tally.refuse(*number, &format!("error: {error}")));
        Ok(())
    }

    fn write_halves(&mut self, mut lines: Vec<(u64, Line)>, tally: &mut Tally) -> Result<(), StoreError> {
        let rest = lines.split_off(lines.len().div_ceil(2));
        self.write(lines, tally)?;
        self.write(rest, tally)
    }

    /// Decides what lines of one sort do, and writes it; says whether they do not concern too much for that.
    fn make(&mut self, lines: &[(u64, Line)], write: &Write, tally: &mut Tally) -> Result<bool, StoreError> {
        let work = work(lines);
        let needed = work.needed();
        // Whatever the totals say: an export may have answers whose requests come later.
        let rows = sqlite::read(&mut self.db, &facts::statements(&needed, true))?.rows;
        let Some(facts) = facts::decode(&needed, true, &rows)? else { return Ok(false) };
        let before = self.position.totals.last_seq;
        let decision = work.decide(before, facts);
        if !decision.changes.is_empty() {
            let (mut statements, after) =
                write::statements(&decision.changes, &self.position, &Flush::default(), &self.kept(), write);
            statements.extend(self.keeps_place.then(|| self.place.put()));
            sqlite::write(&mut self.db, &statements)?;
            (self.position, self.keeps_place) = (after, false);
        }
        tally.count(lines, &decision, before);
        Ok(true)
    }

    fn kept(&self) -> Kept {
        self.config.retention.of_jobs(&self.config.profile)
    }

    fn next_write(&mut self) -> Write {
        self.name.number += 1;
        Write { expected: self.position.totals.version, name: self.name }
    }

    /// Reads how far the log is after a write has failed.
    fn locate(&mut self, write: &Write) -> Result<(), StoreError> {
        let found = position(&mut self.db)?;
        if write.landing(&found.totals) == Landing::Fenced {
            let what = format!("something else writes to {} at the same time", self.path.display());
            return Err(StoreError::new(what));
        }
        self.position = found;
        Ok(())
    }

    /// Writes nothing but that it has written: whether the database can.
    fn probe(&mut self) -> Result<(), StoreError> {
        let write = self.next_write();
        let (statements, after) =
            write::statements(&Changes::default(), &self.position, &Flush::default(), &self.kept(), &write);
        match sqlite::write(&mut self.db, &statements) {
            Ok(_) => {
                self.position = after;
                Ok(())
            }
            Err(error) => self.locate(&write).and(Err(error)),
        }
    }
}

impl Tally {
    /// Counts what became of lines; `before` is the last number before them.
    fn count(&mut self, lines: &[(u64, Line)], decision: &Decision, before: u64) {
        for (number, line) in lines {
            let new = match line {
                Line::Event(new) => new,
                Line::Deletion(_, counts) => {
                    self.remembered += u64::from(*counts);
                    continue;
                }
                Line::Job(_) => {
                    self.remembered += 1;
                    continue;
                }
            };
            match decision.outcomes.get(&new.event.id) {
                // The partition that stores it counts it.
                _ if new.is_elsewhere => {}
                Some(Outcome::Stored { seq, .. }) if *seq > before => self.stored += 1,
                Some(Outcome::Stored { .. } | Outcome::Superseded) => self.known += 1,
                _ => self.refuse(*number, "blocked: its author has deleted it"),
            }
        }
    }
}

/// How far the log is.
pub(super) fn position(db: &mut Connection) -> Result<Position, StoreError> {
    counts::decode(&sqlite::read(db, &[counts::read()])?.rows)
}

/// What lines ask for that are all of one sort.
fn work(lines: &[(u64, Line)]) -> Work {
    let (mut events, mut deletions, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for (_, line) in lines {
        match line {
            Line::Event(new) => events.push(new.clone()),
            Line::Deletion(deletion, _) => deletions.push(deletion.clone()),
            Line::Job(job) => jobs.push(job.clone()),
        }
    }
    if !events.is_empty() {
        Work::Events(events, Mode::Restored)
    } else if !deletions.is_empty() {
        Work::Deletions(deletions)
    } else {
        Work::Jobs(jobs)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::{NewEvent, RememberedDeletion};
    use crate::nostr::Event;
    use crate::store::export;

    fn config() -> Config {
        Config::read(|key| (key == "RELAY_URL").then(|| "wss://nexus.example".to_owned())).unwrap()
    }

    /// A file of its own for a test.
    fn file(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("nexus-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("nexus.sqlite")
    }

    fn importing<'a>(config: &'a Config, path: &Path) -> Writer<'a> {
        let (db, _) = sqlite::open_to_serve(path).unwrap();
        Writer::new(config, PartitionId::HOME, path, db).unwrap()
    }

    /// Lines that have deletions of events, by the last digits of their ids.
    fn deletions(ids: &[u64]) -> Vec<(u64, Line)> {
        let author = "ab".repeat(32);
        let deletion = |id: &u64| RememberedDeletion { key: format!("{author} {id:064}"), until: 1 };
        ids.iter().map(|id| (*id, Line::Deletion(deletion(id), true))).collect()
    }

    fn remembered(import: &mut Writer) -> usize {
        sqlite::read(&mut import.db, &[export::read_deletions("", 1000)]).unwrap().rows.concat().len()
    }

    #[test]
    fn what_the_operator_keeps_out_is_not_imported() {
        let (config, path) = (config(), file("import-banned"));
        let event = |key: u8, kind: u16, id: u8| {
            let json = format!(
                r#"{{"id":"{}","pubkey":"{}","created_at":1700000000,"kind":{kind},"tags":[],"content":"","sig":"{}"}}"#,
                hex::encode([id; 32]),
                hex::encode([key; 32]),
                "00".repeat(64)
            );
            let event = Event::parse(&json).unwrap();
            let text: Arc<str> = event.to_json().into();
            let (came_ms, deletes) = (1_700_000_000_000, vec![]);
            Line::Event(Arc::new(NewEvent {
                event,
                text,
                came_ms,
                expires_at: None,
                deletes,
                part: None,
                remember_until: 0,
                is_elsewhere: false,
                act: None,
            }))
        };
        let (db, _) = sqlite::open_to_serve(&path).unwrap();
        let rulings = [("banned key", hex::encode([1; 32])), ("banned event", hex::encode([9; 32]))];
        for (sort, item) in rulings.into_iter().chain([("disallowed kind", "4".to_owned())]) {
            let sql = "INSERT INTO rulings (sort, item, reason, since) VALUES (?1, ?2, '', 0)";
            db.execute(sql, [sort.to_owned(), item]).unwrap();
        }
        drop(db);
        let (mut import, tally) = (importing(&config, &path), &mut Tally::new(1, 0, 0));
        let lines = [event(1, 1, 5), event(2, 1, 9), event(2, 4, 6), event(2, 1, 7)];
        import.store((1..).zip(lines).collect(), tally).unwrap();
        assert_eq!((tally.stored, tally.refused), (1, 3));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn an_import_counts_its_writes_and_ends_when_something_else_has_written() {
        let (config, path) = (config(), file("import-fenced"));
        let (mut import, tally) = (importing(&config, &path), &mut Tally::new(1, 0, 0));
        import.store(deletions(&[1, 2]), tally).unwrap();
        import.store(deletions(&[3]), tally).unwrap();
        let found = position(&mut import.db).unwrap();
        assert_eq!((found.totals.version, found.totals.writer), (2, Some(import.name)));
        assert_eq!(import.position, found);

        let mut other = importing(&config, &path);
        other.store(deletions(&[4]), tally).unwrap();
        for _ in 0..2 {
            let error = import.store(deletions(&[5, 6]), tally).unwrap_err().to_string();
            assert_eq!(error, format!("something else writes to {} at the same time", path.display()));
            assert_eq!(remembered(&mut import), 4);
        }
        assert_eq!(position(&mut import.db).unwrap(), other.position);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn of_lines_that_the_database_does_not_take_together_the_others_are_stored() {
        let (config, path) = (config(), file("import-refused"));
        let (mut import, tally) = (importing(&config, &path), &mut Tally::new(1, 0, 0));
        let refuses = "CREATE TRIGGER no BEFORE INSERT ON deletions WHEN new.key GLOB '*7' \
                       BEGIN SELECT RAISE(ABORT, 'not this one'); END";
        import.db.execute_batch(refuses).unwrap();
        import.store(deletions(&[6, 7, 8]), tally).unwrap();
        import.store(deletions(&[9]), tally).unwrap();
        assert_eq!((tally.remembered, tally.refused), (3, 1));
        assert_eq!((remembered(&mut import), position(&mut import.db).unwrap()), (3, import.position.clone()));
        // Where it can write nothing, no line is to blame.
        let full = "CREATE TRIGGER full BEFORE UPDATE ON totals BEGIN SELECT RAISE(ABORT, 'no room'); END";
        import.db.execute_batch(full).unwrap();
        let error = import.store(deletions(&[10, 11]), tally).unwrap_err().to_string();
        assert!(error.contains("no room") && tally.refused == 1, "{error}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
