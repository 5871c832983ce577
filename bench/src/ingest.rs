//! (a) Ingest: connections that publish with some events in flight each, as fast as they are answered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::Error;
use crate::client::{Client, Target, accepts, id, verb};
use crate::figures::{Times, tell};
use crate::jobs::{Author, Frame, mix, now};

/// Events a second that are made ready; a relay that takes more ends before its time.
const READY: f64 = 20_000.0;

/// One case; every event must be accepted.
pub async fn run(target: &Target, connections: usize, in_flight: usize, time: Duration) -> Result<(), Error> {
    let each = (READY * time.as_secs_f64()) as usize / connections;
    // No two runs send the same events.
    let name = |n: usize| format!("ingest {:?} {n}", std::time::SystemTime::now());
    let mut agents = Vec::new();
    for n in 0..connections {
        let name = name(n);
        let frames: Vec<Frame> = mix(&name, each, now(), READY / connections as f64).iter().map(Frame::new).collect();
        agents.push((Client::join(target, &Author::new(&name)).await?, frames));
    }
    let start = Instant::now();
    let publish = agents.into_iter().map(|(client, frames)| publish(client, frames, in_flight, start + time));
    let done = try_join_all(publish).await?;
    let took = start.elapsed().as_secs_f64();
    let mut times = Times::default();
    done.into_iter().for_each(|part| times.join(part));
    let case = format!("{connections} connection{}, {in_flight} in flight", if connections == 1 { "" } else { "s" });
    let rate = times.count() as f64 / took;
    let figures = [
        ("accepted/s", rate),
        ("OK p50 ms", times.quantile(0.5)),
        ("OK p99 ms", times.quantile(0.99)),
        ("events", times.count() as f64),
    ];
    tell("ingest", &case, &figures);
    Ok(())
}

async fn publish(mut client: Client, frames: Vec<Frame>, in_flight: usize, end: Instant) -> Result<Times, Error> {
    let mut times = Times::default();
    let mut waiting: HashMap<String, Instant> = HashMap::new();
    let mut frames = frames.into_iter();
    loop {
        while waiting.len() < in_flight && Instant::now() < end {
            let Some(Frame { id, text }) = frames.next() else { break };
            client.feed(text).await?;
            waiting.insert(id, Instant::now());
        }
        client.flush().await?;
        if waiting.is_empty() {
            return Ok(times);
        }
        let text = client.next().await?;
        if !accepts(&text) {
            return Err(format!("EVENT: {text}").into());
        }
        if let Some(sent) = waiting.remove(id(&text)) {
            times.add(sent.elapsed());
        }
    }
}

/// What a WebSocket that only sends back does: messages of 1000 bytes, 16 in flight.
pub async fn echo(url: &str, connections: usize, time: Duration) -> Result<(), Error> {
    let message = format!("[\"EVENT\",\"{}\"]", "x".repeat(988));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Client::connect(url).await?);
    }
    let start = Instant::now();
    let echoes = clients.into_iter().map(|mut client| {
        let message = &message;
        async move {
            let mut count = 0;
            for _ in 0..16 {
                client.feed(message.clone()).await?;
            }
            client.flush().await?;
            while start.elapsed() < time {
                let text = client.next().await?;
                if verb(&text) != "EVENT" {
                    return Err(Error::from(format!("echo: {text}")));
                }
                count += 1;
                client.send(message.clone()).await?;
            }
            Ok(count)
        }
    });
    let count: u64 = try_join_all(echoes).await?.into_iter().sum();
    tell("limit", "echo", &[("sends/s", count as f64 / start.elapsed().as_secs_f64())]);
    Ok(())
}
