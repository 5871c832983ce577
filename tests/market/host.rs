//! The relay under test and the model beside it: what is published goes to both, the model takes a group
//! when the database runs it, and every OK must be what the model says.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use nexus::gateway::{Api, ConnId};
use nexus::nostr::EventId;
use nexus::seam::Input;
use nexus::store::Param;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::world::{Fault, World};
use crate::model::{Fate, Model};
use crate::people::{Ev, RETAIN};
use crate::recount;

const CONNS: u64 = 8;
/// Milliseconds nobody is refused before.
const MAX_WAIT_MS: u64 = 15_000;

/// Whether they are versions of one event.
fn same(one: &Ev, other: &Ev) -> bool {
    let place = |ev: &Ev| (ev.event.pubkey, ev.event.kind, ev.event.replacement_key().map(str::to_owned));
    place(one) == place(other)
}

/// What a client must be told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    New,
    Known,
    /// New or known: it landed although that was reported as failed.
    Here,
    Refused(&'static str),
}

impl Expected {
    /// Whether it is a refusal that begins like a text.
    fn is(&self, text: &str) -> bool {
        matches!(self, Self::Refused(prefix) if text.starts_with(&format!("{prefix}: ")))
    }
}

/// What a commit is about.
enum Commit {
    /// Events that are stored, in the order of their numbers.
    Group(Vec<EventId>),
    /// What is removed, and the second until which jobs are remembered.
    Sweep(Vec<EventId>, u64),
    /// Counts, by themselves.
    Counts,
}

pub struct Host {
    pub world: World,
    pub model: Model,
    pub chance: Chance,
    conns: Vec<ConnId>,
    /// Events on their way: what, since when, and who waits for the OK.
    waiting: HashMap<EventId, (Rc<Ev>, u64, Vec<ConnId>)>,
    expected: BTreeMap<(ConnId, EventId), Vec<Expected>>,
    /// What clients were sent and is to be checked.
    frames: Vec<(ConnId, Value)>,
    /// What became of events whose group landed while failure was reported, until that is told; and those of a group that
    /// was given up.
    landed: HashMap<EventId, Fate>,
    unsure: HashSet<EventId>,
    pub tally: Tally,
}

#[derive(Debug, Default)]
pub struct Tally {
    pub published: u64,
    pub groups: u64,
    pub largest: usize,
    pub sweeps: u64,
    pub faults: u64,
    pub resets: u64,
}

impl Host {
    pub fn new(seed: u64) -> Self {
        let [requests, feedback, results] = RETAIN.map(|seconds| seconds.to_string());
        let mut world = World::new(&[
            ("AUTH_REQUIRED", "false"),
            ("RETAIN_REQUESTS", &requests),
            ("RETAIN_FEEDBACK", &feedback),
            ("RETAIN_RESULTS", &results),
        ]);
        world.db.0.set_prepared_statement_cache_capacity(512);
        world.holds_facts = true;
        Self {
            conns: (0..CONNS).map(|_| world.client()).collect(),
            world,
            model: Model::default(),
            chance: Chance::new(seed),
            waiting: HashMap::new(),
            expected: BTreeMap::new(),
            frames: Vec::new(),
            landed: HashMap::new(),
            unsure: HashSet::new(),
            tally: Tally::default(),
        }
    }

    pub fn publish(&mut self, ev: &Rc<Ev>) {
        let conn = *self.chance.pick(&self.conns);
        self.tally.published += 1;
        match self.model.unfit(ev, self.world.now / 1000) {
            Some(_) => {
                self.expect(conn, ev.id(), Expected::Refused("invalid"));
                return self.world.say_text(conn, &ev.message);
            }
            None => {
                let now = self.world.now;
                self.waiting.entry(ev.id()).or_insert_with(|| (ev.clone(), now, vec![])).2.push(conn);
            }
        }
        let before = self.world.frames(conn);
        self.world.say_text(conn, &ev.message);
        // What is known to be stored is answered at once.
        if self.world.frames(conn) > before
            && let Some((_, _, conns)) = self.waiting.get_mut(&ev.id())
        {
            assert!(self.model.held.contains_key(&ev.id()), "{} is not stored", ev.message);
            conns.pop();
            if conns.is_empty() {
                self.waiting.remove(&ev.id());
            }
            self.expect(conn, ev.id(), Expected::Known);
        }
    }

    pub fn ring(&mut self) {
        self.world.alarm = None;
        self.world.input(Input::Alarm);
    }

    fn expect(&mut self, conn: ConnId, id: EventId, expected: Expected) {
        if let Expected::Refused(prefix) = expected {
            *self.model.refused.entry(prefix).or_default() += 1;
        }
        self.expected.entry((conn, id)).or_default().push(expected);
    }

    /// Lets the store answer everything, commits and queries in some order, and checks all OKs.
    pub fn settle(&mut self) {
        loop {
            match self.world.waiting() {
                (0, 0) if self.world.retry() => self.hear(),
                (0, 0) => break,
                (commits, queries) if commits > 0 && (queries == 0 || self.chance.one_in(2)) => self.commit(),
                _ => {
                    let answer = self.world.run_oldest(false).unwrap();
                    self.world.input(answer);
                }
            }
        }
        self.hear();
        assert!(self.waiting.is_empty(), "{} events were never written", self.waiting.len());
        for (conn, frame) in std::mem::take(&mut self.frames) {
            self.check(conn, &frame);
        }
        assert!(self.expected.is_empty(), "no OK came: {:?}", self.expected);
    }

    /// Takes what clients were sent, and notes what is said of events that wait and no commit tells the fate of: they
    /// have waited for too long, or a newer version was stored in their place.
    fn hear(&mut self) {
        for conn in self.conns.clone() {
            for frame in self.world.take(conn) {
                let id = EventId::parse(frame[1].as_str().unwrap()).unwrap();
                let text = frame[3].as_str().unwrap().to_owned();
                self.frames.push((conn, frame));
                let Some((ev, came, _)) = self.waiting.get(&id) else { continue };
                if text.starts_with("error: ") {
                    assert!(self.world.now >= came + MAX_WAIT_MS, "{} is given up too soon", ev.message);
                    if self.landed.remove(&id) == Some(Fate::Stored) {
                        self.unsure.insert(id);
                    }
                    self.answer(&id, [Expected::Refused("error"); 2]);
                } else if let Some(fate) = self.landed.remove(&id) {
                    self.tell(&id, fate);
                } else if text == "duplicate: a newer version of this event is stored" {
                    let newer = |held: &crate::model::Held| held.ev.event.replaces(&ev.event) && same(&held.ev, ev);
                    assert!(self.model.held.values().any(newer), "{} has no newer version", ev.message);
                    self.answer(&id, [Expected::Known; 2]);
                } else if self
                    .expected
                    .get(&(conn, id))
                    .is_some_and(|expected| expected.iter().any(|one| one.is(&text)))
                {
                    // It was said again, and that was refused at once.
                } else {
                    // It was decided with a group, and is none of those that this has stored.
                    let fate = self.model.group(&[(ev.clone(), *came)]).remove(0);
                    assert_ne!(fate, Fate::Stored, "{} is not stored: {text}", ev.message);
                    self.tell(&id, fate);
                }
            }
        }
    }

    fn commit(&mut self) {
        let commit = self.next_commit();
        let fault = self.world.faults.front().copied();
        self.tally.faults += u64::from(fault.is_some());
        let answer = self.world.run_oldest(true).unwrap();
        let surprised = matches!(&answer, Input::Committed { result: Err(error), .. } if error.is_surprise());
        match commit {
            _ if surprised => {}
            Commit::Group(ids) => self.group(&ids, fault),
            Commit::Sweep(ids, second) => {
                self.tally.sweeps += 1;
                if fault != Some(Fault::Fails) {
                    self.model.sweep(&ids, second);
                }
            }
            Commit::Counts => {}
        }
        self.world.input(answer);
        self.hear();
    }

    /// What the next commit is about: a sweep is a list of numbers, which must be those of events that have expired.
    fn next_commit(&mut self) -> Commit {
        let run = self.world.runs.iter().find(|run| run.commit).unwrap();
        let (put, removed) = run.writes();
        let forget = run.statements.iter().find(|statement| statement.sql.starts_with("DELETE FROM jobs WHERE held"));
        if put.is_empty() && (!removed.is_empty() || forget.is_some()) {
            let second = forget.map_or(0, |forget| match forget.params[0] {
                Param::Integer(second) => second as u64,
                Param::Text(_) => panic!("a time is a number"),
            });
            let list: Vec<String> = removed.iter().map(ToString::to_string).collect();
            let sql = format!("SELECT id FROM events WHERE seq IN ({})", list.join(","));
            let ids: Vec<EventId> = self.world.column(&sql).iter().map(|id| EventId::parse(id).unwrap()).collect();
            for id in &ids {
                let ev = &self.model.held[id].ev;
                assert!(ev.expires.is_some_and(|at| at <= self.world.now / 1000), "{} is swept too soon", ev.message);
            }
            return Commit::Sweep(ids, second);
        }
        if put.is_empty() { Commit::Counts } else { Commit::Group(put) }
    }

    fn group(&mut self, ids: &[EventId], fault: Option<Fault>) {
        self.tally.groups += 1;
        self.tally.largest = self.tally.largest.max(ids.len());
        let group: Vec<(Rc<Ev>, u64)> = ids.iter().map(|id| (self.waiting[id].0.clone(), self.waiting[id].1)).collect();
        let fates = match fault {
            Some(Fault::Fails) => vec![],
            _ => self.model.group(&group),
        };
        let fates = ids.iter().copied().zip(fates);
        match fault {
            // It is found out afterwards.
            Some(_) => self.landed.extend(fates),
            None => fates.for_each(|(id, fate)| self.tell(&id, fate)),
        }
    }

    /// Those who wait for an event are to be told what became of it.
    fn tell(&mut self, id: &EventId, fate: Fate) {
        let expected = match fate {
            Fate::Stored => [Expected::New, Expected::Known],
            Fate::Known if self.unsure.contains(id) => [Expected::Here; 2],
            Fate::Known => [Expected::Known; 2],
            Fate::Refused(prefix) => [Expected::Refused(prefix); 2],
        };
        self.answer(id, expected);
    }

    /// The first who waits is told the one, the others the other.
    fn answer(&mut self, id: &EventId, [first, others]: [Expected; 2]) {
        let (_, _, conns) = self.waiting.remove(id).unwrap();
        for (at, conn) in conns.into_iter().enumerate() {
            self.expect(conn, *id, if at == 0 { first } else { others });
        }
    }

    fn check(&mut self, conn: ConnId, frame: &Value) {
        assert_eq!(frame[0], "OK", "{frame}");
        let id = EventId::parse(frame[1].as_str().unwrap()).unwrap();
        let expected = self.expected.get_mut(&(conn, id)).unwrap_or_else(|| panic!("an OK too many: {frame}"));
        let (accepted, text) = (frame[2] == true, frame[3].as_str().unwrap());
        let said = |expected: &Expected| match expected {
            Expected::New => accepted && text.is_empty(),
            Expected::Known => accepted && text.starts_with("duplicate: "),
            Expected::Here => accepted,
            Expected::Refused(prefix) => !accepted && text.starts_with(&format!("{prefix}: ")),
        };
        let at = expected.iter().position(said).unwrap_or_else(|| panic!("not {frame} but {expected:?}"));
        expected.swap_remove(at);
        if expected.is_empty() {
            self.expected.remove(&(conn, id));
        }
    }

    /// Compares counts, rows and providers with the model; nothing may be on its way.
    pub fn compare(&mut self) {
        // After a fault what is told is up to a minute old.
        self.world.now += 61_000;
        let stats = self.world.stats();
        assert_eq!(recount::told(&stats), recount::stats(&self.model));
        assert_eq!(stats["providers"]["active_last_hour"], recount::active(&self.model, self.world.now));
        self.compare_rows();
        self.compare_handlers();
    }

    pub fn compare_rows(&self) {
        let ids = |sql: &str| -> BTreeSet<String> { self.world.column(sql).into_iter().collect() };
        let held: BTreeSet<String> = self.model.held.keys().map(ToString::to_string).collect();
        let stored = ids("SELECT id FROM events");
        let (extra, missing) = (stored.difference(&held).next(), held.difference(&stored).next());
        let message = |id: &String| &self.model.held[&EventId::parse(id).unwrap()].ev.message;
        assert_eq!((extra, missing.map(message)), (None, None), "{} events, not {}", stored.len(), held.len());
        let rows = ids(
            "SELECT json_array(lower(hex(id)), held, state, kind, lower(nullif(hex(customer), '')), reported_ms, answered_ms, \
             lower(nullif(hex(first), ''))) FROM jobs",
        );
        let job = |(id, job): (&EventId, &crate::model::Job)| {
            let (kind, customer) = job.asked.as_ref().map(|asked| (asked.kind, asked.customer)).unzip();
            let times = [job.reported, job.answered].map(|time| time.map(|(came, _)| came));
            json!([id, job.held.len(), job.state, kind, customer, times[0], times[1], job.first]).to_string()
        };
        let jobs: BTreeSet<String> = self.model.jobs.iter().map(job).collect();
        let (extra, missing) = (rows.difference(&jobs).next(), jobs.difference(&rows).next());
        assert_eq!(extra, missing, "{} jobs, not {}", rows.len(), jobs.len());
        let rows = ids(
            "SELECT json_array(lower(hex(customer)), lower(hex(provider)), results, errors, speed, known) FROM dealings",
        );
        let dealing = |((customer, provider), dealt): (&(_, _), &crate::model::Dealt)| {
            let known = u8::from(self.model.knows(customer));
            json!([customer, provider, dealt.results, dealt.errors, dealt.speed, known]).to_string()
        };
        assert_eq!(rows, self.model.dealings.iter().map(dealing).collect());
        let none = "SELECT 'tag ' || hex(tag) FROM tags WHERE seq NOT IN (SELECT seq FROM events) UNION ALL \
            SELECT 'event ' || hex(id) FROM events WHERE job IS NOT NULL AND job NOT IN (SELECT id FROM jobs) UNION ALL \
            SELECT 'tags of ' || hex(id) FROM events AS e WHERE (SELECT count(*) FROM tags AS t WHERE t.seq = e.seq \
              AND t.shelf = e.shelf AND t.created_at = e.created_at AND t.tie = e.tie) <> coalesce(json_array_length(extra), 0) \
              + (SELECT count(DISTINCT k.value->>0 || (k.value->1)) FROM json_each(replace(e.tags, char(1), '')) AS k WHERE length(k.value->>0) = 1 \
                AND k.value->>0 GLOB '[a-zA-Z]' AND k.value->1 IS NOT NULL)";
        assert!(self.world.column(none).is_empty(), "{:?}", self.world.column(none));
    }

    fn compare_handlers(&mut self) {
        let (_, list) = self.world.http(Api::Handlers(5100));
        for handler in list["handlers"].as_array().unwrap() {
            let key = nexus::nostr::PublicKey::parse(handler["pubkey"].as_str().unwrap()).unwrap();
            let deeds = self.model.providers.entry(key).or_default();
            assert_eq!([&handler["results"], &handler["errors"]], [&json!(deeds.results), &json!(deeds.errors)]);
            let (known_customers, median, score) = recount::worth(&self.model, &key);
            assert_eq!(handler["known_customers"], known_customers);
            assert!((handler["score"].as_f64().unwrap() - score).abs() < 0.0002, "{handler} should have {score}");
            let about = |told: f64, median: f64| (told - median).abs() <= 3.0 + median / 1000.0;
            match (handler["median_ms"].as_f64(), median) {
                (Some(told), Some(median)) => assert!(about(told, median), "{told} is not about {median}"),
                (told, median) => assert_eq!(told, median),
            }
        }
    }
}
