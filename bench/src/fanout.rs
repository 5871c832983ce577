//! (c) Fan-out: one event to many subscribers, each on a connection of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::Error;
use crate::client::{Client, Target, many, verb};
use crate::figures::{Times, tell};
use crate::jobs::{Author, Frame, now, request};

/// How long one event may take to all.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Tally {
    /// Deliveries of the event that is under way.
    received: RefCell<Times>,
    failure: RefCell<Option<String>>,
    progress: Notify,
}

pub async fn run(target: &Target, subscribers: usize, events: usize) -> Result<(), Error> {
    let author = Author::new(&format!("fan-out {:?}", std::time::SystemTime::now()));
    let filter = format!(r#"{{"kinds":[5050],"authors":["{}"]}}"#, author.key());
    let (tally, started) = (Rc::new(Tally::default()), Rc::new(RefCell::new(Instant::now())));
    let mut reading = Vec::new();
    let clients = many(subscribers, async |_| {
        let mut client = Client::join(target, &author).await?;
        client.ask("fan", &filter).await?;
        Ok(client)
    });
    for mut client in clients.await? {
        let (tally, started) = (tally.clone(), started.clone());
        reading.push(tokio::task::spawn_local(async move {
            for _ in 0..events {
                match client.wait().await {
                    Ok(text) if verb(&text) == "EVENT" => tally.received.borrow_mut().add(started.borrow().elapsed()),
                    Ok(_) => {}
                    Err(error) => *tally.failure.borrow_mut() = Some(error.to_string()),
                }
                if tally.received.borrow().count() == subscribers || tally.failure.borrow().is_some() {
                    tally.progress.notify_one();
                }
            }
        }));
    }
    let mut publisher = Client::join(target, &author).await?;
    let (mut all, mut took) = (Times::default(), Times::default());
    for n in 0..events {
        let frame = Frame::new(&request(&author, "fan-out", n, now()));
        *started.borrow_mut() = Instant::now();
        publisher.send(frame.text).await?;
        timeout(PATIENCE, tally.progress.notified()).await.map_err(|_| "an event has not reached everybody")?;
        if let Some(failure) = tally.failure.take() {
            return Err(failure.into());
        }
        took.add(started.borrow().elapsed());
        all.join(tally.received.take());
    }
    for task in reading {
        task.abort();
    }
    let figures = [
        ("deliveries/s", subscribers as f64 / (took.quantile(0.5) / 1000.0)),
        ("p50 ms", all.quantile(0.5)),
        ("p99 ms", all.quantile(0.99)),
        ("last, p50 ms", took.quantile(0.5)),
        ("events", events as f64),
    ];
    tell("fan-out", &format!("{subscribers} subscribers"), &figures);
    Ok(())
}
