//! What may be said and asked: every rule that refuses an event or a question before the store is
//! touched, the cheapest first.

use serde_json::value::RawValue;

use super::conn::MAX_REMEMBERED;
use super::subscribe::remembered;
use super::{ConnId, Gateway};
use crate::budget::{Reservation, Share};
use crate::market::rules;
use crate::nostr::MAX_INTEGER;
use crate::nostr::{Event, Filter, KindClass, Reason, deletion, event, gate, kind, refusal};

impl Gateway {
    /// Checks an event; `now` is in Unix seconds. Answers when it expires, if it does.
    pub(super) fn admit_event(&mut self, conn: ConnId, event: &Event, now: u64) -> Result<Option<u64>, Reason> {
        self.within_limits(event, now)?;
        let expires_at = self.expiry(event, now)?;
        rules::check(&self.config.profile, event)?;
        self.worked_for(event)?;
        self.own_if_protected(conn, event)?;
        vanishes_from_here(event, &self.config)?;
        if let Err(reason) = event.verify() {
            self.pay_forged(conn, event, self.now);
            return Err(reason);
        }
        Ok(expires_at)
    }

    /// When a stored event expires, by its own word (NIP-40) or by how long its kind is kept.
    fn expiry(&self, event: &Event, now: u64) -> Result<Option<u64>, Reason> {
        let tagged = event.expiration()?;
        let kept = |tagged| self.config.retention.expires_at(&self.config.profile, event, tagged);
        let expires_at = if event.class() == KindClass::Ephemeral { tagged } else { kept(tagged) };
        match expires_at.filter(|at| *at <= now) {
            None => Ok(expires_at.filter(|at| *at < MAX_INTEGER)),
            Some(at) if tagged == Some(at) => Err(refusal::expired()),
            Some(at) => Err(refusal::too_old_to_keep(at.saturating_sub(event.created_at))),
        }
    }

    fn within_limits(&self, event: &Event, now: u64) -> Result<(), Reason> {
        let limits = &self.config.limits;
        if event.is_authentication() {
            return Err(refusal::never_published());
        }
        if event.created_at > now.saturating_add(limits.created_at_upper_limit) {
            return Err(refusal::from_the_future(limits.created_at_upper_limit));
        }
        if event.created_at < now.saturating_sub(limits.created_at_lower_limit) {
            return Err(refusal::too_old(limits.created_at_lower_limit));
        }
        if event.tags.len() as u64 > limits.max_event_tags {
            return Err(refusal::too_many_tags(limits.max_event_tags));
        }
        if event.content.chars().count() as u64 > limits.max_content_length {
            return Err(refusal::content_too_long(limits.max_content_length));
        }
        Ok(())
    }

    /// NIP-13: the id has the work, and the author committed to as much, so that it is no luck.
    fn worked_for(&self, event: &Event) -> Result<(), Reason> {
        let min = u32::try_from(self.config.limits.min_pow_difficulty).unwrap_or(u32::MAX);
        if event.difficulty() < min {
            return Err(refusal::difficulty(event.difficulty(), min));
        }
        match event.committed_difficulty() {
            Some(target) if target < min => Err(refusal::target(target, min)),
            None if min > 0 => Err(refusal::target_missing(min)),
            _ => Ok(()),
        }
    }

    /// NIP-70: a protected event comes from its author, and is not embedded in a repost.
    fn own_if_protected(&self, conn: ConnId, event: &Event) -> Result<(), Reason> {
        if event.is_protected() {
            let keys = self.conns.get(&conn).map(|state| &state.keys);
            match keys {
                Some(keys) if keys.contains(&event.pubkey) => {}
                Some(keys) if !keys.is_empty() => return Err(refusal::not_the_author()),
                _ => return Err(refusal::author_must_prove()),
            }
        }
        if matches!(event.kind, kind::REPOST | kind::GENERIC_REPOST) && event::embeds_protected(&event.content) {
            return Err(refusal::embeds_protected());
        }
        Ok(())
    }

    /// Checks a REQ or COUNT.
    pub(super) fn admit_question(&self, conn: ConnId, id: &str, filters: &[Filter]) -> Result<(), Reason> {
        if let Some(reason) = self.locked(conn) {
            return Err(reason);
        }
        let limits = &self.config.limits;
        if id.chars().count() as u64 > limits.max_subid_length {
            return Err(refusal::subscription_id_too_long(limits.max_subid_length));
        }
        if let Some(reason) = self.too_many_questions(conn) {
            return Err(reason);
        }
        if filters.len() as u64 > limits.max_filters {
            return Err(refusal::too_many_filters(limits.max_filters));
        }
        if filters.iter().any(|filter| filter.value_count() as u64 > limits.max_filter_values) {
            return Err(refusal::too_many_values(limits.max_filter_values));
        }
        let nobody = self.conns.get(&conn).is_none_or(|state| state.keys.is_empty());
        if nobody && !filters.is_empty() && filters.iter().all(asks_for_gated_kinds_only) {
            return Err(refusal::gated_kinds());
        }
        Ok(())
    }

    /// Checks what a REQ adds to the connection; answers the text it is remembered by, and its memory.
    pub(super) fn admit_subscription(
        &self,
        conn: ConnId,
        id: &str,
        filters: &[Filter],
    ) -> Result<(Box<RawValue>, Reservation), Reason> {
        let max = self.config.limits.max_subscriptions;
        let subs = self.conns.get(&conn).map(|state| &state.subs);
        if subs.is_some_and(|subs| subs.len() as u64 >= max) {
            return Err(refusal::too_many_subscriptions(max));
        }
        let (text, bytes) = remembered(id, filters);
        let held: usize = subs.into_iter().flat_map(|subs| subs.values()).map(|sub| sub.text.get().len()).sum();
        if held + text.get().len() > MAX_REMEMBERED {
            return Err(refusal::filters_too_large(MAX_REMEMBERED));
        }
        let network = self.network_use(conn);
        // One connection leaves its neighbours as much as it has.
        let own: usize = subs.into_iter().flat_map(|subs| subs.values()).map(|sub| sub.memory.bytes()).sum();
        let left = self.budget.left(network.as_ref(), Share::Subscriptions);
        if network.is_some() && bytes <= left && own + bytes > left {
            return Err(refusal::network_subscriptions());
        }
        match self.budget.reserve(network.as_ref(), Share::Subscriptions, bytes) {
            Ok(memory) => Ok((text, memory)),
            Err(full) if full.for_network => Err(refusal::network_subscriptions()),
            Err(_) => Err(refusal::no_room_for_subscriptions()),
        }
    }
}

fn asks_for_gated_kinds_only(filter: &Filter) -> bool {
    filter.kinds.as_ref().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(|kind| gate::is_gated(*kind)))
}

/// NIP-62: a request to vanish says from where.
fn vanishes_from_here(event: &Event, config: &super::Config) -> Result<(), Reason> {
    if event.kind != kind::VANISH || deletion::names_us(event, &config.relays) {
        return Ok(());
    }
    Err(refusal::vanishes_elsewhere())
}
