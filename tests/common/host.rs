//! A host of one engine: the one place in the tests where what the engine wants is done. Statements wait until a test
//! has them run, and go wrong as it says; an answer waits until it is delivered; memory is lost when a test says.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use nexus::gateway::{Config, ConnId, RequestId, TurnedAway};
use nexus::node::Node;
use nexus::nostr::EventId;
use nexus::seam::{Effect, Host, Input, Ticket};
use nexus::store::{Answer, Bill, Param, Rows, Statement, StoreError, counts, read};

use super::Database;
use super::events::NOW;
use super::ledger::asks_facts;
use super::refusals;
use super::sqlite::Sqlite;

/// What goes wrong with one run of statements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing is written and an error reported.
    Fails,
    /// All is written and an error reported.
    LandsAndFails,
    /// An error is reported; all is written when it pleases.
    FailsAndLandsLate,
}

/// Statements on their way.
pub struct Run {
    pub commit: bool,
    pub statements: Vec<Statement>,
    /// Set once they ended, until it is delivered.
    pub answer: Option<Input>,
    ticket: Ticket,
}

impl Run {
    fn begins_like(&self, statement: Option<&Statement>) -> bool {
        !self.commit && self.statements.first().map(|first| &first.sql) == statement.map(|statement| &statement.sql)
    }

    /// Whether they read the totals first.
    pub fn reads_totals(&self) -> bool {
        self.begins_like(Some(&counts::read()))
    }

    /// Whether they find out what became of a write: how far the log is, what is in the log.
    pub fn recovers(&self) -> bool {
        self.reads_totals() || self.begins_like(Some(&read::log(0, 1)))
    }

    /// The numbers of the events that are written, and of those that are removed.
    pub fn writes(&self) -> (Vec<EventId>, Vec<u64>) {
        let list = |starts: &str, param: usize| {
            let of = |statement: &&Statement| statement.sql.contains(starts);
            self.statements.iter().find(of).map(|statement| match &statement.params[param] {
                Param::Text(text) => text.clone(),
                Param::Integer(_) => panic!("a list is a text"),
            })
        };
        // Where the rows begin, of which the id is the first.
        let rows: Vec<usize> =
            list("INSERT INTO events", 0).map(|list| serde_json::from_str(&list).unwrap()).unwrap_or_default();
        let texts = list("INSERT INTO events", 1).unwrap_or_default();
        let id = |from: usize| EventId::parse(&texts[from - 1..from + 63]).unwrap();
        let removed =
            list("DELETE FROM events", 0).map(|list| serde_json::from_str(&list).unwrap()).unwrap_or_default();
        (rows.into_iter().map(id).collect(), removed)
    }

    /// Whether no event comes or goes by them.
    pub fn writes_no_event(&self) -> bool {
        let (put, removed) = self.writes();
        put.is_empty() && removed.is_empty()
    }

    /// Whether they ask what has to be known before something is written.
    pub fn reads_facts(&self) -> bool {
        !self.commit && asks_facts(&self.statements)
    }
}

/// What is kept of what clients are sent.
pub trait Clients {
    fn hear(&mut self, conn: ConnId, text: Arc<str>);
    fn end(&mut self, conn: ConnId, code: u16, reason: String);
}

/// What a request over HTTP was answered: status, body, and the seconds after which to ask again.
pub type Response = (u16, String, Option<u64>);

pub struct TestHost<C, D = Sqlite> {
    pub relay: Node,
    pub config: Rc<Config>,
    pub db: D,
    pub clients: C,
    /// In milliseconds.
    pub now: u64,
    /// In the order they were asked for.
    pub runs: Vec<Run>,
    /// Runs that were reported as failed and have yet to land.
    pub late: Vec<Vec<Statement>>,
    /// What a store that fails says.
    pub error: StoreError,
    /// What the database charges for each run.
    pub bill: Bill,
    /// What it says of its size.
    pub size: Option<u64>,
    /// What each connection remembers.
    pub attachments: BTreeMap<ConnId, String>,
    /// Bytes of each text a connection was to remember.
    pub remembered_bytes: Vec<usize>,
    pub responses: BTreeMap<RequestId, Response>,
    pub log: Vec<String>,
    /// Connections of which the relay wants to know when they have been written all before.
    pub marks: Vec<ConnId>,
    /// Whether what has to be known before something is written is left to the test like other questions; else it is
    /// told at once.
    pub holds_facts: bool,
    /// Whether [`Effect::Yield`] is left to the test; else nothing arrives meanwhile.
    pub busy: bool,
    /// When the engine wants to be woken, in milliseconds.
    pub alarm: Option<u64>,
    /// When it has something to do as long as its memory lasts, in milliseconds.
    pub timer: Option<u64>,
    /// Times the engine has been told of an end of its incarnation.
    pub restarts: usize,
    place: Host,
    incarnations: Cell<u64>,
}

impl<C: Clients + Default, D: Database> TestHost<C, D> {
    /// A host whose relay has yet to wake.
    pub fn new(config: Config, place: Host, db: D) -> Self {
        let config = Rc::new(config);
        Self {
            relay: Node::new(config.clone(), place, 1, NOW * 1000),
            config,
            db,
            clients: C::default(),
            now: NOW * 1000,
            runs: Vec::new(),
            late: Vec::new(),
            error: StoreError::new("disk on fire"),
            bill: Bill::default(),
            size: None,
            attachments: BTreeMap::new(),
            remembered_bytes: Vec::new(),
            responses: BTreeMap::new(),
            log: Vec::new(),
            marks: Vec::new(),
            holds_facts: false,
            busy: false,
            alarm: None,
            timer: None,
            restarts: 0,
            place,
            incarnations: Cell::new(1),
        }
    }
}

impl<C: Clients, D: Database> TestHost<C, D> {
    pub fn input(&mut self, input: Input) {
        let earlier = |set: Option<u64>, at| Some(set.map_or(at, |set| set.min(at)));
        for effect in self.effects(input) {
            match effect {
                Effect::Send { conn, text } => self.clients.hear(conn, text),
                Effect::Close { conn, code, reason } => self.clients.end(conn, code, reason),
                Effect::Remember { conn, text } => {
                    self.remembered_bytes.push(text.len());
                    self.attachments.insert(conn, text);
                }
                Effect::Commit { ticket, statements, .. } => self.asked(true, ticket, statements),
                Effect::Query { ticket, statements, .. } => self.asked(false, ticket, statements),
                Effect::Respond { request, status, body, retry_after_s } => {
                    refusals::check_response(status, &body, retry_after_s);
                    self.responses.insert(request, (status, body.to_string(), retry_after_s));
                }
                Effect::Mark { conn } => self.marks.push(conn),
                Effect::WakeAt { at } => self.alarm = earlier(self.alarm, at),
                Effect::TimerAt { at } => self.timer = earlier(self.timer, at),
                Effect::Yield if self.busy => {}
                Effect::Yield => self.input(Input::Yielded),
                Effect::Restart => self.restarts += 1,
                Effect::Log { line, .. } => self.log.push(line),
            }
        }
        while let Some(at) = self.runs.iter().position(|run| !self.holds_facts && run.reads_facts()) {
            self.end(at, None);
            let answer = self.runs.remove(at).answer.unwrap();
            self.input(answer);
        }
    }

    /// Whether a connection from an address may be opened.
    pub fn may_open(&mut self, ip: &str) -> Result<(), TurnedAway> {
        self.relay.may_open(ip, self.now)
    }

    /// What the engine wants done of an input. It is not done.
    pub fn effects(&mut self, input: Input) -> Vec<Effect> {
        self.relay.handle(input, self.now)
    }

    fn asked(&mut self, commit: bool, ticket: Ticket, statements: Vec<Statement>) {
        self.runs.push(Run { commit, statements, answer: None, ticket });
    }

    /// Ends a run; its answer waits. Says whether it worked.
    pub fn end(&mut self, at: usize, fault: Option<Fault>) -> bool {
        let (size, bill) = (self.size, self.bill);
        let statements = std::mem::take(&mut self.runs[at].statements);
        let result = self.store(&statements, fault).map(|rows| Answer { size, bill, ..Answer::from(rows) });
        let worked = result.is_ok();
        let Run { commit, ticket, .. } = self.runs[at];
        let answer = if commit { Input::Committed { ticket, result } } else { Input::Answered { ticket, result } };
        self.runs[at] = Run { commit, statements, answer: Some(answer), ticket };
        worked
    }

    fn store(&mut self, statements: &[Statement], fault: Option<Fault>) -> Result<Rows, StoreError> {
        match fault {
            None => return self.db.run(statements),
            Some(Fault::Fails) => {}
            Some(Fault::LandsAndFails) => drop(self.db.run(statements)?),
            Some(Fault::FailsAndLandsLate) => self.late.push(statements.to_vec()),
        }
        Err(self.error.clone())
    }

    /// Runs what was reported as failed.
    pub fn land(&mut self, late: usize) {
        let statements = self.late.remove(late);
        // What is not the next write any more changes nothing.
        self.db.run(&statements).map(drop).unwrap_or_else(|error| assert!(changed_nothing(&error), "{error}"));
    }

    /// The timer comes, if it was set for `end` or before.
    pub fn timer_comes(&mut self, end: u64) -> bool {
        let Some(at) = self.timer.take_if(|at| *at <= end) else { return false };
        self.now = self.now.max(at);
        self.input(Input::Timer);
        true
    }

    /// Memory is lost; sockets and what they remember are not. What becomes of statements on their way is said of each;
    /// none is answered.
    pub fn reset(&mut self, mut fault: impl FnMut(&Run) -> Option<Fault>) {
        for run in std::mem::take(&mut self.runs).into_iter().filter(|run| run.answer.is_none()) {
            let fault = fault(&run);
            match self.store(&run.statements, fault) {
                Ok(_) => assert!(fault.is_none()),
                Err(error) => assert!(fault.is_some() || changed_nothing(&error), "{error}"),
            }
        }
        self.timer = None;
        self.relay = self.engine(self.now);
        self.wake();
    }

    /// The engine wakes.
    pub fn wake(&mut self) {
        self.input(self.woke());
    }

    /// An engine that was made at a time and has yet to wake.
    pub fn engine(&self, at: u64) -> Node {
        self.incarnations.set(self.incarnations.get() + 1);
        Node::new(self.config.clone(), self.place, self.incarnations.get(), at)
    }

    pub fn woke(&self) -> Input {
        Input::Woke { conns: self.attachments.iter().map(|(conn, text)| (*conn, text.clone())).collect() }
    }
}

/// Whether a write has changed nothing as it came too late, or has found what was not expected.
pub fn changed_nothing(error: &StoreError) -> bool {
    error.is_fenced() || error.is_surprise()
}

/// The texts among some effects that clients are to be sent.
pub fn sent(effects: &[Effect]) -> impl Iterator<Item = &str> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Send { text, .. } => Some(&**text),
        _ => None,
    })
}

/// The first text among some effects that a connection is to remember.
pub fn remembered(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Remember { text, .. } => Some(text.as_str()),
        _ => None,
    })
}
