//! What clients of a market say, signed once for all runs: jobs and answers to them, cancellations, profiles that replace
//! each other, announcements, what is not stored, and a key that vanishes.

use std::ops::Range;

use nexus::nostr::{Event, EventId};
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::plan::CLIENTS_MAX;
use crate::pool::{Ev, Pool, Question, Sample, question, sample};

/// Gateways there are at the most.
pub const GATEWAYS_MAX: usize = 8;
/// Connections one run can open.
const CONNS_MAX: usize = CLIENTS_MAX as usize + GATEWAYS_MAX;
/// Filters, of which the others ask more of jobs.
pub const FEW_FILTERS: usize = 23;
/// Jobs that each gateway is told of at the end, at the most.
const LAST_JOBS: usize = 3;
/// What each is told of at the end: that, something else that is stored, and something that is not.
const LAST: usize = LAST_JOBS + 2;

/// The events that are published by one of so many gateways when nothing goes wrong any more: of few each has more jobs.
pub fn last(pool: &Pool, gateway: usize, gateways: usize) -> Range<Ev> {
    let first = pool.last + LAST * gateway;
    first..first + if gateways < 3 { LAST } else { LAST - LAST_JOBS + 1 }
}

/// Whether it is one of these.
pub fn is_last(pool: &Pool, ev: Ev) -> bool {
    (pool.last..more(pool).start).contains(&ev)
}

/// Events of more jobs.
pub fn more(pool: &Pool) -> Range<Ev> {
    pool.last + LAST * GATEWAYS_MAX..pool.events.len()
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
    (0..GATEWAYS_MAX).for_each(|gateway| events.extend(last_ones(customer, gateway)));
    let jobs = more_events(&authors, &mut events);
    let filters = filters(&authors, &events, &jobs);
    Pool::of(events, lasts, filters, &authors, CONNS_MAX)
}

fn last_ones(author: &Author, gateway: usize) -> [Sample; LAST] {
    let made = |name: &str, kind, n: usize| {
        let event = author.sign(kind, NOW + 100 + gateway as u64, &[&["t", "x"]], &format!("{name}{n}"));
        sample("EVENT", format!("{name}{n} of {gateway}"), event)
    };
    std::array::from_fn(|n| match n {
        0 => made("last", 1, n),
        1 => made("last ephemeral", 20_001, n),
        _ => made("last job", 5050, n),
    })
}

/// Jobs of two customers, one of whom cancels some at once, answers of one who leaves, and what he leaves; the jobs are
/// given back.
fn more_events(authors: &[Author], events: &mut Vec<Sample>) -> Vec<EventId> {
    let [customer, other, provider, rival, leaver] = authors else { unreachable!() };
    let mut add = |name: String, event: Event| events.push(sample("EVENT", name, event));
    let mut jobs = Vec::new();
    for n in 0..8 {
        let author = if n % 2 == 0 { customer } else { other };
        let job = author.sign(5050, NOW - n / 3, &[&["t", "x"]], &format!("more{n}"));
        for (who, by) in
            [("provider", provider), ("rival", rival), ("leaver", leaver)].into_iter().take(1 + n as usize % 3)
        {
            add(format!("more feedback{n} of {who}"), by.answer(7000, &job, &[&["status", "processing"]]));
            add(format!("more result{n} of {who}"), by.answer(6050, &job, &[&["t", "x"]]));
        }
        add(format!("more job{n}"), job.clone());
        jobs.push(job.id);
    }
    for n in 0..2 {
        add(format!("leaver's job{n}"), leaver.sign(5050, NOW - n, &[], &format!("leaver's {n}")));
    }
    let named = |all: &[usize]| all.iter().map(|n| jobs[*n].to_string()).collect::<Vec<_>>();
    for (by, all) in [(other, vec![1, 3, 5]), (other, vec![7]), (customer, vec![0])] {
        add(format!("cancels {all:?}"), by.sign_list(5, &[], "e", &named(&all), ""));
    }
    jobs
}

fn filters(authors: &[Author], events: &[Sample], jobs: &[EventId]) -> Vec<Question> {
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
        // Of more jobs, and of more than one partition.
        json!({"kinds": [5050], "limit": 3}),
        json!({"kinds": [5050, 6050, 1], "limit": 5}),
        json!({"kinds": [6050, 7000], "#e": jobs}),
        json!({"kinds": [6050, 7000], "#e": jobs[..2], "limit": 2}),
        json!({"kinds": [6050], "#e": jobs[3..5], "limit": 0}),
        json!({"kinds": [6050], "limit": 0}),
        json!({"kinds": [6050, 7000], "authors": [provider]}),
        json!({"authors": [leaver], "kinds": [5050, 6050, 7000]}),
        json!({"ids": jobs}),
        json!({"limit": 6}),
        json!({"kinds": [5, 7000]}),
    ];
    filters.iter().map(question).collect()
}
