//! Who pays for what: which class a connection's holder is of, what a message costs, and the answer
//! when it is too much.

use std::net::IpAddr;
use std::rc::Rc;

use super::class::{Class, Metered};
use super::config::Classes;
use super::quota::{Account, Holder, Net, PATIENCE};
use super::{ConnId, Gateway, Millis, conn};
use crate::budget::NetworkUse;
use crate::market::reputation;
use crate::nostr::{ClientMessage, Event, KindClass, PublicKey, Reason, kind, refusal};

/// Milli-tokens of one event, AUTH or question.
const ONE: u64 = 1000;
/// Milli-tokens of an ephemeral event, which costs no storage.
const EPHEMERAL: u64 = 100;
/// Tags that are indexed, votes that are cast, and targets that are deleted, at the price of one event: each is a row.
const ROWS: u64 = 10;
/// The same of what a deletion request names: what keeps it out, and the removal of an event with some tags.
const TARGET: u64 = 16;
/// The same in each partition beside home, where a tombstone keeps it out, and of a request to vanish there.
const TOMBSTONE: u64 = 2;
const VANISHED: u64 = 6;
/// Milli-tokens of a byte.
const BYTE: u64 = 1000;
/// Bytes that a frame is charged beside its own: however small it is, it has to be looked at and answered.
pub(super) const FRAME_BYTES: u64 = 512;
/// Bytes that a connection is charged, for what it takes to make one.
pub(super) const OPENING_BYTES: u64 = 4096;
/// Bytes of answers that are paid for at once.
const ANSWER_PIECE: u64 = 65_536;
/// Milli-tokens of a row the database read for a question.
const ROW: u64 = 1;

/// Who pays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payer {
    pub holder: Holder,
    /// Of the holder.
    pub class: Class,
    /// The network that pays with a key.
    network: Option<Net>,
}

impl Payer {
    /// Guests of a network.
    const fn guests(net: Net) -> Self {
        Self { holder: Holder::Guests(net), class: Class::Guest, network: None }
    }

    fn account(self, classes: &Classes) -> Account<'_> {
        let network = self.network.map(|net| (net, &classes.network));
        Account { holder: self.holder, rates: classes.rates(self.class), network }
    }
}

impl Gateway {
    /// Takes a frame of so many bytes, if it can be paid in `patience` ms; answers in how many.
    pub(super) fn pay_frame(
        &mut self,
        conn: ConnId,
        bytes: usize,
        patience: Millis,
        now: Millis,
    ) -> Result<Millis, Reason> {
        self.charge(self.payer(conn, None), Metered::Bytes, frame_cost(bytes as u64), patience, now)
    }

    /// Takes a frame that has cost the relay something whether it can be paid or not.
    pub(super) fn owe_frame(&mut self, conn: ConnId, bytes: u64, now: Millis) {
        self.debit(self.payer(conn, None), Metered::Bytes, frame_cost(bytes), now);
    }

    /// Whether the guests of a network have left what a connection costs.
    pub(super) fn may_come(&mut self, network: &str, now: Millis) -> Result<(), Reason> {
        let Ok(ip) = network.parse() else { return Ok(()) };
        self.charge(Payer::guests(Net::Address(ip)), Metered::Bytes, 0, 0, now).map(drop)
    }

    /// Takes a connection that was opened.
    pub(super) fn owe_opening(&mut self, conn: ConnId, now: Millis) {
        self.debit(Payer::guests(self.net(conn)), Metered::Bytes, OPENING_BYTES * BYTE, now);
    }

    /// Takes what a message costs beside its frame, if it can be paid in `patience` ms; answers in how many.
    pub(super) fn pay(
        &mut self,
        conn: ConnId,
        message: &ClientMessage,
        patience: Millis,
        now: Millis,
    ) -> Result<Millis, Reason> {
        if self.config.quotas.is_none() {
            return Ok(0);
        }
        let free = match message {
            ClientMessage::Close(_) => true,
            // Who may not do this pays nothing: others behind the same address need it to prove their keys.
            ClientMessage::Auth(event) => {
                self.may_enter(&event.pubkey).is_err() || self.only_proves_reading(conn, event)
            }
            ClientMessage::Event(event) => self.locked(conn).is_some() || self.may_publish(conn, event).is_err(),
            ClientMessage::Req { .. } | ClientMessage::Count { .. } => self.locked(conn).is_some(),
        };
        if free {
            return Ok(0);
        }
        let author = message.author();
        let (metered, cost) = match message {
            ClientMessage::Event(event) if self.config.profile.is_answer(event.kind) => {
                (Metered::Answers, of_event(event, 1))
            }
            ClientMessage::Event(event) => (Metered::Events, of_event(event, self.config.partitions)),
            ClientMessage::Req { filters, .. } | ClientMessage::Count { filters, .. } => {
                (Metered::Queries, ONE.saturating_mul(filters.len().max(1) as u64))
            }
            // A verification.
            ClientMessage::Auth(_) | ClientMessage::Close(_) => (Metered::Events, ONE),
        };
        let wait = self.charge(self.payer(conn, author), metered, cost, patience, now)?;
        self.remember_levels(conn, author, now);
        Ok(wait)
    }

    /// Takes a question over HTTP from the guests of a network: who pays for what it reads, or why it may not be
    /// asked and in how many seconds.
    pub(super) fn pay_request(&mut self, network: &str, now: Millis) -> Result<Payer, (Reason, u64)> {
        let payer = Payer::guests(network.parse().map_or(Net::Unknown(ConnId(0)), Net::Address));
        let Err(reason) = self.charge(payer, Metered::Queries, ONE, 0, now) else { return Ok(payer) };
        let ready = self.config.quotas.as_ref().map(|classes| {
            self.quotas.charge(&payer.account(classes), Metered::Queries, ONE, 0, now).map_err(|it| it.seconds)
        });
        Err((reason, ready.and_then(Result::err).unwrap_or(1)))
    }

    /// Takes what it costs to find out that an event is not signed by its author, if the event has cost less.
    pub(super) fn pay_forged(&mut self, conn: ConnId, event: &Event, now: Millis) {
        let payer = self.payer(conn, Some(&event.pubkey));
        self.debit(payer, Metered::Events, ONE.saturating_sub(of_event(event, 1)), now);
    }

    /// Takes what answering a question has cost, once it is known.
    pub(super) fn pay_rows(&mut self, payer: Payer, rows: u64, now: Millis) {
        self.debit(payer, Metered::Queries, rows.saturating_mul(ROW), now);
    }

    /// Takes so many bytes of answers as there is left to pay, as far as the quota has them; the error is the seconds
    /// after which it has more.
    pub(super) fn pay_answers(&mut self, payer: Payer, unpaid: &mut u64, now: Millis) -> Result<(), u64> {
        let Some(classes) = &self.config.quotas else { return Ok(()) };
        while *unpaid > 0 {
            let some = ANSWER_PIECE.min(*unpaid);
            self.quotas
                .charge(&payer.account(classes), Metered::Bytes, some * BYTE, 0, now)
                .map_err(|too_much| too_much.seconds)?;
            *unpaid -= some;
        }
        Ok(())
    }

    /// Why a question that was taken may not be asked now: answers to earlier ones have cost too much. What
    /// questions that wait for their turn have taken is no debt.
    pub(super) fn in_debt(&mut self, payer: Payer, now: Millis) -> Option<Reason> {
        let patience = if payer.class == Class::Guest { 0 } else { PATIENCE };
        self.charge(payer, Metered::Queries, 0, patience, now).err()
    }

    fn debit(&mut self, payer: Payer, metered: Metered, cost: u64, now: Millis) {
        if let Some(classes) = &self.config.quotas {
            self.quotas.debit(&payer.account(classes), metered, cost, now);
        }
    }

    fn charge(
        &mut self,
        payer: Payer,
        metered: Metered,
        cost: u64,
        patience: Millis,
        now: Millis,
    ) -> Result<Millis, Reason> {
        let Some(classes) = &self.config.quotas else { return Ok(0) };
        self.quotas.charge(&payer.account(classes), metered, cost, patience, now).map_err(|too_much| {
            self.untold.limited(metered);
            let (rates, who) = match too_much.for_network {
                true => (&classes.network, "network"),
                false => (classes.rates(payer.class), payer.class.as_str()),
            };
            refusal::too_fast(rates.of(metered).per_second, metered.as_str(), who, too_much.seconds)
        })
    }

    /// Who pays for a connection: `author`, when it has proven that key, else the key it proved first, else
    /// the guests of the network it comes from.
    pub(super) fn payer(&self, conn: ConnId, author: Option<&PublicKey>) -> Payer {
        let state = self.conns.get(&conn).map(Box::as_ref);
        let net = net(conn, state);
        let Some((state, first)) = state.and_then(|state| Some((state, state.first_key.as_ref()?))) else {
            return Payer::guests(net);
        };
        let key = author.filter(|author| state.keys.contains(author)).unwrap_or(first);
        let class = self.class(state, key);
        let network = Some(net).filter(|_| class != Class::Listed && !self.trusts(net));
        Payer { holder: Holder::Key(*key), class, network }
    }

    /// Whether the operator has named a network as one that need not keep to the bounds of one.
    pub(super) fn trusts(&self, net: Net) -> bool {
        self.config.quotas.as_ref().is_some_and(|classes| classes.trusts(net))
    }

    /// What the network of a connection has reserved, if it has to keep to its part of the memory.
    pub(super) fn network_use(&self, conn: ConnId) -> Option<Rc<NetworkUse>> {
        let state = self.conns.get(&conn).filter(|_| self.config.quotas.is_some())?;
        let exempt = !state.keys.is_empty() && self.payer(conn, None).network.is_none();
        state.used.clone().filter(|_| !exempt)
    }

    fn class(&self, state: &conn::Conn, key: &PublicKey) -> Class {
        let listed = self.config.quotas.as_ref().is_some_and(|classes| classes.listed_keys.contains(key));
        let known = state.known(key);
        match (listed, known.handler && known.served) {
            (true, _) => Class::Listed,
            (false, true) => Class::Provider,
            (false, false) => Class::Agent,
        }
    }

    pub(super) fn net(&self, conn: ConnId) -> Net {
        net(conn, self.conns.get(&conn).map(Box::as_ref))
    }

    /// Everybody whose levels a connection is asked to remember: the guests of its network, its keys, and the network.
    pub(super) fn holders(&self, conn: ConnId) -> Vec<Holder> {
        let (net, keys) = (self.net(conn), self.conns.get(&conn).into_iter().flat_map(|state| &state.keys));
        let keys = keys.map(|key| Holder::Key(*key));
        [Holder::Guests(net)].into_iter().chain(keys).chain([Holder::Network(net)]).collect()
    }

    /// Has a connection remember levels of who pays that have become low, so that no loss of memory fills them.
    pub(super) fn remember_levels(&mut self, conn: ConnId, author: Option<&PublicKey>, now: Millis) {
        if self.host.lasting {
            return;
        }
        let payer = self.payer(conn, author);
        let Some(classes) = &self.config.quotas else { return };
        let own = self.quotas.needs_saving(&payer.holder, classes.rates(payer.class), now);
        let network = payer.network.map(Holder::Network);
        if own | network.is_some_and(|network| self.quotas.needs_saving(&network, &classes.network, now)) {
            self.remember(conn);
        }
    }
}

/// The network of a connection.
fn net(conn: ConnId, state: Option<&conn::Conn>) -> Net {
    let ip = state.and_then(|state| state.network.as_ref()?.parse::<IpAddr>().ok());
    ip.map_or(Net::Unknown(conn), Net::Address)
}

/// Milli-tokens of an event, of which each of so many partitions has a part.
fn of_event(event: &Event, partitions: u32) -> u64 {
    let tags = event.tags.iter().filter_map(|tag| tag.indexed());
    let indexed = tags.clone().count() as u64 + reputation::votes_max(event);
    // A deletion writes what it deletes, too.
    let targets = |letter: u8| match event.kind {
        kind::DELETION => tags.clone().filter(|(of, _)| *of == letter).count() as u64,
        _ => 0,
    };
    let (events, addresses) = (targets(b'e'), targets(b'a'));
    let elsewhere = if event.kind == kind::VANISH { VANISHED } else { events * TOMBSTONE };
    let deleted = (events + addresses) * TARGET + elsewhere * u64::from(partitions.saturating_sub(1));
    let more = indexed.saturating_sub(ROWS) + deleted;
    match event.class() {
        // Its tags are looked up, and not written.
        KindClass::Ephemeral => EPHEMERAL + more * EPHEMERAL / ROWS,
        _ => ONE + more * ONE / ROWS,
    }
}

/// Milli-tokens of a frame of so many bytes.
const fn frame_cost(bytes: u64) -> u64 {
    bytes.saturating_add(FRAME_BYTES).saturating_mul(BYTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{EventId, Signature, Tag};

    #[test]
    fn who_deletes_pays_for_what_each_partition_writes() {
        let event = |kind, tags: Vec<Tag>| {
            let (id, pubkey, sig) = (EventId::new([1; 32]), PublicKey::new([2; 32]), Signature::new([0; 64]));
            Event { id, pubkey, created_at: 0, kind, tags, content: String::new(), sig }
        };
        let tag = |name: &str, value: String| Tag::new([name.to_owned(), value]).unwrap();
        let events = (0..8).map(|n| tag("e", format!("{n:064}")));
        let places = (0..2).map(|n| tag("a", format!("30023:{}:{n}", "ab".repeat(32))));
        let deletion = event(kind::DELETION, events.chain(places).collect());
        let one = ONE + 10 * TARGET * ONE / ROWS;
        assert_eq!(
            [1, 4].map(|partitions| of_event(&deletion, partitions)),
            [one, one + 3 * 8 * TOMBSTONE * ONE / ROWS]
        );
        let vanish = event(kind::VANISH, vec![tag("relay", "ALL_RELAYS".to_owned())]);
        assert_eq!([1, 4].map(|partitions| of_event(&vanish, partitions)), [ONE, ONE + 3 * VANISHED * ONE / ROWS]);
        let note = event(1, vec![]);
        assert_eq!([1, 64].map(|partitions| of_event(&note, partitions)), [ONE, ONE]);
    }
}
