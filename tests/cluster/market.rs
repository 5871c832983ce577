//! What clients of a market say, signed once for all runs: jobs and answers to them, cancellations, profiles that replace
//! each other, announcements, what is not stored, and a key that vanishes.

use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::pool::{Ev, Pool, Question, Sample, question, sample};

/// Connections one run can open.
pub const CONNS_MAX: usize = 14;
/// Gateways there are at the most.
pub const GATEWAYS_MAX: usize = 3;

/// The events that are published when nothing goes wrong any more, one by each gateway: stored ones, then those that are
/// not.
pub fn last(pool: &Pool, gateway: usize) -> [Ev; 2] {
    [pool.last + gateway, pool.last + GATEWAYS_MAX + gateway]
}

pub fn pool() -> Pool {
    let authors: Vec<Author> = (1..=5).map(Author::new).collect();
    let [customer, other, provider, rival, leaver] = authors.as_slice() else { unreachable!() };
    let mut events = Vec::new();
    let mut add = |name: &str, event| events.push(sample("EVENT", name.to_owned(), event));
    let key = |author: &Author| author.key().to_string();
    let asked = key(provider);
    let jobs = [
        customer.sign(5050, NOW, &[&["t", "x"]], "one"),
        customer.sign(5050, NOW - 1, &[&["t", "y"]], "two"),
        customer.sign(5100, NOW, &[&["p", &asked]], "for one provider"),
        other.sign(5050, NOW, &[], "three"),
    ];
    for (n, job) in jobs.iter().enumerate() {
        add(&format!("job{n}"), job.clone());
        for (who, author) in [("provider", provider), ("rival", rival)] {
            let kind = job.kind + 1000;
            add(&format!("feedback{n} of {who}"), author.answer(7000, job, &[&["status", "processing"]]));
            add(&format!("result{n} of {who}"), author.answer(kind, job, &[&["t", "x"]]));
        }
    }
    for n in [1, 3] {
        let (author, id) = (if n == 1 { customer } else { other }, jobs[n].id.to_string());
        add(&format!("cancel{n}"), author.sign(5, NOW + 1, &[&["e", &id], &["t", "x"]], ""));
    }
    for (n, age) in [2, 1, 0].into_iter().enumerate() {
        add(&format!("profile{n}"), customer.sign(0, NOW - age, &[], &n.to_string()));
    }
    for (n, age) in [1, 0].into_iter().enumerate() {
        let tags: &[&[&str]] = &[&["d", "h"], &["k", "5050"], &["t", "x"]];
        add(&format!("announcement{n}"), provider.sign(31_990, NOW - age, tags, &format!("{{\"about\":\"{n}\"}}")));
    }
    add("rival's announcement", rival.sign(31_990, NOW, &[&["d", "h"], &["k", "5050"]], "{}"));
    for (n, tag) in ["x", "y", "x"].into_iter().enumerate() {
        add(&format!("note{n}"), other.sign(1, NOW - n as u64, &[&["t", tag]], &n.to_string()));
    }
    for n in 0..3 {
        add(&format!("ephemeral{n}"), customer.sign(20_001, NOW, &[&["t", "x"]], &n.to_string()));
    }
    for n in 0..2 {
        add(&format!("leaver's note{n}"), leaver.sign(1, NOW - n, &[&["t", "y"]], &n.to_string()));
    }
    add("leaver's job", leaver.sign(5050, NOW - 1, &[], "four"));
    add("leaver's profile", leaver.sign(0, NOW - 1, &[], ""));
    add("vanish", leaver.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], ""));
    let mut forged = rival.sign(1, NOW, &[&["t", "x"]], "forged");
    forged.sig = jobs[0].sig;
    add("forged", forged);
    let lasts = events.len();
    events.extend(last_ones(customer));
    let filters = filters(&authors, &events);
    Pool::of(events, lasts, filters, &authors, CONNS_MAX)
}

fn last_ones(author: &Author) -> impl Iterator<Item = Sample> {
    let made = |name: &str, kind, n: usize| {
        let event = author.sign(kind, NOW + 100 + n as u64, &[&["t", "x"]], name);
        sample("EVENT", format!("{name}{n}"), event)
    };
    let stored = (0..GATEWAYS_MAX).map(move |n| made("last", 1, n));
    stored.chain((0..GATEWAYS_MAX).map(move |n| made("last ephemeral", 20_001, n)))
}

fn filters(authors: &[Author], events: &[Sample]) -> Vec<Question> {
    let [customer, _, provider, rival, leaver] = [0, 1, 2, 3, 4].map(|n: usize| authors[n].key());
    let [job, second] = [events[0].event.id, events[5].event.id];
    let filters = [
        json!({}),
        json!({}),
        json!({"kinds": [5050]}),
        json!({"kinds": [5050, 5100], "limit": 0}),
        json!({"kinds": [6050, 7000], "#e": [job]}),
        json!({"kinds": [6050, 7000], "#e": [job, second]}),
        json!({"#p": [customer]}),
        json!({"kinds": [5100], "#p": [provider]}),
        json!({"authors": [customer]}),
        json!({"authors": [provider, rival], "kinds": [6050, 31_990]}),
        json!({"authors": [leaver]}),
        json!({"kinds": [31_990]}),
        json!({"kinds": [0, 5, 62]}),
        json!({"kinds": [20_001]}),
        json!({"#t": ["x"]}),
        json!({"#t": ["x", "y"], "kinds": [1, 5]}),
        json!({"ids": [job]}),
        json!({"limit": 1}),
        json!({"kinds": [1], "limit": 2}),
        json!({"limit": 0}),
        json!({"since": NOW}),
        json!({"until": NOW - 1}),
        json!({"ids": []}),
    ];
    filters.iter().map(question).collect()
}
