//! What is published on the simulated day, and when: jobs as a seed says, each with its customer, its
//! providers and those who lie.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use nexus::nostr::{Event, EventId};

use crate::common::chance::Chance;
use crate::people::{Ev, People, Person, RETAIN, Tags, forged, sign, tag};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;
const KINDS: [u16; 8] = [5050, 5050, 5050, 5940, 5100, 5300, 5001, 5250];

pub struct Script {
    pub people: People,
    pub chance: Chance,
    /// By the time of arrival, in Unix milliseconds, and by number.
    due: BinaryHeap<Reverse<(u64, u64)>>,
    evs: HashMap<u64, Rc<Ev>>,
    starts: Vec<u64>,
    count: u64,
}

/// A job that is being written.
struct Story<'a> {
    kind: u16,
    customer: &'a Person,
    asked: u64,
    id: EventId,
}

impl Script {
    /// So many jobs in the 24 hours from `from`, fewer at night.
    pub fn new(seed: u64, jobs: usize, from: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut starts: Vec<u64> = Vec::new();
        while starts.len() < jobs {
            let at = chance.below(24 * HOUR);
            let busy = if (8..20).contains(&(at / HOUR)) { 100 } else { 40 };
            if chance.below(100) < busy {
                starts.push(from + at);
            }
        }
        starts.sort_unstable_by_key(|at| Reverse(*at));
        let people = People::new();
        let mut script = Self { people, chance, due: BinaryHeap::new(), evs: HashMap::new(), starts, count: 0 };
        script.handlers(from);
        script
    }

    /// What arrives next, and when.
    pub fn next(&mut self) -> Option<(u64, Rc<Ev>)> {
        while let Some(start) = self.starts.last().copied() {
            if self.due.peek().is_some_and(|Reverse((at, _))| *at < start.saturating_sub(MINUTE)) {
                break;
            }
            self.starts.pop();
            self.job(start);
        }
        let Reverse((at, number)) = self.due.pop()?;
        Some((at, self.evs.remove(&number).unwrap()))
    }

    fn put(&mut self, at: u64, ev: Rc<Ev>) {
        self.count += 1;
        self.due.push(Reverse((at, self.count)));
        self.evs.insert(self.count, ev);
    }

    /// Publishes an event at `at`, now and then once more at some time.
    fn publish(&mut self, at: u64, event: Event, again: bool) {
        let ev = Rc::new(Ev::new(event, false));
        self.put(at, ev.clone());
        if again && self.chance.one_in(40) {
            let later = at + self.delay();
            self.put(later, ev);
        }
    }

    fn lie(&mut self, at: u64, event: Event) {
        self.put(at, Rc::new(Ev::new(event, true)));
    }

    /// A time that something takes, of any order of magnitude up to two hours.
    fn delay(&mut self) -> u64 {
        let scale = *self.chance.pick(&[2, 30, 200, 1_500, 8_000, 8_000, 60_000, 720_000]);
        scale * (1 + self.chance.below(100)) / 10
    }

    /// What each provider offers, told four times.
    fn handlers(&mut self, from: u64) {
        for round in 0..4 {
            for number in 0..self.people.providers.len() {
                let at = from + round * 6 * HOUR + number as u64 * 7;
                let mut tags: Tags = vec![tag(["d", "offer"])];
                tags.extend(KINDS[2..].iter().map(|kind| tag(["k", &kind.to_string()])));
                let event = sign(&self.people.providers[number].author, 31_990, at / 1000, &tags, "");
                self.publish(at, event, false);
            }
        }
    }

    fn job(&mut self, start: u64) {
        let people =
            std::mem::replace(&mut self.people, People { customers: vec![], providers: vec![], liars: vec![] });
        self.tell(start, &people);
        self.people = people;
    }

    fn tell(&mut self, start: u64, people: &People) {
        let kind = *self.chance.pick(&KINDS);
        let customer = self.chance.pick(&people.customers);
        let mut providers: Vec<&Person> =
            (0..*self.chance.pick(&[1, 1, 1, 1, 1, 1, 2, 3])).map(|_| self.chance.pick(&people.providers)).collect();
        providers.dedup_by_key(|provider| provider.key);
        let named = self.chance.one_in(5);
        let mut tags: Tags = vec![tag(["i", "what is it?", "text"]), tag(["bid", "1000"])];
        if named {
            tags.extend(providers.iter().map(|provider| tag(["p", &provider.key.to_string()])));
        }
        if self.chance.one_in(10) {
            tags.push(tag(["encrypted"]));
        }
        if self.chance.one_in(50) {
            tags.push(tag(["expiration", &(start / 1000 + 60 + self.chance.below(1_200)).to_string()]));
        }
        let request = sign(&customer.author, kind, start / 1000, &tags, &format!("{start}"));
        let fate = self.chance.below(100);
        // Some requests come after their answers, some after their time.
        let early = (84..90).contains(&fate);
        let asked = start + if early { self.delay() + self.chance.below(MINUTE) } else { self.chance.below(2_000) };
        let story = Story { kind, customer, asked, id: request.id };
        let cancelled = (90..96).contains(&fate);
        self.publish(asked, request.clone(), true);
        for provider in &providers {
            match fate {
                0..58 | 90..100 => self.serve(&story, provider, asked, false),
                58..70 => {}
                70..78 => self.fail(&story, provider),
                78..84 => self.serve(&story, provider, asked, true),
                _ => self.serve(&story, provider, start, false),
            }
        }
        if cancelled {
            let at = (asked + self.delay()).saturating_sub(self.chance.below(2) * 2_000).max(start);
            let deletion = sign(&customer.author, 5, at / 1000, &vec![tag(["e", &request.id.to_string()])], "");
            self.publish(at, deletion, true);
        }
        if fate >= 96 || self.chance.one_in(40) {
            for _ in 0..=self.chance.below(3) {
                self.hijack(&story, people, providers[0], &request);
            }
        }
    }

    fn answer(&self, story: &Story, by: &Person, kind: u16, at: u64, more: &[Vec<String>], content: &str) -> Event {
        let mut tags = vec![tag(["e", &story.id.to_string()]), tag(["p", &story.customer.key.to_string()])];
        tags.extend_from_slice(more);
        sign(&by.author, kind, at / 1000, &tags, content)
    }

    fn feedback(&mut self, story: &Story, by: &Person, at: u64, status: &str) {
        let mut more = vec![tag(["status", status])];
        if status == "payment-required" {
            more.push(tag(["amount", "2000", "lnbc1"]));
        }
        if self.chance.one_in(60) {
            more.push(tag(["expiration", &(at / 1000 + 300).to_string()]));
        }
        let event = self.answer(story, by, 7000, at, &more, &at.to_string());
        self.said(by, at, event);
    }

    /// Publishes an answer; now and then its provider takes it back.
    fn said(&mut self, by: &Person, at: u64, event: Event) {
        let id = event.id.to_string();
        self.publish(at, event, true);
        if self.chance.one_in(150) {
            let later = at + self.delay();
            let deletion = sign(&by.author, 5, later / 1000, &vec![tag(["e", &id])], "");
            self.publish(later, deletion, true);
        }
    }

    /// Works on a job from `from` on, or answers when its request is gone.
    fn serve(&mut self, story: &Story, by: &Person, from: u64, late: bool) {
        let mut at = from + self.delay();
        for (status, percent) in [("payment-required", 15), ("processing", 35), ("partial", 15), ("success", 2)] {
            if self.chance.below(100) < percent {
                self.feedback(story, by, at, status);
                at += self.delay();
            }
        }
        if late {
            at = story.asked + RETAIN[0] * 1000 + self.chance.below(3 * HOUR);
        }
        let event = self.answer(story, by, story.kind + 1000, at, &[tag(["amount", "900"])], &at.to_string());
        self.said(by, at, event);
    }

    fn fail(&mut self, story: &Story, by: &Person) {
        let at = story.asked + self.delay();
        if self.chance.one_in(2) {
            self.feedback(story, by, at, "processing");
        }
        let at = at + self.delay();
        self.feedback(story, by, at, "error");
    }

    /// Somebody says what is not so.
    fn hijack(&mut self, story: &Story, people: &People, provider: &Person, request: &Event) {
        let liar = self.chance.pick(&people.liars);
        let at =
            if self.chance.one_in(2) { story.asked - self.chance.below(4_000) } else { story.asked + self.delay() };
        let (own, processing) = (&story.kind + 1000, [tag(["status", "processing"])]);
        let content = format!("lie {}", self.count);
        match self.chance.below(10) {
            0 => {
                let other = Story { customer: self.chance.pick(&people.customers), ..*story };
                let kind = if self.chance.one_in(2) { own } else { 7000 };
                let event = self.answer(&other, liar, kind, at, &processing, &content);
                self.publish(at, event, true);
            }
            1 => {
                let event = self.answer(story, liar, own + 1, at, &[], &content);
                self.publish(at, event, true);
            }
            // Nobody asked him; where nobody was named, that is fair.
            2 => {
                let event = self.answer(story, liar, own, at, &[], &content);
                self.publish(at, event, true);
            }
            3 | 4 => {
                let event = self.answer(story, provider, own, at, &[], &content);
                self.publish(at, event, true);
            }
            5 => {
                let deletion = sign(&liar.author, 5, at / 1000, &vec![tag(["e", &story.id.to_string()])], &content);
                self.publish(at, deletion, true);
            }
            6 => {
                let event = self.answer(story, provider, own, at, &[], &content);
                self.lie(at, forged(&event, request));
            }
            7 => {
                let bad = *self.chance.pick(&["status", "amount", "e", "p"]);
                let event = self.answer(story, liar, 7000, at, &[tag([bad, "?"]), processing[0].clone()], &content);
                // Only an `e` that names nothing is refused; the others leave doubt.
                if bad == "e" { self.lie(at, event) } else { self.publish(at, event, true) }
            }
            8 => {
                let bad = self.chance.pick(&[tag(["p", "me"]), tag(["i"]), tag(["output", ""])]).clone();
                self.lie(at, sign(&liar.author, story.kind, at / 1000, &vec![bad], &content));
            }
            _ => self.lie(at, sign(&liar.author, own, at / 1000, &vec![tag(["e", &story.id.to_string()])], &content)),
        }
    }
}
