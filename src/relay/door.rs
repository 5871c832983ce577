//! Who may connect, and ask over HTTP: what a network has open, what its guests have spent. Never reads what a
//! connection says.

use super::charge::Payer;
use super::conn::{Conn, network};
use super::frames::POLICY_VIOLATION;
use super::{Api, ConnId, Effect, Level, Millis, Relay};
use crate::nostr::relay_msg;

/// Milliseconds a connection has to prove a key when others from its network wait.
const GRACE_MS: Millis = 30_000;

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

impl Relay {
    /// Whether one more connection from this address may be opened; a host asks before it accepts one.
    pub fn may_open(&mut self, ip: &str, now: Millis) -> Result<(), TurnedAway> {
        let Some(network) = network(ip) else { return Ok(()) };
        if let Some(reason) = self.config.bans.of_network(&network) {
            return Err(TurnedAway { status: 403, reason: reason.to_string(), retry_after_s: None });
        }
        if self.config.quotas.is_none() {
            return Ok(());
        }
        let away = |reason: String| Err(TurnedAway { status: 429, reason, retry_after_s: None });
        if let Err(reason) = self.may_come(&network, now) {
            return away(reason.to_string());
        }
        let (max, max_guests) = (self.config.limits.max_connections_per_ip, self.config.limits.max_guests_per_ip);
        let same = self.conns.values().filter(|state| state.network.as_ref() == Some(&network)).count() as u64;
        if same >= max {
            return away(format!("too many connections from this address: {max} are open; close one"));
        }
        let guests: Vec<Millis> = self.guests(&network).map(|(opened_at, _)| opened_at).collect();
        // Who has had the time to prove a key makes room.
        let makes_room = guests.iter().any(|opened_at| now.saturating_sub(*opened_at) >= GRACE_MS);
        if guests.len() as u64 >= max_guests && !makes_room {
            let why = format!("{max_guests} have proven no key (NIP-42) yet; try again in some seconds");
            return away(format!("too many connections from this address: {why}"));
        }
        Ok(())
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
            let seconds = GRACE_MS / 1000;
            let reason = format!("others behind this address wait to prove their keys; prove yours within {seconds} s");
            self.end(oldest, POLICY_VIOLATION, reason, out);
        }
        self.conns.insert(conn, Conn { challenge, network, opened_at: now, ..Conn::default() });
        self.owe_opening(conn, now);
        self.counters.opened += 1;
        self.log(Level::Debug, "opened", &[("connection", conn.to_string())], out);
        self.remember(conn, out);
        self.send(conn, text, out);
    }

    /// The connection that has to make room for another guest from `network`, if one has.
    fn guest_to_go(&self, network: &str) -> Option<ConnId> {
        let full = self.guests(network).count() as u64 >= self.config.limits.max_guests_per_ip;
        let oldest = self.guests(network).min().map(|(_, conn)| conn);
        oldest.filter(|_| full && self.config.quotas.is_some())
    }

    /// Connections from `network` that have proven no key, with when they were opened.
    fn guests(&self, network: &str) -> impl Iterator<Item = (Millis, ConnId)> {
        let guest = move |state: &Conn| state.keys.is_empty() && state.network.as_deref() == Some(network);
        self.conns.iter().filter(move |(_, state)| guest(state)).map(|(conn, state)| (state.opened_at, *conn))
    }
}
