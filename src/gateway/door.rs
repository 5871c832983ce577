//! Who may connect, and ask over HTTP: what a network has open, what its guests have spent. Never reads what a
//! connection says.

use std::rc::Rc;

use super::charge::Payer;
use super::conn::{CONN_BYTES, Conn, KEY_BYTES, network};
use super::frames::POLICY_VIOLATION;
use super::networks::Guest;
use super::quota::Net;
use super::{Api, ConnId, Effect, Gateway, Level, Millis};
use crate::budget::{NetworkUse, Share};
use crate::nostr::{refusal, relay_msg};

/// Milliseconds a connection has to prove a key when others from its network wait.
const GRACE_MS: Millis = 30_000;
/// Seconds after which to try again when there is no memory for one more connection.
const RETRY_S: u64 = 10;
/// WebSocket close code for a server that has no room (RFC 6455 registry).
const TRY_AGAIN_LATER: u16 = 1013;

/// Why a connection is not taken or a question not asked, as the request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// HTTP status.
    pub status: u16,
    /// The cause, and what helps.
    pub reason: String,
    /// The seconds after which to try again, if they are known.
    pub retry_after_s: Option<u64>,
}

impl Gateway {
    /// Whether one more connection from this address may be opened; a host asks before it accepts one.
    pub fn may_open(&mut self, ip: &str, now: Millis) -> Result<(), TurnedAway> {
        let Some(network) = network(ip) else { return Ok(()) };
        self.now = now;
        let may = self.may_connect(&network, now);
        if let Err(away) = &may {
            self.note_turned_away(&network, away.reason.clone());
        }
        may
    }

    fn may_connect(&mut self, network: &str, now: Millis) -> Result<(), TurnedAway> {
        if let Some(reason) = self.ban_of_network(network) {
            return Err(TurnedAway { status: 403, reason: reason.to_string(), retry_after_s: None });
        }
        if self.config.quotas.is_none() {
            return Ok(());
        }
        let away = |reason: String| Err(TurnedAway { status: 429, reason, retry_after_s: None });
        if let Err(reason) = self.may_come(network, now) {
            return away(reason.to_string());
        }
        let (max, max_guests) = (self.config.limits.max_connections_per_ip, self.config.limits.max_guests_per_ip);
        if self.networks.open(network) as u64 >= max {
            return away(refusal::too_many_connections(max));
        }
        // Who has had the time to prove a key makes room.
        let makes_room = |guest: Option<&Guest>| guest.is_some_and(|(at, _)| now.saturating_sub(*at) >= GRACE_MS);
        let guests = self.networks.guests_of(network);
        if guests.len() as u64 >= max_guests && !makes_room(guests.first()) {
            return away(refusal::too_many_guests(max_guests));
        }
        match self.budget.reserve(self.limited_use(network), Share::Connections, CONN_BYTES) {
            Err(full) if full.for_network => away(refusal::network_connections()),
            Err(_) if !makes_room(self.networks.first_guest()) => {
                let reason = refusal::no_room_for_connections(RETRY_S);
                Err(TurnedAway { status: 503, reason, retry_after_s: Some(RETRY_S) })
            }
            _ => Ok(()),
        }
    }

    /// What a network has reserved, if it has to keep to a part of the memory.
    fn limited_use(&self, network: &str) -> Option<&Rc<NetworkUse>> {
        let net = Net::Address(network.parse().ok()?);
        self.networks.used_by(network).filter(|_| self.config.quotas.is_some() && !self.trusts(net))
    }

    /// Whether there is memory for one more connection.
    fn has_room_for_conn(&self) -> bool {
        self.budget.reserve(None, Share::Connections, CONN_BYTES).is_ok()
    }

    /// Whether a question over HTTP may be asked of the store, and who pays for what it reads. What everybody shares
    /// is nobody's to pay: it is asked once in a while at the most.
    pub(super) fn may_ask(&mut self, api: Api, ip: Option<&str>, now: Millis) -> Result<Option<Payer>, TurnedAway> {
        let Some(network) = ip.and_then(network).filter(|_| !api.is_shared()) else { return Ok(None) };
        match self.pay_request(&network, now) {
            Ok(payer) => Ok(Some(payer)),
            Err((reason, retry_after_s)) => {
                Err(TurnedAway { status: 429, reason: reason.to_string(), retry_after_s: Some(retry_after_s) })
            }
        }
    }

    pub(super) fn opened(
        &mut self,
        conn: ConnId,
        challenge: String,
        ip: Option<&str>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let text = relay_msg::auth(&challenge);
        let network = ip.and_then(network);
        if let Some(oldest) = network.as_ref().and_then(|network| self.guest_to_go(network)) {
            self.end(oldest, POLICY_VIOLATION, refusal::guests_wait(GRACE_MS / 1000), out);
        }
        if !self.has_room_for_conn() {
            match self.networks.first_guest().copied() {
                Some((_, oldest)) => self.end(oldest, POLICY_VIOLATION, refusal::makes_room(), out),
                None => {
                    let reason = refusal::no_room_for_connections(RETRY_S);
                    return out.push(Effect::Close { conn, code: TRY_AGAIN_LATER, reason });
                }
            }
        }
        self.enter(conn, Conn { challenge, network: network.map(Rc::from), opened_at: now, ..Conn::default() });
        self.owe_opening(conn, now);
        self.counters.opened += 1;
        self.log(Level::Debug, "opened", &[("connection", conn.to_string())], out);
        self.remember(conn);
        self.send(conn, text, out);
    }

    /// Takes a connection in.
    pub(super) fn enter(&mut self, conn: ConnId, mut state: Conn) {
        state.used = self.networks.enter(conn, &state);
        state.keys.iter().for_each(|key| self.subs.prove(conn, key, true));
        let network = state.network.as_ref().and_then(|network| self.limited_use(network));
        let bytes = CONN_BYTES + state.keys.len() * KEY_BYTES;
        state.memory = Some(self.budget.hold(network, Share::Connections, bytes));
        self.conns.insert(conn, Box::new(state));
    }

    /// The connection that has to make room for another guest from `network`, if one has.
    fn guest_to_go(&self, network: &str) -> Option<ConnId> {
        let guests = self.networks.guests_of(network);
        let full = self.config.quotas.is_some() && guests.len() as u64 >= self.config.limits.max_guests_per_ip;
        guests.first().filter(|_| full).map(|(_, conn)| *conn)
    }
}
