//! What an object of the relay is, by its name: the whole relay, one of its gateways, or the partition of several.

use std::hash::{DefaultHasher, Hasher};

use worker::{Env, Result, State, Stub};

use super::env;
use crate::gateway::{Config, TurnedAway};
use crate::node::{Address, Keep, LinkedGateway, LinkedPartition, Node};
use crate::seam::{Effect, Input, Millis};
use crate::wire::{self, WireError};

/// The object that has the database.
const PARTITION: &str = "nexus";
/// How a partition is addressed.
pub const HOME: Address = Address(0);

/// The name of an object: that with the database, which is the whole relay where it has one gateway, has address 0.
fn name(address: Address) -> String {
    match address {
        HOME => PARTITION.to_owned(),
        Address(n) => format!("{PARTITION}-gateway-{n}"),
    }
}

/// An object of the relay.
pub fn object(env: &Env, address: Address) -> Result<Stub> {
    env.durable_object(env::OBJECT)?.get_by_name(&name(address))
}

/// How many gateways share the clients: a single one is with the database.
pub fn gateways(config: &Config) -> u32 {
    config.gateways.and_then(|gateways| u32::try_from(gateways).ok()).unwrap_or(1)
}

/// Where a client is, by the network that it comes from: one network's always at the same gateway of so many.
pub fn gateway_of(network: &str, gateways: u32) -> Address {
    if gateways == 1 {
        return HOME;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(network.as_bytes());
    let n = hasher.finish() % u64::from(gateways.max(1));
    Address(1 + u32::try_from(n).unwrap_or_default())
}

/// Which address an object has among so many gateways; none where it is not used.
pub fn address(state: &State, env: &Env, gateways: u32) -> Result<Option<Address>> {
    let namespace = env.durable_object(env::OBJECT)?;
    let own = state.id().to_string();
    let several = if gateways == 1 { 0 } else { gateways };
    for address in (0..=several).map(Address) {
        if namespace.id_from_name(&name(address))?.to_string() == own {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// What an object runs.
pub enum Role {
    /// The relay, all of it.
    Whole(Box<Node>),
    /// A gateway whose partition is another object.
    Gateway(Box<LinkedGateway>),
    /// The partition of gateways that are other objects.
    Partition(Box<LinkedPartition>),
}

impl Role {
    /// Takes one input; returns what is to be done.
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        match self {
            Self::Whole(node) => node.handle(input, now),
            Self::Gateway(gateway) => gateway.handle(input, now),
            Self::Partition(partition) => partition.handle(input, now),
        }
    }

    /// Whether one more connection from this address may be opened.
    pub fn may_open(&mut self, ip: &str, now: Millis) -> std::result::Result<(), TurnedAway> {
        match self {
            Self::Whole(node) => node.may_open(ip, now),
            Self::Gateway(gateway) => gateway.node().may_open(ip, now),
            Self::Partition(_) => Ok(()),
        }
    }

    /// Takes what another object has sent; returns what is to be done.
    pub fn receive(&mut self, from: Address, batch: &[u8], now: Millis) -> std::result::Result<Vec<Effect>, WireError> {
        match self {
            Self::Whole(_) => Ok(Vec::new()),
            Self::Gateway(gateway) => Ok(gateway.receive(wire::decode(batch)?, now)),
            Self::Partition(partition) => Ok(partition.receive(from, wire::decode(batch)?, now)),
        }
    }

    /// What is to be sent to other objects.
    pub fn take_batches(&mut self) -> Vec<(Address, Vec<u8>)> {
        match self {
            Self::Whole(_) => Vec::new(),
            Self::Gateway(gateway) => gateway.take_batches().iter().map(|batch| (HOME, wire::encode(batch))).collect(),
            Self::Partition(partition) => {
                partition.take_batches().iter().map(|(to, batch)| (*to, wire::encode(batch))).collect()
            }
        }
    }

    /// What is to be kept before anything is sent.
    pub fn take_kept(&mut self) -> Vec<Keep> {
        match self {
            Self::Partition(partition) => partition.take_kept(),
            Self::Whole(_) | Self::Gateway(_) => Vec::new(),
        }
    }

    /// An object is not used any more; returns what is to be done.
    pub fn gone(&mut self, address: Address, now: Millis) -> Vec<Effect> {
        match self {
            Self::Partition(partition) => partition.gone(address, now),
            Self::Whole(_) | Self::Gateway(_) => Vec::new(),
        }
    }

    /// So many objects share the memory of this one.
    pub fn share_memory(&mut self, objects: usize) {
        match self {
            // It is alone but for lives that are over.
            Self::Whole(_) => {}
            Self::Gateway(gateway) => gateway.node().share_memory(objects),
            Self::Partition(partition) => partition.share_memory(objects),
        }
    }
}
