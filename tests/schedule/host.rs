//! The host of the engine under test: it runs statements when it is told to and answers when it is told
//! to, late, twice or wrongly; it hibernates and loses its memory.

use std::collections::BTreeMap;
use std::rc::Rc;

use nexus::nostr::Event;
use nexus::relay::{Config, ConnId, Effect, Host as Place, Input, Relay, Ticket};
use nexus::store::counts::{self, Flush};
use nexus::store::write::{self, NewEvent};
use nexus::store::{Statement, StoreError, market, read};

use crate::common::Database;
use crate::common::events::{NOW, new_event};
use crate::common::sqlite::Sqlite;
use crate::common::world::config;
use crate::pool::{Ev, Pool};

/// How a run of statements ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Works,
    /// Nothing is written and an error reported.
    Fails,
    /// All is written and an error reported.
    LandsAndFails,
    /// An error is reported; all is written when it pleases.
    FailsAndLandsLate,
}

/// What statements are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    Commit,
    /// What was counted, by itself.
    Counts,
    /// What a client asked.
    Question,
    /// The totals, which the engine asks for when it wakes.
    Totals,
    /// Events that landed unknown.
    Search,
    /// What is known of a key that was proven.
    Provider,
}

/// Statements on their way.
pub struct Job {
    pub errand: Errand,
    ticket: Ticket,
    statements: Vec<Statement>,
    /// Set once they ended, until it is delivered.
    pub answer: Option<Input>,
}

pub struct Host {
    pub relay: Relay,
    pub now: u64,
    pub jobs: Vec<Job>,
    /// Runs that were reported as failed and have yet to land.
    pub late: Vec<Vec<Statement>>,
    /// Answers that were delivered since the memory was last lost.
    pub delivered: Vec<Input>,
    pub attachments: BTreeMap<ConnId, String>,
    /// When the engine has something to do.
    pub timer: Option<u64>,
    pub db: Sqlite,
    config: Rc<Config>,
}

fn errand(query: &[Statement]) -> Errand {
    let is = |known: Statement| query.iter().any(|statement| statement.sql == known.sql);
    if is(read::log(0, 0)) {
        Errand::Search
    } else if query.first() == counts::read_totals().first() {
        Errand::Totals
    } else if is(market::known_of([], 0)) {
        Errand::Provider
    } else {
        Errand::Question
    }
}

/// An in-memory database for many runs one after the other: its statements stay prepared.
pub fn database() -> Sqlite {
    let db = Sqlite::new();
    db.0.set_prepared_statement_cache_capacity(1000);
    db
}

/// Forgets everything.
pub fn wipe(db: &Sqlite) {
    let wipe = "DELETE FROM events; DELETE FROM tags; DELETE FROM deletions; DELETE FROM vanishing; DELETE FROM jobs; \
                UPDATE totals SET last_seq = 0, stored = 0, flush = '{}', newest = 0, counts = '{}';";
    db.0.execute_batch(wipe).unwrap();
}

/// A frame and whom it is for; `None` in place of the text when the connection was closed.
pub type Sent = (ConnId, Option<String>);

impl Host {
    /// A host with an empty database whose relay has yet to wake.
    pub fn new(locked: bool, db: Sqlite) -> Self {
        let config = Rc::new(config(&[("AUTH_REQUIRED", if locked { "true" } else { "false" })]));
        Self {
            relay: Relay::new(config.clone(), Place::OBJECT, NOW * 1000),
            now: NOW * 1000,
            jobs: Vec::new(),
            late: Vec::new(),
            delivered: Vec::new(),
            attachments: BTreeMap::new(),
            timer: None,
            db,
            config,
        }
    }

    /// Puts events into the database, past the engine.
    pub fn store(&mut self, events: impl Iterator<Item = Event>) {
        let group: Vec<NewEvent> = events.map(|event| new_event(&event)).collect();
        self.db.run(&write::statements(&group, &Flush::default(), true)).unwrap();
    }

    pub fn input(&mut self, input: Input) -> Vec<Sent> {
        let mut sent = Vec::new();
        for effect in self.relay.handle(input, self.now) {
            let (errand, ticket, statements) = match effect {
                Effect::Commit { ticket, statements, .. } if statements.len() == 2 => {
                    (Errand::Counts, ticket, statements)
                }
                Effect::Commit { ticket, statements, .. } => (Errand::Commit, ticket, statements),
                Effect::Query { ticket, statements } => (errand(&statements), ticket, statements),
                other => {
                    match other {
                        Effect::Send { conn, text } => sent.push((conn, Some(text.to_string()))),
                        Effect::Close { conn, .. } => sent.push((conn, None)),
                        Effect::Remember { conn, text } => drop(self.attachments.insert(conn, text)),
                        Effect::TimerAt { at } => self.timer = Some(self.timer.map_or(at, |timer| timer.min(at))),
                        Effect::Yield => sent.extend(self.input(Input::Yielded)),
                        _ => {}
                    }
                    continue;
                }
            };
            self.jobs.push(Job { errand, ticket, statements, answer: None });
        }
        sent
    }

    /// Ends a run; its answer waits.
    pub fn end(&mut self, job: usize, ending: Ending) {
        let Job { errand, ticket, statements, answer } = &mut self.jobs[job];
        let ran = match ending {
            Ending::Works | Ending::LandsAndFails => Some(self.db.run(statements).unwrap()),
            Ending::Fails => None,
            Ending::FailsAndLandsLate => {
                self.late.push(statements.clone());
                None
            }
        };
        let result = match ran {
            Some(rows) if ending == Ending::Works => Ok(rows.into()),
            // Some hosts know why, some only waited for long.
            _ if self.now.is_multiple_of(3) => Err(StoreError::timed_out()),
            _ => Err(StoreError::new("disk on fire")),
        };
        let ticket = *ticket;
        *answer = Some(match errand {
            Errand::Commit | Errand::Counts => Input::Committed { ticket, result },
            _ => Input::Answered { ticket, result },
        });
    }

    /// The timer comes, in time or late.
    pub fn time_comes(&mut self, late: u64) -> Vec<Sent> {
        self.now = self.now.max(self.timer.take().unwrap_or_default()) + late;
        self.input(Input::Timer)
    }

    /// Delivers the answer of a run that ended.
    pub fn deliver(&mut self, job: usize) -> Vec<Sent> {
        let answer = self.jobs.remove(job).answer.unwrap();
        self.delivered.push(answer.clone());
        self.input(answer)
    }

    /// Whether the timer comes before anybody has waited for too long for a store that fails.
    pub fn rings_soon(&self) -> bool {
        self.timer.is_some_and(|at| at <= self.now + 15_000)
    }

    /// Runs what was reported as failed.
    pub fn land(&mut self, late: usize) {
        let statements = self.late.remove(late);
        self.db.run(&statements).unwrap();
    }

    /// Memory is lost. Of the commits on their way `lands` says which happen now, later or never; none
    /// is answered.
    pub fn reset(&mut self, mut lands: impl FnMut() -> Ending) -> Vec<Sent> {
        for job in std::mem::take(&mut self.jobs) {
            if job.errand != Errand::Commit || job.answer.is_some() {
                continue;
            }
            match lands() {
                Ending::Works | Ending::LandsAndFails => drop(self.db.run(&job.statements).unwrap()),
                Ending::Fails => {}
                Ending::FailsAndLandsLate => self.late.push(job.statements),
            }
        }
        self.delivered.clear();
        self.timer = None;
        self.relay = Relay::new(self.config.clone(), Place::OBJECT, self.now);
        self.input(self.woke())
    }

    fn woke(&self) -> Input {
        Input::Woke { conns: self.attachments.iter().map(|(conn, text)| (*conn, text.clone())).collect() }
    }

    /// Takes the engine away; [`reset`](Self::reset) has to follow.
    pub fn take_relay(&mut self) -> Relay {
        std::mem::replace(&mut self.relay, Relay::new(self.config.clone(), Place::OBJECT, self.now))
    }

    /// A second engine that woke to the same attachments, to be asked and thrown away.
    pub fn twin(&self) -> Relay {
        let mut twin = Relay::new(self.config.clone(), Place::OBJECT, self.now);
        twin.handle(self.woke(), self.now);
        twin
    }

    /// Every stored event with its number, by the database's own word.
    pub fn stored(&self, pool: &Pool) -> BTreeMap<Ev, u64> {
        let mut query = self.db.0.prepare_cached("SELECT id, seq FROM events").unwrap();
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
        let known = |(id, seq): (String, i64)| (pool.by_id(&id).expect("an event of the pool"), seq as u64);
        rows.map(|row| known(row.unwrap())).collect()
    }
}
