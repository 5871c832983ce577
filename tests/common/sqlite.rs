//! SQLite in memory, with the same migrations as D1.

use nexus::store::{Param, Rows, Statement, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::Database;

const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001_events.sql")];

pub struct Sqlite(pub Connection);

impl Sqlite {
    pub fn new() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            connection.execute_batch(migration).unwrap();
        }
        Self(connection)
    }

    fn transaction(&mut self, statements: &[Statement]) -> rusqlite::Result<Rows> {
        let transaction = self.0.transaction()?;
        let mut all = Vec::new();
        for statement in statements {
            let mut prepared = transaction.prepare_cached(&statement.sql)?;
            let params = statement.params.iter().map(|param| match param {
                Param::Text(text) => Value::Text(text.clone()),
                Param::Integer(number) => Value::Integer(*number),
            });
            let rows = if prepared.column_count() == 0 {
                prepared.execute(params_from_iter(params))?;
                Vec::new()
            } else {
                prepared.query_map(params_from_iter(params), |row| row.get("r"))?.collect::<Result<_, _>>()?
            };
            all.push(rows);
        }
        transaction.commit()?;
        Ok(all)
    }
}

impl Database for Sqlite {
    fn run(&mut self, statements: &[Statement]) -> Result<Rows, StoreError> {
        self.transaction(statements).map_err(|error| StoreError::new(error.to_string()))
    }
}
