//! Lines of JSON into a database: events and what an [`export`](super::export) has besides. Who imports is the
//! operator: what limits strangers (who publishes, how much, how old, how large) does not hold here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::bar::Bar;
use super::database::lock;
use super::env::Settings;
use super::gateway::now;
use super::partition::incarnation;
use super::{Failed, log, sqlite};
use crate::gateway::Config;
use crate::ledger::{Changes, Decision, Mode, NewEvent, Outcome, Remembered, RememberedDeletion, RememberedJob, Work};
use crate::market::retention::Kept;
use crate::market::rules;
use crate::nostr::{Event, EventId, KindClass, MAX_INTEGER, PublicKey, deletion, refusal};
use crate::store::counts::{self, Flush, Position};
use crate::store::log::{Landing, Write, WriteName};
use crate::store::{StoreError, facts, write};

/// Lines that are stored together, and their bytes.
pub(super) const TOGETHER: usize = 256;
const TOGETHER_BYTES: u64 = 4_000_000;
/// Bytes of a line; more is no event that a relay takes.
const MAX_LINE: u64 = 2_000_000;
/// Refused lines that are told one by one.
const MAX_TOLD: u64 = 20;

/// How far an import has come; kept beside the database until it is done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Progress {
    source: Source,
    lines: u64,
    bytes: u64,
    /// The version of the log that these lines are in.
    version: u64,
}

/// What is imported: a file that has been written to since is another one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    file: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl Progress {
    /// Whether an import of `source` into a database whose log has this version may go on from here. One that has
    /// been begun anew, or was put back, has not all of the lines.
    fn holds(&self, source: &Source, version: u64) -> bool {
        self.source == *source && self.version <= version
    }
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    stored: u64,
    known: u64,
    remembered: u64,
    refused: u64,
}

/// Stores what a file has, and goes on where it was interrupted.
pub fn import(settings: &Settings, file: &Path) -> Result<(), Failed> {
    let of = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut source = File::open(file).map_err(of)?;
    let _lock = lock(&settings.path)?;
    let (db, _) = sqlite::open_to_serve(&settings.path)?;
    db.execute_batch("PRAGMA wal_autocheckpoint = 1000;")?;
    let metadata = source.metadata().map_err(of)?;
    let size = metadata.len();
    let mark = sqlite::beside(&settings.path, ".import");
    let unnamed = sqlite::beside(&settings.path, ".import.new");
    let name = std::fs::canonicalize(file).map_err(of)?;
    let this = Source { file: name, bytes: size, modified: metadata.modified().map_err(of)? };
    let mut import = Import::new(&settings.config, &settings.path, db)?;
    let known = std::fs::read(&mark).ok().and_then(|text| serde_json::from_slice::<Progress>(&text).ok());
    let mut progress = match known {
        Some(known) if known.holds(&this, import.position.totals.version) => {
            log::put(&format!("going on after line {} of {}", known.lines, file.display()));
            known
        }
        _ => Progress { source: this, lines: 0, bytes: 0, version: 0 },
    };
    source.seek(SeekFrom::Start(progress.bytes)).map_err(of)?;
    let mut source = BufReader::new(source);
    import.bar = Bar::new(size, progress.bytes);
    loop {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < TOGETHER && bytes < TOGETHER_BYTES {
            let (read, line) = next_line(&mut source).map_err(of)?;
            if read == 0 {
                break;
            }
            bytes += read;
            lines.push(line);
        }
        if lines.is_empty() {
            break;
        }
        import.store(progress.lines + 1, &lines).map_err(|error| format!("{}: {error}", file.display()))?;
        progress.lines += lines.len() as u64;
        progress.bytes += bytes;
        progress.version = import.position.totals.version;
        // In one step, so that whoever is killed leaves the one before or this one.
        std::fs::write(&unnamed, serde_json::to_vec(&progress)?)?;
        std::fs::rename(&unnamed, &mark)?;
        import.bar.show(progress.bytes, progress.lines);
    }
    import.bar.end();
    // It is done; one that is left says where it ended.
    let _ = std::fs::remove_file(&mark);
    let Tally { stored, known, remembered, refused } = import.tally;
    let more = if remembered > 0 { format!("; {remembered} deletions and jobs remembered") } else { String::new() };
    log::put(&format!("{stored} events stored, {known} were here or are outdated, {refused} refused{more}"));
    Ok(())
}

/// The next line, or what is wrong with it, with the bytes it takes; none are left at the end.
fn next_line(source: &mut BufReader<File>) -> std::io::Result<(u64, Result<String, String>)> {
    let mut line = Vec::new();
    let mut bytes = source.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
    if bytes == MAX_LINE && line.last() != Some(&b'\n') {
        bytes += source.skip_until(b'\n')? as u64;
        return Ok((bytes, Err(format!("invalid: the line is over {MAX_LINE} bytes"))));
    }
    let text = String::from_utf8(line).map_err(|_| "invalid: the line is not UTF-8".to_owned());
    Ok((bytes, text.map(|text| text.trim().to_owned())))
}

/// What a line says.
enum Line {
    Event(Arc<NewEvent>),
    Deletion(RememberedDeletion),
    Job(RememberedJob),
}

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
            (Line::Deletion(_), Line::Deletion(_)) | (Line::Job(_), Line::Job(_)) => true,
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

/// An import that is under way: the one writer of the file meanwhile.
struct Import<'a> {
    config: &'a Config,
    path: &'a Path,
    db: Connection,
    /// What its last write is called.
    name: WriteName,
    /// As of the last answer.
    position: Position,
    tally: Tally,
    bar: Bar,
}

impl<'a> Import<'a> {
    fn new(config: &'a Config, path: &'a Path, mut db: Connection) -> Result<Self, StoreError> {
        let position = position(&mut db)?;
        let name = WriteName { incarnation: incarnation(), number: 0 };
        Ok(Self { config, path, db, name, position, tally: Tally::default(), bar: Bar::new(1, 0) })
    }

    /// Stores lines, of which the first has the number `first`. An error is the database's.
    fn store(&mut self, first: u64, lines: &[Result<String, String>]) -> Result<(), StoreError> {
        let mut group = Group::default();
        for (number, line) in (first..).zip(lines) {
            match line.as_deref().map_err(Clone::clone).and_then(|text| understand(self.config, text)) {
                Ok(None) => {}
                Ok(Some(line)) => {
                    if !group.has_room_for(&line) {
                        self.write(std::mem::take(&mut group).lines)?;
                    }
                    group.add(number, line);
                }
                Err(reason) => self.refuse(number, &reason),
            }
        }
        self.write(group.lines)
    }

    /// Writes a group. If that fails its lines are written one by one, and those the database does not take although
    /// it can write are refused.
    fn write(&mut self, mut lines: Vec<(u64, Line)>) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let write = self.next_write();
        let error = match self.make(&lines, &write) {
            Ok(true) => return Ok(()),
            Ok(false) if lines.len() > 1 => return self.write_halves(lines),
            Ok(false) => {
                lines.iter().for_each(|(number, _)| self.refuse(*number, &refusal::concerns_too_much().to_string()));
                return Ok(());
            }
            Err(error) => error,
        };
        self.locate(&write)?;
        self.probe()?;
        if lines.len() > 1 {
            return lines.drain(..).try_for_each(|line| self.write(vec![line]));
        }
        lines.iter().for_each(|(number, _)| self.refuse(*number, &format!("error: {error}")));
        Ok(())
    }

    fn write_halves(&mut self, mut lines: Vec<(u64, Line)>) -> Result<(), StoreError> {
        let rest = lines.split_off(lines.len().div_ceil(2));
        self.write(lines)?;
        self.write(rest)
    }

    /// Decides what lines of one sort do, and writes it; says whether they do not concern too much for that.
    fn make(&mut self, lines: &[(u64, Line)], write: &Write) -> Result<bool, StoreError> {
        let work = work(lines);
        let needed = work.needed();
        // Whatever the totals say: an export may have answers whose requests come later.
        let rows = sqlite::read(&mut self.db, &facts::statements(&needed, true))?.rows;
        let Some(facts) = facts::decode(&needed, true, &rows)? else { return Ok(false) };
        let before = self.position.totals.last_seq;
        let decision = work.decide(before, facts);
        if !decision.changes.is_empty() {
            let (statements, after) =
                write::statements(&decision.changes, &self.position, &Flush::default(), &self.kept(), write);
            sqlite::write(&mut self.db, &statements)?;
            self.position = after;
        }
        self.tell(lines, &decision, before);
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

    /// Counts what became of lines; `before` is the last number before them.
    fn tell(&mut self, lines: &[(u64, Line)], decision: &Decision, before: u64) {
        for (number, line) in lines {
            let Line::Event(new) = line else {
                self.tally.remembered += 1;
                continue;
            };
            match decision.outcomes.get(&new.event.id) {
                Some(Outcome::Stored { seq, .. }) if *seq > before => self.tally.stored += 1,
                Some(Outcome::Stored { .. } | Outcome::Superseded) => self.tally.known += 1,
                _ => self.refuse(*number, "blocked: its author has deleted it"),
            }
        }
    }

    fn refuse(&mut self, number: u64, reason: &str) {
        self.tally.refused += 1;
        if self.tally.refused <= MAX_TOLD {
            self.bar.say(&format!("line {number}: {reason}"));
        }
    }
}

/// How far the log is.
fn position(db: &mut Connection) -> Result<Position, StoreError> {
    counts::decode(&sqlite::read(db, &[counts::read()])?.rows)
}

/// What lines ask for that are all of one sort.
fn work(lines: &[(u64, Line)]) -> Work {
    let (mut events, mut deletions, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for (_, line) in lines {
        match line {
            Line::Event(new) => events.push(new.clone()),
            Line::Deletion(deletion) => deletions.push(deletion.clone()),
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

/// What a line says, if it is not empty; or why it is refused.
fn understand(config: &Config, text: &str) -> Result<Option<Line>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if ["{\"deletion\":", "{\"job\":"].iter().any(|start| text.starts_with(start)) {
        let remembered = serde_json::from_str::<Remembered>(text).map_err(|error| format!("invalid: {error}"))?;
        remembered.check(&config.profile).map_err(|what| format!("invalid: {what}"))?;
        return Ok(Some(match remembered {
            Remembered::Deletion(deletion) => Line::Deletion(deletion),
            Remembered::Job(job) => Line::Job(job),
        }));
    }
    let event = Event::parse(text).map_err(|reason| reason.to_string())?;
    let new = admit(config, event, now())?;
    Ok(Some(Line::Event(new.into())))
}

/// An event that may be stored. It came when it was made, as far as that can be known.
fn admit(config: &Config, event: Event, now: u64) -> Result<NewEvent, String> {
    let invalid = |what: &str| Err(format!("invalid: {what}"));
    if event.class() == KindClass::Ephemeral {
        return invalid("ephemeral events are not kept");
    }
    if event.created_at > (now / 1000).saturating_add(config.limits.created_at_upper_limit).min(MAX_INTEGER) {
        return invalid("created_at is in the future");
    }
    let expires_at = config.retention.expires_at(&config.profile, &event, event.expiration()?);
    if expires_at.is_some_and(|at| at <= now / 1000) {
        return invalid("the event has expired, by its own word or by how long this relay keeps its kind");
    }
    rules::check(&config.profile, &event)?;
    event.verify()?;
    Ok(NewEvent {
        text: event.to_json().into(),
        came_ms: event.created_at.saturating_mul(1000).min(now),
        expires_at: expires_at.filter(|at| *at < MAX_INTEGER),
        deletes: deletion::targets(&event, &config.relays)?,
        part: config.profile.part_of(&event),
        remember_until: config.retention.remember_until(&event),
        event,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn importing<'a>(config: &'a Config, path: &'a Path) -> Import<'a> {
        let (db, _) = sqlite::open_to_serve(path).unwrap();
        Import::new(config, path, db).unwrap()
    }

    /// Lines that have deletions of events, by the last digits of their ids.
    fn deletions(ids: &[u64]) -> Vec<Result<String, String>> {
        let author = "ab".repeat(32);
        ids.iter().map(|id| Ok(format!(r#"{{"deletion":{{"key":"{author} {id:064}","until":1}}}}"#))).collect()
    }

    fn remembered(import: &mut Import) -> usize {
        sqlite::read(&mut import.db, &[export::read_deletions("", 1000)]).unwrap().rows.concat().len()
    }

    #[test]
    fn an_import_counts_its_writes_and_ends_when_something_else_has_written() {
        let (config, path) = (config(), file("import-fenced"));
        let mut import = importing(&config, &path);
        import.store(1, &deletions(&[1, 2])).unwrap();
        import.store(3, &deletions(&[3])).unwrap();
        let found = position(&mut import.db).unwrap();
        assert_eq!((found.totals.version, found.totals.writer), (2, Some(import.name)));
        assert_eq!(import.position, found);

        let mut other = importing(&config, &path);
        other.store(1, &deletions(&[4])).unwrap();
        for _ in 0..2 {
            let error = import.store(4, &deletions(&[5, 6])).unwrap_err().to_string();
            assert_eq!(error, format!("something else writes to {} at the same time", path.display()));
            assert_eq!(remembered(&mut import), 4);
        }
        assert_eq!(position(&mut import.db).unwrap(), other.position);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn of_lines_that_the_database_does_not_take_together_the_others_are_stored() {
        let (config, path) = (config(), file("import-refused"));
        let mut import = importing(&config, &path);
        let refuses = "CREATE TRIGGER no BEFORE INSERT ON deletions WHEN new.key GLOB '*7' \
                       BEGIN SELECT RAISE(ABORT, 'not this one'); END";
        import.db.execute_batch(refuses).unwrap();
        import.store(1, &deletions(&[6, 7, 8])).unwrap();
        import.store(4, &deletions(&[9])).unwrap();
        assert_eq!((import.tally.remembered, import.tally.refused), (3, 1));
        assert_eq!((remembered(&mut import), position(&mut import.db).unwrap()), (3, import.position.clone()));
        // Where it can write nothing, no line is to blame.
        let full = "CREATE TRIGGER full BEFORE UPDATE ON totals BEGIN SELECT RAISE(ABORT, 'no room'); END";
        import.db.execute_batch(full).unwrap();
        let error = import.store(5, &deletions(&[10, 11])).unwrap_err().to_string();
        assert!(error.contains("no room") && import.tally.refused == 1, "{error}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
