//! The objects, the network between them, the databases and a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use nexus::gateway::{Config, ConnId};
use nexus::link::{Batch, Incarnation};
use nexus::message::{Part, PartitionId, ToGateway};
use nexus::native::sqlite;
use nexus::node::{Address, GatewayNode, LinkedGateway, LinkedPartition, PartitionNode};
use nexus::nostr::Event;
use nexus::seam::{Effect, Host, Input};
use nexus::store::Statement;
use nexus::store::schema::MIGRATIONS;
use nexus::wire::{decode, encode};
use rusqlite::Connection;

use super::memory::allocated;
use crate::Error;
use crate::jobs::{Frame, now};

/// Milliseconds that a batch travels, and that a database takes to write and to read: as on Cloudflare, about.
const TRAVEL_MS: u64 = 2;
const WRITE_MS: u64 = 8;
const READ_MS: u64 = 4;

/// A connection: its gateway, and its name there.
pub type Client = (usize, ConnId);

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub accepted: usize,
    pub delivered: usize,
    /// Events in pushes.
    pub copies: usize,
    /// Batches that are a request; what is said at once in answer is none.
    pub requests: usize,
    pub bytes: usize,
}

enum Due {
    Gateway(usize, Input),
    ToPartition(usize, usize, Vec<u8>),
    ToGateway(usize, usize, Vec<u8>),
    Partition(usize, Input),
    Timer(Sort, usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Gateway,
    Partition,
}

pub struct World {
    gateways: Vec<LinkedGateway>,
    partitions: Vec<LinkedPartition>,
    databases: Vec<Connection>,
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    waiting: Vec<Option<Due>>,
    order: u64,
    now: u64,
    start: u64,
    conns: u64,
    pub gateway_times: Vec<Duration>,
    pub partition_times: Vec<Duration>,
    pub database_times: Vec<Duration>,
    bytes: (usize, usize),
    pub told: Told,
}

impl World {
    pub fn new(gateways: usize, partitions: usize) -> Result<Self, Error> {
        let settings = |key: &str| match key {
            "AUTH_REQUIRED" => Some("false".to_owned()),
            "RATE_LIMITS" => Some("off".to_owned()),
            "RELAY_URL" => Some("wss://nexus.example".to_owned()),
            "PARTITIONS" => Some(partitions.to_string()),
            _ => None,
        };
        let config = Rc::new(Config::read(settings).map_err(|error| error.to_string())?);
        let (now, own) = (now() * 1000, Incarnation(1));
        let partition = |n: usize| {
            let node = PartitionNode::new(&config, PartitionId(n as u32), Host::PROCESS, n as u64 + 1, now);
            LinkedPartition::new(node, own, [], 0, now)
        };
        let gateway = |_| LinkedGateway::new(GatewayNode::new(config.clone(), Host::PROCESS, false, now), own);
        let mut world = Self {
            gateways: (0..gateways).map(gateway).collect(),
            partitions: (0..partitions).map(partition).collect(),
            databases: (0..partitions).map(|_| database()).collect::<Result<_, _>>()?,
            due: BinaryHeap::new(),
            waiting: Vec::new(),
            order: 0,
            now,
            start: now,
            conns: 0,
            gateway_times: vec![Duration::ZERO; gateways],
            partition_times: vec![Duration::ZERO; partitions],
            database_times: vec![Duration::ZERO; partitions],
            bytes: (0, 0),
            told: Told::default(),
        };
        (0..gateways).for_each(|n| world.gateway(n, None, |node, now| node.handle(Input::Woke { conns: vec![] }, now)));
        world.settle()?;
        Ok(world)
    }

    /// Bytes that gateways and partitions have.
    pub const fn memory(&self) -> (usize, usize) {
        self.bytes
    }

    /// Opens a connection with a subscription.
    pub fn connect(&mut self, gateway: usize, filter: &str) -> Result<Client, Error> {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let challenge = conn.to_string();
        self.gateway(gateway, None, |node, now| node.handle(Input::Opened { conn, challenge, ip: None }, now));
        self.says((gateway, conn), format!(r#"["REQ","s",{filter}]"#));
        if self.conns.is_multiple_of(100) {
            self.settle()?;
        }
        Ok((gateway, conn))
    }

    fn says(&mut self, (gateway, conn): Client, text: String) {
        self.gateway(gateway, None, |node, now| node.handle(Input::Received { conn, text }, now));
    }

    /// What is measured begins.
    pub fn begin(&mut self) {
        self.start = self.now;
        self.told = Told::default();
        for times in [&mut self.gateway_times, &mut self.partition_times, &mut self.database_times] {
            times.fill(Duration::ZERO);
        }
    }

    /// Has an event published at a time, in milliseconds after the beginning.
    pub fn publish_at(&mut self, after: u64, client: Client, event: &Event) {
        let (gateway, conn) = client;
        self.push(self.start + after, Due::Gateway(gateway, Input::Received { conn, text: Frame::new(event).text }));
    }

    fn push(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.waiting.push(Some(due));
        self.due.push(Reverse((at.max(self.now), self.order, self.waiting.len() - 1)));
    }

    /// Everything happens that is to happen before a minute of nothing.
    pub fn settle(&mut self) -> Result<(), Error> {
        while let Some(Reverse((at, _, place))) = self.due.pop() {
            self.now = at;
            let Some(due) = self.waiting.get_mut(place).and_then(Option::take) else { continue };
            match due {
                Due::Gateway(g, input) => self.gateway(g, None, |node, now| node.handle(input, now)),
                Due::ToPartition(p, g, bytes) => {
                    let batch = |node: &mut LinkedPartition, now| {
                        decode(&bytes).map(|batch| node.receive(Address(g as u32), batch, now))
                    };
                    self.partition(p, Some(g), batch)?;
                }
                Due::ToGateway(g, p, bytes) => {
                    self.count(&bytes)?;
                    self.gateway(g, Some(p), |node, now| {
                        decode(&bytes).map(|batch| node.receive(PartitionId(p as u32), batch, now)).unwrap_or_default()
                    });
                }
                Due::Partition(p, input) => self.partition(p, None, |node, now| Ok(node.handle(input, now)))?,
                Due::Timer(Sort::Gateway, g) => self.gateway(g, None, |node, now| node.handle(Input::Timer, now)),
                Due::Timer(Sort::Partition, p) => {
                    self.partition(p, None, |node, now| Ok(node.handle(Input::Timer, now)))?;
                }
            }
            if self.due.is_empty() {
                self.waiting.clear();
            }
        }
        Ok(())
    }

    /// Counts the events of a batch's pushes.
    fn count(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let batch: Batch<ToGateway> = decode(bytes).map_err(|error| error.to_string())?;
        for message in &batch.messages {
            if let ToGateway::Push(push) = message {
                self.told.copies += push.parts.iter().filter(|part| matches!(part, Part::Event(_))).count();
            }
        }
        Ok(())
    }

    /// Has a gateway do something, in answer to a partition's request if so.
    fn gateway(&mut self, g: usize, answers: Option<usize>, work: impl FnOnce(&mut LinkedGateway, u64) -> Vec<Effect>) {
        let (start, before) = (cpu(), allocated());
        let effects = work(&mut self.gateways[g], self.now);
        let batches: Vec<(usize, Vec<u8>)> =
            self.gateways[g].take_batches().iter().map(|(to, batch)| (to.0 as usize, encode(batch))).collect();
        self.gateway_times[g] += cpu().saturating_sub(start);
        let sent: usize = batches.iter().map(|(_, bytes)| bytes.len()).sum();
        self.bytes.0 = (self.bytes.0 + allocated()).saturating_sub(before + sent);
        for effect in effects {
            match effect {
                Effect::Send { text, .. } if text.starts_with("[\"EVENT\"") => self.told.delivered += 1,
                Effect::Send { text, .. } => {
                    self.told.accepted += usize::from(text.starts_with("[\"OK\"") && text.contains("true"));
                }
                // Clients read at once.
                Effect::Mark { conn } => self.push(self.now, Due::Gateway(g, Input::Taken { conn })),
                Effect::TimerAt { at } => self.push(at, Due::Timer(Sort::Gateway, g)),
                _ => {}
            }
        }
        for (n, (p, bytes)) in batches.into_iter().enumerate() {
            self.told.bytes += bytes.len();
            self.told.requests += usize::from(n > 0 || answers != Some(p));
            self.push(self.now + TRAVEL_MS, Due::ToPartition(p, g, bytes));
        }
    }

    /// The same of a partition.
    fn partition(
        &mut self,
        p: usize,
        answers: Option<usize>,
        work: impl FnOnce(&mut LinkedPartition, u64) -> Result<Vec<Effect>, nexus::wire::WireError>,
    ) -> Result<(), Error> {
        let (start, before) = (cpu(), allocated());
        let effects = work(&mut self.partitions[p], self.now).map_err(|error| error.to_string())?;
        let batches: Vec<(usize, Vec<u8>)> =
            self.partitions[p].take_batches().iter().map(|(to, batch)| (to.0 as usize, encode(batch))).collect();
        self.partition_times[p] += cpu().saturating_sub(start);
        let sent: usize = batches.iter().map(|(_, bytes)| bytes.len()).sum();
        self.bytes.1 = (self.bytes.1 + allocated()).saturating_sub(before + sent);
        self.partitions[p].take_kept();
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => {
                    let result = self.run(p, &statements)?;
                    self.push(self.now + WRITE_MS, Due::Partition(p, Input::Committed { ticket, result }));
                }
                Effect::Query { ticket, statements, .. } => {
                    let result = self.run(p, &statements)?;
                    self.push(self.now + READ_MS, Due::Partition(p, Input::Answered { ticket, result }));
                }
                Effect::Yield => self.push(self.now, Due::Partition(p, Input::Yielded)),
                Effect::TimerAt { at } => self.push(at, Due::Timer(Sort::Partition, p)),
                _ => {}
            }
        }
        let mut answered = false;
        for (g, bytes) in batches {
            self.told.bytes += bytes.len();
            let is_answer = answers == Some(g) && !std::mem::replace(&mut answered, true);
            self.told.requests += usize::from(!is_answer);
            self.push(self.now + TRAVEL_MS, Due::ToGateway(g, p, bytes));
        }
        Ok(())
    }

    /// Runs statements.
    fn run(
        &mut self,
        p: usize,
        statements: &[Statement],
    ) -> Result<Result<nexus::store::Answer, nexus::store::StoreError>, Error> {
        let start = cpu();
        let result = sqlite::write(&mut self.databases[p], statements);
        self.database_times[p] += cpu().saturating_sub(start);
        // What a group assumed may be wrong: then it is decided anew.
        match &result {
            Err(error) if !error.is_surprise() => Err(format!("a database failed: {error}").into()),
            _ => Ok(result),
        }
    }
}

/// What this thread has had of a core: others who use the machine do not count.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn database() -> Result<Connection, Error> {
    let mut db = Connection::open_in_memory()?;
    sqlite::migrate(&mut db, MIGRATIONS).map_err(|error| error.to_string())?;
    db.set_prepared_statement_cache_capacity(sqlite::PREPARED);
    Ok(db)
}
