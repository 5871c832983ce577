//! Runs statements on D1.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde::Deserialize;
use worker::wasm_bindgen::JsValue;
use worker::{D1Database, Delay};

use crate::store::{Answer, Param, Statement, StoreError};

/// An answer takes milliseconds, in bad times seconds; clients give up after some more.
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Row {
    r: String,
}

/// Runs `statements` as one transaction: all of them or none.
pub async fn run(db: &D1Database, statements: &[Statement]) -> Result<Answer, StoreError> {
    match select(pin!(batch(db, statements)), Delay::from(TIMEOUT)).await {
        Either::Left((result, _)) => result.map_err(|error| self::error(&error)),
        Either::Right(_) => Err(StoreError::timed_out()),
    }
}

async fn batch(db: &D1Database, statements: &[Statement]) -> worker::Result<Answer> {
    let prepared = statements
        .iter()
        .map(|statement| {
            let params: Vec<JsValue> = statement.params.iter().map(value).collect();
            db.prepare(statement.sql.as_str()).bind(&params)
        })
        .collect::<worker::Result<Vec<_>>>()?;
    let results = db.batch(prepared).await?;
    if results.len() != statements.len() {
        return Err(worker::Error::RustError("the database answered only a part".to_owned()));
    }
    let mut answer = Answer::default();
    for result in &results {
        answer.rows.push(result.results::<Row>()?.into_iter().map(|row| row.r).collect());
        if let Some(meta) = result.meta()? {
            answer.bill.read += meta.rows_read.unwrap_or_default() as u64;
            answer.bill.written += meta.rows_written.unwrap_or_default() as u64;
        }
    }
    Ok(answer)
}

fn value(param: &Param) -> JsValue {
    match param {
        Param::Text(text) => JsValue::from_str(text),
        // D1 takes numbers as doubles; the store binds none above 2^53.
        Param::Integer(number) => JsValue::from_f64(*number as f64),
    }
}

/// The database's own words, without the wrapping that the client library and the binding add.
pub fn error(error: &worker::Error) -> StoreError {
    let text = match error {
        worker::Error::D1(error) => String::from(AsRef::<worker::js_sys::Error>::as_ref(error).message()),
        other => other.to_string(),
    };
    let text = text.trim_start_matches("Error: ").trim_start_matches("D1_ERROR: ");
    StoreError::new(text.lines().next().unwrap_or_default())
}
