//! Events from and to files of one JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::database::lock;
use super::env::Settings;
use super::shard::now;
use super::{Failed, log, sqlite};
use crate::nostr::{Event, Filter};
use crate::relay::{Config, ConnId, Effect, Host, Input, Relay};
use crate::store::counts;
use crate::store::read::{self, Text};

/// Lines that are stored together.
const TOGETHER: usize = 256;
/// Bytes of a line; more is no event that a relay takes.
const MAX_LINE: u64 = 2_000_000;
/// Refused lines that are told one by one.
const MAX_TOLD: u64 = 20;
/// How often progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Events that are read at once.
const PAGE: u64 = 1000;

/// How far an import has come; kept beside the database until it is done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Progress {
    file: PathBuf,
    lines: u64,
    bytes: u64,
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    stored: u64,
    known: u64,
    refused: u64,
}

/// Whether an event was taken, and what was said of it.
type Told = (bool, String);

/// An engine without connections but one, over a database of its own.
struct Offline {
    relay: Relay,
    db: Connection,
    /// What the one connection was sent.
    sent: Vec<String>,
    yielding: bool,
}

const CONN: ConnId = ConnId(1);

impl Offline {
    fn new(config: &Config, db: Connection) -> Self {
        // Who imports is the operator.
        let config = Config { auth_required: false, quotas: None, ..config.clone() };
        let host = Host { shard: 0, shards: 1, lasting: true };
        let mut offline =
            Self { relay: Relay::new(Rc::new(config), host, now()), db, sent: Vec::new(), yielding: false };
        offline.give(Input::Woke { conns: vec![] });
        offline.give(Input::Opened { conn: CONN, challenge: String::new(), ip: None });
        offline.sent.clear();
        offline
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.relay.handle(input, now()) {
                match effect {
                    Effect::Send { text, .. } => self.sent.push(text.to_string()),
                    Effect::Yield => self.yielding = true,
                    Effect::Commit { ticket, statements, .. } => {
                        let result = sqlite::write(&mut self.db, &[&statements]).pop();
                        inputs.extend(result.map(|result| Input::Committed { ticket, result }));
                    }
                    Effect::Query { ticket, statements } => {
                        let result = sqlite::read(&mut self.db, &statements);
                        inputs.push(Input::Answered { ticket, result });
                    }
                    Effect::Log { line, .. } => log::write(&line),
                    // The relay sweeps when it runs, and nobody else asks or listens here.
                    Effect::Pass { .. }
                    | Effect::Heard { .. }
                    | Effect::WakeAt { .. }
                    | Effect::TimerAt { .. }
                    | Effect::Remember { .. }
                    | Effect::Close { .. }
                    | Effect::Respond { .. } => {}
                }
            }
        }
    }

    /// Gives lines as events; what each is answered, in their order.
    fn store(&mut self, lines: &[String]) -> Vec<Told> {
        let mut answers: Vec<Option<Told>> = Vec::new();
        // Those whose answer comes with the group.
        let mut waiting: Vec<(usize, String)> = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            answers.push(match Event::parse(line) {
                Err(reason) => Some((false, reason.to_string())),
                Ok(event) => {
                    self.give(Input::Received { conn: CONN, text: format!("[\"EVENT\",{line}]") });
                    let at_once = self.told().into_iter().next().map(|(_, told)| told);
                    if at_once.is_none() {
                        waiting.push((at, event.id.to_string()));
                    }
                    at_once
                }
            });
        }
        if std::mem::take(&mut self.yielding) {
            self.give(Input::Yielded);
        }
        for (id, told) in self.told() {
            // Of lines that are the same the first one is told first.
            let Some(place) = waiting.iter().position(|(_, of)| *of == id) else { continue };
            let (at, _) = waiting.remove(place);
            if let Some(answer) = answers.get_mut(at) {
                *answer = Some(told);
            }
        }
        let silence = || (false, "error: it was not answered".to_owned());
        answers.into_iter().map(|answer| answer.unwrap_or_else(silence)).collect()
    }

    /// The OKs that were sent since this was asked last, each with its event's id.
    fn told(&mut self) -> Vec<(String, Told)> {
        let ok = |text: String| serde_json::from_str::<(String, String, bool, String)>(&text).ok();
        self.sent.drain(..).filter_map(ok).map(|(_, id, accepted, text)| (id, (accepted, text))).collect()
    }
}

/// Stores the events of a file, each as if it had been published, and goes on where it was interrupted.
pub fn import(settings: &Settings, file: &Path) -> Result<(), Failed> {
    let of = |error: std::io::Error| format!("{}: {error}", file.display());
    let _lock = lock(&settings.path)?;
    let (db, _) = sqlite::open_to_serve(&settings.path)?;
    db.execute_batch("PRAGMA wal_autocheckpoint = 1000;")?;
    let mut offline = Offline::new(&settings.config, db);
    let mut source = File::open(file).map_err(of)?;
    let size = source.metadata().map_err(of)?.len();
    let mark = sqlite::beside(&settings.path, ".import");
    let name = std::fs::canonicalize(file).map_err(of)?;
    let known = std::fs::read(&mark).ok().and_then(|text| serde_json::from_slice::<Progress>(&text).ok());
    let mut progress = match known {
        Some(known) if known.file == name && known.bytes <= size => {
            log::put(&format!("going on after line {} of {}", known.lines, file.display()));
            known
        }
        _ => Progress { file: name, lines: 0, bytes: 0 },
    };
    source.seek(SeekFrom::Start(progress.bytes)).map_err(of)?;
    let mut source = BufReader::new(source);
    let (mut tally, mut bar) = (Tally::default(), Bar::new(size, progress.bytes));
    loop {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < TOGETHER {
            let mut line = Vec::new();
            let read = source.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(of)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            lines.push(String::from_utf8_lossy(&line).trim().to_owned());
        }
        if lines.is_empty() {
            break;
        }
        for (line, (accepted, text)) in (progress.lines + 1..).zip(offline.store(&lines)) {
            // What the store could not take is tried again the next time.
            if text.starts_with("error: ") {
                return Err(format!("{}, line {line}: {text}", file.display()).into());
            }
            match (accepted, text.starts_with("duplicate: ")) {
                (true, false) => tally.stored += 1,
                (_, true) => tally.known += 1,
                (false, false) => {
                    tally.refused += 1;
                    if tally.refused <= MAX_TOLD {
                        bar.say(&format!("line {line}: {text}"));
                    }
                }
            }
        }
        progress.lines += lines.len() as u64;
        progress.bytes += bytes;
        std::fs::write(&mark, serde_json::to_vec(&progress)?)?;
        bar.show(progress.bytes, progress.lines);
    }
    bar.end();
    // It is done; one that is left says where it ended.
    let _ = std::fs::remove_file(&mark);
    let Tally { stored, known, refused } = tally;
    log::put(&format!("{stored} events stored, {known} were here or are outdated, {refused} refused"));
    Ok(())
}

/// Progress on stderr: a line that is written over on a terminal, else one now and then.
struct Bar {
    size: u64,
    from: u64,
    lines: Option<u64>,
    start: Instant,
    told: Instant,
    terminal: bool,
}

impl Bar {
    fn new(size: u64, from: u64) -> Self {
        let now = Instant::now();
        Self { size, from, lines: None, start: now, told: now, terminal: std::io::stderr().is_terminal() }
    }

    fn say(&self, text: &str) {
        log::put(&format!("{}{text}", if self.terminal { "\r\x1b[K" } else { "" }));
    }

    fn show(&mut self, bytes: u64, lines: u64) {
        let first = *self.lines.get_or_insert(lines.saturating_sub(TOGETHER as u64));
        let every = if self.terminal { Duration::from_millis(100) } else { TELL_EVERY };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let rate = lines.saturating_sub(first) as f64 / seconds;
        let share = bytes as f64 / self.size.max(1) as f64;
        let left = self.size.saturating_sub(bytes) as f64 * seconds / bytes.saturating_sub(self.from).max(1) as f64;
        let text = format!("{:5.1} %, {lines} lines, {rate:.0}/s, {left:.0} s left", share * 100.0);
        if self.terminal {
            let full = (share * 30.0) as usize;
            let bar = ["=".repeat(full), " ".repeat(30 - full.min(30))].concat();
            let _ = write!(std::io::stderr(), "\r\x1b[K[{bar}] {text}");
        } else {
            log::put(&text);
        }
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Writes stored events to stdout, in the order they were stored: of the relay's database, beside a relay that
/// runs, or of what `wrangler d1 export` has written.
pub fn export(path: &Path, filter: Option<&str>, d1: Option<&Path>) -> Result<(), Failed> {
    let filter = filter.map(Filter::parse).transpose().map_err(|reason| reason.to_string())?.unwrap_or_default();
    if filter.limit.is_some() {
        return Err("an export has no limit: leave it out of the filter".into());
    }
    let mut db = match d1 {
        Some(file) => dumped(file)?,
        None => sqlite::open_to_read(path)?,
    };
    let last = counts::decode_totals(&sqlite::read(&mut db, &counts::read_totals())?.rows, 0)?.last_seq;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = 0_u64;
    for after in (0..last).step_by(PAGE as usize) {
        let page = sqlite::read(&mut db, &[read::log(after, last.min(after + PAGE))])?;
        for event in
            page.rows.into_iter().map(read::decode).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().flatten()
        {
            let Text::Json(json) = event.text else { continue };
            if !Event::parse(&json).is_ok_and(|event| filter.matches(&event)) {
                continue;
            }
            match writeln!(out, "{json}") {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
            written += 1;
        }
    }
    out.flush()?;
    log::put(&format!("{written} events"));
    Ok(())
}

/// A database, on disk and without a name, of what a file of SQL makes.
fn dumped(file: &Path) -> Result<Connection, Failed> {
    let sql = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let db = Connection::open("")?;
    db.execute_batch(&sql).map_err(|error| format!("{}: not what D1 exports: {error}", file.display()))?;
    Ok(db)
}
