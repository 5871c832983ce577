//! Who is connected from where: how many of each network, which of them have proven no key, and what memory each
//! network has reserved. So whether one more may come is known without looking at all connections.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::conn::Conn;
use super::{ConnId, Millis};
use crate::budget::NetworkUse;

/// Networks without connections that are kept for what they have reserved, before they are looked through.
const FEW: usize = 64;

/// A connection that has proven no key, after when it was opened.
pub(super) type Guest = (Millis, ConnId);

/// One network.
#[derive(Debug, Default)]
struct Network {
    open: usize,
    /// The longest open first.
    guests: Vec<Guest>,
    used: Rc<NetworkUse>,
}

/// The networks connections come from.
#[derive(Debug, Default)]
pub(super) struct Networks {
    by_name: BTreeMap<Rc<str>, Network>,
    /// Of all networks.
    guests: BTreeSet<Guest>,
    /// How many networks have no connections.
    left: usize,
    /// How many of them there may be before those that have reserved nothing are forgotten.
    looked_at: usize,
}

impl Networks {
    /// How many connections are open from a network.
    pub fn open(&self, network: &str) -> usize {
        self.by_name.get(network).map_or(0, |network| network.open)
    }

    /// What the connections of a network have reserved.
    pub fn used_by(&self, network: &str) -> Option<&Rc<NetworkUse>> {
        self.by_name.get(network).map(|network| &network.used)
    }

    /// The guests from a network, the longest open first.
    pub fn guests_of(&self, network: &str) -> &[Guest] {
        self.by_name.get(network).map_or(&[], |network| &network.guests)
    }

    /// The guest that is open for the longest.
    pub fn first_guest(&self) -> Option<&Guest> {
        self.guests.first()
    }

    /// Notes a connection; answers what its network has reserved, if it is known.
    pub fn enter(&mut self, conn: ConnId, state: &Conn) -> Option<Rc<NetworkUse>> {
        let guest = state.keys.is_empty().then_some((state.opened_at, conn));
        self.guests.extend(guest);
        let name = state.network.as_ref()?;
        let is_back = self.by_name.get(name).is_some_and(|network| network.open == 0);
        self.left -= usize::from(is_back);
        let network = self.by_name.entry(name.clone()).or_default();
        network.open += 1;
        if let Some(guest) = guest {
            let at = network.guests.partition_point(|other| *other < guest);
            network.guests.insert(at, guest);
        }
        Some(network.used.clone())
    }

    /// A connection has proven its first key.
    pub fn proven(&mut self, conn: ConnId, state: &Conn) {
        let guest = (state.opened_at, conn);
        self.guests.remove(&guest);
        if let Some(network) = state.network.as_ref().and_then(|name| self.by_name.get_mut(name)) {
            network.guests.retain(|other| *other != guest);
        }
    }

    /// A connection is gone.
    pub fn leave(&mut self, conn: ConnId, state: &Conn) {
        self.proven(conn, state);
        if let Some(network) = state.network.as_ref().and_then(|name| self.by_name.get_mut(name)) {
            network.open -= 1;
            self.left += usize::from(network.open == 0);
        }
        // What still waits of a network that left counts for it when it comes back.
        if self.left > FEW.max(self.looked_at) {
            self.by_name.retain(|_, network| network.open > 0 || Rc::strong_count(&network.used) > 1);
            self.left = self.by_name.values().filter(|network| network.open == 0).count();
            self.looked_at = 2 * self.left;
        }
    }
}
