//! Runs statements on SQLite.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, StatementStatus, ToSql, TransactionBehavior, params_from_iter};

use crate::store::schema::{MIGRATIONS, Migration, Schema, Unfit};
use crate::store::{Answer, ErrorKind, Param, Rows, Statement, StoreError};

/// Marks a file as a relay's ("nexs").
const APPLICATION: i32 = 0x6e65_7873;
/// What is to be done about a file of another schema.
const MOVE: &str = "It was left as it is. To move its events: `nexus export > events.jsonl`, then name another \
     file in storage.path (STORAGE_PATH), then `nexus import events.jsonl`";
/// Statements that stay prepared: there are some for each sort of group, and for each shape of filter.
pub const PREPARED: usize = 500;
/// Steps of SQLite for a row that is looked at, about.
const STEPS: u64 = 20;
/// KiB of pages in memory, a connection.
const CACHE: i64 = 64_000;
/// For how long it is waited for who has locked the file, and how often and when it is tried where nobody waits so long.
const BUSY: Duration = Duration::from_secs(10);
const TRIES: usize = 25;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Opens a file for reading and writing and brings it to the schema of this version; it is made if it is not
/// there. A file that is not a relay's, or has another schema, is refused and left as it is. Answers how many
/// migrations were applied, too.
pub fn open_to_serve(path: &Path) -> Result<(Connection, usize), StoreError> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        missing(&open_to_read(path)?, MIGRATIONS).map_err(|error| of(path, error))?;
    }
    let mut db = open(path)?;
    let applied = migrate(&mut db, MIGRATIONS).map_err(|error| of(path, error))?;
    Ok((db, applied))
}

/// Opens a file for reading and writing.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    // Commits are moved into the file by a thread of its own.
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;";
    opened(path, OpenFlags::default(), settings)
}

/// Opens a file for reading alone.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    opened(path, flags, "")
}

fn opened(path: &Path, flags: OpenFlags, settings: &str) -> Result<Connection, StoreError> {
    let open = || {
        let db = Connection::open_with_flags(path, flags)?;
        db.execute_batch(&format!("{settings} PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE};"))?;
        db.set_prepared_statement_cache_capacity(PREPARED);
        // A statement stays prepared whatever is bound to it: else each new value would have it prepared again, as an index
        // of a part of a table might do for that one.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        db.busy_timeout(BUSY)?;
        Ok(db)
    };
    open().map_err(said).map_err(|error| of(path, error))
}

/// An error with the file that it is about.
fn of(path: &Path, error: StoreError) -> StoreError {
    let message = match error.kind {
        ErrorKind::Overloaded => format!(
            "{}: {}: another program has locked it; end that one, or try again when it is done",
            path.display(),
            error.message
        ),
        _ => format!("{}: {}", path.display(), error.message),
    };
    StoreError { message, ..error }
}

/// Says where a file is looked for that is not there.
pub fn must_be_there(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let what = format!("there is no {}; storage.path (STORAGE_PATH) says where the database is", path.display());
    Err(StoreError::new(what))
}

/// Opens a relay's file for reading, and holds what it has at this moment: nothing that is written from now on is seen, and
/// whoever writes is not held up. Answers how many migrations it lacks, too.
pub fn hold(path: &Path) -> Result<(Connection, usize), StoreError> {
    must_be_there(path)?;
    let db = open_to_read(path)?;
    let hold = || db.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").map_err(said);
    let lacks = hold().and_then(|()| missing(&db, MIGRATIONS)).map_err(|error| of(path, error))?.len();
    if lacks == MIGRATIONS.len() {
        return Err(of(path, StoreError::new("it has no tables")));
    }
    Ok((db, lacks))
}

/// Opens a file that nobody writes to, as it is on the disk and without making others beside it.
pub fn open_still(path: &Path) -> Result<Connection, StoreError> {
    let wrong = || StoreError::new(format!("{}: not the name of a file", path.display()));
    let whole = std::path::absolute(path).map_err(|_| wrong())?;
    let mut url = url::Url::from_file_path(whole).map_err(|()| wrong())?;
    url.set_query(Some("immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(url.as_str(), flags).map_err(said).map_err(|error| of(path, error))
}

/// Whether a file is whole, and a relay's: whatever is wrong with it. Reads all of it. Answers how many migrations it lacks.
pub fn check(path: &Path) -> Result<usize, StoreError> {
    let db = open_still(path)?;
    let wrong = |error| of(path, error);
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(said).map_err(wrong)?;
    if found != "ok" {
        return Err(wrong(StoreError::new(format!("it is damaged: {found}"))));
    }
    Ok(missing(&db, MIGRATIONS).map_err(wrong)?.len())
}

/// Marks a database as a relay's that has had so many migrations.
pub fn mark(db: &Connection, migrations: usize) -> rusqlite::Result<()> {
    db.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {migrations};"))
}

/// The name of a file that lies beside a database.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Brings a database to the schema that all of these migrations make; answers how many were applied. All that it lacks
/// are applied, or none.
pub fn migrate(db: &mut Connection, migrations: &[Migration]) -> Result<usize, StoreError> {
    let missing = missing(db, migrations)?;
    if missing.is_empty() {
        return Ok(0);
    }
    let failed = |at: &str, error| {
        let error = said(error);
        let mend = match error.kind {
            ErrorKind::Full => "Make room on the disk, for as much again as the file has",
            _ => "Mend what it says",
        };
        let message = format!(
            "the upgrade to schema {} failed at {at}: {}. The file is as it was. {mend}, and start again; meanwhile the \
             version before serves it",
            migrations.len(),
            error.message
        );
        StoreError { message, ..error }
    };
    let transaction =
        db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| failed("its beginning", error))?;
    for migration in missing {
        transaction.execute_batch(migration.sql).map_err(|error| failed(migration.name, error))?;
    }
    mark(&transaction, migrations.len()).map_err(|error| failed("its end", error))?;
    transaction.commit().map_err(|error| failed("its end", error))?;
    Ok(missing.len())
}

/// The migrations that a database lacks; an error if it is not a relay's, or has not what those make that it has had. Only
/// reads.
fn missing<'a>(db: &Connection, migrations: &'a [Migration]) -> Result<&'a [Migration], StoreError> {
    let version = pragma::<u32>(db, "user_version")? as usize;
    let application: i32 = pragma(db, "application_id")?;
    let (found, _) = run(db, &[Schema::read()]).map_err(said)?;
    let found = Schema::decode(found.first().map(Vec::as_slice).unwrap_or_default());
    if !found.is_empty() && application != APPLICATION {
        return Err(StoreError::new("the file is a database, but not a relay's: name another one in storage.path"));
    }
    found.missing(version, migrations).map_err(|unfit| {
        StoreError::new(match unfit {
            Unfit::Later => format!(
                "the file is of schema {version}, this nexus knows {}: it was written by a later one. Run that one, or serve \
                 the copy that was made before",
                migrations.len()
            ),
            Unfit::Differs(differences) => format!("{differences}. {MOVE}"),
        })
    })
}

fn pragma<T: rusqlite::types::FromSql>(db: &Connection, name: &str) -> Result<T, StoreError> {
    db.pragma_query_value(None, name, |row| row.get(0)).map_err(said)
}

/// What SQLite says of an error.
pub fn said(error: rusqlite::Error) -> StoreError {
    StoreError::of_sqlite(error.sqlite_error().map(|error| error.extended_code), error.to_string())
}

/// Runs statements as one transaction that writes.
pub fn write(db: &mut Connection, statements: &[Statement]) -> Result<Answer, StoreError> {
    let size = size(db);
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(said)?;
    let (rows, _) = run(&transaction, statements).map_err(said)?;
    transaction.commit().map_err(said)?;
    Ok(Answer { size, ..Answer::from(rows) })
}

/// Runs statements that read, all on the same state.
pub fn read(db: &mut Connection, statements: &[Statement]) -> Result<Answer, StoreError> {
    let transaction = db.transaction().map_err(said)?;
    let (rows, looked_at) = run(&transaction, statements).map_err(said)?;
    transaction.finish().map_err(said)?;
    Ok(Answer { looked_at, ..Answer::from(rows) })
}

/// The same on the state that a transaction holds.
pub fn read_within(db: &Connection, statements: &[Statement]) -> Result<Rows, StoreError> {
    run(db, statements).map(|(rows, _)| rows).map_err(said)
}

/// The rows of statements, and about how many they have looked at.
fn run(db: &Connection, statements: &[Statement]) -> rusqlite::Result<(Rows, u64)> {
    let mut steps = 0;
    let mut run = |statement: &Statement| {
        let mut prepared = db.prepare_cached(&statement.sql)?;
        let params = statement.params.iter().map(|param| match param {
            Param::Text(text) => text as &dyn ToSql,
            Param::Integer(number) => number as &dyn ToSql,
        });
        if prepared.column_count() == 0 {
            prepared.execute(params_from_iter(params))?;
            return Ok(Vec::new());
        }
        let rows = prepared.query_map(params_from_iter(params), |row| row.get("r"))?.collect();
        steps += u64::try_from(prepared.reset_status(StatementStatus::VmStep)).unwrap_or_default();
        rows
    };
    let rows = statements.iter().map(&mut run).collect::<rusqlite::Result<Rows>>()?;
    Ok((rows, steps / STEPS))
}

/// How much of the log is moved into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing.
    Nothing,
    /// What can be moved while others read and write.
    Free,
    /// All; who reads or writes is waited for, and waits. The log is empty then.
    All,
}

/// Moves the log into the file; answers how many pages the log has, and how many of them are not there yet. What
/// cannot be moved now is moved the next time.
pub fn move_log(db: &Connection, how: Move) -> (i64, i64) {
    let how = match how {
        Move::Nothing => "NOOP",
        Move::Free => "PASSIVE",
        Move::All => "TRUNCATE",
    };
    let pages = |row: &Row| {
        let log = row.get("log")?;
        Ok((log, log - row.get::<_, i64>("checkpointed")?))
    };
    db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], pages).unwrap_or_default()
}

/// Empties the log, moved into the file, unless somebody reads or writes for long.
pub fn empty_log(db: &Connection) {
    let busy = || db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get("busy")) == Ok(true);
    if db.busy_timeout(Duration::ZERO).is_ok() {
        for _ in 0..TRIES {
            if !busy() {
                break;
            }
            thread::sleep(BETWEEN_TRIES);
        }
    }
    let _ = db.busy_timeout(BUSY);
}

/// Bytes of the database.
pub fn size(db: &Connection) -> Option<u64> {
    let pages: i64 = pragma(db, "page_count").ok()?;
    let bytes: i64 = pragma(db, "page_size").ok()?;
    u64::try_from(pages * bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::job::NIP90;
    use crate::market::retention::Retention;
    use crate::nostr::{EventId, Filter, PublicKey};
    use crate::store::read::{Viewer, newest, newest_of_few};

    /// FULL, as SQLite numbers it.
    const FULL: i64 = 2;

    #[test]
    fn a_statement_stays_prepared_whatever_is_bound_to_it() {
        let path = std::env::temp_dir().join(format!("nexus-prepared-{}.sqlite", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (mut db, _) = open_to_serve(&path).unwrap();
        // With samples of what indexes hold, SQLite would plan for each value anew.
        db.execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
             INSERT INTO tags SELECT randomblob(34), 6050, i, i, i, NULL FROM n; ANALYZE",
        )
        .unwrap();
        let retention = Retention { requests: 86_400, feedback: 86_400, results: 604_800, handlers: 0, others: 0 };
        let (profile, kept) = (&NIP90, &retention.of_jobs(&NIP90));
        let mut prepared = 0;
        for n in 0..3_u8 {
            let (id, keys) = (EventId::new([n; 32]).to_string(), [PublicKey::new([n; 32])].into());
            let viewer = Viewer { keys: &keys, profile, kept, now: 1_700_000_000 + u64::from(n) };
            for filter in [
                format!(r##"{{"kinds":[6050,7000],"#e":["{id}"],"#p":["{id}"]}}"##),
                format!(r#"{{"kinds":[6050],"authors":["{id}"],"limit":50}}"#),
                format!(r#"{{"kinds":[5050],"since":{n},"limit":100}}"#),
                format!(r#"{{"ids":["{id}"]}}"#),
                "{}".to_owned(),
            ] {
                let filter = Filter::parse(&filter).unwrap();
                let both = [newest, newest_of_few].map(|ask| ask(&filter, 50, 1000, &viewer));
                for statements in both {
                    read(&mut db, &statements).unwrap();
                    for statement in statements {
                        let again = db.prepare_cached(&statement.sql).unwrap().get_status(StatementStatus::RePrepare);
                        assert_eq!(again, 0, "{}", statement.sql);
                        prepared += 1;
                    }
                }
            }
        }
        assert!(prepared > 30);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn whatever_writes_to_a_file_syncs_each_commit() {
        let folder = std::env::temp_dir().join(format!("nexus-synced-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("nexus.sqlite");
        let (writer, _) = open_to_serve(&path).unwrap();
        for db in [writer, open(&path).unwrap()] {
            assert_eq!(pragma::<i64>(&db, "synchronous").unwrap(), FULL);
            assert_eq!(pragma::<String>(&db, "journal_mode").unwrap(), "wal");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
