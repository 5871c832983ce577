//! What an object of the relay is, by its name: the whole relay, one of its gateways, or one of its partitions.

use std::hash::{DefaultHasher, Hasher};

use worker::js_sys::{Function, Reflect};
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::{Env, EnvBinding, ObjectNamespace, Result, State, Stub};

use super::env;
use crate::gateway::{Config, TurnedAway};
use crate::message::PartitionId;
use crate::node::{Address, Keep, LinkedGateway, LinkedPartition, Node};
use crate::places::{self, Jurisdiction, Place};
use crate::seam::{Effect, Input, Millis};
use crate::wire::{self, WireError};

/// The object of the first partition.
const HOME: &str = "nexus";
/// What others are called, before their number.
const PARTITION: &str = "partition";
const GATEWAY: &str = "gateway";

/// An object of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// One that has a database; where there is one partition and one gateway, home is the whole relay.
    Partition(PartitionId),
    /// One that has clients.
    Gateway(Address),
}

impl Object {
    /// The whole relay, or the first of its partitions.
    pub const HOME: Self = Self::Partition(PartitionId::HOME);

    /// Its name.
    fn name(self) -> String {
        match self {
            Self::HOME => HOME.to_owned(),
            Self::Partition(PartitionId(n)) => format!("{HOME}-{PARTITION}-{n}"),
            Self::Gateway(address @ Address(n)) => match place_of(address) {
                Some(place) => format!("{HOME}-{GATEWAY}-{}-{}", place.hint(), n % OF_A_PLACE),
                None => format!("{HOME}-{GATEWAY}-{n}"),
            },
        }
    }

    /// How others are told who it is.
    pub fn path(self) -> String {
        match self {
            Self::Partition(PartitionId(n)) => format!("{PARTITION}/{n}"),
            Self::Gateway(Address(n)) => format!("{GATEWAY}/{n}"),
        }
    }

    /// Who it is by that.
    pub fn of_path(path: &str) -> Option<Self> {
        let (sort, n) = path.split_once('/')?;
        let n = n.parse().ok()?;
        match sort {
            PARTITION => Some(Self::Partition(PartitionId(n))),
            GATEWAY => Some(Self::Gateway(Address(n))),
            _ => None,
        }
    }
}

/// Numbers of the gateways of one place, or of those that have none.
const OF_A_PLACE: u32 = 1000;

/// Where a gateway is made, by its number, if that is said.
fn place_of(Address(n): Address) -> Option<Place> {
    Place::numbered((n / OF_A_PLACE).checked_sub(1)?)
}

/// The objects of the relay.
#[derive(Clone, Debug)]
pub struct Objects {
    /// In each place; none by themselves where one is with the only database.
    gateways: u32,
    places: Vec<Place>,
    partitions: u32,
    /// Where those with a database are made.
    location: Option<Place>,
    /// What all are kept within: an object of another one, or of none, is another object.
    jurisdiction: Option<Jurisdiction>,
}

impl Objects {
    pub fn of(config: &Config) -> Self {
        let gateways = config.gateways.and_then(|gateways| u32::try_from(gateways).ok()).unwrap_or(1);
        let is_whole = gateways == 1 && config.partitions == 1 && config.places.is_empty();
        let gateways = if is_whole { 0 } else { gateways };
        let (places, location) = (config.places.clone(), config.location);
        Self { gateways, places, partitions: config.partitions, location, jurisdiction: config.jurisdiction }
    }

    /// Whether one of them is the whole relay.
    pub const fn are_one(&self) -> bool {
        self.gateways == 0
    }

    /// Where a client is, by the network that it comes from and its continent: one network's always at the same gateway of
    /// so many.
    pub fn of_client(&self, network: &str, continent: Option<&str>) -> Object {
        if self.are_one() {
            return Object::HOME;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(network.as_bytes());
        let n = u32::try_from(hasher.finish() % u64::from(self.gateways)).unwrap_or_default();
        let place = places::nearest(&self.places, continent).map_or(0, |place| (place.number() + 1) * OF_A_PLACE);
        Object::Gateway(Address(place + 1 + n))
    }

    /// What gives objects their ids.
    fn namespace(&self, env: &Env) -> Result<ObjectNamespace> {
        let all = env.durable_object(env::OBJECT)?;
        let Some(jurisdiction) = self.jurisdiction else { return Ok(all) };
        // The bindings in use do not know it.
        let within: Function = Reflect::get(all.as_ref(), &JsValue::from_str("jurisdiction"))?.dyn_into()?;
        ObjectNamespace::get(within.call1(all.as_ref(), &JsValue::from_str(jurisdiction.name()))?)
    }

    /// How one is reached; who comes first has it made.
    pub fn stub(&self, env: &Env, object: Object) -> Result<Stub> {
        let place = match object {
            Object::Gateway(address) => place_of(address),
            Object::Partition(_) => self.location,
        };
        let (namespace, name) = (self.namespace(env)?, object.name());
        match place {
            Some(place) => namespace.get_by_name_with_location_hint(&name, place.hint()),
            None => namespace.get_by_name(&name),
        }
    }

    /// All of them.
    fn all(&self) -> impl Iterator<Item = Object> {
        let places = self.places.iter().map(|place| (place.number() + 1) * OF_A_PLACE);
        let nowhere = self.places.is_empty().then_some(0);
        let gateways = places.chain(nowhere).flat_map(|place| (1..=self.gateways).map(move |n| place + n));
        PartitionId::all(self.partitions).map(Object::Partition).chain(gateways.map(|n| Object::Gateway(Address(n))))
    }

    /// Which of them an object is; none when it is not used.
    pub fn which(&self, state: &State, env: &Env) -> Result<Option<Object>> {
        let namespace = self.namespace(env)?;
        let own = state.id().to_string();
        for object in self.all() {
            if namespace.id_from_name(&object.name())?.to_string() == own {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }
}

/// What an object runs.
pub enum Role {
    /// The relay, all of it.
    Whole(Box<Node>),
    /// A gateway whose partitions are other objects.
    Gateway(Box<LinkedGateway>),
    /// A partition of gateways that are other objects.
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
    pub fn receive(&mut self, from: Object, batch: &[u8], now: Millis) -> std::result::Result<Vec<Effect>, WireError> {
        match (self, from) {
            (Self::Gateway(gateway), Object::Partition(from)) => Ok(gateway.receive(from, wire::decode(batch)?, now)),
            (Self::Partition(partition), Object::Gateway(from)) => {
                Ok(partition.receive(from, wire::decode(batch)?, now))
            }
            // Nobody else has to tell it anything.
            _ => Ok(Vec::new()),
        }
    }

    /// What is to be sent to other objects.
    pub fn take_batches(&mut self) -> Vec<(Object, Vec<u8>)> {
        match self {
            Self::Whole(_) => Vec::new(),
            Self::Gateway(gateway) => {
                let batches = gateway.take_batches();
                batches.iter().map(|(to, batch)| (Object::Partition(*to), wire::encode(batch))).collect()
            }
            Self::Partition(partition) => {
                let batches = partition.take_batches();
                batches.iter().map(|(to, batch)| (Object::Gateway(*to), wire::encode(batch))).collect()
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
    pub fn gone(&mut self, object: Object, now: Millis) -> Vec<Effect> {
        match (self, object) {
            (Self::Partition(partition), Object::Gateway(address)) => partition.gone(address, now),
            _ => Vec::new(),
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
