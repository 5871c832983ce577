//! Who reads what it is sent. What a client does not read stays in the host's memory, so what is not known to be
//! read is bounded: of one connection, of one network, on Workers of all together, and who is over [`ASK_AFTER`] waits
//! with its questions.
//!
//! A native host sees what it has written to a socket, and tells ([`Effect::Mark`]). On Workers nobody sees it: there
//! a client proves that it reads by answering a fresh AUTH challenge (NIP-42), which nobody knows who has not read
//! all that came before. A message alone proves nothing, but where rates are not limited, and nobody is challenged.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::frames::POLICY_VIOLATION;
use super::timer::Due;
use super::{ConnId, Effect, Gateway, Millis};
use crate::nostr::{Event, refusal, relay_msg};

/// Bytes that are sent before it is asked whether they are read; the sockets on the way hold about as much.
const ASK_AFTER: u64 = 1 << 20;
/// Milliseconds a client has to prove that it reads before its quota pays.
const ANSWER_MS: Millis = 2000;
/// The same where the connections of a network have more than half its bound.
const ASK_SOON: u64 = ASK_AFTER / 16;
/// Bytes that are sent before the networks are looked at again.
const LOOK_AFTER: u64 = 4 << 20;
/// Bytes that may be held for all connections of a Worker together: a quarter of what an object has.
const MAX_HELD: u64 = 32 << 20;
/// Bytes a second that everybody is presumed to read, so that who reads and proves nothing does not pile up.
const READ_PER_SECOND: u64 = 65_536;
/// Hexadecimal digits of the time in a fresh challenge.
const TIME_DIGITS: usize = 12;
/// Bytes of its proof that it is ours.
const MAC_BYTES: usize = 16;

/// What a connection was sent and is not known to have read.
#[derive(Debug, Default)]
pub struct Unheard {
    bytes: u64,
    /// Set while it is asked whether they are read.
    asked: Option<Asked>,
    /// How many of them the host may hold at the time, if they are read as slowly as is presumed.
    held: u64,
    at: Millis,
    /// How many of those no quota has paid for.
    unpaid: u64,
}

#[derive(Debug, Default)]
struct Asked {
    /// Bytes that were sent before.
    before: u64,
    at: Millis,
    /// What the client has to repeat; empty when the host is asked.
    challenge: String,
}

impl Unheard {
    fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.unpaid += bytes;
        self.held += bytes;
    }

    fn held_at(&self, now: Millis) -> u64 {
        self.held.saturating_sub(now.saturating_sub(self.at).saturating_mul(READ_PER_SECOND) / 1000)
    }

    fn unpaid_at(&self, now: Millis) -> u64 {
        self.unpaid.min(self.held_at(now))
    }

    fn pass(&mut self, now: Millis) {
        self.held = self.held_at(now);
        self.unpaid = self.unpaid.min(self.held);
        self.at = now;
    }

    /// What was sent before it was asked is read.
    fn heard(&mut self) {
        let Asked { before, .. } = self.asked.take().unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(before);
        self.unpaid = self.unpaid.min(self.bytes);
        self.held = self.held.min(self.bytes);
    }

    const fn is_to_be_asked(&self, after: u64) -> bool {
        self.bytes > after && self.asked.is_none()
    }
}

/// What the host may hold for all connections.
#[derive(Debug, Default)]
pub(super) struct UnreadBytes {
    /// The sum of what each had at its own time, so not less than there is.
    bytes: u64,
    /// From how many bytes on it is summed up again.
    sum_at: u64,
    /// Bytes that were sent since the networks were looked at.
    sent: u64,
    /// How many effects of this input are counted.
    pub counted: usize,
}

/// Whose word it is that something was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Witness {
    /// The host's.
    Host,
    /// The client's, by a challenge.
    Challenge,
    /// The client's, by any message.
    Message,
}

impl Gateway {
    fn witness(&self) -> Witness {
        match (self.host.lasting, self.config.quotas.is_some()) {
            (true, _) => Witness::Host,
            (false, true) => Witness::Challenge,
            (false, false) => Witness::Message,
        }
    }

    /// Counts what is sent, asks whether it is read, and closes connections for which too much may be held.
    pub(super) fn count_sent(&mut self, out: &mut Vec<Effect>) {
        let (witness, max, now) = (self.witness(), self.config.limits.max_unheard_bytes, self.now);
        let (mut to_ask, mut over) = (Vec::new(), Vec::new());
        for effect in out.iter().skip(self.held.counted) {
            let Effect::Send { conn, text } = effect else { continue };
            let bytes = text.len() as u64;
            self.counters.bytes_sent += bytes;
            self.held.sent += bytes;
            let Some(state) = self.conns.get_mut(conn) else { continue };
            let unheard = &mut state.unheard;
            let (sent, held) = (unheard.bytes, unheard.held);
            unheard.pass(now);
            unheard.sent(bytes);
            self.held.bytes = (self.held.bytes + unheard.held).saturating_sub(held);
            if sent <= max && unheard.bytes > max {
                over.push(*conn);
            } else if witness != Witness::Message && unheard.is_to_be_asked(ASK_AFTER) && to_ask.last() != Some(conn) {
                to_ask.push(*conn);
            }
        }
        for conn in over {
            self.end_unheard(conn, format!("{max} bytes"), out);
        }
        // Behind all that was sent, so that one answer speaks for all of it.
        for conn in to_ask {
            self.ask_whether_read(conn, witness, ASK_AFTER, out);
        }
        if self.config.quotas.is_some() && self.held.sent > LOOK_AFTER {
            self.bound_networks(max, out);
        }
        if witness == Witness::Challenge && self.held.bytes > self.held.sum_at.max(MAX_HELD) {
            self.end_largest(out);
        }
        self.held.counted = out.len();
    }

    fn ask_whether_read(&mut self, conn: ConnId, witness: Witness, after: u64, out: &mut Vec<Effect>) {
        let now = self.now;
        let state = self.conns.get_mut(&conn).filter(|state| state.unheard.is_to_be_asked(after));
        let Some(state) = state else { return };
        let mut challenge = String::new();
        if witness == Witness::Host {
            out.push(Effect::Mark { conn });
        } else {
            challenge = fresh(conn, &state.challenge, now);
            let text = relay_msg::auth(&challenge);
            let bytes = text.len() as u64;
            self.counters.bytes_sent += bytes;
            self.held.bytes += bytes;
            state.unheard.sent(bytes);
            out.push(Effect::Send { conn, text: text.into() });
        }
        state.unheard.asked = Some(Asked { before: state.unheard.bytes, at: now, challenge });
    }

    /// Holds each network to what one connection may be sent unread. However slowly its connections are fed, and so
    /// are presumed to read: those with the most end, and of a network near its bound all are asked sooner.
    fn bound_networks(&mut self, max: u64, out: &mut Vec<Effect>) {
        self.held.sent = 0;
        let mut networks: BTreeMap<&str, Vec<(u64, ConnId)>> = BTreeMap::new();
        for (conn, state) in self.conns.iter().filter(|(_, state)| state.unheard.bytes > 0) {
            if let Some(network) = state.network.as_deref().filter(|_| !self.trusts(self.net(*conn))) {
                networks.entry(network).or_default().push((state.unheard.bytes, *conn));
            }
        }
        let (mut to_ask, mut over) = (Vec::new(), Vec::new());
        for mut conns in networks.into_values() {
            let mut bytes: u64 = conns.iter().map(|(bytes, _)| bytes).sum();
            if bytes <= max / 2 {
                continue;
            }
            conns.sort_unstable();
            while bytes > max
                && let Some((most, conn)) = conns.pop()
            {
                bytes -= most;
                over.push(conn);
            }
            to_ask.extend(conns.into_iter().map(|(_, conn)| conn));
        }
        for conn in over {
            self.end_unheard(conn, format!("{max} bytes to this network"), out);
        }
        for conn in to_ask {
            self.ask_whether_read(conn, self.witness(), ASK_SOON, out);
        }
    }

    fn end_unheard(&mut self, conn: ConnId, what: String, out: &mut Vec<Effect>) {
        let hint = match self.witness() {
            Witness::Host => "read what you are sent",
            Witness::Challenge => "answer AUTH challenges as they come",
            Witness::Message => "send a message now and then",
        };
        self.end(conn, POLICY_VIOLATION, refusal::unread(what, hint), out);
    }

    /// Sums up what may be held for all, and closes those with the most until it is within the bound.
    fn end_largest(&mut self, out: &mut Vec<Effect>) {
        let mut all = Vec::with_capacity(self.conns.len());
        for (conn, state) in &mut self.conns {
            state.unheard.pass(self.now);
            all.push((state.unheard.held, *conn));
        }
        self.held.bytes = all.iter().map(|(held, _)| held).sum();
        if self.held.bytes > MAX_HELD {
            all.sort_unstable();
        }
        while self.held.bytes > MAX_HELD
            && let Some((held, conn)) = all.pop()
        {
            self.end_unheard(conn, format!("{held} bytes"), out);
        }
        self.held.sum_at = self.held.bytes + MAX_HELD / 8;
    }

    /// A connection is gone, and what was held for it.
    pub(super) fn let_go(&mut self, gone: &Unheard) {
        self.held.bytes = self.held.bytes.saturating_sub(gone.held);
    }

    /// A client has sent a message.
    pub(super) fn spoke(&mut self, conn: ConnId) {
        if self.witness() == Witness::Message
            && let Some(state) = self.conns.get_mut(&conn)
        {
            let gone = std::mem::take(&mut state.unheard);
            self.let_go(&gone);
        }
    }

    /// A connection whose AUTH event repeats the challenge that asked whether it reads, does.
    pub(super) fn proves_reading(&mut self, conn: ConnId, event: &Event, now: Millis, out: &mut Vec<Effect>) {
        if self.repeats_challenge(conn, event) {
            self.has_read(conn, now, out);
        }
    }

    /// Whether an AUTH event says nothing but that its connection reads, as its key is proven.
    pub(super) fn only_proves_reading(&self, conn: ConnId, event: &Event) -> bool {
        self.repeats_challenge(conn, event)
            && self.conns.get(&conn).is_some_and(|state| state.keys.contains(&event.pubkey))
    }

    fn repeats_challenge(&self, conn: ConnId, event: &Event) -> bool {
        let challenge = event.tag_value("challenge");
        self.proof_asked(conn).is_some_and(|asked| challenge == Some(asked.challenge.as_str()))
    }

    /// The same of a message that is refused unread, as its sender has no bytes left to pay for it.
    pub(super) fn hear_refused(&mut self, conn: ConnId, text: &str, now: Millis, out: &mut Vec<Effect>) {
        let challenge = self.proof_asked(conn).map(|asked| asked.challenge.as_str());
        if challenge.is_some_and(|challenge| !challenge.is_empty() && text.contains(challenge)) {
            self.has_read(conn, now, out);
        }
    }

    fn proof_asked(&self, conn: ConnId) -> Option<&Asked> {
        self.conns.get(&conn)?.unheard.asked.as_ref()
    }

    /// What a connection was sent before it was asked is read, or out of the host's hands.
    pub(super) fn has_read(&mut self, conn: ConnId, now: Millis, out: &mut Vec<Effect>) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let before = state.unheard.held;
        state.unheard.heard();
        self.held.bytes = (self.held.bytes + state.unheard.held).saturating_sub(before);
        // A client is answered, and asked again behind the answer.
        if self.witness() == Witness::Host {
            self.ask_whether_read(conn, Witness::Host, ASK_AFTER, out);
        }
        self.go_on_asking(conn, now, out);
    }

    /// Whether a question of a connection has to wait: it was sent much and has not read it, as far as is known. On
    /// Workers it goes on, too, when its quota of bytes has paid for what it was sent.
    pub(super) fn has_to_read(&mut self, conn: ConnId, now: Millis, out: &mut Vec<Effect>) -> bool {
        let Some(pays_at) = self.proof_asked(conn).map(|asked| asked.at + ANSWER_MS) else { return false };
        if self.witness() == Witness::Host {
            return true;
        }
        let at = if now < pays_at { Some(pays_at) } else { self.pay_unheard(conn, now) };
        if let Some(at) = at {
            self.do_at(Due::Question(conn), at, out);
        }
        at.is_some()
    }

    /// Has the quota pay for what a connection was sent; when it can pay more, if it has not paid all.
    fn pay_unheard(&mut self, conn: ConnId, now: Millis) -> Option<Millis> {
        let mut unpaid = self.conns.get(&conn)?.unheard.unpaid_at(now);
        let wait = self.pay_answers(self.payer(conn, None), &mut unpaid, now).err();
        self.conns.get_mut(&conn)?.unheard.unpaid = unpaid;
        wait.map(|seconds| now + seconds * 1000)
    }
}

/// A challenge that nobody can guess who was not sent it, as nobody but us knows the name of a connection. It says when
/// it was made, so all there were of a connection are known without being kept.
fn fresh(conn: ConnId, first: &str, now: Millis) -> String {
    let hash = Sha256::new().chain_update(conn.0.to_be_bytes()).chain_update(first).chain_update(now.to_be_bytes());
    let mac: Vec<u8> = hash.finalize().into_iter().take(MAC_BYTES).collect();
    format!("{now:0width$x}{}", hex::encode(mac), width = TIME_DIGITS)
}

/// Whether a text is a fresh challenge that a connection was sent at some time.
pub(super) fn is_fresh(conn: ConnId, first: &str, text: &str) -> bool {
    let time = text.get(..TIME_DIGITS).and_then(|time| Millis::from_str_radix(time, 16).ok());
    time.is_some_and(|time| text == fresh(conn, first, time))
}
