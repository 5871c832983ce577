//! Miniflare's D1, spoken to over a pipe: `tests/support/d1.mjs` runs what it is sent.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nexus::store::{Bill, Param, Rows, Statement, StoreError};
use serde_json::{Value, json};

use super::Database;

pub struct D1 {
    child: Child,
    to: Option<ChildStdin>,
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
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    fn ask(&mut self, statements: &[Statement]) -> Value {
        let list: Vec<Value> = statements
            .iter()
            .map(|statement| {
                let params = statement.params.iter().map(|param| match param {
                    Param::Text(text) => json!(**text),
                    Param::Integer(number) => json!(number),
                });
                json!({ "sql": &*statement.sql, "params": params.collect::<Vec<_>>() })
            })
            .collect();
        let line = json!(list).to_string() + "\n";
        self.to.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("an answer from Miniflare; its error is above")
    }
}

impl D1 {
    /// Runs the statements and returns the rows D1 metered for them.
    pub fn bill(&mut self, statements: &[Statement]) -> Bill {
        let answer = self.ask(statements);
        let sum = |key: &str| answer["meta"].as_array().unwrap().iter().map(|meta| meta[key].as_u64().unwrap()).sum();
        Bill { read: sum("read"), written: sum("written") }
    }

    /// Bytes of the database, as D1 says.
    pub fn size(&mut self) -> u64 {
        let nothing = Statement { sql: "SELECT '' AS r".into(), params: vec![] };
        self.ask(&[nothing])["meta"][0]["size"].as_u64().unwrap()
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
        // At the end of its input the program ends Miniflare and itself; killed, it would leave workerd.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}
