//! The database of a cluster: a real one, emptied for each run.

use std::collections::BTreeMap;

use nexus::store::Statement;
use nexus::store::read;

use crate::common::sqlite::Sqlite;
use crate::pool::{Ev, Pool};
use crate::subs::Stored;

/// An in-memory database for many runs one after the other: its statements stay prepared.
pub fn database() -> Sqlite {
    let db = Sqlite::new();
    db.0.set_prepared_statement_cache_capacity(1000);
    db.0.execute_batch("CREATE TEMP TABLE first AS SELECT * FROM totals").unwrap();
    db
}

/// Forgets everything.
pub fn wipe(db: &Sqlite) {
    let tables: Vec<String> = {
        let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE '%migrations%'
                   AND name NOT LIKE 'sqlite_%'";
        let mut query = db.0.prepare_cached(sql).unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let deletes: String = tables.iter().map(|table| format!("DELETE FROM main.{table};")).collect();
    db.0.execute_batch(&format!("{deletes} INSERT INTO main.totals SELECT * FROM first;")).unwrap();
}

/// Every stored event with its number.
pub fn stored(db: &Sqlite, pool: &Pool) -> Stored {
    // What a key that vanishes has left is there until it is removed, and nobody finds it.
    let sql = "SELECT lower(hex(id)), seq FROM events AS e WHERE NOT EXISTS (SELECT 1 FROM vanishing AS w
               WHERE w.pubkey = e.pubkey AND w.until >= e.created_at AND e.kind <> 62)";
    let mut query = db.0.prepare_cached(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    let known = |(id, seq): (String, i64)| (pool.by_id(&id).expect("an event of the pool"), seq as u64);
    rows.map(|row| known(row.unwrap())).collect::<BTreeMap<Ev, u64>>()
}

/// The version of the log.
pub fn version(db: &Sqlite) -> u64 {
    let mut query = db.0.prepare_cached("SELECT version FROM totals").unwrap();
    query.query_row([], |row| row.get::<_, i64>(0)).unwrap() as u64
}

/// Takes numbers back.
pub fn forget_numbers(db: &Sqlite) {
    db.0.execute("UPDATE totals SET last_seq = max(last_seq - 1, 0)", []).unwrap();
}

/// Whether statements look for what gateways were not told.
pub fn looks_for_missed(statements: &[Statement]) -> bool {
    let known = read::log(0, 0);
    statements.iter().any(|statement| statement.sql == known.sql)
}
