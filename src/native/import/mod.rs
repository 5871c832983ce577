//! Lines of JSON into a database: events and what an [`export`](super::export) has besides. Who imports is the
//! operator: what limits strangers (who publishes, how much, how old, how large) does not hold here.

mod whole;
mod writer;

pub use whole::import_whole;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::bar::Bar;
use super::database::lock;
use super::env::Settings;
use super::gateway::now;
use super::{Failed, log, place, sqlite};
use crate::gateway::Config;
use crate::ledger::{NewEvent, Remembered, RememberedDeletion, RememberedJob};
use crate::market::rules;
use crate::message::PartitionId;
use crate::nostr::{Event, KindClass, MAX_INTEGER, deletion};
use crate::store::StoreError;
use writer::Writer;

/// Lines that are stored together, and their bytes.
const TOGETHER: usize = 256;
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
    /// The versions of the partitions' logs that these lines are in.
    versions: Vec<u64>,
}

/// What is imported: a file that has been written to since is another one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    file: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl Progress {
    /// Whether an import of `source` into databases whose logs have these versions may go on from here. One that has
    /// been begun anew, or was put back, has not all of the lines.
    fn holds(&self, source: &Source, versions: &[u64]) -> bool {
        let has_all = self.versions.iter().zip(versions).all(|(had, has)| had <= has);
        self.source == *source && self.versions.len() == versions.len() && has_all
    }
}

/// What became of lines.
struct Tally {
    stored: u64,
    known: u64,
    remembered: u64,
    refused: u64,
    /// Those of the lines that are being stored that are refused by now.
    refused_now: BTreeSet<u64>,
    bar: Bar,
}

impl Tally {
    /// Of a file of so many bytes, of which some are done, and so many lines.
    fn new(size: u64, done: u64, lines: u64) -> Self {
        let (stored, known, remembered, refused, refused_now) = Default::default();
        Self { stored, known, remembered, refused, refused_now, bar: Bar::new(size, done, "lines", lines) }
    }

    /// A line is refused, by one partition or by several.
    fn refuse(&mut self, number: u64, reason: &str) {
        if self.refused_now.insert(number) {
            self.refused += 1;
            if self.refused <= MAX_TOLD {
                self.bar.say(&format!("line {number}: {reason}"));
            }
        }
    }
}

/// Stores what a file has, and goes on where it was interrupted.
pub fn import(settings: &Settings, file: &Path) -> Result<(), Failed> {
    let of = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut source = File::open(file).map_err(of)?;
    let config = &settings.config;
    place::check_all(settings)?;
    let _locks = settings.paths().map(|path| lock(&path)).collect::<Result<Vec<_>, _>>()?;
    let mut partitions = Vec::new();
    for partition in PartitionId::all(config.partitions) {
        let path = settings.path_of(partition);
        let (db, _) = sqlite::open_to_serve(&path)?;
        db.execute_batch("PRAGMA wal_autocheckpoint = 1000;")?;
        partitions.push(Writer::new(config, partition, &path, db)?);
    }
    let versions = |partitions: &[Writer]| partitions.iter().map(Writer::version).collect::<Vec<_>>();
    let metadata = source.metadata().map_err(of)?;
    let size = metadata.len();
    let mark = sqlite::beside(&settings.path, ".import");
    let unnamed = sqlite::beside(&settings.path, ".import.new");
    let name = std::fs::canonicalize(file).map_err(of)?;
    let this = Source { file: name, bytes: size, modified: metadata.modified().map_err(of)? };
    let known = std::fs::read(&mark).ok().and_then(|text| serde_json::from_slice::<Progress>(&text).ok());
    let mut progress = match known {
        Some(known) if known.holds(&this, &versions(&partitions)) => {
            log::put(&format!("going on after line {} of {}", known.lines, file.display()));
            known
        }
        _ => Progress { source: this, lines: 0, bytes: 0, versions: Vec::new() },
    };
    source.seek(SeekFrom::Start(progress.bytes)).map_err(of)?;
    let mut source = BufReader::new(source);
    let mut tally = Tally::new(size, progress.bytes, progress.lines);
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
        store(config, &mut partitions, progress.lines + 1, &lines, &mut tally)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        progress.lines += lines.len() as u64;
        progress.bytes += bytes;
        progress.versions = versions(&partitions);
        // In one step, so that whoever is killed leaves the one before or this one.
        std::fs::write(&unnamed, serde_json::to_vec(&progress)?)?;
        std::fs::rename(&unnamed, &mark)?;
        tally.bar.show(progress.bytes, progress.lines);
    }
    tally.bar.end();
    // It is done; one that is left says where it ended.
    let _ = std::fs::remove_file(&mark);
    let Tally { stored, known, remembered, refused, .. } = tally;
    let more = if remembered > 0 { format!("; {remembered} deletions and jobs remembered") } else { String::new() };
    log::put(&format!("{stored} events stored, {known} were here or are outdated, {refused} refused{more}"));
    Ok(())
}

/// Stores lines, of which the first has the number `first`, each in its partition. An error is a database's.
fn store(
    config: &Config,
    partitions: &mut [Writer],
    first: u64,
    lines: &[Result<String, String>],
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let mut by_partition: Vec<Vec<(u64, Line)>> = partitions.iter().map(|_| Vec::new()).collect();
    tally.refused_now.clear();
    for (number, line) in (first..).zip(lines) {
        match line.as_deref().map_err(Clone::clone).and_then(|text| understand(config, text)) {
            Ok(line) => line.into_iter().for_each(|line| place(number, line, &mut by_partition)),
            Err(reason) => tally.refuse(number, &reason),
        }
    }
    // Home last: what it deletes elsewhere goes first.
    partitions.iter_mut().zip(by_partition).rev().try_for_each(|(partition, lines)| partition.store(lines, tally))
}

/// Puts a line to those of the partitions that it is for.
fn place(number: u64, line: Line, by_partition: &mut [Vec<(u64, Line)>]) {
    let count = u32::try_from(by_partition.len()).unwrap_or(1);
    let (to, elsewhere) = match &line {
        Line::Event(new) => {
            let tombstone = new.tombstone().filter(|_| count > 1);
            (PartitionId::of_event(new, count), tombstone.map(|new| Line::Event(new.into())))
        }
        Line::Deletion(deletion, _) => (PartitionId::HOME, Some(Line::Deletion(deletion.clone(), false))),
        Line::Job(job) => (PartitionId::of_job(&job.id, count), None),
    };
    for (lines, partition) in by_partition.iter_mut().zip(PartitionId::all(count)) {
        if partition == to {
            lines.push((number, line.clone()));
        } else if let Some(elsewhere) = &elsewhere {
            lines.push((number, elsewhere.clone()));
        }
    }
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
#[derive(Clone)]
enum Line {
    Event(Arc<NewEvent>),
    /// And whether it is counted here: every partition is told.
    Deletion(RememberedDeletion, bool),
    Job(RememberedJob),
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
            Remembered::Deletion(deletion) => Line::Deletion(deletion, true),
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
        is_elsewhere: false,
        act: None,
        event,
    })
}
