//! Runs statements on D1.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{self, Array};
use worker::wasm_bindgen::{self, JsCast, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{D1Database, Delay, worker_sys};

use crate::store::{Answer, Param, Statement, StoreError};

/// An answer takes milliseconds, in bad times seconds; clients give up after some more.
const TIMEOUT: Duration = Duration::from_secs(15);
/// What is said of a row without a text.
pub(super) const NO_TEXT: &str = "a row of the database is no text";

#[wasm_bindgen]
extern "C" {
    /// What D1 says to one statement. The client library's own form of it holds sizes in 32 bits, as WASM's
    /// `usize` has: there a database of 4 GB would have no answers any more.
    #[wasm_bindgen(js_name = Object)]
    type Said;
    #[wasm_bindgen(method, getter)]
    fn results(this: &Said) -> Option<Array>;
    #[wasm_bindgen(method, getter)]
    fn meta(this: &Said) -> Option<Meta>;

    #[wasm_bindgen(js_name = Object)]
    type Row;
    #[wasm_bindgen(method, getter)]
    fn r(this: &Row) -> JsValue;

    #[wasm_bindgen(js_name = Object)]
    type Meta;
    #[wasm_bindgen(method, getter)]
    fn rows_read(this: &Meta) -> Option<f64>;
    #[wasm_bindgen(method, getter)]
    fn rows_written(this: &Meta) -> Option<f64>;
    #[wasm_bindgen(method, getter)]
    fn size_after(this: &Meta) -> Option<f64>;
}

/// Runs all statements of `lists` as one transaction: all of them or none. Each list has its own answer.
pub async fn run(db: &D1Database, lists: &[Vec<Statement>]) -> Result<Vec<Answer>, StoreError> {
    match select(pin!(batch(db, lists)), Delay::from(TIMEOUT)).await {
        Either::Left((result, _)) => result.map_err(|error| self::error(&error)),
        Either::Right(_) => Err(StoreError::timed_out()),
    }
}

/// Runs `statements` as one transaction.
pub async fn run_one(db: &D1Database, statements: Vec<Statement>) -> Result<Answer, StoreError> {
    Ok(run(db, &[statements]).await?.pop().unwrap_or_default())
}

async fn batch(db: &D1Database, lists: &[Vec<Statement>]) -> Result<Vec<Answer>, JsValue> {
    let db: &worker_sys::D1Database = db.unchecked_ref();
    let prepared = Array::new();
    // A text that several statements share becomes a string once.
    let mut strings = BTreeMap::new();
    let mut value = |param: &Param| match param {
        Param::Text(text) => strings.entry(text.as_ptr()).or_insert_with(|| JsValue::from_str(text)).clone(),
        // D1 takes numbers as doubles; the store binds none above 2^53.
        Param::Integer(number) => JsValue::from_f64(*number as f64),
    };
    for statement in lists.iter().flatten() {
        let params: Array = statement.params.iter().map(&mut value).collect();
        prepared.push(db.prepare(&statement.sql)?.bind(params)?.as_ref());
    }
    let results: Array = JsFuture::from(db.batch(prepared)?).await?.unchecked_into();
    let mut results = results.iter().map(JsCast::unchecked_into::<Said>);
    let mut answers = Vec::new();
    for list in lists {
        let mut answer = Answer::default();
        for said in results.by_ref().take(list.len()) {
            take(&said, &mut answer).ok_or(NO_TEXT)?;
        }
        if answer.rows.len() != list.len() {
            return Err("the database answered only a part".into());
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Adds what the database says to one statement.
fn take(said: &Said, answer: &mut Answer) -> Option<()> {
    answer.rows.push(texts(&said.results().unwrap_or_default())?);
    if let Some(meta) = said.meta() {
        answer.bill.read += whole(meta.rows_read()).unwrap_or_default();
        answer.bill.written += whole(meta.rows_written()).unwrap_or_default();
        answer.size = whole(meta.size_after()).or(answer.size);
    }
    Some(())
}

/// The one column of each row.
pub(super) fn texts(rows: &Array) -> Option<Vec<String>> {
    rows.iter().map(|row| row.unchecked_ref::<Row>().r().as_string()).collect()
}

/// A number of JavaScript's that counts something.
fn whole(number: Option<f64>) -> Option<u64> {
    number.map(|number| number as u64)
}

/// The database's own words, without the wrapping that the binding adds.
pub(super) fn error(error: &JsValue) -> StoreError {
    let text = match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| format!("{error:?}")),
    };
    let text = text.trim_start_matches("Error: ").trim_start_matches("D1_ERROR: ");
    StoreError::of_cloudflare(text.lines().next().unwrap_or_default())
}
