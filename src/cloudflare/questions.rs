//! Questions of clients on their way to D1. A call costs more than most questions do, and D1 works on one at a time: so what
//! comes while a call is being made is asked together in the next one, as events are committed in groups. Where much waits,
//! as for a database that is far away, or where a call takes long, some calls are made at once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::seam::Ticket;
use crate::store::{ErrorKind, Statement, StoreError};

/// Calls at once.
const CALLS_MAX: usize = 4;
/// So many questions have to wait, times the calls that are being made, before one more is made.
const WAITING_MIN: usize = 8;
/// Statements in one call, if it has several questions: the free plan takes 50 in what one message leads to.
const STATEMENTS_MAX: usize = 40;
/// A call that takes longer is not waited for.
pub const LONG: Duration = Duration::from_secs(1);

/// Questions that wait, and how many calls are waited for.
#[derive(Default)]
pub struct Questions {
    waiting: VecDeque<Question>,
    calls: usize,
}

/// A question that waits.
struct Question {
    ticket: Ticket,
    statements: Vec<Statement>,
    /// Whether it is asked by itself.
    alone: bool,
}

/// What is asked in one call.
pub struct Batch {
    /// To answer with.
    pub tickets: Vec<Ticket>,
    /// What each asks.
    pub lists: Vec<Vec<Statement>>,
}

impl Questions {
    /// A question waits.
    pub fn wait(&mut self, ticket: Ticket, statements: Vec<Statement>) {
        self.waiting.push_back(Question { ticket, statements, alone: false });
    }

    /// Questions that failed together wait again, before all others, to be asked each by itself.
    pub fn wait_alone(&mut self, tickets: Vec<Ticket>, lists: &[Vec<Statement>]) {
        for (ticket, statements) in tickets.into_iter().zip(lists).rev() {
            self.waiting.push_front(Question { ticket, statements: statements.clone(), alone: true });
        }
    }

    /// What is asked next, if anything may be; say when it is not [waited for](Self::go_on) any more.
    pub fn next(&mut self) -> Option<Batch> {
        if self.waiting.is_empty() || self.calls >= CALLS_MAX || self.waiting.len() < self.calls * WAITING_MIN {
            return None;
        }
        self.calls += 1;
        let mut statements = 0;
        let fits = |question: &&Question| {
            statements += question.statements.len();
            statements <= STATEMENTS_MAX && !question.alone
        };
        let questions = self.waiting.iter().take_while(fits).count().max(1);
        let (tickets, lists) = self.waiting.drain(..questions).map(|it| (it.ticket, it.statements)).unzip();
        Some(Batch { tickets, lists })
    }

    /// A call was answered, or takes long.
    pub fn go_on(&mut self) {
        self.calls -= 1;
    }
}

/// Whether D1 may have failed of one question alone: then each is asked [by itself](Questions::wait_alone).
pub fn is_of_one(error: &StoreError) -> bool {
    let too_long = ["CPU", "memory", "time limit"].iter().any(|what| error.message.contains(what));
    error.kind == ErrorKind::Other || too_long
}
