//! Frames of clients: each is paid before it is looked at, whatever is in it; what is no message is refused; and who
//! is refused too much, or sends what is not to be read, is disconnected. Never looks into events or filters.

use super::{ConnId, Gateway};
use crate::nostr::client_msg::{self, Refusal};
use crate::nostr::{ClientMessage, Prefix, PublicKey, Reason, refusal, relay_msg};
use crate::seam::{Breach, Effect, Millis};

/// Bytes of the longest frame a host reads. A longer one ends its connection; so does a text frame of which so much
/// is read. What is over `MAX_MESSAGE_LENGTH` and not over this is refused under the id it has.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Binary frames after which a connection ends.
const MAX_BINARY_FRAMES: u32 = 3;
/// Refusals after which a connection ends, if they come within [`REFUSED_WITHIN_MS`].
const MAX_REFUSALS: u32 = 100;
const REFUSED_WITHIN_MS: Millis = 10_000;

/// WebSocket close codes (RFC 6455): a frame of a type that is not taken.
const UNSUPPORTED_DATA: u16 = 1003;
/// A frame against the protocol.
const PROTOCOL_ERROR: u16 = 1002;
/// Text that is not UTF-8.
const INVALID_PAYLOAD: u16 = 1007;
/// A connection that breaks a rule.
pub(super) const POLICY_VIOLATION: u16 = 1008;
/// A frame that is too long.
const MESSAGE_TOO_BIG: u16 = 1009;

impl Gateway {
    /// A text frame.
    pub(super) fn received(&mut self, conn: ConnId, text: &str, now: Millis, out: &mut Vec<Effect>) {
        if text.len() > MAX_FRAME_BYTES {
            return self.unread(conn, text.len() as u64, now, out);
        }
        if self.is_ending(conn) {
            return;
        }
        self.counters.bytes_received += text.len() as u64;
        if !self.conns.contains_key(&conn) {
            return;
        }
        self.spoke(conn);
        let mut author = None;
        let max = self.config.limits.max_message_length;
        let patience = self.patience(conn, text.len());
        let paid = self.pay_frame(conn, text.len(), *patience.as_ref().unwrap_or(&0), now);
        match patience.and_then(|patience| Ok((patience, paid?))) {
            Err(reason) => {
                self.hear_refused(conn, text, now, out);
                self.refuse(conn, client_msg::refuse(text, reason), out);
            }
            Ok(_) if text.len() as u64 > max => {
                let reason = refusal::message_too_long(text.len(), max);
                self.refuse(conn, client_msg::refuse(text, reason), out);
                self.count_malformed(conn, out);
            }
            Ok((patience, wait)) => match ClientMessage::parse(text) {
                Ok(message) => {
                    author = message.author().copied();
                    match self.pay(conn, &message, patience, now) {
                        Ok(more) => self.in_turn(conn, (message, text), wait.max(more), now, out),
                        Err(reason) => self.refuse_message(conn, message, reason, out),
                    }
                }
                Err(refusal) => {
                    self.refuse(conn, refusal, out);
                    self.count_malformed(conn, out);
                }
            },
        }
        self.note_sent(conn, author.as_ref(), text.len());
        self.remember_levels(conn, None, now);
    }

    /// Answers a message that cannot be paid.
    pub(super) fn refuse_message(
        &mut self,
        conn: ConnId,
        message: ClientMessage,
        reason: Reason,
        out: &mut Vec<Effect>,
    ) {
        let refusal = match message {
            ClientMessage::Auth(event) => return self.refuse_auth(conn, &event, &reason, out),
            ClientMessage::Event(event) => {
                let of = Some((event.pubkey, event.kind));
                return self.reject(conn, &event.id.to_string(), of, &reason, out);
            }
            ClientMessage::Count { query, .. } => Refusal::Uncounted(query, reason),
            ClientMessage::Req { subscription, .. } | ClientMessage::Close(subscription) => {
                Refusal::Closed(subscription, reason)
            }
        };
        self.counters.refused_reqs += 1;
        self.refuse(conn, refusal, out);
    }

    /// A message whose turn it is, and that has been paid.
    pub(super) fn understood(&mut self, conn: ConnId, message: ClientMessage, now: Millis, out: &mut Vec<Effect>) {
        let Some(message) = self.ruled_over(conn, message, now, out) else { return };
        match message {
            ClientMessage::Event(event) => self.publish(conn, *event, now, out),
            ClientMessage::Req { subscription, filters } => self.subscribe(conn, subscription, filters, now, out),
            ClientMessage::Count { query, filters } => self.count(conn, query, filters, out),
            ClientMessage::Close(subscription) => self.unsubscribe(conn, &subscription),
            ClientMessage::Auth(event) => self.authenticate(conn, &event, now, out),
        }
    }

    /// A binary frame, which NIP-01 has no use for.
    pub(super) fn received_binary(&mut self, conn: ConnId, length: usize, now: Millis, out: &mut Vec<Effect>) {
        if length > MAX_FRAME_BYTES {
            return self.unread(conn, length as u64, now, out);
        }
        if self.is_ending(conn) {
            return;
        }
        self.counters.bytes_received += length as u64;
        let paid = self.pay_frame(conn, length, 0, now);
        let Some(state) = self.conns.get_mut(&conn) else { return };
        state.binary_frames += 1;
        if state.binary_frames >= MAX_BINARY_FRAMES {
            return self.end(conn, UNSUPPORTED_DATA, refusal::binary_frames(), out);
        }
        self.refuse(conn, Refusal::Notice(paid.err().unwrap_or_else(refusal::binary_frame)), out);
        self.count_malformed(conn, out);
    }

    /// A frame that nobody reads. It is charged like the longest one that is read.
    pub(super) fn unread(&mut self, conn: ConnId, length: u64, now: Millis, out: &mut Vec<Effect>) {
        self.owe_frame(conn, length.min(MAX_FRAME_BYTES as u64), now);
        let max = self.config.limits.max_message_length;
        self.end_answered(conn, MESSAGE_TOO_BIG, refusal::frame_too_long(length, max), now, out);
    }

    /// What is no frame, or no text.
    pub(super) fn broken(&mut self, conn: ConnId, breach: Breach, now: Millis, out: &mut Vec<Effect>) {
        let (code, reason) = match breach {
            Breach::Frame => (PROTOCOL_ERROR, refusal::broken_frame()),
            Breach::Text => (INVALID_PAYLOAD, refusal::broken_text()),
        };
        self.end_answered(conn, code, reason, now, out);
    }

    fn refuse(&mut self, conn: ConnId, refusal: Refusal, out: &mut Vec<Effect>) {
        let (text, reason) = match refusal {
            Refusal::Ok(id, reason) => return self.reject(conn, &id, None, &reason, out),
            Refusal::Closed(subscription, reason) => {
                self.unsubscribe(conn, &subscription);
                self.drop_from_line(conn, &subscription);
                (relay_msg::closed(&subscription, &reason), reason)
            }
            Refusal::Uncounted(query, reason) => (relay_msg::closed(&query, &reason), reason),
            Refusal::NegErr(id, reason) => (relay_msg::neg_err(&id, &reason), reason),
            Refusal::Notice(reason) => (relay_msg::notice(&reason), reason),
        };
        self.send(conn, text, out);
        self.count_refusal(conn, None, &reason, out);
    }

    /// Answers `OK false` and counts it; of the event it is known whose it is said to be and of which kind, or nothing.
    pub(super) fn reject(
        &mut self,
        conn: ConnId,
        id: &str,
        of: Option<(PublicKey, u16)>,
        reason: &Reason,
        out: &mut Vec<Effect>,
    ) {
        self.untold.rejected(reason.prefix);
        self.send(conn, relay_msg::ok(id, false, reason), out);
        self.count_refusal(conn, of, reason, out);
    }

    /// Notes what a connection was refused and could have known better, and counts it if that has proven no key.
    pub(super) fn count_refusal(
        &mut self,
        conn: ConnId,
        of: Option<(PublicKey, u16)>,
        reason: &Reason,
        out: &mut Vec<Effect>,
    ) {
        let own_fault = !matches!(reason.prefix, Prefix::Duplicate | Prefix::Error | Prefix::Mute);
        // To be asked for a proof is how clients begin.
        if own_fault && reason.prefix != Prefix::AuthRequired {
            self.note_refused(conn, of, reason);
        }
        if own_fault && self.conns.get(&conn).is_some_and(|state| state.keys.is_empty()) {
            self.count_towards_end(conn, out);
        }
    }

    /// Counts a frame that is no message of a connection that has proven a key. What is well-formed never ends it,
    /// however fast it comes.
    fn count_malformed(&mut self, conn: ConnId, out: &mut Vec<Effect>) {
        if self.conns.get(&conn).is_some_and(|state| !state.keys.is_empty()) {
            self.count_towards_end(conn, out);
        }
    }

    fn count_towards_end(&mut self, conn: ConnId, out: &mut Vec<Effect>) {
        let (now, limited) = (self.now, self.config.quotas.is_some());
        let Some(state) = self.conns.get_mut(&conn).filter(|_| limited) else { return };
        if state.refusals.add(now, REFUSED_WITHIN_MS) >= MAX_REFUSALS {
            let reason = refusal::too_many_refusals(MAX_REFUSALS, REFUSED_WITHIN_MS / 1000);
            self.end(conn, POLICY_VIOLATION, reason, out);
        }
    }
}
