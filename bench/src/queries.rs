//! (d) Stored queries: from REQ to EOSE, for each shape that agents ask in.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use nexus::nostr::Event;

use crate::Error;
use crate::client::{Client, Target, accepts};
use crate::figures::{Times, tell};
use crate::fill;
use crate::jobs::{Author, Frame, hash, mix, now, request};

/// Events of jobs that are published where nothing is known of what is stored, and as of how many seconds.
const PUBLISHED: usize = 6000;
const PUBLISHED_S: u64 = 60;
/// Of each sort, other events among them.
const OTHERS: usize = 20;
/// Events that are sent before their answers are waited for.
const WINDOW: usize = 64;

/// A job to ask about.
struct Job {
    id: String,
    customer: String,
    provider: String,
}

struct Sample {
    jobs: Vec<Job>,
    /// What is new begins here, in Unix seconds.
    since: u64,
}

type Shape = (&'static str, fn(&Job, u64) -> String);

const SHAPES: &[Shape] = &[
    ("new jobs", |_, since| format!(r#"{{"kinds":[5050],"since":{since}}}"#)),
    ("jobs for me, 50", |job, _| format!(r##"{{"kinds":[5050],"#p":["{}"],"limit":50}}"##, job.provider)),
    ("answers to my job", |job, _| {
        format!(r##"{{"kinds":[6050,7000],"#e":["{}"],"#p":["{}"]}}"##, job.id, job.customer)
    }),
    ("handlers of a kind", |_, _| r##"{"kinds":[31990],"#k":["5050"]}"##.to_owned()),
    ("one event", |job, _| format!(r#"{{"ids":["{}"]}}"#, job.id)),
    ("results of a provider, 50", |job, _| format!(r#"{{"kinds":[6050],"authors":["{}"],"limit":50}}"#, job.provider)),
    ("the newest of a kind, 50", |_, _| r#"{"kinds":[6050],"limit":50}"#.to_owned()),
];

pub async fn run(target: &Target, stored: Option<u64>, connections: usize, time: Duration) -> Result<(), Error> {
    let sample = match stored {
        Some(events) => filled(events),
        None => published(target).await?,
    };
    let mut clients = Vec::new();
    for n in 0..connections {
        clients.push(Client::join(target, &Author::new(&format!("asking {n}"))).await?);
    }
    let alone = SHAPES.iter().map(|shape| (shape.0, std::slice::from_ref(shape)));
    for (name, shapes) in alone.chain([("all of these in turn", SHAPES)]) {
        let asking = clients.iter_mut().enumerate().map(|(n, client)| {
            let end = Instant::now() + time;
            let jobs = sample.jobs.iter().cycle().skip(n * 7919 % sample.jobs.len());
            let filters = jobs.zip(shapes.iter().cycle().skip(n)).map(|(job, (_, shape))| shape(job, sample.since));
            async move {
                let (mut times, mut events) = (Times::default(), 0);
                for filter in filters {
                    let start = Instant::now();
                    if start >= end {
                        break;
                    }
                    events += client.ask("q", &filter).await?;
                    times.add(start.elapsed());
                    client.send("[\"CLOSE\",\"q\"]").await?;
                }
                Ok::<_, Error>((times, events))
            }
        });
        let start = Instant::now();
        let done = try_join_all(asking).await?;
        let took = start.elapsed().as_secs_f64();
        let (mut times, mut events) = (Times::default(), 0);
        for (part, returned) in done {
            times.join(part);
            events += returned;
        }
        let count = times.count() as f64;
        let figures = [
            ("queries/s", count / took),
            ("p50 ms", times.quantile(0.5)),
            ("p99 ms", times.quantile(0.99)),
            ("events each", events as f64 / count),
        ];
        let of = stored.map_or_else(|| "of what was just published".to_owned(), |events| format!("of {events} events"));
        tell("queries", &format!("{name}, {of}"), &figures);
    }
    Ok(())
}

/// Jobs of a filled store, from all over it.
fn filled(events: u64) -> Sample {
    let pick = |n: u64| {
        let n = n * 7919 % (events / 4) * 4;
        let (customer, provider) = fill::parties(n);
        Job { id: fill::id(n).to_string(), customer: customer.to_string(), provider: provider.to_string() }
    };
    Sample { jobs: (1..2000).map(pick).collect(), since: fill::NEWEST - 10 }
}

async fn published(target: &Target) -> Result<Sample, Error> {
    let name = format!("queries {:?}", std::time::SystemTime::now());
    let mut client = Client::join(target, &Author::new(&name)).await?;
    let first = now() - PUBLISHED_S;
    let events = mix(&name, PUBLISHED, first, PUBLISHED as f64 / PUBLISHED_S as f64);
    let others = others(&name);
    for window in events.chunks(WINDOW).chain(others.chunks(WINDOW)) {
        for event in window {
            client.send(Frame::new(event).text).await?;
        }
        for _ in window {
            let answer = client.next().await?;
            if !accepts(&answer) {
                return Err(format!("EVENT: {answer}").into());
            }
        }
    }
    let job = |events: &[Event]| {
        let [request, feedback, ..] = events else { return None };
        let [id, customer] = [request.id.to_string(), request.pubkey.to_string()];
        Some(Job { id, customer, provider: feedback.pubkey.to_string() })
    };
    let since = events.last().map_or(0, |event| event.created_at.saturating_sub(1));
    Ok(Sample { jobs: events.chunks(3).filter_map(job).collect(), since })
}

/// What else comes in a market: handlers and profiles that are renewed, jobs that are cancelled, answers to jobs that are
/// not known here.
fn others(name: &str) -> Vec<Event> {
    let of = |what: &str, n: usize| Author::new(&format!("{name} {what} {n}"));
    let at = now();
    let mut list = Vec::new();
    for n in 0..OTHERS {
        let (handler, customer) = (of("handler", n % 5), of("customer", n));
        let (renewed, job) = (at - (OTHERS - n) as u64, request(&customer, name, n, at));
        list.push(handler.sign(31_990, renewed, &[&["d", "h"], &["k", "5050"]], String::new()));
        list.push(handler.sign(0, renewed, &[], "{}".to_owned()));
        let cancel = customer.sign(5, at, &[&["e", &job.id.to_string()]], String::new());
        list.extend([job, cancel]);
        let (unknown, key) = (hex::encode(hash(&format!("{name} {n}"))), customer.key().to_string());
        list.push(handler.sign(7000, at, &[&["e", &unknown], &["p", &key], &["status", "processing"]], String::new()));
    }
    list
}
