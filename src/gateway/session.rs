//! The life of a connection: opened, authenticated (NIP-42), woken, forgotten.

use super::attachment::RememberedConn;
use super::conn::{Backlog, KEY_BYTES, MAX_KEYS};
use super::subscribe::remembered;
use super::timer::Due;
use super::{ConnId, Gateway, attachment, unheard};
use crate::budget::Share;
use crate::log::Level;
use crate::message::{Known, StoreError, ToPartition};
use crate::nostr::{Event, PublicKey, Reason, auth, refusal, relay_msg};
use crate::seam::{Effect, Millis, NO_CLOSE_FRAME, Ticket};

/// WebSocket close code for "try again later" (RFC 6455 registry).
const TRY_AGAIN: u16 = 1012;

/// Milliseconds after which what does not fit an attachment is kept.
const REMEMBER_AFTER_MS: Millis = 10_000;
/// Milliseconds after which the store is asked again what it knows of keys, when it gave no answer.
const KNOWN_RETRY_MS: Millis = 30_000;

impl Gateway {
    /// A connection has ended; when a provider was last here is noted.
    pub(super) fn closed(&mut self, conn: ConnId, out: &mut Vec<Effect>) {
        self.log(Level::Debug, "closed", &[("connection", conn.to_string())], out);
        let providers: Vec<PublicKey> =
            self.conns.get(&conn).into_iter().flat_map(|state| state.handlers().copied()).collect();
        let network = self.conns.get(&conn).and_then(|state| state.network.clone());
        self.forget(conn);
        let elsewhere = |key: &PublicKey| self.conns.values().any(|state| state.keys.contains(key));
        let gone: Vec<&PublicKey> = providers.iter().filter(|key| !elsewhere(key)).collect();
        let gone: Vec<PublicKey> = gone.into_iter().copied().collect();
        if !gone.is_empty() {
            let network = network.and_then(|network| network.parse().ok());
            self.partitions.tell_home(ToPartition::Left { keys: gone, network });
        }
    }

    /// Ends a connection for a rule it broke.
    pub(super) fn end(&mut self, conn: ConnId, code: u16, reason: String, out: &mut Vec<Effect>) {
        self.forget(conn);
        out.push(Effect::Close { conn, code, reason });
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.ending.remove(&conn);
        let Some(gone) = self.conns.remove(&conn) else { return };
        self.presence.changed |= gone.handlers().next().is_some();
        gone.subs.values().for_each(|sub| self.subs.remove(sub.number));
        gone.keys.iter().for_each(|key| self.subs.prove(conn, key, false));
        self.networks.leave(conn, &gone);
        self.let_go(&gone.unheard);
        self.drop_questions(conn);
    }

    pub(super) fn authenticate(&mut self, conn: ConnId, event: &Event, now: Millis, out: &mut Vec<Effect>) {
        self.proves_reading(conn, event, now, out);
        match self.check_auth(conn, event, now) {
            Ok(()) => {
                let new = self.prove(conn, event.pubkey);
                self.counters.auth_accepted += 1;
                let fields = [("connection", conn.to_string()), ("pubkey", event.pubkey.to_string())];
                self.log(Level::Debug, "authenticated", &fields, out);
                self.remember(conn);
                self.send(conn, relay_msg::accepted(&event.id), out);
                if new {
                    self.ask_who_is(conn, vec![event.pubkey]);
                }
            }
            Err(reason) => self.refuse_auth(conn, event, &reason, out),
        }
    }

    /// Notes a key that was proven; whether it is a new one.
    fn prove(&mut self, conn: ConnId, key: PublicKey) -> bool {
        let Some(state) = self.conns.get_mut(&conn) else { return false };
        if state.keys.is_empty() {
            self.networks.proven(conn, state);
        }
        self.subs.prove(conn, &key, true);
        state.prove(key)
    }

    /// Answers that a key is not proven.
    pub(super) fn refuse_auth(&mut self, conn: ConnId, event: &Event, reason: &Reason, out: &mut Vec<Effect>) {
        self.counters.auth_rejected += 1;
        let fields = [("connection", conn.to_string()), ("reason", reason.to_string())];
        self.log(Level::Debug, "authentication refused", &fields, out);
        self.send(conn, relay_msg::ok(&event.id.to_string(), false, reason), out);
        self.count_refusal(conn, Some((event.pubkey, event.kind)), reason, out);
    }

    fn ask_who_is(&mut self, conn: ConnId, keys: Vec<PublicKey>) {
        let ticket = self.next_ticket();
        self.asked_of.insert(ticket, conn);
        self.partitions.who_is(ticket, keys);
    }

    /// Notes what is known of the keys of a connection; one of which nothing is known is an agent's.
    pub(super) fn keys_known(
        &mut self,
        ticket: Ticket,
        known: Result<Vec<(PublicKey, Known)>, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(conn) = self.asked_of.remove(&ticket) else { return };
        let found = match known {
            Ok(found) => found,
            Err(error) => {
                self.log_failed(&error, ("connection", conn.to_string()), out);
                return self.do_at(Due::Known(conn), now + KNOWN_RETRY_MS, out);
            }
        };
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let mut news = false;
        for (key, found) in found {
            if state.keys.contains(&key) {
                let Some(known) = state.known_mut(key) else { continue };
                // A handler may have come since the store was asked.
                let now_known = Known { handler: found.handler || known.handler, ..found };
                news |= *known != now_known;
                *known = now_known;
            }
        }
        if news {
            self.presence.changed = true;
            self.remember(conn);
        }
    }

    /// Asks what is known of the keys of a connection, of those that are not known to have served anybody.
    pub(super) fn ask_known(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get(&conn) else { return };
        let keys: Vec<PublicKey> = state.keys.iter().filter(|key| !state.known(key).served).copied().collect();
        if !keys.is_empty() {
            self.ask_who_is(conn, keys);
        }
    }

    /// A handler that can be ranked was stored: its author has one from now on.
    pub(super) fn provides(&mut self, key: &PublicKey) {
        let here = self.conns.iter().filter(|(_, state)| state.keys.contains(key) && !state.known(key).handler);
        let conns: Vec<ConnId> = here.map(|(conn, _)| *conn).collect();
        self.presence.changed |= !conns.is_empty();
        for conn in conns {
            if let Some(state) = self.conns.get_mut(&conn) {
                state.known_mut(*key).into_iter().for_each(|known| known.handler = true);
            }
            self.remember(conn);
        }
    }

    fn check_auth(&mut self, conn: ConnId, event: &Event, now: Millis) -> Result<(), Reason> {
        self.may_enter(&event.pubkey)?;
        let Some(state) = self.conns.get_mut(&conn) else { return Err(refusal::connection_closed()) };
        let given = event.tag_value("challenge");
        let fresh = given.filter(|given| unheard::is_fresh(conn, &state.challenge, given));
        auth::check(event, fresh.unwrap_or(&state.challenge), &self.config.relays, now / 1000)?;
        if state.keys.len() >= MAX_KEYS && !state.keys.contains(&event.pubkey) {
            return Err(refusal::too_many_keys(MAX_KEYS));
        }
        event.verify()?;
        match &mut state.memory {
            Some(memory) if !state.keys.contains(&event.pubkey) => {
                memory.grow(KEY_BYTES).map_err(|_| refusal::no_room_for_keys())
            }
            _ => Ok(()),
        }
    }

    /// Why this connection may do nothing but authenticate, if so.
    pub(super) fn locked(&self, conn: ConnId) -> Option<Reason> {
        let proven = self.conns.get(&conn).is_some_and(|state| !state.keys.is_empty());
        (self.config.must_prove() && !proven).then(refusal::auth_first)
    }

    /// Rebuilds everything that is held in memory: connections from what they remember, totals from
    /// the store. What was never answered is read again, and COUNTs are closed.
    pub(super) fn woke(&mut self, conns: Vec<(ConnId, String)>, now: Millis, out: &mut Vec<Effect>) {
        self.log(Level::Info, "woke", &[("connections", conns.len().to_string())], out);
        for (conn, text) in conns {
            let Some(RememberedConn { conn: mut state, subs, levels, told }) = attachment::decode(&text) else {
                let fields = [("connection", conn.to_string())];
                self.log(Level::Warn, "what the connection remembered is unreadable, closing it", &fields, out);
                out.push(Effect::Close { conn, code: TRY_AGAIN, reason: refusal::lost_connection() });
                continue;
            };
            self.position.remembered(&told);
            let counting = std::mem::take(&mut state.counting);
            self.enter(conn, state);
            for (holder, level) in self.holders(conn).into_iter().zip(levels) {
                if let Some(level) = level {
                    self.quotas.restore(holder, &level);
                }
            }
            let unread = subs.iter().any(|sub| sub.unread.is_some()) || !counting.is_empty();
            for query in counting {
                self.send(conn, relay_msg::closed(&query, &refusal::lost_request()), out);
            }
            for sub in subs {
                let (text, bytes) = remembered(&sub.id, &sub.filters);
                // It is there already.
                let memory = self.budget.hold(self.network_use(conn).as_ref(), Share::Subscriptions, bytes);
                self.install(conn, sub.id.clone(), sub.filters, text, memory);
                // What ended the memory may have been this very answer: so it has its time, too.
                let since = sub.unread.as_ref().map(|backlog| backlog.failed_at.unwrap_or(now));
                if let Some(installed) = self.sub_mut(conn, &sub.id) {
                    installed.reading = sub.unread.map(|backlog| Box::new(Backlog { failed_at: since, ..backlog }));
                }
                if let Some(since) = since {
                    self.read_again(conn, sub.id, since, out);
                }
            }
            if unread {
                self.remember(conn);
            }
        }
        self.end_blocked((true, true), out);
        self.keep_told();
        self.tell_woke();
        if !self.alone {
            self.tell_presence_anew();
            self.tell_gauges();
        }
    }

    /// Says good-bye to everybody.
    pub(super) fn leave(&mut self, out: &mut Vec<Effect>) {
        for conn in self.conns.keys().copied().collect::<Vec<_>>() {
            self.send(conn, relay_msg::notice(&refusal::restarting()), out);
            self.forget(conn);
            // After a clean close some clients do not come back.
            out.push(Effect::Close { conn, code: NO_CLOSE_FRAME, reason: String::new() });
        }
    }

    /// Has the host keep what is known of a connection, where memory does not last, once all of an input was handled.
    ///
    /// What a socket's attachment holds is kept then. More is rows of the object's own database, and each is billed:
    /// it is kept in a while, with all that has changed by then. Until then the attachment says that it is out of date,
    /// so if memory is lost meanwhile the connection is closed.
    pub(super) fn remember(&mut self, conn: ConnId) {
        if !self.host.lasting {
            self.changed.insert(conn);
        }
    }

    /// Has the host keep what has changed.
    pub(super) fn keep_changed(&mut self, out: &mut Vec<Effect>) {
        for conn in std::mem::take(&mut self.changed) {
            let Some(state) = self.conns.get_mut(&conn) else { continue };
            if !state.is_large() {
                self.remember_now(conn, out);
            } else if !std::mem::replace(&mut state.outdated, true) {
                out.push(Effect::Remember { conn, text: attachment::OUTDATED.to_owned() });
                self.do_at(Due::Remember(conn), self.now + REMEMBER_AFTER_MS, out);
            }
        }
    }

    /// Has the host keep it at once.
    pub(super) fn remember_now(&mut self, conn: ConnId, out: &mut Vec<Effect>) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.outdated = false;
        }
        if let Some(state) = self.conns.get(&conn) {
            let levels = self.holders(conn).iter().map(|holder| self.quotas.saved(holder, self.now)).collect();
            out.push(Effect::Remember { conn, text: attachment::encode(state, levels, self.told_upto()) });
        }
    }
}
