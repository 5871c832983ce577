//! Notes what an owner may want to see of who does too much: whom the gateway has refused something, and who sends most.

use super::{ConnId, Gateway};
use crate::message::Refused;
use crate::nostr::{PublicKey, Reason};
use crate::seam::Network;

impl Gateway {
    /// Notes what a connection was refused; of an event it is known whose it is said to be, and of which kind.
    pub(super) fn note_refused(&mut self, conn: ConnId, of: Option<(PublicKey, u16)>, reason: &Reason) {
        let author = of.map(|(author, _)| author);
        let key = self.key_of(conn, author.as_ref());
        self.seen.refused(Refused {
            at: self.now / 1000,
            key: key.or(author),
            proven: key.is_some(),
            network: self.address_of(conn),
            kind: of.map(|(_, kind)| kind),
            reason: reason.to_string(),
            times: 1,
        });
    }

    /// Notes that a network was turned away.
    pub(super) fn note_turned_away(&mut self, network: &str, reason: String) {
        let (at, network) = (self.now / 1000, network.parse().ok());
        self.seen.refused(Refused { at, key: None, proven: false, network, kind: None, reason, times: 1 });
    }

    /// Notes a frame of so many bytes; of an event it is known whose it is said to be.
    pub(super) fn note_sent(&mut self, conn: ConnId, author: Option<&PublicKey>, bytes: usize) {
        let (key, network) = (self.key_of(conn, author), self.address_of(conn));
        self.seen.sent(key, network, u64::from(author.is_some()), bytes, self.now / 1000);
    }

    /// The author, if a connection has proven that key, else the one that it has proven first.
    fn key_of(&self, conn: ConnId, author: Option<&PublicKey>) -> Option<PublicKey> {
        let state = self.conns.get(&conn)?;
        author.filter(|author| state.keys.contains(author)).copied().or(state.first_key)
    }

    fn address_of(&self, conn: ConnId) -> Option<Network> {
        self.conns.get(&conn)?.network.as_ref()?.parse().ok()
    }
}
