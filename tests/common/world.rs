//! A world around the engine: clients, a clock, and a real SQLite that fails on demand. Answers of the
//! store wait in a queue until a test lets them happen, so a test decides what overtakes what.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use nexus::nostr::Event;
use nexus::relay::{Api, Config, ConnId, Effect, Host, Input, Relay, RequestId, Ticket};
use nexus::store::{Answer, Bill, Statement, StoreError, counts};
use serde_json::{Value, json};

use super::Database;
use super::events::{Author, NOW};
use super::refusals;
use super::sqlite::Sqlite;

/// What goes wrong with one run of statements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing is written and an error reported.
    Fails,
    /// All is written and an error reported.
    LandsAndFails,
}

/// How often a group is written before its events have waited for too long.
pub const ATTEMPTS: usize = 8;
const LONGEST_PAUSE_MS: u64 = 10_000;

/// Statements on their way.
struct Pending {
    commit: bool,
    ticket: Ticket,
    statements: Vec<Statement>,
}

pub struct World {
    pub relay: Relay,
    pub db: Sqlite,
    pub now: u64,
    /// Applied to the next commits, in order.
    pub faults: VecDeque<Fault>,
    /// Applied to every run.
    pub broken: bool,
    /// What a store that fails says.
    pub error: StoreError,
    /// What the database charges for each run.
    pub bill: Bill,
    /// Runs that wrote, or were to.
    pub commits: u64,
    pub log: Vec<String>,
    /// Whether [`Effect::Yield`] is left to the test; else nothing arrives meanwhile.
    pub busy: bool,
    /// Connections of which the relay wants to know when they have been written all before.
    pub marks: Vec<ConnId>,
    /// What the database says of its size.
    pub size: Option<u64>,
    /// When the engine wants to be woken, in milliseconds.
    pub alarm: Option<u64>,
    /// When it has something to do as long as its memory lasts, in milliseconds.
    pub timer: Option<u64>,
    /// Whether the store has failed since it last wrote a group.
    failed: bool,
    config: Rc<Config>,
    pending: VecDeque<Pending>,
    frames: BTreeMap<ConnId, Vec<Value>>,
    attachments: BTreeMap<ConnId, String>,
    requests: u64,
    responses: BTreeMap<RequestId, Response>,
}

/// What a request over HTTP was answered: status, body, and the seconds after which to ask again.
type Response = (u16, String, Option<u64>);

pub const RELAY: &str = "wss://nexus.example";

/// The default configuration with some settings changed.
pub fn config(changes: &[(&str, &str)]) -> Config {
    Config::read(|key| {
        let changed = changes.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        // Limits of rate have tests of their own.
        changed.or_else(|| match key {
            "RELAY_URL" => Some(RELAY.to_owned()),
            "RATE_LIMITS" => Some("off".to_owned()),
            "LOG_LEVEL" => Some("warn".to_owned()),
            _ => None,
        })
    })
    .unwrap()
}

impl World {
    /// An open relay: no AUTH needed.
    pub fn open_relay() -> Self {
        Self::new(&[("AUTH_REQUIRED", "false")])
    }

    pub fn new(changes: &[(&str, &str)]) -> Self {
        Self::with(config(changes))
    }

    /// A relay with a configuration that settings cannot make.
    pub fn with(config: Config) -> Self {
        let config = Rc::new(config);
        let mut world = Self {
            relay: Relay::new(config.clone(), Host::OBJECT, NOW * 1000),
            db: Sqlite::new(),
            now: NOW * 1000,
            faults: VecDeque::new(),
            broken: false,
            error: StoreError::new("disk on fire"),
            bill: Bill::default(),
            commits: 0,
            log: Vec::new(),
            busy: false,
            marks: Vec::new(),
            size: None,
            alarm: None,
            timer: None,
            failed: false,
            config,
            pending: VecDeque::new(),
            frames: BTreeMap::new(),
            attachments: BTreeMap::new(),
            requests: 0,
            responses: BTreeMap::new(),
        };
        world.input(Input::Woke { conns: vec![] });
        world.settle();
        world
    }

    /// A relay that woke so many seconds ago, in place of the one there is; before anybody connects.
    pub fn awake_for(&mut self, seconds: u64) {
        self.relay = Relay::new(self.config.clone(), Host::OBJECT, self.now - seconds * 1000);
        self.input(Input::Woke { conns: vec![] });
        self.settle();
    }

    /// A relay on a host that sees what clients have been written; before anybody connects.
    pub fn native(changes: &[(&str, &str)]) -> Self {
        let mut world = Self::new(changes);
        let host = Host { shard: 0, shards: 1, lasting: true };
        world.relay = Relay::new(world.config.clone(), host, world.now);
        world.input(Input::Woke { conns: vec![] });
        world.settle();
        world
    }

    /// A new connection; its AUTH challenge is left in its frames.
    pub fn open(&mut self) -> ConnId {
        let conn = ConnId(self.frames.len() as u64 + 1);
        self.frames.insert(conn, Vec::new());
        self.input(Input::Opened { conn, challenge: challenge(conn), ip: None });
        conn
    }

    /// A new connection from an address, if it may be opened; its challenge is left in its frames.
    pub fn open_from(&mut self, ip: &str) -> Option<ConnId> {
        if let Err(away) = self.relay.may_open(ip, self.now) {
            refusals::check(&format!("HTTP {}", away.status), &away.reason);
            return None;
        }
        let conn = ConnId(self.frames.len() as u64 + 1);
        self.frames.insert(conn, Vec::new());
        self.input(Input::Opened { conn, challenge: challenge(conn), ip: Some(ip.to_owned()) });
        Some(conn)
    }

    /// A new connection without its challenge.
    pub fn client(&mut self) -> ConnId {
        let conn = self.open();
        self.take(conn);
        conn
    }

    /// Sends events at once, while the store is busy with another; what they are answered.
    pub fn together(&mut self, conn: ConnId, events: &[&Event]) -> Vec<Value> {
        self.say(conn, json!(["EVENT", Author::new(200).sign(1, self.now / 1000, &[], "keeps the store busy")]));
        events.iter().for_each(|event| self.say(conn, json!(["EVENT", event])));
        self.settle();
        self.take(conn).split_off(1)
    }

    /// A new connection that has proven `author`'s key.
    pub fn agent(&mut self, author: &Author) -> ConnId {
        let conn = self.client();
        let event = self.auth_event(author, conn);
        self.say(conn, json!(["AUTH", event]));
        assert_eq!(self.take(conn), [json!(["OK", event.id, true, ""])]);
        self.answer_last();
        conn
    }

    /// Proves a key on a connection and lets the store answer; returns the OK.
    pub fn prove(&mut self, author: &Author, conn: ConnId) -> Value {
        let event = self.auth_event(author, conn);
        let frames = self.ask(conn, json!(["AUTH", event]));
        frames.into_iter().find(|frame| frame[0] == "OK" && frame[1] == json!(event.id)).unwrap()
    }

    pub fn auth_event(&self, author: &Author, conn: ConnId) -> Event {
        let challenge = challenge(conn);
        author.sign(22242, self.now / 1000, &[&["relay", RELAY], &["challenge", &challenge]], "")
    }

    pub fn close(&mut self, conn: ConnId) {
        self.attachments.remove(&conn);
        self.input(Input::Closed { conn });
    }

    /// Sends a message; answers of the store have to be let happen.
    pub fn say(&mut self, conn: ConnId, message: Value) {
        self.say_text(conn, &message.to_string());
    }

    pub fn say_text(&mut self, conn: ConnId, text: &str) {
        self.input(Input::Received { conn, text: text.to_owned() });
    }

    /// Sends a message and lets the store answer everything; returns the frames that came of it.
    pub fn ask(&mut self, conn: ConnId, message: Value) -> Vec<Value> {
        self.say(conn, message);
        self.settle();
        self.take(conn)
    }

    /// How many frames there are to be taken.
    pub fn frames(&self, conn: ConnId) -> usize {
        self.frames.get(&conn).map_or(0, Vec::len)
    }

    /// The frames a client has received since it was last asked for.
    pub fn take(&mut self, conn: ConnId) -> Vec<Value> {
        std::mem::take(self.frames.get_mut(&conn).unwrap())
    }

    pub fn input(&mut self, input: Input) {
        for effect in self.relay.handle(input, self.now) {
            match effect {
                Effect::Send { conn, text } => {
                    let frame = serde_json::from_str(&text).unwrap();
                    refusals::check_frame(&frame);
                    self.frames.get_mut(&conn).unwrap().push(frame);
                }
                Effect::Close { conn, code, reason } => {
                    if !reason.is_empty() {
                        refusals::check(&format!("close {code}"), &reason);
                    }
                    self.frames.get_mut(&conn).unwrap().push(json!(["(closed)", code, reason]));
                }
                Effect::Remember { conn, text } => {
                    self.attachments.insert(conn, text);
                }
                Effect::Commit { ticket, statements, .. } => {
                    self.pending.push_back(Pending { commit: true, ticket, statements });
                }
                Effect::Query { ticket, statements } => {
                    self.pending.push_back(Pending { commit: false, ticket, statements });
                }
                Effect::Respond { request, status, body, retry_after_s } => {
                    refusals::check_response(status, &body, retry_after_s);
                    self.responses.insert(request, (status, body.to_string(), retry_after_s));
                }
                Effect::Pass { .. } | Effect::Heard { .. } => panic!("there is one shard"),
                Effect::Mark { conn } => self.marks.push(conn),
                Effect::WakeAt { at } => self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at))),
                Effect::TimerAt { at } => self.timer = Some(self.timer.map_or(at, |timer| timer.min(at))),
                Effect::Yield if self.busy => {}
                Effect::Yield => self.input(Input::Yielded),
                Effect::Log { line, .. } => self.log.push(line),
            }
        }
    }

    /// How many runs of statements wait: (commits, queries).
    pub fn waiting(&self) -> (usize, usize) {
        let commits = self.pending.iter().filter(|pending| pending.commit).count();
        (commits, self.pending.len() - commits)
    }

    /// The statements of the oldest commit that waits.
    pub fn next_commit(&self) -> Option<&[Statement]> {
        self.pending.iter().find(|pending| pending.commit).map(|pending| pending.statements.as_slice())
    }

    /// Runs the oldest commit (or query) without answering it yet.
    pub fn run_oldest(&mut self, commit: bool) -> Option<Input> {
        let at = self.pending.iter().position(|pending| pending.commit == commit)?;
        self.run_at(at)
    }

    fn run_at(&mut self, at: usize) -> Option<Input> {
        let Pending { commit, ticket, statements } = self.pending.remove(at)?;
        let fault = if commit { self.faults.pop_front() } else { None };
        let failed = Err(self.error.clone());
        self.commits += u64::from(commit);
        let result = match fault {
            Some(Fault::Fails) => failed,
            _ if self.broken => failed,
            Some(Fault::LandsAndFails) => self.db.run(&statements).and(failed),
            None => self.db.run(&statements),
        };
        let (size, bill) = (self.size, self.bill);
        // Neither a removal nor counts alone begin like this.
        let totals = statements.first() == counts::read_totals().first();
        self.failed = result.is_err() && (commit || totals) || self.failed && !(commit && totals);
        let result = result.map(|rows| Answer { size, bill, ..Answer::from(rows) });
        self.now += 1;
        Some(if commit { Input::Committed { ticket, result } } else { Input::Answered { ticket, result } })
    }

    /// Runs and answers all commits, and no query, until nobody waits for a store that failed.
    pub fn commit_all(&mut self) {
        loop {
            while let Some(answer) = self.run_oldest(true) {
                self.input(answer);
            }
            if !self.retry() {
                break;
            }
        }
    }

    /// Runs and answers everything, oldest first, until nothing waits, not even for a store that failed.
    pub fn settle(&mut self) {
        loop {
            self.answer_all();
            if !self.retry() {
                break;
            }
        }
    }

    /// The same, without letting time pass for a store that failed.
    pub fn answer_all(&mut self) {
        while let Some(commit) = self.pending.front().map(|pending| pending.commit) {
            if let Some(answer) = self.run_oldest(commit) {
                self.input(answer);
            }
        }
    }

    /// After a failure, lets the pause pass until the store is asked again; says whether there is one.
    pub fn retry(&mut self) -> bool {
        let soon = self.now + LONGEST_PAUSE_MS;
        let Some(at) = self.timer.take_if(|at| self.failed && *at <= soon) else { return false };
        self.now = self.now.max(at);
        self.input(Input::Timer);
        true
    }

    /// Lets time pass until the timer comes, and nothing else happen.
    pub fn pass_until_timer(&mut self) {
        if let Some(at) = self.timer.take() {
            self.now = self.now.max(at);
            self.input(Input::Timer);
        }
    }

    /// A deploy with other settings: memory is lost, connections are not.
    pub fn restart(&mut self, config: Config) {
        self.config = Rc::new(config);
        self.reset(true);
        self.settle();
    }

    /// Memory is lost; sockets and what they remember are not. Statements on their way happen when
    /// `landed`, but their answers never arrive.
    pub fn reset(&mut self, landed: bool) {
        for pending in std::mem::take(&mut self.pending) {
            if landed {
                self.db.run(&pending.statements).unwrap();
            }
        }
        self.timer = None;
        self.relay = Relay::new(self.config.clone(), Host::OBJECT, self.now);
        let conns = self.attachments.iter().map(|(conn, text)| (*conn, text.clone())).collect();
        self.input(Input::Woke { conns });
    }

    /// Lets time pass; the timer comes whenever it was set for, the alarm rings if it was set for then.
    /// Everything is let happen.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds * 1000;
        while let Some(at) = self.timer.take_if(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timer);
            self.answer_all();
        }
        self.now = self.now.max(end);
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.alarm = None;
            self.input(Input::Alarm);
        }
        self.answer_all();
    }

    /// What a connection remembers.
    pub fn remembered(&self, conn: ConnId) -> &str {
        &self.attachments[&conn]
    }

    /// Replaces what a connection remembers.
    pub fn corrupt(&mut self, conn: ConnId, text: &str) {
        self.attachments.insert(conn, text.to_owned());
    }

    /// Lets the store answer what was asked last, and nothing else.
    fn answer_last(&mut self) {
        if let Some(answer) = self.pending.len().checked_sub(1).and_then(|at| self.run_at(at)) {
            self.input(answer);
        }
    }

    /// Asks over HTTP; what else waits for the store goes on waiting.
    pub fn http(&mut self, api: Api) -> (u16, Value) {
        let (status, body) = self.responded(api);
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The same of what is no JSON.
    pub fn http_text(&mut self, api: Api) -> String {
        self.responded(api).1
    }

    /// Asks over HTTP from an address; the store has to be let answer.
    pub fn request(&mut self, api: Api, ip: Option<String>) -> RequestId {
        let request = RequestId(self.requests);
        self.requests += 1;
        self.input(Input::Requested { request, api, ip, elsewhere: vec![] });
        request
    }

    /// What a request was answered, if it was.
    pub fn response(&self, request: RequestId) -> Option<&Response> {
        self.responses.get(&request)
    }

    fn responded(&mut self, api: Api) -> (u16, String) {
        let request = self.request(api, None);
        if !self.responses.contains_key(&request) {
            self.answer_last();
        }
        let (status, body, _) = self.responses[&request].clone();
        (status, body)
    }

    pub fn stats(&mut self) -> Value {
        self.http(Api::Stats).1
    }

    /// One text column of the database.
    pub fn column(&self, sql: &str) -> Vec<String> {
        let mut query = self.db.0.prepare(sql).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Every stored event, by the database's own word.
    pub fn stored(&self) -> Vec<String> {
        self.column("SELECT json FROM events ORDER BY seq")
    }
}

/// What a connection's AUTH event must repeat.
pub fn challenge(conn: ConnId) -> String {
    format!("challenge of {conn}")
}
