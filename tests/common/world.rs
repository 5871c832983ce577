//! A world around the engine: clients, a clock, and a real SQLite that fails on demand. Answers of the
//! store wait in a queue until a test lets them happen, so a test decides what overtakes what.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use nexus::gateway::{Api, Config, ConnId, RequestId};
use nexus::nostr::Event;
use nexus::seam::{Host, Input};
use nexus::store::Statement;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use super::events::Author;
pub use super::host::Fault;
use super::host::{Clients, Response, TestHost};
use super::refusals;
use super::sqlite::Sqlite;

/// How often a group is written before its events have waited for too long.
pub const ATTEMPTS: usize = 8;
const LONGEST_PAUSE_MS: u64 = 10_000;

pub struct World {
    pub host: TestHost<Frames>,
    /// Applied to the next commits, in order.
    pub faults: VecDeque<Fault>,
    /// Applied to every run.
    pub broken: bool,
    /// Runs that wrote, or were to.
    pub commits: u64,
    /// Whether the store has failed since it last wrote a group.
    failed: bool,
    requests: u64,
}

/// What each client was sent and has not taken.
type Frames = BTreeMap<ConnId, Vec<Value>>;

impl Clients for Frames {
    fn hear(&mut self, conn: ConnId, text: Arc<str>) {
        let frame = serde_json::from_str(&text).unwrap();
        refusals::check_frame(&frame);
        self.get_mut(&conn).unwrap().push(frame);
    }

    fn end(&mut self, conn: ConnId, code: u16, reason: String) {
        if !reason.is_empty() {
            refusals::check(&format!("close {code}"), &reason);
        }
        self.get_mut(&conn).unwrap().push(json!(["(closed)", code, reason]));
    }
}

impl Deref for World {
    type Target = TestHost<Frames>;

    fn deref(&self) -> &Self::Target {
        &self.host
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.host
    }
}

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
        Self::on(Host::OBJECT, config)
    }

    /// A relay on a host that sees what clients have been written.
    pub fn native(changes: &[(&str, &str)]) -> Self {
        Self::on(Host::PROCESS, config(changes))
    }

    fn on(place: Host, config: Config) -> Self {
        Self::over(Sqlite::new(), place, config)
    }

    /// A relay over a database that is there.
    pub fn over(db: Sqlite, place: Host, config: Config) -> Self {
        let mut world = Self {
            host: TestHost::new(config, place, db),
            faults: VecDeque::new(),
            broken: false,
            commits: 0,
            failed: false,
            requests: 0,
        };
        world.wake();
        world.settle();
        world
    }

    /// A relay that woke so many seconds ago, in place of the one there is; before anybody connects.
    pub fn awake_for(&mut self, seconds: u64) {
        self.relay = self.engine(self.now - seconds * 1000);
        self.wake();
        self.settle();
    }

    /// A new connection; its AUTH challenge is left in its frames.
    pub fn open(&mut self) -> ConnId {
        self.opened(None)
    }

    /// A new connection from an address, if it may be opened; its challenge is left in its frames.
    pub fn open_from(&mut self, ip: &str) -> Option<ConnId> {
        if let Err(away) = self.may_open(ip) {
            refusals::check(&format!("HTTP {}", away.status), &away.reason);
            return None;
        }
        Some(self.opened(Some(ip.to_owned())))
    }

    fn opened(&mut self, ip: Option<String>) -> ConnId {
        let conn = ConnId(self.clients.len() as u64 + 1);
        self.clients.insert(conn, Vec::new());
        self.input(Input::Opened { conn, challenge: challenge(conn), ip });
        conn
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

    /// Publishes an event and lets everything happen; returns its OK.
    pub fn publish(&mut self, conn: ConnId, event: &Event) -> Value {
        let frames = self.ask(conn, json!(["EVENT", event]));
        frames.into_iter().find(|frame| frame[0] == "OK").unwrap()
    }

    /// How many frames there are to be taken.
    pub fn frames(&self, conn: ConnId) -> usize {
        self.clients.get(&conn).map_or(0, Vec::len)
    }

    /// The frames a client has received since it was last asked for.
    pub fn take(&mut self, conn: ConnId) -> Vec<Value> {
        std::mem::take(self.clients.get_mut(&conn).unwrap())
    }

    /// How many runs of statements wait: (commits, queries).
    pub fn waiting(&self) -> (usize, usize) {
        let commits = self.runs.iter().filter(|run| run.commit).count();
        (commits, self.runs.len() - commits)
    }

    /// The statements of the oldest commit that waits.
    pub fn next_commit(&self) -> Option<&[Statement]> {
        self.runs.iter().find(|run| run.commit).map(|run| run.statements.as_slice())
    }

    /// Runs the oldest commit (or query) without answering it yet.
    pub fn run_oldest(&mut self, commit: bool) -> Option<Input> {
        self.runs.iter().position(|run| run.commit == commit).map(|at| self.run_at(at))
    }

    fn run_at(&mut self, at: usize) -> Input {
        let (commit, recovers) = (self.runs[at].commit, self.runs[at].recovers());
        let fault = if commit { self.faults.pop_front() } else { None };
        self.commits += u64::from(commit);
        let fault = if self.broken { Some(Fault::Fails) } else { fault };
        let worked = self.end(at, fault);
        if commit || recovers {
            self.failed = !worked;
        }
        self.now += 1;
        self.runs.remove(at).answer.unwrap()
    }

    /// Runs and answers all commits and what finds out what became of them, and no other query, until nobody waits for a
    /// store that failed.
    pub fn commit_all(&mut self) {
        loop {
            while let Some(at) = self.runs.iter().position(|run| run.commit || run.recovers()) {
                let answer = self.run_at(at);
                self.input(answer);
            }
            if !self.retry() {
                break;
            }
        }
    }

    /// The commit on its way lands, and nobody is told: not by its answer, nor by what is asked until those who wait for
    /// it are refused.
    pub fn lose(&mut self) {
        self.faults.push_back(Fault::LandsAndFails);
        let answer = self.run_oldest(true).unwrap();
        self.input(answer);
        self.broken = true;
        self.settle();
        self.broken = false;
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
        while !self.runs.is_empty() {
            let answer = self.run_at(0);
            self.input(answer);
        }
    }

    /// After a failure, lets the pause pass until the store is asked again; says whether there is one.
    pub fn retry(&mut self) -> bool {
        let soon = self.now + LONGEST_PAUSE_MS;
        self.failed && self.timer_comes(soon)
    }

    /// Lets time pass until the timer comes, and nothing else happen.
    pub fn pass_until_timer(&mut self) {
        self.timer_comes(u64::MAX);
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
        self.host.reset(|_| (!landed).then_some(Fault::Fails));
    }

    /// Lets time pass; the timer comes whenever it was set for, the alarm rings if it was set for then.
    /// Everything is let happen.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds * 1000;
        while self.timer_comes(end) {
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
        if let Some(at) = self.runs.len().checked_sub(1) {
            let answer = self.run_at(at);
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
        self.input(Input::Requested { request, api, ip });
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
        // Bytes are shown as hex.
        let text = |row: &rusqlite::Row| match row.get_ref(0)? {
            ValueRef::Blob(bytes) => Ok(hex::encode(bytes)),
            _ => row.get(0),
        };
        query.query_map([], text).unwrap().map(Result::unwrap).collect()
    }

    /// Every stored event, by the database's own word.
    pub fn stored(&self) -> Vec<String> {
        self.column(&format!("SELECT {JSON} FROM events ORDER BY seq"))
    }
}

/// The JSON of a stored event.
pub const JSON: &str = r#"'{"id":"' || lower(hex(id)) || '","pubkey":"' || lower(hex(pubkey)) || '","created_at":' || created_at
    || ',"kind":' || kind || ',"tags":' || replace(tags, char(1), lower(hex(coalesce(job, x'')))) || ',"content":' || content || ',"sig":"' || lower(hex(sig)) || '"}'"#;

/// What a connection's AUTH event must repeat.
pub fn challenge(conn: ConnId) -> String {
    format!("challenge of {conn}")
}
