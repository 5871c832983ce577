//! Miniflare's D1, spoken to over a pipe: `tests/support/d1.mjs` runs what it is sent.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nexus::store::{Param, Rows, Statement, StoreError};
use serde_json::{Value, json};

use super::Database;

pub struct D1 {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl D1 {
    /// Starts an empty database with the migrations applied.
    pub fn start() -> Self {
        let mut child = Command::new("node")
            .arg("tests/support/d1.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs; `npm test` sets it up");
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    fn ask(&mut self, statements: &[Statement]) -> Value {
        let list: Vec<Value> = statements
            .iter()
            .map(|statement| {
                let params = statement.params.iter().map(|param| match param {
                    Param::Text(text) => json!(text),
                    Param::Integer(number) => json!(number),
                });
                json!({ "sql": statement.sql, "params": params.collect::<Vec<_>>() })
            })
            .collect();
        writeln!(self.to, "{}", json!(list)).unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("an answer from Miniflare; its error is above")
    }
}

impl Database for D1 {
    fn run(&mut self, statements: &[Statement]) -> Result<Rows, StoreError> {
        let answer = self.ask(statements);
        match answer["error"].as_str() {
            Some(error) => Err(StoreError::new(error)),
            None => Ok(serde_json::from_value(answer["rows"].clone()).unwrap()),
        }
    }
}

impl Drop for D1 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
