//! The database's threads: one that writes, in the order it is asked, some that read and never wait for it,
//! and one that moves what was written from the log into the file.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use rustix::fs::StatVfs;

use super::sqlite::{self, Move};
use crate::store::{self, Answer, Statement, StoreError};

/// How often the log is looked at, and from how many pages on it is moved; from where on nobody may read or write
/// meanwhile.
const MOVE_EVERY: Duration = Duration::from_millis(250);
const MOVE_FROM: i64 = 16_000;
const MOVE_ALL_FROM: i64 = 250_000;
/// For how long all are held up at the most, and who reads is waited for at the end: a backup reads for minutes.
const MOVE_ALL_FOR: Duration = Duration::from_millis(500);
/// Bytes of a page in the log, and from how many pages on it is moved where little of the disk is free.
const PAGE_BYTES: u64 = 4096 + 24;
const MOVE_FROM_AT_LEAST: i64 = 250;
/// The part of the room for the log and what is free that the log may have: what is in it must fit the file, too.
const LOG_PART: u64 = 4;

/// Takes an answer, on a thread of the database's.
pub type Done = Box<dyn FnOnce(Result<Answer, StoreError>) + Send>;

/// Statements and who waits for their answer.
struct Work {
    statements: Vec<Statement>,
    done: Done,
}

/// A database that is open; its threads end with the last clone.
#[derive(Clone)]
pub struct Database {
    write: Sender<Work>,
    read: Sender<Work>,
    threads: Arc<Threads>,
}

struct Threads {
    joined: Mutex<Vec<JoinHandle<()>>>,
    /// Says that this process alone has the file.
    _lock: File,
}

impl Database {
    /// Opens a file, brings it to this version's schema, and starts its threads.
    pub fn open(path: &Path, readers: usize) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let (writer, _) = sqlite::open_to_serve(path)?;
        let places = [path.to_owned(), sqlite::beside(&real(path), "-wal")].map(Place::of);
        let (write, to_write) = channel();
        let (read, to_read) = channel();
        let to_read = Arc::new(Mutex::new(to_read));
        let mut joined = Vec::new();
        for n in 0..readers.max(1) {
            let (db, work) = (sqlite::open_to_read(path)?, to_read.clone());
            joined.push(start(&format!("reader {n}"), move || reads(db, &work))?);
        }
        let (mover, log) = (sqlite::open(path)?, Arc::new(Log::of(path)));
        let file = File::open(path).map_err(|error| StoreError::new(format!("{}: {error}", path.display())))?;
        let same = log.clone();
        joined.push(start("writer", move || writes(writer, &to_write, &places, &same))?);
        // Ends with the process: who closes a file of SQLite's gives up the locks that SQLite has on it.
        start("mover", move || moves(&mover, &file, &log))?;
        Ok(Self { write, read, threads: Arc::new(Threads { joined: Mutex::new(joined), _lock: lock }) })
    }

    /// Runs statements as one transaction that writes; answers come in the order of what was written.
    pub fn write(&self, statements: Vec<Statement>, done: Done) {
        hand(&self.write, statements, done);
    }

    /// Runs statements as one transaction that reads.
    pub fn read(&self, statements: Vec<Statement>, done: Done) {
        hand(&self.read, statements, done);
    }

    /// Waits until all that was asked is answered; nothing may be asked any more.
    pub fn close(self) {
        let Self { write, read, threads } = self;
        drop((write, read));
        let joined = threads.joined.lock().map(|mut joined| std::mem::take(&mut *joined)).unwrap_or_default();
        for thread in joined {
            // A thread that panicked has ended the process.
            let _ = thread.join();
        }
    }
}

fn hand(to: &Sender<Work>, statements: Vec<Statement>, done: Done) {
    if let Err(error) = to.send(Work { statements, done }) {
        (error.0.done)(Err(StoreError::new("the database is closed")));
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let named = thread::Builder::new().name(name.to_owned());
    named.spawn(work).map_err(|error| StoreError::new(format!("starting a thread: {error}")))
}

/// A second process on the same file would not hear what this one stores.
pub fn lock(path: &Path) -> Result<File, StoreError> {
    if path.is_dir() {
        return Err(StoreError::new(format!(
            "{} is a folder; storage.path (STORAGE_PATH) names a file",
            path.display()
        )));
    }
    let path = &real(path);
    if let Some(names) = fs::metadata(path).ok().map(|file| file.nlink()).filter(|names| *names > 1) {
        return Err(StoreError::new(format!(
            "{} has {names} names (hard links), each of which would have a log of its own: leave it one",
            path.display()
        )));
    }
    let name = sqlite::beside(path, ".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let named = "storage.path (STORAGE_PATH) says where the database is";
    let file = file.map_err(|error| StoreError::new(format!("{}: {error}; {named}", name.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(StoreError::new(format!(
            "{} is in use by another nexus: end it first, or name another file in storage.path (STORAGE_PATH)",
            path.display()
        ))),
    }
}

/// A name, and the file that it was the name of.
struct Place {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl Place {
    fn of(path: PathBuf) -> Self {
        let file = fs::metadata(&path).ok().map(|file| (file.dev(), file.ino()));
        Self { path, file }
    }

    /// Fails where the name is another file's by now, or nobody's: SQLite goes on with the one that it has opened, and
    /// what is written to that is gone when the process ends.
    fn check(&self) -> Result<(), StoreError> {
        let gone = |what: &str| {
            // Clients are told that, too: where it lies does not concern them.
            let name = self.path.file_name().unwrap_or_default().display();
            Err(StoreError::new(format!("{name} was {what} while the relay runs")))
        };
        match fs::metadata(&self.path) {
            Ok(file) if self.file.is_none_or(|known| known == (file.dev(), file.ino())) => Ok(()),
            Ok(_) => gone("replaced"),
            Err(error) if error.kind() == ErrorKind::NotFound && self.file.is_some() => gone("removed"),
            // Something else may be wrong with the name; what is written tells.
            Err(_) => Ok(()),
        }
    }
}

/// Where a file is, or will be, whatever links lead to it: SQLite's log lies there, and so does the lock.
fn real(path: &Path) -> PathBuf {
    let inside = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(inside).unwrap_or_else(|| path.to_owned())
}

/// SQLite's log, as those who write and who move it know it, and who has it kept while he reads.
pub struct Log {
    path: PathBuf,
    /// Whether the writer is to move what came while it was moved.
    rest: AtomicBool,
    /// How many bytes it may have.
    most: AtomicU64,
}

impl Log {
    /// That of a file.
    pub fn of(path: &Path) -> Self {
        let path = sqlite::beside(&real(path), "-wal");
        Self { path, rest: AtomicBool::new(false), most: AtomicU64::new(u64::MAX) }
    }

    /// Bytes that it takes of the disk.
    fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Whether it is about to take more of the disk than it may: then those who write have to wait until it can be moved.
    pub fn is_crowded(&self) -> bool {
        let Ok(disk) = rustix::fs::statvfs(&self.path) else { return false };
        self.bytes() > self.most(&disk) / 4 * 3
    }

    /// Bytes that it may have on a disk like this.
    fn most(&self, disk: &StatVfs) -> u64 {
        disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(self.bytes()) / LOG_PART
    }

    /// Looks how much of the disk is free; how many pages it may have before they are moved.
    fn look(&self, file: &File) -> i64 {
        let Ok(disk) = rustix::fs::fstatvfs(file) else { return MOVE_FROM };
        let most = self.most(&disk);
        self.most.store(most, Ordering::Relaxed);
        // The writer need not do it then.
        i64::try_from(most / 2 / PAGE_BYTES).unwrap_or(MOVE_FROM).clamp(MOVE_FROM_AT_LEAST, MOVE_FROM)
    }

    /// Gives its room back where it has more than it may: on a disk that it has filled the file cannot grow, and nothing
    /// could ever be moved. Fails where that would come of going on.
    fn give_back(&self, db: &Connection) -> Result<(), StoreError> {
        let most = self.most.load(Ordering::Relaxed);
        if self.bytes() <= most {
            return Ok(());
        }
        sqlite::empty_log(db);
        match self.bytes() {
            // The file has what it had, until the disk is looked at again.
            0 => self.most.store(most - most / LOG_PART, Ordering::Relaxed),
            bytes if bytes > most.saturating_mul(2) => {
                let message = "no room on the disk to move SQLite's log into the file".to_owned();
                return Err(StoreError { message, kind: store::ErrorKind::Full });
            }
            _ => {}
        }
        Ok(())
    }
}

fn writes(mut db: Connection, work: &Receiver<Work>, places: &[Place], log: &Log) {
    let mut failed = false;
    while let Ok(Work { statements, done }) = work.recv() {
        // After a failure, too: on a disk that is full there may be room by now, and a log that goes on would take it.
        if log.rest.swap(false, Ordering::Relaxed) || failed {
            sqlite::move_log(&db, Move::Free);
        }
        let there = places.iter().try_for_each(Place::check);
        let result = there.and_then(|()| log.give_back(&db)).and_then(|()| sqlite::write(&mut db, &statements));
        failed = result.is_err();
        done(result);
    }
    // Leaves one file behind; if not, the next one to open it goes on with both.
    let _ = db.busy_timeout(MOVE_ALL_FOR);
    sqlite::move_log(&db, Move::All);
}

fn reads(mut db: Connection, work: &Mutex<Receiver<Work>>) {
    // Whoever has the lock waits for work; it is given back before the work is done.
    while let Ok(Ok(Work { statements, done })) = work.lock().map(|work| work.recv()) {
        done(sqlite::read(&mut db, &statements));
    }
}

/// Moves the log into the file beside those who write, so that no commit waits for more than what came
/// meanwhile: that `rest` is the writer's, and when it is moved the log begins anew, in the place it has. Where little of
/// the disk is free less is left to be moved, and the writer gives the place back.
fn moves(db: &Connection, file: &File, log: &Log) {
    let _ = db.busy_timeout(MOVE_ALL_FOR);
    loop {
        thread::sleep(MOVE_EVERY);
        move_on(db, file, log, MOVE_ALL_FROM);
    }
}

/// Moves what there is to move, everything where the log has so many pages.
fn move_on(db: &Connection, file: &File, log: &Log, all_from: i64) {
    let from = log.look(file);
    let (pages, left) = sqlite::move_log(db, Move::Nothing);
    if pages >= all_from {
        // Who reads what the database was, as a backup does, keeps in the log what came since: that does not pass by holding
        // up everybody.
        let (all, left) = sqlite::move_log(db, Move::Free);
        if all - left >= pages {
            sqlite::move_log(db, Move::All);
        }
    } else if left >= from {
        sqlite::move_log(db, Move::Free);
        // SQLite leaves that to who moves the rest, and syncs then, whatever comes of this.
        let _ = file.sync_data();
        log.rest.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_what_was_holds_up_nobody_who_writes() {
        let folder = std::env::temp_dir().join(format!("nexus-moved-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("nexus.sqlite");
        let (writer, _) = sqlite::open_to_serve(&path).unwrap();
        let (mover, file, log) = (sqlite::open(&path).unwrap(), File::open(&path).unwrap(), Log::of(&path));
        // Whoever has the file for himself is noticed at once.
        writer.busy_timeout(Duration::ZERO).unwrap();
        let write = |n: i64| writer.execute("INSERT INTO deletions VALUES (?1, 1)", [n]).unwrap();
        write(0);
        let (reader, _) = sqlite::hold(&path).unwrap();
        write(1);
        let moving = thread::spawn(move || {
            for _ in 0..20 {
                move_on(&mover, &file, &log, 1);
            }
            (mover, file, log)
        });
        let mut n = 1;
        while !moving.is_finished() || n < 50 {
            n += 1;
            write(n);
        }
        let (mover, file, log) = moving.join().unwrap();
        assert_eq!(reader.query_row("SELECT count(*) FROM deletions", [], |row| row.get(0)), Ok(1));
        assert!(log.bytes() > 0);
        drop(reader);
        // When it is gone all is moved.
        move_on(&mover, &file, &log, 1);
        assert_eq!(log.bytes(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
