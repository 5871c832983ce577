//! The object's own SQLite as its partition's database (`STORE = object`): statements run at once, on the object's thread.
//!
//! What has been written is not known to be on disk when a statement returns. It need not be: until it is, the runtime lets
//! nothing out of the object, no message to a client and none to another object; where it cannot be kept, the object ends.

use wasm_bindgen::prelude::wasm_bindgen;
use worker::State;
use worker::js_sys::Array;
use worker::wasm_bindgen::{self, JsCast, JsValue};

use super::d1;
use crate::store::schema::{Migration, Schema, Unfit};
use crate::store::{Answer, Param, Statement, StoreError};

/// Notes the migrations that a database has had. Beside it are the store's tables and those of [`attachments`](super::attachments)
/// and [`kept`](super::kept): no migration may make one that is called as one of these.
const NOTES: &str = "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL)";
const HAD: &str = "SELECT CAST(count(*) AS TEXT) AS r FROM migrations";
const NOTE: &str = "INSERT INTO migrations (version, name) VALUES (?1, ?2)";

#[wasm_bindgen]
extern "C" {
    /// The state of an object, with what the client library has no word for.
    #[wasm_bindgen(js_name = Object)]
    type Stateful;
    #[wasm_bindgen(method, getter)]
    fn storage(this: &Stateful) -> Storage;

    #[wasm_bindgen(js_name = Object)]
    type Storage;
    /// All that it writes holds, or nothing where it throws.
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction(this: &Storage, work: &mut dyn FnMut() -> Result<(), JsValue>) -> Result<(), JsValue>;
    #[wasm_bindgen(method, getter)]
    fn sql(this: &Storage) -> Sql;

    #[wasm_bindgen(js_name = Object)]
    type Sql;
    #[wasm_bindgen(method, catch, variadic)]
    fn exec(this: &Sql, sql: &str, params: Array) -> Result<Cursor, JsValue>;
    #[wasm_bindgen(method, getter, js_name = databaseSize)]
    fn size(this: &Sql) -> f64;

    #[wasm_bindgen(js_name = Object)]
    type Cursor;
    #[wasm_bindgen(method, catch, js_name = toArray)]
    fn rows(this: &Cursor) -> Result<Array, JsValue>;
    #[wasm_bindgen(method, getter, js_name = rowsRead)]
    fn rows_read(this: &Cursor) -> f64;
    #[wasm_bindgen(method, getter, js_name = rowsWritten)]
    fn rows_written(this: &Cursor) -> f64;
}

/// The database of an object.
pub struct OwnStore {
    storage: Storage,
    sql: Sql,
}

impl OwnStore {
    /// That of an object, as it is.
    pub fn of(state: &State) -> Self {
        let state: &JsValue = state.as_raw().as_ref();
        let storage = state.unchecked_ref::<Stateful>().storage();
        let sql = storage.sql();
        Self { storage, sql }
    }

    /// Runs statements that write as one transaction: all of them or none.
    pub fn write(&self, statements: &[Statement]) -> Result<Answer, StoreError> {
        self.transaction(|| self.run(statements))
    }

    /// Runs lists of statements that read; each has its own answer. Nothing is written between them, as nobody else has
    /// the thread.
    pub fn read(&self, lists: &[Vec<Statement>]) -> Result<Vec<Answer>, StoreError> {
        lists.iter().map(|list| self.run(list)).collect::<Result<_, _>>().map_err(|error| d1::error(&error))
    }

    /// Brings the database to the schema that all of these migrations make: all that it lacks are applied, or none.
    pub fn migrate(&self, migrations: &[Migration]) -> Result<(), StoreError> {
        let ask = |sql: &str| {
            self.run(&[Statement { sql: sql.into(), params: Vec::new() }]).map_err(|error| d1::error(&error))
        };
        ask(NOTES)?;
        let had = ask(HAD)?.rows.concat().pop().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
        if had == migrations.len() {
            // Whether they are as they were made, who uses them looks at.
            return Ok(());
        }
        let Answer { rows, .. } = self.read(&[vec![Schema::read()]])?.pop().unwrap_or_default();
        let missing = Schema::decode(&rows.concat()).missing(had, migrations).map_err(|unfit| {
            StoreError::new(match unfit {
                Unfit::Later => format!(
                    "it is of schema {had}, this version knows {}: a later version has migrated it. Deploy that one again",
                    migrations.len()
                ),
                Unfit::Differs(differences) => differences.to_string(),
            })
        })?;
        let mut at = "its beginning";
        let migrated = self.transaction(|| {
            for (migration, version) in missing.iter().zip(had + 1..) {
                at = migration.name;
                self.sql.exec(migration.sql, Array::new())?.rows()?;
                self.sql.exec(NOTE, Array::of2(&(version as f64).into(), &migration.name.into()))?.rows()?;
            }
            Ok(())
        });
        migrated.map_err(|error| {
            let message = format!(
                "the upgrade to schema {} failed at {at}: {}. It is as it was; meanwhile the version before serves it",
                migrations.len(),
                error.message
            );
            StoreError { message, ..error }
        })
    }

    fn transaction<T>(&self, mut work: impl FnMut() -> Result<T, JsValue>) -> Result<T, StoreError> {
        let mut done = None;
        let ended = self.storage.transaction(&mut || {
            done = Some(work()?);
            Ok(())
        });
        ended.map_err(|error| d1::error(&error))?;
        done.ok_or_else(|| StoreError::new("the transaction did nothing"))
    }

    fn run(&self, statements: &[Statement]) -> Result<Answer, JsValue> {
        let mut answer = Answer::default();
        for Statement { sql, params } in statements {
            let params: Array = params.iter().map(value).collect();
            let cursor = self.sql.exec(sql, params)?;
            answer.rows.push(d1::texts(&cursor.rows()?).ok_or(d1::NO_TEXT)?);
            answer.bill.read += cursor.rows_read() as u64;
            answer.bill.written += cursor.rows_written() as u64;
        }
        answer.size = Some(self.sql.size() as u64);
        Ok(answer)
    }
}

fn value(param: &Param) -> JsValue {
    match param {
        Param::Text(text) => JsValue::from_str(text),
        Param::Integer(number) => JsValue::from_f64(*number as f64),
    }
}
