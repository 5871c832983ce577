//! One seed: events come in groups, time passes, questions are asked, and the judges are compared.

use std::collections::BTreeMap;

use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::d1::D1;
use crate::common::events::{Author, NOW, new_event};
use crate::engine::Engine;
use crate::judge::hears;
use crate::make::{self, Made};
use crate::model::{self, Fate, Model};
use crate::on_d1;

/// Events of one seed, and how many of them come at once at the most.
const EVENTS: usize = 420;
const AT_ONCE: u64 = 24;
/// Questions after each group.
const QUESTIONS: u64 = 12;
/// Open subscriptions of each reader.
const OPEN: u64 = 24;
/// A limit that some filters reach, and what is answered at most.
const DEFAULT_LIMIT: usize = 160;
const MAX_LIMIT: usize = 200;

/// How many times at least two judges said whether a filter matches an event.
#[derive(Default)]
pub struct Tally {
    pub live: u64,
    pub stored: u64,
    pub matched: u64,
    pub pages: u64,
    /// REQs that the engine answered without the store.
    pub from_memory: u64,
}

/// An event that waits, and older versions of it that are not written, the newest last.
type Waiting = (usize, Vec<usize>);

/// What makes one version newer than another: later, or as late with a lower id.
fn rank(event: &Value) -> (u64, std::cmp::Reverse<String>) {
    (event["created_at"].as_u64().unwrap(), std::cmp::Reverse(event["id"].to_string()))
}

pub struct Trial<'a> {
    pub seed: u64,
    pub chance: Chance,
    pub now: u64,
    pub authors: Vec<Author>,
    pub made: Vec<Made>,
    pub model: Model,
    pub engine: Engine,
    pub d1: &'a mut D1,
    /// Open subscriptions by reader and id.
    pub open: BTreeMap<(usize, String), Vec<Value>>,
    pub tally: &'a mut Tally,
}

impl<'a> Trial<'a> {
    pub fn new(seed: u64, d1: &'a mut D1, tally: &'a mut Tally) -> Self {
        on_d1::clear(d1);
        let mut chance = Chance::new(seed);
        let authors: Vec<Author> = (1..=4).map(Author::new).collect();
        let made = make::events(&mut chance, &authors, EVENTS);
        let settings = [
            ("AUTH_REQUIRED", "false"),
            ("DEFAULT_LIMIT", &DEFAULT_LIMIT.to_string()),
            ("MAX_LIMIT", &MAX_LIMIT.to_string()),
        ];
        let engine = Engine::new(&settings, &[&[], &authors[..1], &authors[1..3]]);
        let model = Model { stored: vec![], requests: vec![], default_limit: DEFAULT_LIMIT, max_limit: MAX_LIMIT };
        Self { seed, chance, now: NOW, authors, made, model, engine, d1, open: BTreeMap::new(), tally }
    }

    pub fn run(mut self) {
        for reader in 0..self.engine.readers.len() {
            (0..OPEN).for_each(|n| self.open(reader, format!("live {n}")));
        }
        let mut order: Vec<usize> = (0..EVENTS).collect();
        self.chance.shuffle(&mut order);
        while !order.is_empty() {
            let group = self.group(&mut order);
            self.publish(&group);
            self.question();
            if self.chance.one_in(3) {
                self.now += 1 + self.chance.below(3);
            }
            if self.chance.one_in(4) {
                self.sweep();
            }
            let reader = self.chance.below(self.engine.readers.len() as u64) as usize;
            let id = format!("live {}", self.chance.below(OPEN));
            self.open(reader, id);
        }
        for reader in 0..self.engine.readers.len() {
            self.judge_pages(reader, json!({}));
            let filter = make::filter(&mut self.chance, &self.authors, &self.made);
            self.judge_pages(reader, filter);
        }
        self.tally.from_memory += self.engine.answered_from_memory();
    }

    /// Takes the next events out of `order`, now and then with some that came before. Half of the time
    /// they are of one author and kind, with his deletion requests, so that versions and requests meet.
    fn group(&mut self, order: &mut Vec<usize>) -> Vec<usize> {
        let count = order.len().min(1 + self.chance.below(AT_ONCE) as usize);
        if self.chance.one_in(2) {
            let event = |at: usize| &self.made[at].event;
            let next = event(order[order.len() - 1]);
            let akin = |at: usize| event(at).pubkey == next.pubkey && [5, next.kind].contains(&event(at).kind);
            order.sort_by_key(|at| akin(*at));
        }
        let mut group = order.split_off(order.len() - count);
        while self.chance.one_in(3) {
            group.push(self.chance.below(EVENTS as u64) as usize);
        }
        self.chance.shuffle(&mut group);
        group
    }

    /// Opens a subscription under an id that may be in use, or closes that.
    fn open(&mut self, reader: usize, id: String) {
        if self.open.contains_key(&(reader, id.clone())) && self.chance.one_in(3) {
            self.engine.close(reader, &id);
            self.open.remove(&(reader, id));
            return;
        }
        let filters = self.filters();
        self.open.remove(&(reader, id.clone()));
        if self.judge_stored(reader, &id, &filters) {
            self.open.insert((reader, id), filters);
        }
    }

    /// One filter, or a few, some with a limit.
    fn filters(&mut self) -> Vec<Value> {
        let count = if self.chance.one_in(3) { 1 + self.chance.below(3) } else { 1 };
        let filters = (0..count).map(|_| {
            let mut filter = make::filter(&mut self.chance, &self.authors, &self.made);
            if self.chance.one_in(2) {
                filter["limit"] = json!(self.limit());
            }
            filter
        });
        filters.collect()
    }

    fn limit(&mut self) -> u64 {
        match self.chance.below(4) {
            0 => self.chance.below(4),
            1 => 95 + self.chance.below(130),
            _ => self.chance.below(40),
        }
    }

    fn sweep(&mut self) {
        self.engine.at(self.now);
        self.engine.sweep();
        self.model.sweep(self.now);
        on_d1::sweep(self.d1, self.now);
    }

    /// Publishes events, which the engine takes as groups: the first alone, and those that came while it
    /// was written, of which one author's keep their order.
    fn publish(&mut self, group: &[usize]) {
        self.engine.at(self.now);
        let said = self.engine.publish(&group.iter().map(|at| &self.made[*at].json).collect::<Vec<_>>());
        let mut fates: BTreeMap<usize, Fate> = BTreeMap::new();
        let mut news: Vec<usize> = Vec::new();
        let mut waiting: Vec<usize> = Vec::new();
        for at in group {
            let event = &self.made[*at].json;
            if model::is_ephemeral(event) {
                let mut open = self.open.iter();
                let heard = open.any(|((reader, _), filters)| hears(&self.engine.readers[*reader].hex, filters, event));
                fates.insert(*at, if heard { Fate::Heard } else { Fate::Unheard });
                news.push(*at);
            } else if model::has_expired(event, self.now) {
                fates.insert(*at, Fate::Expired);
            } else if model::is_misspelled(event) {
                fates.insert(*at, Fate::Misspelled);
            } else if self.model.stored.contains(event) {
                // The window holds all that is stored: it is a duplicate at once, and nothing waits behind it.
                let by_d1 = on_d1::take(self.d1, &[&self.made[*at].event]);
                self.check(by_d1 == [Fate::Known], || format!("D1 says {by_d1:?} to {}", self.story(event)));
                fates.insert(*at, Fate::Known);
            } else if !waiting.contains(at) {
                waiting.push(*at);
            }
        }
        let (first, rest) = waiting.split_at(waiting.len().min(1));
        let mut part: Vec<Waiting> = first.iter().map(|at| (*at, vec![])).collect();
        let mut left = self.absorbed(rest);
        while !part.is_empty() {
            let events: Vec<usize> = part.iter().map(|(at, _)| *at).collect();
            let by_model = self.model.take(&events.iter().map(|at| &self.made[*at].json).collect::<Vec<_>>());
            let by_d1 = on_d1::take(self.d1, &events.iter().map(|at| &self.made[*at].event).collect::<Vec<&Event>>());
            let mut back = Vec::new();
            for (((at, mut older), by_model), by_d1) in part.into_iter().zip(by_model).zip(by_d1) {
                let event = &self.made[at].json;
                self.check(by_model == by_d1, || {
                    format!("the model says {by_model:?}, D1 {by_d1:?} to {}", self.story(event))
                });
                fates.insert(at, by_model);
                if by_model == Fate::Stored {
                    news.push(at);
                } else {
                    // The newest of the older versions is written after all.
                    back.extend(older.pop().map(|newest| (newest, std::mem::take(&mut older))));
                }
                fates.extend(older.into_iter().map(|at| (at, Fate::Absorbed)));
            }
            left.splice(0..0, back);
            (part, left) = self.next_part(left);
        }
        self.judge_oks(group, &fates, said);
        self.judge_live(&news);
        if group.iter().any(|at| self.made[*at].event.kind == 62) {
            self.sweep();
        }
    }

    /// Events that wait, the older ones of one author's versions of an event with the newest, unless a deletion of his
    /// is between.
    fn absorbed(&self, events: &[usize]) -> Vec<Waiting> {
        let mut waiting: Vec<Waiting> = Vec::new();
        for at in events {
            let event = &self.made[*at].json;
            let own = |(other, _): &Waiting| self.made[*other].json["pubkey"] == event["pubkey"];
            let deletes = |(other, _): &Waiting| !new_event(&self.made[*other].event).deletes.is_empty();
            let from = waiting.iter().rposition(|other| own(other) && deletes(other)).map_or(0, |at| at + 1);
            let older = |(other, _): &Waiting| model::replaces(event, &self.made[*other].json);
            let Some(first) = waiting[from..].iter().position(older).map(|at| from + at) else {
                waiting.push((*at, vec![]));
                continue;
            };
            let (absorbed, kept): (Vec<Waiting>, Vec<Waiting>) = waiting.drain(first..).partition(older);
            let mut absorbed: Vec<usize> =
                absorbed.into_iter().flat_map(|(at, older)| [older, vec![at]].concat()).collect();
            absorbed.sort_by_key(|other| rank(&self.made[*other].json));
            waiting.push((*at, absorbed));
            waiting.extend(kept);
        }
        waiting
    }

    /// Those that may be written together, as none of them deletes or replaces another one of its author, and the rest.
    fn next_part(&self, events: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
        let (mut part, mut later): (Vec<Waiting>, Vec<Waiting>) = Default::default();
        for waiting in events {
            let event = &self.made[waiting.0].json;
            let own = |other: &&Waiting| self.made[other.0].json["pubkey"] == event["pubkey"];
            let after = |other: &Waiting| model::needs_order(&self.made[other.0].json, event);
            let waits = later.iter().any(|other| own(&other)) || part.iter().filter(own).any(after);
            if waits { later.push(waiting) } else { part.push(waiting) }
        }
        (part, later)
    }

    /// Asks random questions of the engine and of D1.
    fn question(&mut self) {
        let mut asked = Vec::new();
        for _ in 0..QUESTIONS {
            let reader = self.chance.below(self.engine.readers.len() as u64) as usize;
            let filter = make::filter(&mut self.chance, &self.authors, &self.made);
            let limit = self.limit();
            let mut limited = filter.clone();
            limited["limit"] = json!(limit);
            self.judge_stored(reader, "all", std::slice::from_ref(&filter));
            self.judge_stored(reader, "limited", &[limited]);
            let filters = if self.chance.one_in(3) { self.filters() } else { vec![filter.clone()] };
            self.judge_count(reader, &filters);
            asked.push((reader, filter, limit));
        }
        for (reader, id) in (0..self.engine.readers.len()).flat_map(|reader| [(reader, "all"), (reader, "limited")]) {
            self.engine.close(reader, id);
        }
        self.judge_d1(&asked);
    }
}
