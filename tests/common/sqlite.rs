//! SQLite in memory, by the native host's own hands.

use nexus::native::sqlite;
use nexus::store::schema::MIGRATIONS;
use nexus::store::{Rows, Statement, StoreError};
use rusqlite::Connection;

use super::Database;

pub struct Sqlite(pub Connection);

impl Sqlite {
    pub fn new() -> Self {
        let mut connection = Connection::open_in_memory().unwrap();
        sqlite::migrate(&mut connection, MIGRATIONS).unwrap();
        // As many as the program keeps: compiling a statement costs more than running it on so little.
        connection.set_prepared_statement_cache_capacity(sqlite::PREPARED);
        Self(connection)
    }
}

impl Database for Sqlite {
    fn run(&mut self, statements: &[Statement]) -> Result<Rows, StoreError> {
        sqlite::write(&mut self.0, statements).map(|answer| answer.rows)
    }
}
