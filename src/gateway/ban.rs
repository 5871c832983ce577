//! Who may not be here, or not do what others may: by the settings, and by what the operator rules while the relay runs. It
//! holds at once, for what is open as well. Never knows what else a connection may do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::frames::POLICY_VIOLATION;
use super::timer::Due;
use super::{ConnId, Effect, Gateway};
use crate::moderation::{Access, Range, Rulings};
use crate::nostr::{Event, PublicKey, Reason, refusal};
use crate::seam::Millis;

/// Proofs of keys that wait until it is known who may enter, bytes of the longest, and milliseconds they wait.
const ENTERING_MAX: usize = 1000;
const PROOF_BYTES: usize = 2000;
const ENTER_MS: Millis = 15_000;

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
    fn is_member(&self, key: &PublicKey) -> bool {
        self.config.pubkey == Some(*key) || self.config.members.contains(key) || self.rulings.allows(key)
    }

    /// Takes all that is ruled.
    pub(super) fn ruled(&mut self, rulings: Rulings, out: &mut Vec<Effect>) {
        self.rulings = rulings;
        self.managing.are_ruled = true;
        self.end_blocked(out);
        for (conn, event) in std::mem::take(&mut self.managing.entering) {
            self.authenticate(conn, &event, self.now, out);
        }
    }

    /// Has who proves a key wait until it is known who may enter, where not everybody may; says whether he waits.
    pub(super) fn waits_to_enter(&mut self, conn: ConnId, event: &Event, now: Millis, out: &mut Vec<Effect>) -> bool {
        let is_closed = self.config.access == Access::Closed && !self.managing.are_ruled;
        if !is_closed || self.is_member(&event.pubkey) || event.text_bytes() > PROOF_BYTES {
            return false;
        }
        let waits = self.managing.entering.len() < ENTERING_MAX;
        if waits {
            self.managing.entering.push((conn, event.clone()));
            self.do_at(Due::Enter, now + ENTER_MS, out);
        }
        waits
    }

    /// It is not known who may enter: who waits is told so.
    pub(super) fn turn_away_waiting(&mut self, out: &mut Vec<Effect>) {
        for (conn, event) in std::mem::take(&mut self.managing.entering) {
            self.refuse_auth(conn, &event.id, &refusal::lost_request(), out);
        }
    }

    /// Ends the connections of who may not be here, as it is now. Before it is known what is ruled, nobody is sent away for
    /// what may be ruled.
    pub(super) fn end_blocked(&mut self, out: &mut Vec<Effect>) {
        let may_stay = |key: &PublicKey| match self.may_enter(key) {
            Err(reason) if self.managing.are_ruled || self.ban_of_key(key).is_some() => Some(reason),
            _ => None,
        };
        let blocked: Vec<(ConnId, Reason)> = self
            .conns
            .iter()
            .filter_map(|(conn, state)| {
                let by_network = state.network.as_deref().and_then(|network| self.ban_of_network(network));
                Some((*conn, by_network.or_else(|| state.keys.iter().find_map(may_stay))?))
            })
            .collect();
        for (conn, reason) in blocked {
            self.end(conn, POLICY_VIOLATION, reason.to_string(), out);
        }
    }
}
