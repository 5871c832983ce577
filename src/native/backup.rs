//! Copies of databases that are in use, each whole and of one moment.
//!
//! SQLite's own backup copies a file page by page, here within one transaction that reads. Beside a log (WAL) who reads holds
//! up nobody: commits go on as before, and what they write stays in the log until the copy is made. Without that transaction
//! each commit would begin the copy anew, so under load it would never end; on the relay's own connection it need not, but
//! commits would wait for the disk that is copied to. VACUUM INTO reads as this does, and makes each index anew: the log
//! would have to be kept for several times as long, and nobody could tell how far it is.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Advice, CWD, RenameFlags, fadvise, renameat_with};

use super::bar::Bar;
use super::database::Log;
use super::env::{Settings, numbered};
use super::{Failed, sqlite};
use crate::message::PartitionId;
use crate::store::counts::{self, Position};
use crate::store::{self, StoreError};

/// Pages that are copied before the disk has to have them: what syncs beside this, as a commit does, waits for no more.
const TOGETHER: i32 = 2048;
/// What a backup is called until it is whole.
const UNFINISHED: &str = ".part";
/// Bytes of a megabyte, as progress is told.
const MEGABYTE: u64 = 1_000_000;

/// A partition's database as it was at one moment, and the file that becomes its backup.
struct Copy {
    from: PathBuf,
    db: Connection,
    made: Made,
}

/// A backup, and what it must have.
struct Made {
    to: PathBuf,
    unfinished: Unfinished,
    bytes: u64,
    /// Migrations that it has not had; and how far the database was, which earlier versions may count otherwise.
    lacks: usize,
    position: Option<Position>,
}

/// A file that is not whole yet; it is gone with this.
pub struct Unfinished {
    /// Where it is meanwhile.
    pub path: PathBuf,
    /// Itself.
    pub file: File,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies the databases of all partitions beside a relay that runs or not. The moments are those at which each is opened,
/// home first: deletions are carried out elsewhere before home has them, so one that is in the backup of home was carried out
/// in all others. What belongs to a job is in one of them.
pub fn backup(settings: &Settings, file: &Path) -> Result<(), Failed> {
    let mut copies = Vec::new();
    let mut held = Vec::new();
    let names = PartitionId::all(settings.config.partitions).map(|it| (settings.path_of(it), numbered(file, it)));
    let names: Vec<_> = names.collect();
    for (_, to) in &names {
        refuse_to_overwrite(to)?;
    }
    for (from, _) in &names {
        held.push(sqlite::hold(from)?);
    }
    for ((from, to), (db, lacks)) in names.into_iter().zip(held) {
        let bytes = sqlite::size(&db).unwrap_or_default();
        let made = Made { unfinished: Unfinished::of(&to)?, position: position(&db, lacks)?, to, bytes, lacks };
        copies.push(Copy { from, db, made });
    }
    let all: u64 = copies.iter().map(|copy| copy.made.bytes).sum();
    has_room(file, all)?;
    let mut bar = Bar::new(all, 0, "MB", 0);
    let mut before = 0;
    let made = copies.into_iter().map(|copy| {
        let made = copy.make(&mut bar, before)?;
        before += made.bytes;
        Ok::<_, Failed>(made)
    });
    let made = made.collect::<Result<Vec<_>, _>>();
    bar.end();
    let made = made?;
    made.iter().try_for_each(Made::check)?;
    // Home last: where the name that was asked for is there, all are.
    for Made { bytes, to, unfinished, .. } in made.iter().rev() {
        put_in_place(&unfinished.path, to).map_err(|error| cause(to, &error))?;
        println!("{}: {:.1} MB, checked", to.display(), *bytes as f64 / MEGABYTE as f64);
    }
    Ok(())
}

fn refuse_to_overwrite(to: &Path) -> Result<(), Failed> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(format!("{} is there already: name another file, or move it away", to.display()).into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cause(to, &error)),
    }
}

/// What went wrong with a file, with what can be done.
pub fn cause(to: &Path, error: &std::io::Error) -> Failed {
    let mend = match error.kind() {
        ErrorKind::NotFound => "; its folder must be there",
        ErrorKind::PermissionDenied => "; run it as who may write there, or name a file elsewhere",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room, or name a file on another disk",
        ErrorKind::AlreadyExists => "; name another file, or move it away",
        _ => "",
    };
    format!("{}: {error}{mend}", to.display()).into()
}

/// An error before there is anything to remove, where that can be known.
fn has_room(file: &Path, bytes: u64) -> Result<(), Failed> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let [needed, free] = [bytes, free].map(|bytes| bytes.div_ceil(MEGABYTE));
    let folder = folder.display();
    Err(format!(
        "{}: it takes {needed} MB, and {free} MB are free in {folder}; make room, or name a file on another disk",
        file.display()
    )
    .into())
}

impl Unfinished {
    /// Makes the file, which its owner alone may read; one that was left begins anew.
    pub fn of(to: &Path) -> Result<Self, Failed> {
        let path = sqlite::beside(to, UNFINISHED);
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| cause(&path, &error))?;
        if file.try_lock().is_err() {
            return Err(format!(
                "{} is being written by another nexus: wait for its end, or name another file",
                path.display()
            )
            .into());
        }
        let made = Self { path, file };
        made.file.set_len(0).map_err(|error| cause(&made.path, &error))?;
        Ok(made)
    }

    /// Has the disk have it, and the system forget it: what else is in memory is of more use, and the check reads the disk.
    fn sync(&self) -> Result<(), Failed> {
        self.file.sync_all().map_err(|error| cause(&self.path, &error))?;
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        Ok(())
    }
}

impl Copy {
    /// Copies all pages, and lets the database go on; `before` are the bytes that were copied before these.
    fn make(self, bar: &mut Bar, before: u64) -> Result<Made, Failed> {
        let Self { from, db, made } = self;
        let Made { to, unfinished, bytes, .. } = &made;
        let failed = |error: &StoreError| -> Failed {
            let (from, to) = (from.display(), to.display());
            match error.kind {
                store::ErrorKind::Full => format!("{to}: {error}; make room, or name a file on another disk").into(),
                _ => format!("copying {from} to {to}: {error}").into(),
            }
        };
        let of_sqlite = |error| failed(&sqlite::said(error));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(&unfinished.path, flags).map_err(of_sqlite)?;
        // It is nobody's until it is whole, and synced below.
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000;")
            .map_err(of_sqlite)?;
        let log = Log::of(&from);
        let backup = Backup::new(&db, &mut copy).map_err(of_sqlite)?;
        loop {
            match backup.step(TOGETHER).map_err(of_sqlite)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => return Err(failed(&StoreError::new("another program has locked it"))),
            }
            unfinished.sync()?;
            let progress = backup.progress();
            let done = u64::try_from(progress.pagecount - progress.remaining).unwrap_or_default();
            let page = bytes / u64::try_from(progress.pagecount).unwrap_or(1).max(1);
            bar.show(before + done * page, (before + done * page) / MEGABYTE);
            if log.is_crowded() {
                return Err(format!(
                    "{}: the relay writes more meanwhile than its disk has room for beside this backup, so it was given up; make \
                     room, or name a file on another disk",
                    from.display()
                )
                .into());
            }
        }
        drop(backup);
        drop((copy, db));
        unfinished.sync()?;
        Ok(made)
    }
}

impl Made {
    /// Whether what was written is whole, and has what the database had.
    fn check(&self) -> Result<(), Failed> {
        let path = &self.unfinished.path;
        let lacks = sqlite::check(path)?;
        let copy = sqlite::open_still(path)?;
        if (lacks, sqlite::size(&copy)) == (self.lacks, Some(self.bytes)) && position(&copy, lacks)? == self.position {
            return Ok(());
        }
        Err(format!("{} is not what was copied: the disk has not kept it", path.display()).into())
    }
}

/// How far a database is that lacks so many migrations, if that can be asked of it.
fn position(db: &Connection, lacks: usize) -> Result<Option<Position>, StoreError> {
    let read = || counts::decode(&sqlite::read_within(db, &[counts::read()])?);
    (lacks == 0).then(read).transpose()
}

/// Gives a file the name that nothing has.
pub fn put_in_place(unfinished: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, unfinished, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do that.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.try_exists()? => fs::rename(unfinished, to)?,
        renamed => renamed?,
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
