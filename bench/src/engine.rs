//! (e) The engine alone: frames in, effects out, with a store that says yes at once. What it costs is
//! timed here, and its instructions are counted from outside by a run of some events and one of more.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use nexus::gateway::{Config, ConnId};
use nexus::node::Node;
use nexus::nostr::Event;
use nexus::seam::{Effect, Host, Input};
use nexus::store::{Rows, counts};

use crate::Error;
use crate::figures::tell;
use crate::jobs::{Author, Frame, hash, mix, now};

/// What is done with each event.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub enum Work {
    /// It is made ready, which all others do before.
    Nothing,
    /// Its id and its signature are checked, and nothing else.
    Verify,
    /// It is published and accepted.
    Accept,
    /// It is ephemeral, and passed on to the one subscription it matches.
    Match,
}

/// The totals of a store in which nothing is.
const TOTALS: &str = r#"{"version":0,"writer":"","last_seq":0,"stored":0,"flush":0,"newest":0,"early":0,"day":0,"spent":0,"since_ms":0,"counts":{}}"#;

/// Filters of one connection.
const EACH: usize = 400;

pub fn run(work: Work, filters: usize, events: usize) -> Result<(), Error> {
    let frames = frames(work, events);
    if work == Work::Nothing {
        return Ok(());
    }
    let mut world = World::new(if work == Work::Verify { 0 } else { filters })?;
    // Only those that are verified are parsed here: that belongs to the work of the others.
    let verified = if work == Work::Verify { frames.as_slice() } else { &[] };
    let parsed: Vec<Event> = verified.iter().filter_map(|frame| Event::parse(inside(&frame.text)).ok()).collect();
    let start = Instant::now();
    match work {
        Work::Verify => {
            for event in &parsed {
                black_box(event).verify().map_err(|reason| reason.to_string())?;
            }
        }
        Work::Nothing | Work::Accept | Work::Match => {
            for frame in &frames {
                world.publish(frame)?;
            }
        }
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / events as f64;
    let name = match work {
        Work::Verify => "verification alone".to_owned(),
        Work::Nothing | Work::Accept => "an event published and accepted".to_owned(),
        Work::Match => format!("an ephemeral event beside {filters} standing filters"),
    };
    tell("engine", &name, &[("µs", micros)]);
    Ok(())
}

fn frames(work: Work, events: usize) -> Vec<Frame> {
    if work != Work::Match {
        return mix("engine", events, now(), f64::INFINITY).iter().map(Frame::new).collect();
    }
    let (author, to) = (Author::new("engine"), hex::encode(hash("matched")));
    let event = |n: usize| author.sign(20_050, now(), &[&["p", &to], &["n", &n.to_string()]], "x".repeat(400));
    (0..events).map(|n| Frame::new(&event(n))).collect()
}

fn inside(frame: &str) -> &str {
    frame.strip_prefix("[\"EVENT\",").and_then(|rest| rest.strip_suffix(']')).unwrap_or_default()
}

/// The engine with a client that publishes, one that is subscribed to it, and others.
struct World {
    relay: Node,
    now: u64,
}

impl World {
    fn new(filters: usize) -> Result<Self, Error> {
        let settings = |key: &str| match key {
            "AUTH_REQUIRED" => Some("false".to_owned()),
            "RATE_LIMITS" => Some("off".to_owned()),
            "RELAY_URL" => Some("wss://nexus.example".to_owned()),
            _ => None,
        };
        let config = Config::read(settings).map_err(|error| error.to_string())?;
        let at = now() * 1000;
        let mut world = Self { relay: Node::new(Rc::new(config), Host::PROCESS, 1, at), now: at };
        world.handle(Input::Woke { conns: Vec::new() })?;
        let matching = format!(r##"["REQ","live",{{"kinds":[20050],"#p":["{}"]}}]"##, hex::encode(hash("matched")));
        for conn in 0..=filters.div_ceil(EACH) as u64 + 1 {
            world.handle(Input::Opened { conn: ConnId(conn), challenge: "challenge".to_owned(), ip: None })?;
        }
        world.subscribe(1, matching)?;
        let mut left = filters;
        for conn in 2.. {
            let here = left.min(EACH);
            if here == 0 {
                break;
            }
            for (sub, from) in (0..here).step_by(16).enumerate() {
                let filter = |n: usize| {
                    let to = hex::encode(hash(&format!("{conn} {n}")));
                    format!(r##"{{"kinds":[6050,7000,20050],"#p":["{to}"]}}"##)
                };
                let list: Vec<String> = (from..here.min(from + 16)).map(filter).collect();
                let text = format!(r#"["REQ","idle {sub}",{}]"#, list.join(","));
                world.subscribe(conn, text)?;
            }
            left -= here;
        }
        Ok(world)
    }

    fn subscribe(&mut self, conn: u64, text: String) -> Result<(), Error> {
        let sent = self.handle(Input::Received { conn: ConnId(conn), text })?;
        if sent.iter().any(|text| text.starts_with("[\"EOSE\"")) {
            return Ok(());
        }
        Err(format!("the engine did not subscribe: {sent:?}").into())
    }

    /// Publishes, and sees that it is accepted.
    fn publish(&mut self, frame: &Frame) -> Result<(), Error> {
        let sent = self.handle(Input::Received { conn: ConnId(0), text: frame.text.clone() })?;
        if sent.iter().any(|text| text.starts_with("[\"OK\"") && text.contains("true")) {
            return Ok(());
        }
        Err(format!("the engine did not accept: {sent:?}").into())
    }

    /// Gives the engine an input and a store's answers to what it asks; what it sends.
    fn handle(&mut self, input: Input) -> Result<Vec<String>, Error> {
        let (mut sent, mut inputs) = (Vec::new(), vec![input]);
        while let Some(input) = inputs.pop() {
            for effect in self.relay.handle(input, self.now) {
                match effect {
                    Effect::Send { text, .. } => sent.push(text.to_string()),
                    Effect::Commit { ticket, statements } => {
                        let rows: Rows = vec![Vec::new(); statements.len()];
                        inputs.push(Input::Committed { ticket, result: Ok(rows.into()) });
                    }
                    Effect::Query { ticket, statements, .. } => {
                        // The totals are known; of what clients ask for nothing is stored.
                        let row = (statements.first() == Some(&counts::read())).then(|| TOTALS.to_owned());
                        let mut rows: Rows = vec![Vec::new(); statements.len()];
                        rows.iter_mut().take(1).for_each(|rows| rows.extend(row.clone()));
                        inputs.push(Input::Answered { ticket, result: Ok(rows.into()) });
                    }
                    Effect::Yield => inputs.push(Input::Yielded),
                    _ => {}
                }
            }
        }
        Ok(sent)
    }
}
