//! Questions of clients on their way to D1. A call costs more than most questions do, and D1 answers one call at a time: so
//! what comes while a call is being made is asked together in the next one, as events are committed in groups. When much
//! waits, as where the database is far away, some calls are made at once.

use std::collections::VecDeque;

use worker::D1Database;

use super::d1;
use crate::seam::Ticket;
use crate::store::{Answer, ErrorKind, Statement, StoreError};

/// Calls at once.
const CALLS_MAX: usize = 4;
/// Questions that wait for each call that is being made before one more is made.
const WAITING_MIN: usize = 8;
/// Questions in one call.
const BATCH_MAX: usize = 32;

/// Questions that wait, and how many calls are being made.
#[derive(Default)]
pub struct Questions {
    waiting: VecDeque<(Ticket, Vec<Statement>)>,
    calls: usize,
}

/// What is asked in one call.
pub struct Batch {
    tickets: Vec<Ticket>,
    lists: Vec<Vec<Statement>>,
}

impl Questions {
    /// A question waits.
    pub fn wait(&mut self, ticket: Ticket, statements: Vec<Statement>) {
        self.waiting.push_back((ticket, statements));
    }

    /// What is asked next, if anything may be; say when it is [answered](Self::answered).
    pub fn next(&mut self) -> Option<Batch> {
        if self.waiting.is_empty() || self.calls >= CALLS_MAX || self.waiting.len() < self.calls * WAITING_MIN {
            return None;
        }
        self.calls += 1;
        let (tickets, lists) = self.waiting.drain(..self.waiting.len().min(BATCH_MAX)).unzip();
        Some(Batch { tickets, lists })
    }

    /// A call was answered.
    pub fn answered(&mut self) {
        self.calls -= 1;
    }
}

impl Batch {
    /// Asks; each question has its own answer. What D1 fails of may be one of them: then each is asked by itself, unless D1
    /// is what is wrong.
    pub async fn ask(self, db: &D1Database) -> Vec<(Ticket, Result<Answer, StoreError>)> {
        let Self { tickets, lists } = self;
        match d1::run(db, &lists).await {
            Ok(answers) => tickets.into_iter().zip(answers.into_iter().map(Ok)).collect(),
            Err(error) if lists.len() == 1 || error.kind != ErrorKind::Other => {
                tickets.into_iter().map(|ticket| (ticket, Err(error.clone()))).collect()
            }
            Err(_) => {
                let mut answers = Vec::new();
                for (ticket, statements) in tickets.into_iter().zip(lists) {
                    answers.push((ticket, d1::run_one(db, statements).await));
                }
                answers
            }
        }
    }
}
