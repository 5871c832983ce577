//! What a relay has, as lines of JSON on stdout: what it remembers first, then its events in the order they were
//! stored. Or whole databases, as SQL for D1.

mod sql;

pub use sql::export_sql;

use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::gateway::now;
use super::{Failed, dump, log, sqlite};
use crate::ledger::Remembered;
use crate::market::retention::Kept;
use crate::nostr::{Event, Filter};
use crate::store::export::{self, Form};
use crate::store::{Statement, StoreError};

/// Rows that are read at once.
const PAGE: u64 = 1000;

/// Writes what is stored to stdout: of the relay's database, beside a relay that runs, or of what `wrangler d1 export`
/// has written. With a filter only the events it matches are written. What is removed while this runs may be
/// among it, with what removed it.
/// Of several partitions each event is written once, and each deletion as often as partitions remember it.
pub fn export(paths: &[PathBuf], kept: Option<&Kept>, filter: Option<&str>, d1: Option<&Path>) -> Result<(), Failed> {
    let filter = filter.map(Filter::parse).transpose().map_err(|reason| reason.to_string())?;
    if filter.as_ref().is_some_and(|filter| filter.limit.is_some()) {
        return Err("an export has no limit: leave it out of the filter".into());
    }
    let mut databases = match d1 {
        Some(file) => vec![dumped(file)?],
        None => paths.iter().map(|path| opened(path)).collect::<Result<_, _>>()?,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    match write_all(&mut databases, kept, filter.as_ref(), &mut out) {
        Err(error) if is_gone(&*error) => Ok(()),
        written => {
            let told = written?;
            out.flush()?;
            log::put(&told);
            Ok(())
        }
    }
}

/// The relay's own database.
fn opened(path: &Path) -> Result<Connection, Failed> {
    sqlite::must_be_there(path)?;
    Ok(sqlite::open_to_read(path)?)
}

/// Whether nobody reads any more: who wanted the first lines has them.
fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Writes all lines; answers how many there were.
fn write_all(
    databases: &mut [Connection],
    kept: Option<&Kept>,
    filter: Option<&Filter>,
    out: &mut BufWriter<StdoutLock>,
) -> Result<String, Failed> {
    let (mut jobs, mut deletions, mut events) = (0_u64, 0_u64, 0_u64);
    let mut forms = Vec::new();
    for db in &mut *databases {
        forms.push(Form::decode(&page(db, Form::read())?));
    }
    if filter.is_none() {
        // Jobs first, so that no answer to an encrypted one is ever stored as one that is for everybody.
        for (db, form) in databases.iter_mut().zip(&forms) {
            jobs += remembered(db, |after, limit| export::read_jobs(*form, after, limit), out)?;
        }
        for db in &mut *databases {
            deletions += remembered(db, export::read_deletions, out)?;
        }
    }
    for (db, form) in databases.iter_mut().zip(forms) {
        events += write_events(db, form, kept, filter, out)?;
    }
    Ok(match filter {
        Some(_) => format!("{events} events"),
        None => format!("{events} events, {deletions} deletions, {jobs} jobs"),
    })
}

/// Writes the events of a database that a filter matches; answers how many there were.
fn write_events(
    db: &mut Connection,
    form: Form,
    kept: Option<&Kept>,
    filter: Option<&Filter>,
    out: &mut BufWriter<StdoutLock>,
) -> Result<u64, Failed> {
    let (mut after, mut events) = (0, 0);
    loop {
        let page = page(db, export::read_events(form, after, PAGE, kept, now() / 1000))?;
        for row in &page {
            let (seq, json) = export::decode_event(form, row)?;
            after = seq;
            if filter.is_none_or(|filter| Event::parse(&json).is_ok_and(|event| filter.matches(&event))) {
                writeln!(out, "{json}")?;
                events += 1;
            }
        }
        // What was stored meanwhile is read as well: it may have taken the place of what is not read yet.
        if (page.len() as u64) < PAGE {
            return Ok(events);
        }
    }
}

/// Writes what is remembered of a sort; answers how much it was.
fn remembered(
    db: &mut Connection,
    read: impl Fn(&str, u64) -> Statement,
    out: &mut BufWriter<StdoutLock>,
) -> Result<u64, Failed> {
    let (mut after, mut written) = (String::new(), 0);
    loop {
        let page = page(db, read(&after, PAGE))?;
        let Some(last) = page.last() else { return Ok(written) };
        after = match serde_json::from_str(last)? {
            Remembered::Deletion(deletion) => deletion.key,
            Remembered::Job(job) => job.id.to_string(),
        };
        for line in &page {
            writeln!(out, "{line}")?;
        }
        written += page.len() as u64;
    }
}

fn page(db: &mut Connection, statement: Statement) -> Result<Vec<String>, StoreError> {
    Ok(sqlite::read(db, &[statement])?.rows.pop().unwrap_or_default())
}

/// A database, on disk and without a name, of what a file of SQL makes.
fn dumped(file: &Path) -> Result<Connection, Failed> {
    let db = Connection::open("")?;
    dump::load(&db, file)?;
    Ok(db)
}
