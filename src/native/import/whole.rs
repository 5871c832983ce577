//! Whole databases out of what `wrangler d1 export` writes of each: every row as it is, counts and history among them.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::writer::position;
use crate::message::PartitionId;
use crate::native::backup::{Unfinished, cause, put_in_place};
use crate::native::database::lock;
use crate::native::env::Settings;
use crate::native::{Failed, dump, sqlite};
use crate::partition::Place;
use crate::store::schema::{self, MIGRATIONS, Schema};
use crate::store::{map, write};

/// Makes the databases of all partitions, which must not be there, each of the file in its place.
pub fn import_whole(settings: &Settings, files: &[PathBuf]) -> Result<(), Failed> {
    let count = settings.config.partitions;
    if files.len() != count as usize {
        let what = format!("PARTITIONS is {count}, and {} files are named: each partition has one", files.len());
        return Err(what.into());
    }
    let paths: Vec<PathBuf> = settings.paths().collect();
    let _locks = paths.iter().map(|path| lock(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        let path = path.display();
        return Err(format!("{path} is there already: name another file in storage.path (STORAGE_PATH)").into());
    }
    let mut made = Vec::new();
    for ((file, path), partition) in files.iter().zip(&paths).zip(PartitionId::all(count)) {
        let unfinished = Unfinished::of(path)?;
        let place = Place { own: partition.0, count };
        make(file, &unfinished, place).map_err(|error| of(file, &*error))?;
        made.push((file, path, unfinished));
    }
    // Home last: where it is there, all are.
    for (file, path, unfinished) in made.iter().rev() {
        put_in_place(&unfinished.path, path).map_err(|error| cause(path, &error))?;
        println!("{}: made of {}", path.display(), file.display());
    }
    Ok(())
}

/// An error with the file that it is about, unless it says that.
fn of(file: &Path, error: &(dyn std::error::Error + 'static)) -> String {
    let (name, text) = (file.display().to_string(), error.to_string());
    if text.starts_with(&name) { text } else { format!("{name}: {text}") }
}

/// Makes a database of what a file has, in a file that is nobody's yet.
fn make(file: &Path, unfinished: &Unfinished, place: Place) -> Result<(), Failed> {
    let mut db = Connection::open(&unfinished.path)?;
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    dump::load(&db, file)?;
    // D1 notes there which migrations it has had.
    db.execute_batch("DROP TABLE IF EXISTS d1_migrations")?;
    let had = schema::had(&sqlite::read(&mut db, &[Schema::read()])?.rows.concat())?;
    sqlite::mark(&db, had)?;
    sqlite::migrate(&mut db, MIGRATIONS)?;
    sqlite::write(&mut db, &write::exact_ties())?;
    let map = sqlite::read(&mut db, &[map::read()])?.rows.concat();
    place.check(&map, position(&mut db)?.totals.version == 0)?;
    db.close().map_err(|(_, error)| error)?;
    sqlite::check(&unfinished.path)?;
    Ok(unfinished.file.sync_all()?)
}
