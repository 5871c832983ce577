//! (b) Latency: events at a fixed pace, whatever the relay makes of it, from when each was due to its
//! arrival at a subscriber.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use crate::Error;
use crate::client::{Client, Target, accepts, id, verb};
use crate::figures::{Times, tell};
use crate::idle;
use crate::jobs::{Author, Frame, mix, now, request};

/// How long the last events may be on their way.
const GRACE: Duration = Duration::from_secs(30);
/// Connections that publish, in turn.
const PUBLISHERS: usize = 4;
/// Jobs that are made ready.
const JOBS: usize = 3000;

pub async fn run(target: &Target, rates: &[u64], idle: usize, time: Duration) -> Result<(), Error> {
    let _idle = idle::subscribers(target, idle).await?;
    for rate in rates {
        case(target, *rate, idle, time).await?;
    }
    job(target, time).await
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
    let (mut lines, mut publishing) = (Vec::new(), Vec::new());
    for n in 0..PUBLISHERS {
        let (line, due) = unbounded_channel();
        let client = Client::join(target, &author).await?;
        publishing.push(tokio::task::spawn_local(publish(client, due, (n..count).step_by(PUBLISHERS).len())));
        lines.push(line);
    }
    let start = Instant::now() + Duration::from_millis(100);
    let due = move |n: usize| start + Duration::from_secs_f64(n as f64 / rate as f64);
    let ids: Vec<String> = frames.iter().map(|frame| frame.id.clone()).collect();
    // Tokio's timers are whole milliseconds, a thread's are not.
    let pace = std::thread::spawn(move || {
        for (n, Frame { text, .. }) in frames.into_iter().enumerate() {
            std::thread::sleep(due(n).saturating_duration_since(Instant::now()));
            // Who publishes has ended with an error.
            let _ = lines[n % PUBLISHERS].send(text);
        }
    });
    for task in publishing {
        task.await??;
    }
    let _ = pace.join();
    tokio::time::timeout(GRACE, reading).await.map_err(|_| "events that were accepted have not arrived")???;
    let arrived = arrived.take();
    let mut times = Times::default();
    for (n, id) in ids.iter().enumerate() {
        times.add(arrived.get(id).ok_or("an event has not arrived")?.saturating_duration_since(due(n)));
    }
    let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| times.quantile(share));
    let figures = [("p50 ms", p50), ("p99 ms", p99), ("longest ms", longest), ("events", count as f64)];
    tell("latency", &format!("{rate} events/s beside {idle} idle subscriptions"), &figures);
    sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// Sends events as they come, which is when they are due, and reads the OKs meanwhile.
async fn publish(mut client: Client, mut due: UnboundedReceiver<String>, count: usize) -> Result<(), String> {
    let mut told = 0;
    while told < count {
        tokio::select! {
            Some(text) = due.recv() => client.send(text).await.map_err(|error| error.to_string())?,
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

/// A whole job, one after the other: from when its request is sent to when its customer has the result, which
/// the provider sends as soon as it has the request, after a feedback.
async fn job(target: &Target, time: Duration) -> Result<(), Error> {
    let name = format!("job {:?}", std::time::SystemTime::now());
    let [customer, provider] = ["customer", "provider"].map(|part| Author::new(&format!("{name} {part}")));
    let jobs = mix(&name, 3 * JOBS, now(), f64::INFINITY);
    let (mut buying, mut selling) = (Client::join(target, &customer).await?, Client::join(target, &provider).await?);
    selling.ask("jobs", &format!(r#"{{"kinds":[5050],"authors":["{}"],"limit":0}}"#, customer.key())).await?;
    buying.ask("mine", &format!(r##"{{"kinds":[6050,7000],"#p":["{}"],"limit":0}}"##, customer.key())).await?;
    let (mut times, end) = (Times::default(), Instant::now() + time);
    for events in jobs.chunks_exact(3) {
        let [request, feedback, result] = [0, 1, 2].map(|n| Frame::new(&events[n]));
        let start = Instant::now();
        if start > end {
            break;
        }
        buying.send(request.text).await?;
        selling.until("EVENT", &request.id).await?;
        selling.feed(feedback.text).await?;
        selling.send(result.text).await?;
        buying.until("EVENT", &result.id).await?;
        times.add(start.elapsed());
    }
    let figures = [("p50 ms", times.quantile(0.5)), ("p99 ms", times.quantile(0.99)), ("jobs", times.count() as f64)];
    tell("latency", "a whole job, one after the other", &figures);
    Ok(())
}
