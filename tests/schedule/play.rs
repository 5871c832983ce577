//! One run: clients, host and faults take turns as a seed says.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;
use nexus::seam::Input;

use crate::common::host::Fault;
use crate::common::sqlite::Sqlite;
use crate::common::world::challenge;
use crate::host::{Errand, Host};
use crate::pool::{Ev, MAX_CONNS, Pool};
use crate::record::{Record, Tally};
use crate::rng::Rng;
use crate::wake;

const ERRANDS: [Errand; 5] = [Errand::Commit, Errand::Question, Errand::Totals, Errand::Search, Errand::Facts];

/// What kind of run it is: some things happen often in one and never in another.
struct Plan {
    steps: usize,
    clients: usize,
    /// Whether clients must prove a key first.
    locked: bool,
    /// What may be published, few so that the same is said again.
    events: Vec<Ev>,
    /// Probability in percent that what a client does is to publish.
    publishing: usize,
    /// Probability in percent that statements of an errand fail.
    faults: BTreeMap<Errand, usize>,
    /// Weight of losing the memory.
    resets: usize,
    /// Weight of losing it when nothing is on its way.
    sleeps: usize,
    /// Weight of the store.
    store: usize,
    /// An errand the store is slow at.
    slow: Errand,
    /// Whether the database is crowded from the start.
    crowded: bool,
}

impl Plan {
    fn new(rng: &mut Rng, pool: &Pool) -> Self {
        let size = *rng.pick(&[2, 5, 12, 40]);
        let plan = Self {
            steps: *rng.pick(&[20, 40, 80, 120]),
            clients: 1 + rng.below(3),
            locked: rng.percent(30),
            events: (0..size).map(|_| rng.below(pool.last)).collect(),
            publishing: *rng.pick(&[20, 40, 80]),
            faults: ERRANDS.into_iter().map(|errand| (errand, *rng.pick(&[0, 10, 30, 70]))).collect(),
            resets: *rng.pick(&[0, 0, 0, 1, 3]),
            sleeps: *rng.pick(&[0, 0, 2, 6]),
            store: *rng.pick(&[20, 60, 150]),
            slow: *rng.pick(&ERRANDS),
            crowded: rng.percent(2),
        };
        if rng.percent(90) { plan } else { plan.searching() }
    }

    fn fault(&self, errand: Errand) -> usize {
        self.faults.get(&errand).copied().unwrap_or_default()
    }

    /// Made for what is rare otherwise: searches for events that landed unknown overlap and fail.
    fn searching(self) -> Self {
        let faults = BTreeMap::from([(Errand::Commit, 40), (Errand::Search, 70)]);
        Self { steps: 120, publishing: 70, faults, resets: 0, sleeps: 0, store: 150, slow: Errand::Search, ..self }
    }
}

pub struct Run<'a> {
    pool: &'a Pool,
    rng: Rng,
    plan: Plan,
    host: Host,
    record: Record<'a>,
    /// What happened, for people; kept when asked for.
    trace: Option<Vec<String>>,
    asked: usize,
}

/// Plays the run of a seed on a database; returns how often what happened, or which rule was broken,
/// and the trace.
pub fn run(seed: u64, pool: &Pool, db: Sqlite, traced: bool) -> (Result<Tally, String>, Vec<String>, Sqlite) {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, pool);
    let host = Host::new(plan.locked, db);
    let record = Record::new(pool);
    let mut run = Run { pool, rng, plan, host, record, trace: traced.then(Vec::new), asked: 0 };
    let result = run.play();
    (result.map(|()| run.record.tally), run.trace.unwrap_or_default(), run.host.host.db)
}

impl Run<'_> {
    fn play(&mut self) -> Result<(), String> {
        if self.plan.crowded {
            self.host.store(self.pool.crowd.clone().map(|ev| self.pool.events[ev].event.clone()));
            self.record.ran(self.host.stored(self.pool));
        }
        self.input(Input::Woke { conns: vec![] })?;
        for _ in 0..self.plan.steps {
            self.step()?;
        }
        self.heal()?;
        self.record.check_last()?;
        self.lose_memory()?;
        self.settle()?;
        self.record.check_last()
    }

    fn step(&mut self) -> Result<(), String> {
        self.host.now += self.rng.below(3) as u64;
        let open = self.open_conns();
        let Plan { resets, sleeps, store, clients, .. } = self.plan;
        let quiet = self.host.runs.is_empty();
        let weights = [
            if open.len() < clients && self.record.clients.len() < MAX_CONNS - 1 { 20 } else { 0 },
            if open.is_empty() { 0 } else { 60 },
            if quiet { 0 } else { store },
            if self.host.late.is_empty() { 0 } else { 5 },
            if self.host.delivered.is_empty() { 0 } else { 2 },
            resets,
            if quiet { sleeps } else { 0 },
            if self.host.rings_soon() { 15 } else { 0 },
        ];
        let mut at = self.rng.below(weights.iter().sum::<usize>().max(1));
        let chosen = weights.iter().position(|weight| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        match chosen {
            Some(0) => self.open(),
            Some(1) => {
                let conn = *self.rng.pick(&open);
                self.client_acts(conn)
            }
            Some(2) => {
                let job = self.rng.below(self.host.runs.len());
                let slow = self.plan.slow == self.host.errand(job);
                if slow && self.rng.percent(85) { Ok(()) } else { self.job(job) }
            }
            Some(3) => {
                let late = self.rng.below(self.host.late.len());
                self.land(late);
                Ok(())
            }
            Some(4) => {
                let again = self.rng.pick(&self.host.delivered).clone();
                self.note(|_| "an answer comes again".to_owned());
                self.input(again)
            }
            Some(7) => {
                let late = *self.rng.pick(&[0, 0, 10, 20_000]);
                self.time_comes(late)
            }
            Some(_) => self.lose_memory(),
            None => Ok(()),
        }
    }

    fn open_conns(&self) -> Vec<ConnId> {
        self.record.clients.iter().filter(|(_, client)| client.open).map(|(conn, _)| *conn).collect()
    }

    fn open(&mut self) -> Result<(), String> {
        let conn = self.record.opens();
        self.note(|_| format!("{} opens", conn.0));
        self.input(Input::Opened { conn, challenge: challenge(conn), ip: None })
    }

    fn client_acts(&mut self, conn: ConnId) -> Result<(), String> {
        let locked = self.plan.locked && self.record.clients[&conn].keys.is_empty();
        match self.rng.below(60) {
            _ if locked && self.rng.percent(70) => self.authenticates(conn),
            _ if self.rng.percent(self.plan.publishing) => {
                let ev = *self.rng.pick(&self.plan.events);
                self.publishes(conn, ev)
            }
            0..30 => self.asks(conn, "REQ"),
            30..38 => self.asks(conn, "COUNT"),
            38..50 => {
                let id = *self.rng.pick(&["s", "t", "u"]);
                self.record.client(conn).subs.remove(id);
                self.say(conn, format!(r#"["CLOSE","{id}"]"#))
            }
            50..55 => self.authenticates(conn),
            _ => {
                self.record.client(conn).open = false;
                self.host.attachments.remove(&conn);
                self.note(|_| format!("{} disconnects", conn.0));
                self.input(Input::Closed { conn })
            }
        }
    }

    fn publishes(&mut self, conn: ConnId, ev: Ev) -> Result<(), String> {
        let sample = &self.pool.events[ev];
        self.record.says(conn, &sample.event.id.to_string());
        self.say(conn, sample.frame.clone())
    }

    fn authenticates(&mut self, conn: ConnId) -> Result<(), String> {
        let auths = self.rng.pick(&self.pool.auths);
        // Now and then with nobody's challenge.
        let at = if self.rng.percent(10) { MAX_CONNS } else { conn.0 as usize - 1 };
        self.record.says(conn, &auths[at].event.id.to_string());
        self.say(conn, auths[at].frame.clone())
    }

    fn asks(&mut self, conn: ConnId, verb: &str) -> Result<(), String> {
        let count = 1 + self.rng.below(2);
        let questions: Vec<_> = (0..count).map(|_| self.rng.pick(&self.pool.filters)).collect();
        let filters = questions.iter().map(|question| question.filter.clone()).collect();
        self.asked += 1;
        let id = match verb {
            "REQ" => (*self.rng.pick(&["s", "t", "u"])).to_owned(),
            _ => format!("count{}", self.asked),
        };
        if verb == "REQ" {
            self.record.subscribes(conn, &id, filters, self.host.now);
        } else {
            self.record.counts(conn, &id, filters, self.host.now);
        }
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        self.record.from_memory = true;
        let said = self.say(conn, format!(r#"["{verb}","{id}",{}]"#, texts.join(",")));
        self.record.from_memory = false;
        said
    }

    fn say(&mut self, conn: ConnId, text: String) -> Result<(), String> {
        self.note(|pool| format!("{} says {}", conn.0, pool.readable(&text)));
        self.input(Input::Received { conn, text })
    }

    /// Statements end, or their answer is delivered, or both.
    fn job(&mut self, job: usize) -> Result<(), String> {
        if self.host.runs[job].answer.is_none() {
            let errand = self.host.errand(job);
            let fault = match self.rng.percent(self.plan.fault(errand)) {
                false => None,
                true if errand == Errand::Commit => self.fault(),
                true => Some(Fault::Fails),
            };
            self.end(job, fault);
            if self.rng.percent(50) {
                return Ok(());
            }
        }
        self.deliver(job)
    }

    fn fault(&mut self) -> Option<Fault> {
        Some(*self.rng.pick(&[Fault::Fails, Fault::LandsAndFails, Fault::FailsAndLandsLate]))
    }

    fn end(&mut self, job: usize, fault: Option<Fault>) {
        let errand = self.host.errand(job);
        self.host.end(job, fault);
        self.note(|_| format!("{errand:?} {job} of those on their way: {fault:?}"));
        self.record.ran(self.host.stored(self.pool));
    }

    fn deliver(&mut self, job: usize) -> Result<(), String> {
        self.note(|_| format!("answer of {job}"));
        let answer = &self.host.runs[job].answer;
        if let (Errand::Commit, Some(Input::Committed { result: Ok(_), .. })) = (self.host.errand(job), answer) {
            let (stored, _) = self.host.runs[job].writes();
            self.record.answered(stored.iter());
            self.record.knows(&stored);
        }
        if let (Errand::Search, Some(Input::Answered { result: Ok(_), .. })) = (self.host.errand(job), answer) {
            self.record.known = self.record.stored.values().copied().max().unwrap_or_default();
        }
        self.host.deliver(job);
        self.heard()
    }

    fn land(&mut self, late: usize) {
        self.note(|_| "what failed lands".to_owned());
        self.host.land(late);
        self.record.tally.landed_late += 1;
        self.record.ran(self.host.stored(self.pool));
    }

    /// A reset, or hibernation when nothing is on its way.
    fn lose_memory(&mut self) -> Result<(), String> {
        self.note(|_| "memory is lost".to_owned());
        let old = self.host.take_relay();
        wake::check(&wake::held(old, &self.host), &self.record, self.plan.locked)
            .map_err(|why| format!("before: {why}"))?;
        self.record.forgets();
        let rng = &mut self.rng;
        let faults = [None, Some(Fault::Fails), Some(Fault::FailsAndLandsLate)];
        let twin = self.host.twin();
        self.host.reset(|| *rng.pick(&faults));
        self.record.ran(self.host.stored(self.pool));
        self.heard()?;
        wake::check(&wake::held(twin, &self.host), &self.record, self.plan.locked)
            .map_err(|why| format!("after: {why}"))
    }

    /// Everything on its way arrives, oldest first, and what waits for its time happens.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            while !self.host.runs.is_empty() {
                if self.host.runs[0].answer.is_none() {
                    self.end(0, None);
                }
                self.deliver(0)?;
            }
            if !self.host.rings_soon() {
                return Ok(());
            }
            self.time_comes(0)?;
        }
    }

    fn time_comes(&mut self, late: u64) -> Result<(), String> {
        self.note(|_| format!("the timer comes, {late} ms late"));
        self.host.time_comes(late);
        self.heard()
    }

    /// The store works again; what failed lands now or never; one more group is committed, with which
    /// everything is found that landed unknown.
    fn heal(&mut self) -> Result<(), String> {
        while !self.host.late.is_empty() {
            self.settle()?;
            if self.rng.percent(70) {
                self.land(0);
            } else {
                self.host.late.remove(0);
            }
        }
        self.settle()?;
        self.open()?;
        let conn = ConnId(self.record.clients.len() as u64);
        self.plan.locked.then(|| self.authenticates_well(conn)).transpose()?;
        self.publishes(conn, self.pool.last)?;
        self.settle()?;
        let filters = vec![self.pool.filters[0].filter.clone()];
        self.record.subscribes(conn, "all", filters, self.host.now);
        self.say(conn, r#"["REQ","all",{}]"#.to_owned())?;
        self.settle()?;
        let stored: BTreeSet<Ev> = self.host.stored(self.pool).into_keys().collect();
        let got: BTreeSet<Ev> = self.record.clients[&conn].subs["all"].got.keys().copied().collect();
        if stored == got { Ok(()) } else { Err(format!("{stored:?} are stored and {got:?} are sent")) }
    }

    fn authenticates_well(&mut self, conn: ConnId) -> Result<(), String> {
        let sample = &self.pool.auths[0][conn.0 as usize - 1];
        self.record.says(conn, &sample.event.id.to_string());
        self.say(conn, sample.frame.clone())
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        self.host.input(input);
        self.heard()
    }

    fn heard(&mut self) -> Result<(), String> {
        let sent = self.host.sent();
        for (conn, text) in &sent {
            self.note(|pool| format!("    {} hears {}", conn.0, pool.readable(text.as_deref().unwrap_or("close"))));
        }
        self.record.heard(&sent, self.host.now)
    }

    fn note(&mut self, line: impl FnOnce(&Pool) -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line(self.pool));
        }
    }
}
