//! Who may not be here, or not do what others may: by the settings, and by what the operator rules while the relay runs. It
//! holds at once, for what is open as well. Never knows what else a connection may do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::frames::POLICY_VIOLATION;
use super::{ConnId, Effect, Gateway};
use crate::moderation::{Access, Range, Rulings};
use crate::nostr::{Event, PublicKey, Reason, refusal};

/// Keys and networks that the settings block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    keys: BTreeSet<PublicKey>,
    networks: Vec<Range>,
}

impl Bans {
    /// These.
    pub const fn new(keys: BTreeSet<PublicKey>, networks: Vec<Range>) -> Self {
        Self { keys, networks }
    }
}

impl Gateway {
    /// Why a key may do nothing here.
    pub(super) fn ban_of_key(&self, key: &PublicKey) -> Option<Reason> {
        let by_settings = self.config.bans.keys.contains(key).then(refusal::blocked_key);
        by_settings.or_else(|| self.rulings.of_key(key))
    }

    /// Why a network, as connections are counted by, may not connect.
    pub(super) fn ban_of_network(&self, network: &str) -> Option<Reason> {
        let ip: IpAddr = network.parse().ok()?;
        let by_settings = self.config.bans.networks.iter().any(|range| range.has(ip));
        by_settings.then(refusal::blocked_network).or_else(|| self.rulings.of_address(ip))
    }

    /// Why a key may not be proven here.
    pub(super) fn may_enter(&self, key: &PublicKey) -> Result<(), Reason> {
        match self.ban_of_key(key) {
            Some(reason) => Err(reason),
            None if self.config.access == Access::Closed && !self.is_member(key) => Err(refusal::members_enter()),
            None => Ok(()),
        }
    }

    /// Why an event may not be published on a connection, as far as it is about who publishes and what is banned.
    pub(super) fn may_publish(&self, conn: ConnId, event: &Event) -> Result<(), Reason> {
        if let Some(reason) = self.ban_of_key(&event.pubkey).or_else(|| self.rulings.of_event(event)) {
            return Err(reason);
        }
        // Gift wraps are signed by keys that are nobody's: who is here counts.
        let is_by_member = || {
            let keys = self.conns.get(&conn).into_iter().flat_map(|state| &state.keys);
            keys.chain([&event.pubkey]).any(|key| self.is_member(key))
        };
        if self.config.access == Access::Open || is_by_member() { Ok(()) } else { Err(refusal::members_write()) }
    }

    /// Whether a key may do what not everybody may.
    pub(super) fn is_member(&self, key: &PublicKey) -> bool {
        self.config.pubkey == Some(*key) || self.config.members.contains(key) || self.rulings.allows(key)
    }

    /// Takes all that is ruled.
    pub(super) fn ruled(&mut self, rulings: Rulings, out: &mut Vec<Effect>) {
        self.rulings = rulings;
        self.managing.are_ruled = true;
        self.end_blocked((true, true), out);
        self.take_unruled(self.now, out);
    }

    /// Ends the connections of who may not be here, as it is now. Before it is known what is ruled, nobody is sent away for
    /// what may be ruled. Says what may have changed: for networks, for keys.
    pub(super) fn end_blocked(&mut self, (networks, keys): (bool, bool), out: &mut Vec<Effect>) {
        let may_stay = |key: &PublicKey| match self.may_enter(key) {
            Err(reason) if self.managing.are_ruled || self.ban_of_key(key).is_some() => Some(reason),
            _ => None,
        };
        let blocked: Vec<(ConnId, Reason)> = self
            .conns
            .iter()
            .filter_map(|(conn, state)| {
                let network = state.network.as_deref().filter(|_| networks);
                let by_network = network.and_then(|network| self.ban_of_network(network));
                Some((*conn, by_network.or_else(|| state.keys.iter().filter(|_| keys).find_map(may_stay))?))
            })
            .collect();
        for (conn, reason) in blocked {
            self.end(conn, POLICY_VIOLATION, reason.to_string(), out);
        }
    }
}
