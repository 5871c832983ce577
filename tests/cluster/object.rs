//! The objects of a cluster: what is kept of one while it has its memory, and what when it has not.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;
use nexus::link::Incarnation;
use nexus::node::{Address, LinkedGateway, LinkedPartition};

use crate::common::sqlite::Sqlite;
use crate::plan::Fate;

/// The numbers of incarnations that one may take by itself.
const OWN: u64 = 1 << 20;

pub fn incarnation(number: u64) -> Incarnation {
    Incarnation(number * OWN)
}

/// The number of an incarnation that was made of it.
pub fn number(incarnation: Incarnation) -> u64 {
    incarnation.0 / OWN
}

/// What has its memory.
pub struct Life<N> {
    pub node: N,
    pub number: u64,
    /// When it wants to be woken.
    pub timer: Option<u64>,
    /// When something happened last.
    pub last: u64,
    /// Lists of statements that were not answered.
    pub runs: usize,
}

impl<N> Life<N> {
    pub fn new(node: N, number: u64, now: u64) -> Self {
        Self { node, number, timer: None, last: now, runs: 0 }
    }
}

#[derive(Default)]
pub struct GatewayObject {
    pub life: Option<Life<LinkedGateway>>,
    /// What each connection remembers.
    pub attachments: BTreeMap<ConnId, String>,
    /// Until when nothing comes through between it and each partition.
    pub cut_until: BTreeMap<usize, u64>,
    /// The life of each partition that it heard of last in this life.
    pub knows: BTreeMap<usize, Incarnation>,
}

/// A partition with its own database, and what is kept of it.
pub struct PartitionObject {
    pub db: Sqlite,
    /// What becomes of its statements, of how many of a hundred, until when.
    pub fate: Option<(Fate, usize, u64)>,
    pub life: Option<Life<LinkedPartition>>,
    /// Lives that should have ended and go on for a while.
    pub old: Vec<Life<LinkedPartition>>,
    /// What it has had its host keep: the gateways that have clients, and up to which number all were told.
    pub gateways: BTreeSet<Address>,
    pub told: u64,
    pub alarm: Option<u64>,
    /// Lives that have failed to write, and the last one that has written.
    pub failed: BTreeSet<u64>,
    pub writer: u64,
}

impl PartitionObject {
    /// One that nobody has told anything.
    pub fn new(db: Sqlite) -> Self {
        let (fate, life, old, gateways, told, alarm, failed, writer) = Default::default();
        Self { db, fate, life, old, gateways, told, alarm, failed, writer }
    }

    /// Whether it is the life that has the object now.
    pub fn is_newest(&self, number: u64) -> bool {
        self.life.as_ref().is_some_and(|life| life.number == number)
    }

    /// The life of this number, if it goes on.
    pub fn life_of(&mut self, number: u64) -> Option<&mut Life<LinkedPartition>> {
        self.life.iter_mut().chain(&mut self.old).find(|life| life.number == number)
    }
}
