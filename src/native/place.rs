//! Which partition of how many a file has: looked at before a relay is served of it, or read, so that no part is taken for
//! the whole.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::env::Settings;
use super::{Failed, database, sqlite};
use crate::gateway::PARTITIONS_MAX;
use crate::message::PartitionId;
use crate::store::counts::{self, Position};
use crate::store::map::{self, Place};
use crate::store::{Rows, Statement, StoreError};

/// How far the log of a partition's file is, and whether it has yet to be told which partition it is. An error if it is
/// another one.
pub fn of(db: &mut Connection, path: &Path, place: Place) -> Result<(Position, bool), StoreError> {
    let rows = sqlite::read(db, &statements())?.rows;
    let position = counts::decode(&rows)?;
    let keeps_place = check(place, &rows, &position).map_err(|error| named(path, error))?;
    Ok((position, keeps_place))
}

/// Whether the files that are there are what the settings say; nothing is made of those that are not. They are brought to
/// the schema of this version.
pub fn check_all(settings: &Settings) -> Result<(), Failed> {
    for (partition, path) in partitions(settings).filter(|(_, path)| path.exists()) {
        let _lock = database::lock(&path)?;
        let (mut db, _) = sqlite::open_to_serve(&path)?;
        of(&mut db, &path, partition)?;
    }
    check_others(settings)
}

/// Whether there are files of more partitions: the first ones may have nothing yet that says how many they are.
pub fn check_others(settings: &Settings) -> Result<(), Failed> {
    let count = settings.config.partitions;
    for own in count..PARTITIONS_MAX {
        let path = settings.path_of(PartitionId(own));
        if !path.exists() {
            continue;
        }
        let place = Place { own, count };
        // It may be anything that is called so.
        let kept = sqlite::open_to_read(&path).and_then(|mut db| sqlite::read(&mut db, &[map::read()]));
        let rows = kept.map(|answer| answer.rows.concat()).unwrap_or_default();
        if Place::kept(&rows).is_ok_and(|kept| kept.is_some_and(|kept| kept.own == own)) {
            place.check(&rows, false).map_err(|error| named(&path, error))?;
        }
    }
    Ok(())
}

/// The same of files that are only read, which may be of an earlier schema.
pub fn check_to_read(settings: &Settings) -> Result<(), Failed> {
    for (partition, path) in partitions(settings).filter(|(_, path)| path.exists()) {
        let mut db = sqlite::open_to_read(&path)?;
        // What has not all of these tables was never one of several.
        let Ok(answer) = sqlite::read(&mut db, &statements()) else { continue };
        let position = counts::decode(&answer.rows)?;
        check(partition, &answer.rows, &position).map_err(|error| named(&path, error))?;
    }
    check_others(settings)
}

/// Each partition and its file.
pub fn partitions(settings: &Settings) -> impl Iterator<Item = (Place, PathBuf)> {
    let count = settings.config.partitions;
    PartitionId::all(count).map(move |own| (Place { own: own.0, count }, settings.path_of(own)))
}

fn statements() -> [Statement; 2] {
    [counts::read(), map::read()]
}

fn check(place: Place, rows: &Rows, position: &Position) -> Result<bool, StoreError> {
    place.check(rows.get(1).map(Vec::as_slice).unwrap_or_default(), position.totals.version == 0)
}

fn named(path: &Path, error: StoreError) -> StoreError {
    StoreError { message: format!("{}: {}", path.display(), error.message), ..error }
}
