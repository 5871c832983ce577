//! Who pays for what: which class a connection's holder is of, what a message costs, and the answer
//! when it is too much.

use super::class::{Class, Lane};
use super::quota::Holder;
use super::{ConnId, Effect, Millis, Relay, conn};
use crate::market::reputation;
use crate::nostr::{Event, KindClass, Prefix, PublicKey, Reason, kind};

/// Milli-tokens of one event, AUTH or question.
const ONE: u64 = 1000;
/// Milli-tokens of an ephemeral event, which costs no storage.
const EPHEMERAL: u64 = 100;
/// Tags that are indexed, votes that are cast, and targets that are deleted, at the price of one event: each is a row.
const ROWS: u64 = 10;
/// Milli-tokens of a byte.
const BYTE: u64 = 1000;
/// Bytes that a frame is charged beside its own: however small it is, it has to be looked at and answered.
pub(super) const FRAME_BYTES: u64 = 512;
/// Milli-tokens of a connection, in bytes, for what it takes to make one.
const OPENING: u64 = 4096 * BYTE;
/// Bytes of answers that are paid for at once.
const ANSWER_PIECE: u64 = 65_536;
/// Milli-tokens of a row the database read for a question.
const ROW: u64 = 1;

/// Whose quota pays, and its class.
pub(super) type Payer = (Holder, Class);

impl Relay {
    /// Takes a frame of so many bytes.
    pub(super) fn pay_frame(&mut self, conn: ConnId, bytes: usize, now: Millis) -> Result<(), Reason> {
        self.charge(&self.holder(conn, None), Lane::Bytes, frame_cost(bytes as u64), now)
    }

    /// Takes a frame that has cost the relay something whether it can be paid or not.
    pub(super) fn owe_frame(&mut self, conn: ConnId, bytes: u64, now: Millis) {
        self.debit(&self.holder(conn, None), Lane::Bytes, frame_cost(bytes), now);
    }

    /// Whether the guests of a network have left what a connection costs.
    pub(super) fn may_come(&mut self, network: &str, now: Millis) -> Result<(), Reason> {
        self.charge(&(Holder::Network(network.to_owned()), Class::Guest), Lane::Bytes, 0, now)
    }

    /// Takes a connection that was opened.
    pub(super) fn owe_opening(&mut self, conn: ConnId, now: Millis) {
        self.debit(&(self.network(conn), Class::Guest), Lane::Bytes, OPENING, now);
    }

    /// Takes an event: from its author when the connection has proven that key, else from whoever the
    /// connection is. Answers to jobs have a lane of their own.
    pub(super) fn pay_event(
        &mut self,
        conn: ConnId,
        event: &Event,
        answer: bool,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<(), Reason> {
        let lane = if answer { Lane::Answers } else { Lane::Events };
        let tags = event.tags.iter().filter(|tag| tag.indexed().is_some()).count() as u64;
        let indexed = tags + reputation::votes_max(event);
        let cost = match event.class() {
            KindClass::Ephemeral => EPHEMERAL,
            // A deletion writes what it deletes, too.
            _ if event.kind == kind::DELETION => ONE + 2 * indexed * ONE / ROWS,
            _ => ONE + indexed.saturating_sub(ROWS) * ONE / ROWS,
        };
        let payer = self.holder(conn, Some(&event.pubkey));
        self.charge(&payer, lane, cost, now)?;
        self.remember_levels(conn, &payer, now, out);
        Ok(())
    }

    /// Takes an attempt to prove a key, which costs a verification.
    pub(super) fn pay_auth(&mut self, conn: ConnId, now: Millis) -> Result<(), Reason> {
        self.charge(&self.holder(conn, None), Lane::Events, ONE, now)
    }

    /// Takes a question of so many filters.
    pub(super) fn pay_question(&mut self, conn: ConnId, filters: usize, now: Millis) -> Result<(), Reason> {
        self.charge(&self.holder(conn, None), Lane::Queries, ONE.saturating_mul(filters.max(1) as u64), now)
    }

    /// Takes a question over HTTP from the guests of a network: who pays for what it reads, or why it may not be
    /// asked and in how many seconds.
    pub(super) fn pay_request(&mut self, network: String, now: Millis) -> Result<Payer, (Reason, u64)> {
        let payer = (Holder::Network(network), Class::Guest);
        let Err(reason) = self.charge(&payer, Lane::Queries, ONE, now) else { return Ok(payer) };
        let rates = self.config.quotas.as_ref().map(|classes| classes.rates(Class::Guest));
        let ready = rates.map(|rates| self.quotas.charge(&payer.0, rates, Lane::Queries, ONE, now));
        Err((reason, ready.and_then(Result::err).unwrap_or(1)))
    }

    /// Takes what answering a question has cost, once it is known.
    pub(super) fn pay_rows(&mut self, payer: &Payer, rows: u64, now: Millis) {
        self.debit(payer, Lane::Queries, rows.saturating_mul(ROW), now);
    }

    /// Takes so many bytes of answers as there is left to pay, as far as the quota has them; the error is the seconds
    /// after which it has more.
    pub(super) fn pay_answers(&mut self, (holder, class): &Payer, unpaid: &mut u64, now: Millis) -> Result<(), u64> {
        let Some(classes) = &self.config.quotas else { return Ok(()) };
        while *unpaid > 0 {
            let some = ANSWER_PIECE.min(*unpaid);
            self.quotas.charge(holder, classes.rates(*class), Lane::Bytes, some * BYTE, now)?;
            *unpaid -= some;
        }
        Ok(())
    }

    /// Why a question that was taken may not be asked now: answers to earlier ones have cost too much.
    pub(super) fn in_debt(&mut self, payer: &Payer, now: Millis) -> Option<Reason> {
        self.charge(payer, Lane::Queries, 0, now).err()
    }

    fn debit(&mut self, (holder, class): &Payer, lane: Lane, cost: u64, now: Millis) {
        if let Some(classes) = &self.config.quotas {
            self.quotas.debit(holder, classes.rates(*class), lane, cost, now);
        }
    }

    fn charge(&mut self, (holder, class): &Payer, lane: Lane, cost: u64, now: Millis) -> Result<(), Reason> {
        let Some(classes) = &self.config.quotas else { return Ok(()) };
        self.quotas.charge(holder, classes.rates(*class), lane, cost, now).map_err(|seconds| {
            self.counters.limited(lane);
            let (rate, what) = (classes.rates(*class).of(lane).per_second, lane.as_str());
            let text = format!("{rate} {what} a second for one {}; retry in {seconds} s", class.as_str());
            Reason::new(Prefix::RateLimited, text)
        })
    }

    /// Who pays for a connection: `author`, when it has proven that key, else the key it proved first, else
    /// the network it comes from.
    pub(super) fn holder(&self, conn: ConnId, author: Option<&PublicKey>) -> Payer {
        let Some(state) = self.conns.get(&conn) else { return (self.network(conn), Class::Guest) };
        match author.and_then(|author| state.keys.get(author)).or(state.first_key.as_ref()) {
            Some(key) => (Holder::Key(*key), self.class(state, key)),
            None => (self.network(conn), Class::Guest),
        }
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

    /// The network of a connection; a host that knows no address makes each connection one of its own.
    fn network(&self, conn: ConnId) -> Holder {
        let network = self.conns.get(&conn).and_then(|state| state.network.clone());
        Holder::Network(network.unwrap_or_else(|| conn.to_string()))
    }

    /// Everybody whose levels a connection is asked to remember: its network and its keys.
    pub(super) fn holders(&self, conn: ConnId) -> Vec<Holder> {
        let keys = self.conns.get(&conn).into_iter().flat_map(|state| &state.keys);
        [self.network(conn)].into_iter().chain(keys.map(|key| Holder::Key(*key))).collect()
    }

    /// Has a connection remember levels that have become low, so that no loss of memory fills them.
    pub(super) fn remember_levels(&mut self, conn: ConnId, payer: &Payer, now: Millis, out: &mut Vec<Effect>) {
        let (holder, class) = payer;
        let Some(classes) = &self.config.quotas else { return };
        if self.quotas.needs_saving(holder, classes.rates(*class), now) {
            self.remember(conn, out);
        }
    }
}

/// Milli-tokens of a frame of so many bytes.
const fn frame_cost(bytes: u64) -> u64 {
    bytes.saturating_add(FRAME_BYTES).saturating_mul(BYTE)
}
