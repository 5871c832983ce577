//! The database of an object: a D1, or the object's own SQLite.

use std::time::Duration;

use worker::{D1Database, Delay, Env, State};

use super::own_store::OwnStore;
use super::role::Object;
use super::{d1, env};
use crate::places::Store;
use crate::store::schema::MIGRATIONS;
use crate::store::{Answer, Statement, StoreError};

/// The database of an object.
pub enum Database {
    /// Behind a binding; a deploy migrates it.
    D1(D1Database),
    /// In the object, which migrates it when it wakes.
    Own(OwnStore),
}

impl Database {
    /// That of an object. A gateway has one that it never asks.
    pub fn open(store: Store, object: Object, state: &State, env: &Env) -> Result<Self, String> {
        if store == Store::D1 {
            let binding = env::database(object);
            return env.d1(&binding).map(Self::D1).map_err(|error| format!("binding {binding}: {error}"));
        }
        let own = OwnStore::of(state);
        if matches!(object, Object::Partition(_)) {
            own.migrate(MIGRATIONS).map_err(|error| format!("the object's database: {error}"))?;
        }
        Ok(Self::Own(own))
    }

    /// Runs statements that may write as one transaction: all of them or none.
    pub async fn write(&self, statements: Vec<Statement>) -> Result<Answer, StoreError> {
        match self {
            Self::D1(db) => d1::run_one(db, statements).await,
            Self::Own(own) => {
                turn().await;
                own.write(&statements)
            }
        }
    }

    /// Runs statements that only read, all on the same state. Each list has its own answer.
    pub async fn read(&self, lists: &[Vec<Statement>]) -> Result<Vec<Answer>, StoreError> {
        match self {
            Self::D1(db) => d1::run(db, lists).await,
            Self::Own(own) => {
                turn().await;
                own.read(lists)
            }
        }
    }
}

/// The next turn of the event loop. What follows from an answer may be to ask again, and so on for long, as when much has
/// expired: frames that arrive meanwhile come between.
async fn turn() {
    Delay::from(Duration::ZERO).await;
}
