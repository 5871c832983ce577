//! The gateways of a partition: which events each may care for, and how far it has been told.
//!
//! A gateway says under which [keys](crate::interest) its subscriptions stand, or that it cares for everything. What it may
//! care for is pushed; whether it does is the gateway's to decide.

use std::collections::{BTreeMap, BTreeSet};

use super::Partition;
use crate::interest;
use crate::market::handler::can_be_ranked;
use crate::message::{
    GatewayGauges, GatewayId, Interest, MISSED_MAX, NewEvent, Outcome, Part, Provider, Publisher, Push, Seen, Stored,
    ToGateway, Verdict,
};
use crate::nostr::filter::SortedTags;
use crate::nostr::{Event, EventId, PublicKey, kind, refusal};
use crate::seam::{Effect, Millis};
use crate::trees::Gather;

/// Keys of all gateways together above which the one that brings more is taken to care for everything: some 12 MB.
const KEYS_MAX: usize = 500_000;
/// Numbers after which a gateway is told how far the log is although it cares for none of them: so it never has missed more
/// than can be told.
const QUIET: u64 = MISSED_MAX / 5 * 4;

/// One gateway.
#[derive(Debug, Default)]
struct Gateway {
    /// Up to which number it was told of everything it may care for; none when it has said nothing yet.
    told: Option<u64>,
    /// Up to which number it knows of that.
    knows: u64,
    /// Up to which number it, or who was it before, had all that was for it.
    had: u64,
    /// How many keys it has.
    keys: usize,
    everything: bool,
    /// Whether it was told what is ruled.
    has_rulings: bool,
    /// What it has told of itself last.
    gauges: Option<Box<GatewayGauges>>,
    /// What it has seen of its clients.
    seen: Seen,
    /// The providers that are connected to it.
    present: BTreeSet<Provider>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    known: BTreeMap<GatewayId, Gateway>,
    interest: BTreeSet<(u64, GatewayId)>,
}

impl Gateways {
    /// A gateway is there.
    pub fn meet(&mut self, id: GatewayId) {
        self.known.entry(id).or_default();
    }

    /// A gateway had all up to a number.
    fn had(&mut self, id: GatewayId, upto: u64) {
        self.known.entry(id).or_default().had = upto;
    }

    /// A gateway is gone.
    fn forget(&mut self, id: GatewayId) {
        self.known.remove(&id);
        self.interest.retain(|(_, of)| *of != id);
    }

    /// A gateway woke, and was told of everything up to a number; it is known that it had all up to another one, of those
    /// up to `upto`.
    pub fn woke(&mut self, id: GatewayId, told: Option<u64>, upto: u64) {
        let gateway = self.known.entry(id).or_default();
        gateway.knows = told.unwrap_or_default();
        gateway.told = told.map(|told| told.max(gateway.had.min(upto)));
        gateway.has_rulings = false;
    }

    /// Up to which number the gateway was told that was told the least, when there is more.
    pub fn behind(&self, upto: u64) -> Option<u64> {
        self.known.values().filter_map(|gateway| gateway.told).min().filter(|told| *told < upto)
    }

    /// Up to which number the gateway was told that was told the most.
    pub fn furthest(&self) -> Option<u64> {
        self.known.values().filter_map(|gateway| gateway.told).max()
    }

    /// Up to which number a gateway was told, if it has said so, or was.
    pub fn told(&self, id: GatewayId) -> Option<u64> {
        self.known.get(&id).and_then(|gateway| gateway.told)
    }

    /// Takes what a gateway tells of itself.
    pub fn gauge(&mut self, id: GatewayId, mut gauges: Box<GatewayGauges>) {
        let gateway = self.known.entry(id).or_default();
        gateway.seen = std::mem::take(&mut gauges.seen);
        gateway.gauges = Some(gauges);
    }

    /// What the gateways beside one have seen of their clients.
    pub fn seen_beside(&self, asker: GatewayId) -> Seen {
        let mut all = Seen::default();
        self.known.iter().filter(|(id, _)| **id != asker).for_each(|(_, other)| all.add(&other.seen));
        all
    }

    /// All are to be told what is ruled.
    pub fn know_rulings_no_more(&mut self) {
        self.known.values_mut().for_each(|gateway| gateway.has_rulings = false);
    }

    /// Those that have yet to be told what is ruled, and were told of everything up to a number: now they are.
    pub fn without_rulings(&mut self, upto: u64) -> Vec<GatewayId> {
        let lacks = |gateway: &Gateway| !gateway.has_rulings && gateway.told.is_some_and(|told| told >= upto);
        let lacking = self.known.iter_mut().filter(|(_, gateway)| lacks(gateway));
        lacking.map(|(id, gateway)| (gateway.has_rulings = true, *id).1).collect()
    }

    /// What the gateways beside one have told of themselves, together.
    pub fn gauges_beside(&self, asker: GatewayId) -> Option<GatewayGauges> {
        let mut others =
            self.known.iter().filter(|(id, _)| **id != asker).filter_map(|(_, other)| other.gauges.as_deref());
        let first = others.next()?.clone();
        Some(others.fold(first, |mut all, other| {
            all.add(other);
            all
        }))
    }

    /// Takes which providers have come to a gateway and left it.
    pub fn present(&mut self, id: GatewayId, came: Vec<Provider>, went: &[Provider]) {
        let present = &mut self.known.entry(id).or_default().present;
        present.retain(|provider| !went.contains(provider));
        present.extend(came);
    }

    /// The providers that are connected to gateways beside one.
    pub fn present_beside(&self, asker: GatewayId) -> impl Iterator<Item = &Provider> {
        self.known.iter().filter(move |(id, _)| **id != asker).flat_map(|(_, other)| &other.present)
    }

    /// Takes what a gateway cares for from now on, and for what no longer.
    pub fn note(&mut self, id: GatewayId, interest: Interest) {
        let gateway = self.known.entry(id).or_default();
        match interest {
            Interest::Everything => gateway.everything = true,
            Interest::Keys { .. } if gateway.everything => {}
            Interest::Keys { came, went } => {
                for key in went.iter() {
                    gateway.keys -= usize::from(self.interest.remove(&(*key, id)));
                }
                for key in came.iter() {
                    gateway.keys += usize::from(self.interest.insert((*key, id)));
                }
                if self.interest.len() > KEYS_MAX {
                    (gateway.everything, gateway.keys) = (true, 0);
                    self.interest.retain(|(_, of)| *of != id);
                }
            }
        }
    }

    /// The gateways that may care for what stands under one of these keys.
    fn caring(&self, keys: impl IntoIterator<Item = u64>) -> BTreeSet<GatewayId> {
        let of_key = |key| self.interest.range((key, GatewayId::FIRST)..=(key, GatewayId::LAST)).map(|(_, id)| *id);
        let everything = self.known.iter().filter(|(_, gateway)| gateway.everything).map(|(id, _)| *id);
        if self.interest.is_empty() {
            return everything.gather();
        }
        keys.into_iter().flat_map(of_key).chain(everything).gather()
    }

    fn of_event(&self, new: &NewEvent) -> BTreeSet<GatewayId> {
        if new.vanishes() {
            return self.known.keys().copied().gather();
        }
        if self.interest.is_empty() {
            return self.caring([]);
        }
        let rankable = new.part.is_none() && new.event.kind == kind::HANDLER && can_be_ranked(&new.event);
        let author = rankable.then(|| interest::of_proven(&new.event.pubkey));
        self.caring(interest::of_event(&new.event, &SortedTags::of(&new.event)).into_iter().chain(author))
    }
}

/// What is to be pushed, by gateway.
#[derive(Debug, Default)]
pub(super) struct Pushes(BTreeMap<GatewayId, Vec<Part>>);

impl Pushes {
    /// Adds the event of a number for all who may care and were not told.
    pub fn event(&mut self, gateways: &Gateways, seq: u64, stored: Stored) {
        for id in gateways.of_event(&stored.0) {
            if gateways.known.get(&id).is_some_and(|gateway| gateway.told.is_none_or(|told| told < seq)) {
                self.0.entry(id).or_default().push(Part::Event(stored.clone()));
            }
        }
    }

    /// Adds the event of a number that was stored before: who has not said how far he was told is told from now on.
    pub fn missed(&mut self, gateways: &Gateways, seq: u64, stored: Stored) {
        for id in gateways.of_event(&stored.0) {
            if gateways.told(id).is_some_and(|told| told < seq) {
                self.0.entry(id).or_default().push(Part::Event(stored.clone()));
            }
        }
    }

    /// Adds what became of an event, for who waits for it.
    pub fn outcome(&mut self, (gateway, to): (GatewayId, Publisher), id: EventId, verdict: Verdict) {
        self.0.entry(gateway).or_default().push(Part::Outcome(Outcome { to, id, verdict }));
    }

    /// Adds that a job was cancelled which a key has answered.
    pub fn cancelled(&mut self, gateways: &Gateways, job: EventId, key: PublicKey) {
        for id in gateways.caring([interest::of_proven(&key)]) {
            self.0.entry(id).or_default().push(Part::Cancelled(job, key));
        }
    }
}

impl Partition {
    /// A gateway that has yet to say how far its clients were told had all that is for it up to a number.
    pub fn had(&mut self, id: GatewayId, upto: u64) {
        self.gateways.had(id, upto);
    }

    /// A gateway is gone: it is told of nothing any more.
    pub fn forget(&mut self, gone: GatewayId) {
        self.gateways.forget(gone);
    }

    /// Tells each gateway what there is for it after a number, and that it has been told of everything up to another.
    /// One that has missed something before is told what became of its own events alone.
    pub(super) fn push(&mut self, Pushes(mut parts): Pushes, from: u64, upto: u64) {
        for (id, gateway) in &mut self.gateways.known {
            let mut parts = parts.remove(id).unwrap_or_default();
            let after = gateway.knows;
            if gateway.told.is_some_and(|told| told < from) {
                parts.retain(|part| matches!(part, Part::Outcome(_)));
                if !parts.is_empty() {
                    self.messages.push((*id, ToGateway::Push(Push { after, upto: after, parts })));
                }
                continue;
            }
            // What others have missed it may have been told before.
            let upto = gateway.told.map_or(upto, |told| told.max(upto));
            gateway.told = Some(upto);
            let has_clients = gateway.keys > 0 || gateway.gauges.as_ref().is_none_or(|gauges| gauges.open > 0);
            if !parts.is_empty() || gateway.everything || has_clients && upto > after + QUIET {
                gateway.knows = upto;
                self.messages.push((*id, ToGateway::Push(Push { after, upto, parts })));
            }
        }
    }

    /// Tells a gateway how far the log is: at once if that is known, and it has missed nothing before.
    pub(super) fn position_asked(&mut self, from: GatewayId, now: Millis, out: &mut Vec<Effect>) {
        let upto = self.log.told();
        match self.gateways.known.get_mut(&from).filter(|gateway| gateway.told.is_none_or(|told| told == upto)) {
            // While others are told what they have missed it is not known how far that goes.
            Some(gateway) if self.log.is_known() && !self.log.is_catching_up() => {
                (gateway.told, gateway.knows) = (Some(upto), upto);
                self.tell(from, ToGateway::Position(Ok(upto)));
            }
            _ => self.go_on_in_time(now, out),
        }
    }

    /// Has a gateway know how far it was told: what it is about to show its clients must not come again.
    pub(super) fn tell_how_far(&mut self, id: GatewayId) {
        let Some(gateway) = self.gateways.known.get_mut(&id) else { return };
        if let Some(upto) = gateway.told.filter(|told| *told > gateway.knows) {
            let after = std::mem::replace(&mut gateway.knows, upto);
            self.tell(id, ToGateway::Push(Push { after, upto, parts: Vec::new() }));
        }
    }

    /// Tells all gateways how far the log is, but for those that were told of more.
    pub(super) fn tell_position(&mut self, upto: u64) {
        for (id, gateway) in &mut self.gateways.known {
            if gateway.told.is_none_or(|told| told <= upto) {
                (gateway.told, gateway.knows) = (Some(upto), upto);
                self.messages.push((*id, ToGateway::Position(Ok(upto))));
            }
        }
    }

    /// The database has no more than up to a number: gateways that were told of more were told by another one, before it
    /// was set back. They have what was there when this partition began, and what it knows that they had since.
    pub(super) fn take_back(&mut self, upto: u64) {
        let began = self.log.began();
        for (id, gateway) in &mut self.gateways.known {
            if gateway.told.is_some_and(|told| told > upto) {
                let has = began.max(gateway.had).min(upto);
                (gateway.told, gateway.knows) = (Some(has), has);
                self.messages.push((*id, ToGateway::Position(Ok(has))));
            }
        }
    }

    /// Tells all gateways something.
    pub(super) fn tell_all(&mut self, message: &ToGateway) {
        self.messages.extend(self.gateways.known.keys().map(|id| (*id, message.clone())));
    }

    /// Passes an ephemeral event on to the other gateways that may care; who waits for its OK is told whether there are
    /// any.
    pub(super) fn pass(&mut self, from: GatewayId, publisher: Option<Publisher>, event: &std::sync::Arc<Event>) {
        let mut caring = self.gateways.caring(interest::of_event(event, &SortedTags::of(event)));
        caring.remove(&from);
        if let Some(to) = publisher {
            let verdict = if caring.is_empty() { Verdict::Refused(refusal::nobody_listens()) } else { Verdict::Stored };
            self.tell(from, ToGateway::Verdict(Outcome { to, id: event.id, verdict }));
        }
        self.messages.extend(caring.into_iter().map(|id| (id, ToGateway::Ephemeral(event.clone()))));
    }
}
