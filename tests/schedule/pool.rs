//! What clients can say, signed once for all runs: events that race, replace, repeat and delete each
//! other, filters that overlap, and AUTH events for the first connections of a run.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use nexus::gateway::ConnId;
use nexus::nostr::{Event, EventId, Filter, KindClass};
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::{RELAY, challenge};

/// Connections one run can open.
pub const MAX_CONNS: usize = 8;

/// The second of the crowd.
const CROWDED: u64 = NOW - 20;

/// An event by its place in the pool.
pub type Ev = usize;

/// An event ready to be sent.
pub struct Sample {
    /// For people.
    pub name: String,
    pub event: Event,
    /// Whether the store never sees it.
    pub ephemeral: bool,
    /// The whole message.
    pub frame: String,
}

/// A filter and its text.
pub struct Question {
    pub filter: Filter,
    pub text: String,
}

pub struct Pool {
    pub events: Vec<Sample>,
    /// Published at the end of a run, never before; all before it is published in any order.
    pub last: Ev,
    /// In the database from the start in some runs: more of one second than a page takes.
    pub crowd: Range<Ev>,
    pub filters: Vec<Question>,
    /// By author, then connection; the last of each list has nobody's challenge.
    pub auths: Vec<Vec<Sample>>,
    by_id: HashMap<String, Ev>,
    by_json: HashMap<String, Ev>,
}

pub fn sample(verb: &str, name: String, event: Event) -> Sample {
    let ephemeral = event.class() == KindClass::Ephemeral;
    Sample { name, ephemeral, frame: json!([verb, event]).to_string(), event }
}

impl Pool {
    pub fn new() -> Self {
        let authors: Vec<Author> = (1..=2).map(Author::new).collect();
        let mut events = Vec::new();
        for (who, author) in ["a", "b"].iter().zip(&authors) {
            events_of(who, author, &authors, &mut events);
        }
        events.push(sample("EVENT", "last".to_owned(), authors[0].sign(1, NOW + 100, &[&["t", "x"]], "last")));
        let last = events.len() - 1;
        for n in 0..110 {
            let event = authors[1].sign(7, CROWDED, &[], &format!("crowd {n}"));
            events.push(sample("EVENT", format!("crowd{n}"), event));
        }
        let filters = filters(&authors, &events[0].event);
        Self::of(events, last, filters, &authors, MAX_CONNS)
    }

    /// These events, of which the crowd comes after the last, and the AUTH events of so many connections.
    pub fn of(events: Vec<Sample>, last: Ev, filters: Vec<Question>, authors: &[Author], conns: usize) -> Self {
        let auths = authors.iter().map(|author| {
            let sign = |conn: usize| {
                let tags = ["challenge".to_owned(), challenge(ConnId(conn as u64))];
                author.sign(22242, NOW, &[&["relay", RELAY], &[&tags[0], &tags[1]]], "")
            };
            (1..=conns + 1).map(|conn| sample("AUTH", format!("auth{conn}"), sign(conn))).collect()
        });
        let key = |ev: &Sample| (ev.event.id.to_string(), ev.event.to_json());
        Self {
            by_id: events.iter().enumerate().map(|(at, ev)| (key(ev).0, at)).collect(),
            by_json: events.iter().enumerate().map(|(at, ev)| (key(ev).1, at)).collect(),
            last,
            crowd: last + 1..events.len(),
            filters,
            auths: auths.collect(),
            events,
        }
    }

    /// Its place among others, newest first.
    pub fn place(&self, ev: Ev) -> (Reverse<u64>, EventId) {
        let event = &self.events[ev].event;
        (Reverse(event.created_at), event.id)
    }

    pub fn by_id(&self, id: &str) -> Option<Ev> {
        self.by_id.get(id).copied()
    }

    /// The event of exactly this text.
    pub fn by_json(&self, json: &str) -> Option<Ev> {
        self.by_json.get(json).copied()
    }

    /// `text` with names in place of events, for people.
    pub fn readable(&self, text: &str) -> String {
        let all = self.events.iter().chain(self.auths.iter().flatten());
        all.fold(text.to_owned(), |text, ev| {
            let json = if text.contains('{') { text.replace(&ev.event.to_json(), &ev.name) } else { text };
            let json = json.replace(&json!(ev.event).to_string(), &ev.name);
            json.replace(&ev.event.id.to_string(), &ev.name)
        })
    }
}

/// Two of a second, some apart; versions that replace each other; deletions before and after them.
fn events_of(who: &str, author: &Author, all: &[Author], events: &mut Vec<Sample>) {
    let mut add = |name: &str, event: Event| events.push(sample("EVENT", format!("{who}.{name}"), event));
    let notes = [(0, "x"), (0, "x"), (1, "y"), (2, "y"), (3, "x")];
    let notes: Vec<Event> = notes
        .iter()
        .enumerate()
        .map(|(n, (age, tag))| author.sign(1, NOW - age, &[&["t", tag]], &n.to_string()))
        .collect();
    for (n, note) in notes.iter().enumerate() {
        add(&format!("note{n}"), note.clone());
    }
    for (n, age) in [2, 1, 1, 0].into_iter().enumerate() {
        add(&format!("profile{n}"), author.sign(0, NOW - age, &[], &n.to_string()));
    }
    for (n, age) in [1, 0].into_iter().enumerate() {
        add(&format!("address{n}"), author.sign(30_000, NOW - age, &[&["d", "d"], &["t", "x"]], &n.to_string()));
    }
    for n in 0..2 {
        add(&format!("ephemeral{n}"), author.sign(20_001, NOW, &[&["t", "x"]], &n.to_string()));
    }
    for (n, time) in [CROWDED, CROWDED, CROWDED + 1].into_iter().enumerate() {
        add(&format!("page{n}"), author.sign(7, time, &[], &n.to_string()));
    }
    let [first, second] = [&notes[0], &notes[2]].map(|note| note.id.to_string());
    let theirs = all[1].sign(1, NOW, &[&["t", "x"]], "0").id.to_string();
    add("deletes0", author.sign(5, NOW + 1, &[&["e", &first], &["e", &theirs], &["t", "x"]], ""));
    add("deletes2", author.sign(5, NOW - 9, &[&["e", &second]], ""));
    let address = format!("0:{}:", author.key());
    add("deletes profile", author.sign(5, NOW - 1, &[&["a", &address]], ""));
    let mut forged = author.sign(1, NOW, &[&["t", "x"]], "forged");
    forged.sig = notes[0].sig;
    add("forged", forged);
}

fn filters(authors: &[Author], event: &Event) -> Vec<Question> {
    let [a, b] = [authors[0].key(), authors[1].key()];
    let filters = [
        json!({}),
        json!({}),
        json!({"kinds": [1]}),
        json!({"kinds": [0, 5, 20_001, 30_000]}),
        json!({"authors": [a]}),
        json!({"authors": [a, b], "kinds": [0, 1]}),
        json!({"#t": ["x"]}),
        json!({"#t": ["x", "y"], "kinds": [1, 5]}),
        json!({"ids": [event.id]}),
        json!({"limit": 1}),
        json!({"kinds": [1], "limit": 2}),
        json!({"kinds": [7], "limit": 100}),
        json!({"limit": 0}),
        json!({"since": NOW - 1}),
        json!({"until": NOW - 1, "authors": [b]}),
        json!({"ids": []}),
    ];
    filters.iter().map(question).collect()
}

pub fn question(filter: &serde_json::Value) -> Question {
    let text = filter.to_string();
    Question { filter: Filter::parse(&text).unwrap(), text }
}
