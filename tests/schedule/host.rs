//! The host of the engine under test: it runs statements when it is told to and answers when it is told
//! to, late, twice or wrongly; it hibernates and loses its memory.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use nexus::gateway::ConnId;
use nexus::node::Node;
use nexus::nostr::Event;
use nexus::seam::{Host as Place, Input};
use nexus::store::{Statement, StoreError, market};

use crate::common::events::new_event;
use crate::common::host::{Clients, Fault, Run, TestHost, changed_nothing};
use crate::common::ledger::{carry_out, new_group};
use crate::common::sqlite::Sqlite;
use crate::common::world::config;
use crate::pool::{Ev, Pool};

/// What statements are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    Commit,
    /// What was counted, or who was seen, by itself.
    Counts,
    /// What a client asked.
    Question,
    /// How far the log is, which the engine asks for when it wakes and after a failure.
    Totals,
    /// What landed unknown.
    Search,
    /// What has to be known before something is written.
    Facts,
    /// What is known of a key that was proven.
    Provider,
}

impl Errand {
    fn of(run: &Run) -> Self {
        let is = |known: Statement| run.statements.iter().any(|statement| statement.sql == known.sql);
        match run.commit {
            true if run.writes_no_event() => Self::Counts,
            true => Self::Commit,
            false if run.reads_totals() => Self::Totals,
            false if run.recovers() => Self::Search,
            false if run.reads_facts() => Self::Facts,
            false if is(market::known_of([], 0)) => Self::Provider,
            false => Self::Question,
        }
    }
}

pub struct Host {
    pub host: TestHost<Vec<Sent>>,
    /// Answers that were delivered since the memory was last lost.
    pub delivered: Vec<Input>,
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
                UPDATE totals SET version = 0, writer = '', last_seq = 0, stored = 0, flush = 0, newest = 0, counts = '{}';";
    db.0.execute_batch(wipe).unwrap();
}

/// A frame and whom it is for; `None` in place of the text when the connection was closed.
pub type Sent = (ConnId, Option<Arc<str>>);

impl Clients for Vec<Sent> {
    fn hear(&mut self, conn: ConnId, text: Arc<str>) {
        self.push((conn, Some(text)));
    }

    fn end(&mut self, conn: ConnId, _: u16, _: String) {
        self.push((conn, None));
    }
}

impl Deref for Host {
    type Target = TestHost<Vec<Sent>>;

    fn deref(&self) -> &Self::Target {
        &self.host
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.host
    }
}

impl Host {
    /// A host with an empty database whose relay has yet to wake.
    pub fn new(locked: bool, db: Sqlite) -> Self {
        let config = config(&[("AUTH_REQUIRED", if locked { "true" } else { "false" })]);
        let mut host = TestHost::new(config, Place::OBJECT, db);
        host.holds_facts = true;
        Self { host, delivered: Vec::new() }
    }

    /// Puts events into the database, past the engine.
    pub fn store(&mut self, events: impl Iterator<Item = Event>) {
        carry_out(&mut self.db, &new_group(events.map(|event| new_event(&event))));
    }

    /// What clients were sent since this was last asked.
    pub fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.clients)
    }

    pub fn errand(&self, run: usize) -> Errand {
        Errand::of(&self.runs[run])
    }

    /// Ends a run; its answer waits.
    pub fn end(&mut self, run: usize, fault: Option<Fault>) {
        // Some hosts know why, some only waited for long.
        let waited = self.now.is_multiple_of(3);
        self.error = if waited { StoreError::timed_out() } else { StoreError::new("disk on fire") };
        let worked = self.host.end(run, fault);
        let fenced = match &self.runs[run].answer {
            Some(Input::Committed { result: Err(error), .. }) => changed_nothing(error),
            _ => false,
        };
        // What landed late may have come before it.
        assert!(worked == fault.is_none() || fenced);
    }

    /// The timer comes, in time or late.
    pub fn time_comes(&mut self, late: u64) {
        self.now = self.now.max(self.timer.unwrap_or_default()) + late;
        self.timer_comes(u64::MAX);
    }

    /// Delivers the answer of a run that ended.
    pub fn deliver(&mut self, run: usize) {
        let answer = self.runs.remove(run).answer.unwrap();
        self.delivered.push(answer.clone());
        self.input(answer);
    }

    /// Whether the timer comes before anybody has waited for too long for a store that fails.
    pub fn rings_soon(&self) -> bool {
        self.timer.is_some_and(|at| at <= self.now + 15_000)
    }

    /// Memory is lost. Of the commits on their way `fault` says which happen now, later or never.
    pub fn reset(&mut self, mut fault: impl FnMut() -> Option<Fault>) {
        self.delivered.clear();
        self.host.reset(|run| if Errand::of(run) == Errand::Commit { fault() } else { Some(Fault::Fails) });
    }

    /// Takes the engine away; [`reset`](Self::reset) has to follow.
    pub fn take_relay(&mut self) -> Node {
        let blank = self.engine(self.now);
        std::mem::replace(&mut self.relay, blank)
    }

    /// A second engine that woke to the same attachments, to be asked and thrown away.
    pub fn twin(&self) -> Node {
        let mut twin = self.engine(self.now);
        twin.handle(self.woke(), self.now);
        twin
    }

    /// Every stored event with its number, by the database's own word.
    pub fn stored(&self, pool: &Pool) -> BTreeMap<Ev, u64> {
        let mut query = self.db.0.prepare_cached("SELECT lower(hex(id)), seq FROM events").unwrap();
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
        let known = |(id, seq): (String, i64)| (pool.by_id(&id).expect("an event of the pool"), seq as u64);
        rows.map(|row| known(row.unwrap())).collect()
    }
}
