//! What becomes of events, of every sort: what is decided is what a database has afterwards.

use std::collections::{BTreeMap, BTreeSet};

use nexus::ledger::{Changes, Outcome};
use nexus::nostr::{Event, EventId, PublicKey};

use super::put;
use crate::common::Database;
use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::ledger::{facts_for, group, position};

/// Groups of one run.
const GROUPS: usize = 100;
/// Keys that answer; more than a job holds of those that were not asked.
const KEYS: u32 = 26;

/// Some events that have to do with one another, new and known ones.
struct Maker {
    chance: Chance,
    keys: Vec<Author>,
    requests: Vec<Event>,
    made: Vec<Event>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let keys: Vec<Author> = (0..KEYS).map(Author::numbered).collect();
        Self { chance: Chance::new(seed), keys, requests: Vec::new(), made: Vec::new() }
    }

    fn group(&mut self) -> Vec<Event> {
        let mut ids = BTreeSet::new();
        let size = 1 + self.chance.below(24);
        let events: Vec<Event> = (0..size).map(|_| self.event()).collect();
        events.into_iter().filter(|event| ids.insert(event.id)).collect()
    }

    /// One that is new, or was made before.
    fn event(&mut self) -> Event {
        if !self.made.is_empty() && self.chance.one_in(8) {
            return self.chance.pick(&self.made).clone();
        }
        let at = self.chance.below(u64::from(KEYS)) as usize;
        let time = NOW + self.chance.below(5);
        let content = self.made.len().to_string();
        let event = match self.chance.below(40) {
            0 => self.request(time, &content),
            1..33 => self.answer(at, time, &content),
            33..35 => self.keys[at % 3].sign(0, time, &[], &content),
            35..37 => self.keys[at].sign(1, time, &[&["t", "x"]], &content),
            37 if self.chance.one_in(20) => self.keys[20].sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], &content),
            _ => self.deletion(time, &content),
        };
        self.made.push(event.clone());
        event
    }

    /// Of one of four customers: to everybody or to some, public or for its parties alone. Some are answered before
    /// they come.
    fn request(&mut self, time: u64, content: &str) -> Event {
        let at = self.chance.below(4) as usize;
        let asked: Vec<String> = (4..6).map(|at| self.keys[at].key().to_string()).collect();
        let mut tags: Vec<&[&str]> = vec![&["i", "x", "text"]];
        let pair = [["p", &asked[0]], ["p", &asked[1]]];
        if !self.chance.one_in(3) {
            tags.extend(pair.iter().map(|tag| tag.as_slice()));
        }
        if self.chance.one_in(3) {
            tags.push(&["encrypted"]);
        }
        let request = self.keys[at].sign(5050, time, &tags, content);
        self.requests.push(request.clone());
        if self.chance.one_in(3) {
            self.made.push(request);
            return self.answer(4, time, content);
        }
        request
    }

    /// Mostly to one of the last requests, and now and then to another customer, or as if another kind was asked.
    fn answer(&mut self, at: usize, time: u64, content: &str) -> Event {
        let Some(last) = self.requests.len().checked_sub(1) else { return self.keys[at].note(content) };
        let back = self.chance.below(4) as usize;
        let request = self.requests[last.saturating_sub(back)].clone();
        let other: PublicKey = self.keys[1].key();
        let customer = if self.chance.one_in(9) { other } else { request.pubkey };
        let (id, customer) = (request.id.to_string(), customer.to_string());
        let about: &[&[&str]] = &[&["e", &id], &["p", &customer], &["status", "processing"]];
        // One who was asked and one who was not say more than others.
        let author = &self.keys[*self.chance.pick(&[4, 7, at, at])];
        match self.chance.below(8) {
            0..4 => author.sign(7000, time, about, content),
            4 => author.sign(6051, time, &about[..2], content),
            _ => author.sign(6050, time, &about[..2], content),
        }
    }

    /// Of something of the same key's.
    fn deletion(&mut self, time: u64, content: &str) -> Event {
        if self.made.is_empty() {
            return self.keys[0].note(content);
        }
        let list = if self.chance.one_in(2) && !self.requests.is_empty() { &self.requests } else { &self.made };
        let target = self.chance.pick(list).clone();
        let author = self.keys.iter().find(|key| key.key() == target.pubkey).unwrap();
        author.sign(5, time, &[&["e", &target.id.to_string()]], content)
    }
}

/// What the database has of a group's events, with their numbers.
fn held(db: &mut dyn Database, events: &[Event]) -> BTreeMap<EventId, u64> {
    let facts = facts_for(db, &group(&events.iter().collect::<Vec<_>>()));
    facts.events.into_iter().map(|(id, held)| (id, held.seq)).collect()
}

fn name(outcome: Outcome, before: u64) -> String {
    match outcome {
        Outcome::Stored { seq, private, first } => {
            format!("stored {} {private} {first}", if seq > before { "now" } else { "before" })
        }
        other => format!("{other:?}"),
    }
}

pub fn outcomes(db: &mut dyn Database) {
    let mut maker = Maker::new(7);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut cancelled = 0;
    // A job nobody has heard of, with as many answers as are held of one.
    let unknown = Author::new(1).sign(5050, NOW, &[], "nobody has sent it");
    let early: Vec<Event> = (0..1001).map(|n| Author::numbered(n).answer(7000, &unknown, &[])).collect();
    let mut groups = vec![early[..1000].to_vec(), early[1000..].to_vec()];
    // A job that more keys answer than may unasked.
    let popular = Author::new(1).sign(5050, NOW, &[&["p", &Author::new(2).key().to_string()]], "popular");
    let answers: Vec<Event> = (0..KEYS).map(|n| Author::numbered(n).answer(6050, &popular, &[])).collect();
    groups.extend([vec![popular], answers[..15].to_vec(), answers[15..].to_vec()]);
    groups.extend((0..GROUPS).map(|_| maker.group()));
    for (at, events) in groups.iter().enumerate() {
        let committed = put(db, &events.iter().collect::<Vec<_>>());
        let held = held(db, events);
        for (id, outcome) in &committed.decision.outcomes {
            let here = match outcome {
                Outcome::Stored { seq, .. } => Some(seq),
                _ => None,
            };
            assert_eq!(held.get(id), here, "group {at}: {outcome:?}");
        }
        assert_eq!(committed.after, position(db), "group {at}");
        // Taken again it changes nothing, but that what it has superseded itself is not here.
        let again = put(db, &events.iter().collect::<Vec<_>>());
        assert_eq!(again.decision.changes, Changes::default(), "group {at}");
        cancelled += committed.decision.cancelled.len();
        for outcome in committed.decision.outcomes.values() {
            *seen.entry(name(*outcome, committed.before.totals.last_seq)).or_default() += 1;
        }
    }
    println!("  {seen:?}");
    assert!(cancelled > 10, "{cancelled} who answered a job that was cancelled");
    let all = [
        "stored now false false",
        "stored now false true",
        "stored now true false",
        "stored before false false",
        "Superseded",
        "Deleted",
        "Cancelled",
        "Disagrees(Customer)",
        "Disagrees(Kind)",
        "Disagrees(Provider)",
        "Disagrees(Early)",
        "Disagrees(Feedbacks)",
        "Disagrees(Keys)",
    ];
    let missing: Vec<&str> = all.into_iter().filter(|name| !seen.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} did not happen");
}
