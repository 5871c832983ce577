//! (b) Latency: events at a fixed pace, whatever the relay makes of it, from when each was due to its
//! arrival at a subscriber.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use crate::Error;
use crate::client::{Client, Target, accepts, id, verb};
use crate::figures::{Times, tell};
use crate::idle;
use crate::jobs::{Author, Frame, now, request};

/// How long the last events may be on their way.
const GRACE: Duration = Duration::from_secs(30);
/// Connections that publish, in turn.
const PUBLISHERS: usize = 4;

pub async fn run(target: &Target, rates: &[u64], idle: usize, time: Duration) -> Result<(), Error> {
    let _idle = idle::subscribers(target, idle).await?;
    for rate in rates {
        case(target, *rate, idle, time).await?;
    }
    Ok(())
}

async fn case(target: &Target, rate: u64, idle: usize, time: Duration) -> Result<(), Error> {
    let author = Author::new(&format!("latency {:?}", std::time::SystemTime::now()));
    let count = (rate as f64 * time.as_secs_f64()) as usize;
    let frames: Vec<Frame> = (0..count).map(|n| Frame::new(&request(&author, "latency", n, now()))).collect();
    let mut subscriber = Client::join(target, &author).await?;
    subscriber.ask("live", &format!(r#"{{"kinds":[5050],"authors":["{}"]}}"#, author.key())).await?;
    let arrived: Rc<RefCell<HashMap<String, Instant>>> = Rc::default();
    let arrivals = arrived.clone();
    let reading = tokio::task::spawn_local(async move {
        while arrivals.borrow().len() < count {
            let text = subscriber.next().await.map_err(|error| error.to_string())?;
            if verb(&text) == "EVENT" {
                arrivals.borrow_mut().insert(id(&text).to_owned(), Instant::now());
            }
        }
        Ok::<(), String>(())
    });
    let start = Instant::now() + Duration::from_millis(100);
    let due = |n: usize| start + Duration::from_secs_f64(n as f64 / rate as f64);
    let mut lines: Vec<Vec<(Instant, String)>> = (0..PUBLISHERS).map(|_| Vec::new()).collect();
    let mut ids = Vec::with_capacity(count);
    for (n, Frame { id, text }) in frames.into_iter().enumerate() {
        lines[n % PUBLISHERS].push((due(n), text));
        ids.push(id);
    }
    let mut publishing = Vec::new();
    for line in lines {
        let client = Client::join(target, &author).await?;
        publishing.push(tokio::task::spawn_local(publish(client, line)));
    }
    for task in publishing {
        task.await??;
    }
    tokio::time::timeout(GRACE, reading).await.map_err(|_| "events that were accepted have not arrived")???;
    let arrived = arrived.take();
    let mut times = Times::default();
    for (n, id) in ids.iter().enumerate() {
        times.add(arrived.get(id).ok_or("an event has not arrived")?.saturating_duration_since(due(n)));
    }
    let figures = [("p50 ms", times.quantile(0.5)), ("p99 ms", times.quantile(0.99)), ("events", count as f64)];
    tell("latency", &format!("{rate} events/s beside {idle} idle subscriptions"), &figures);
    sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// Sends each event when it is due, and reads the OKs meanwhile.
async fn publish(mut client: Client, line: Vec<(Instant, String)>) -> Result<(), String> {
    let (mut told, count) = (0, line.len());
    let mut line = line.into_iter().peekable();
    while told < count {
        let next = line.peek().map(|(at, _)| *at);
        tokio::select! {
            () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {
                if let Some((_, text)) = line.next() {
                    client.send(text).await.map_err(|error| error.to_string())?;
                }
            }
            text = client.next() => {
                let text = text.map_err(|error| error.to_string())?;
                if !accepts(&text) {
                    return Err(format!("EVENT: {text}"));
                }
                told += 1;
            }
        }
    }
    Ok(())
}
