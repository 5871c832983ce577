//! What clients say before it is known what the operator has ruled, as just after memory was lost, and what depends on that:
//! it waits. What is stored need not, as no partition stores anything before it knows.

use super::timer::Due;
use super::{ConnId, Effect, Gateway, Millis};
use crate::budget::{Reservation, Share};
use crate::message::ToPartition;
use crate::moderation::Access;
use crate::nostr::{ClientMessage, KindClass, refusal};

/// Milliseconds it waits at the most, and messages that do.
const WAIT_MS: Millis = 10_000;
const WAITING_MAX: usize = 1000;
/// Bytes that one takes besides its text.
const MESSAGE_BYTES: usize = 500;

/// A message that waits.
#[derive(Debug)]
pub(super) struct Unruled {
    conn: ConnId,
    message: ClientMessage,
    _memory: Reservation,
}

impl Gateway {
    /// Gives a message back, unless it has to wait until it is known what is ruled.
    pub(super) fn ruled_over(
        &mut self,
        conn: ConnId,
        message: ClientMessage,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Option<ClientMessage> {
        if self.managing.are_ruled || !self.depends_on_rulings(conn, &message) {
            return Some(message);
        }
        let bytes = MESSAGE_BYTES
            + match &message {
                ClientMessage::Event(event) | ClientMessage::Auth(event) => 2 * event.text_bytes(),
                ClientMessage::Req { filters, .. } | ClientMessage::Count { filters, .. } => {
                    filters.iter().map(|filter| filter.memory_bytes()).sum()
                }
                ClientMessage::Close(_) => 0,
            };
        match self.budget.reserve(self.network_use(conn).as_ref(), Share::Turns, bytes) {
            Ok(memory) if self.unruled.len() < WAITING_MAX => {
                if self.unruled.is_empty() {
                    // A store that has failed is asked again.
                    self.partitions.tell_home(ToPartition::Position);
                    self.do_at(Due::Ruled, now + WAIT_MS, out);
                }
                self.unruled.push(Unruled { conn, message, _memory: memory });
            }
            _ => self.refuse_message(conn, message, refusal::lost_request(), out),
        }
        None
    }

    fn depends_on_rulings(&self, conn: ConnId, message: &ClientMessage) -> bool {
        match message {
            // It keeps its place behind the proof of a key.
            _ if self.config.access == Access::Closed && self.unruled.iter().any(|waiting| waiting.conn == conn) => {
                true
            }
            ClientMessage::Auth(event) => self.config.access == Access::Closed && !self.is_member(&event.pubkey),
            ClientMessage::Event(event) => self.config.access != Access::Open || event.class() == KindClass::Ephemeral,
            ClientMessage::Req { .. } | ClientMessage::Count { .. } => self.config.access == Access::Closed,
            ClientMessage::Close(_) => false,
        }
    }

    /// It is known what is ruled.
    pub(super) fn take_unruled(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for Unruled { conn, message, .. } in std::mem::take(&mut self.unruled) {
            if self.conns.contains_key(&conn) {
                self.understood(conn, message, now, out);
            }
        }
    }

    /// It is not known in time.
    pub(super) fn refuse_unruled(&mut self, out: &mut Vec<Effect>) {
        for Unruled { conn, message, .. } in std::mem::take(&mut self.unruled) {
            self.refuse_message(conn, message, refusal::lost_request(), out);
        }
    }
}
