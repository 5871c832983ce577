//! Events that wait for the store, and the groups they are put into.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::budget::Reservation;
use crate::ledger::NewEvent;
use crate::message::{GatewayId, Publisher};
use crate::nostr::{EventId, PublicKey};
use crate::seam::GroupMax;

/// Who waits for an OK.
pub type Waiter = (GatewayId, Publisher);

/// An event and who waits for its OK.
#[derive(Debug)]
pub struct Waiting {
    pub new: Arc<NewEvent>,
    pub publishers: Vec<Waiter>,
    /// Bytes of it in a group's parameter.
    pub bytes: usize,
    /// Whether it goes before others.
    pub urgent: bool,
    /// What it takes while it waits and is in flight.
    pub _memory: Option<Reservation>,
    /// Older versions of the event, which waited when it came and are not written; the newest last.
    pub older: Vec<Waiting>,
}

impl Waiting {
    /// The event of this id: this one or an older version.
    pub fn version(&mut self, id: &EventId) -> Option<&mut Self> {
        if self.new.event.id == *id {
            Some(self)
        } else {
            self.older.iter_mut().find(|older| older.new.event.id == *id)
        }
    }

    /// Takes the older versions out: the newest of them, with the others as its own.
    pub fn take_older(&mut self) -> Option<Self> {
        let mut older = std::mem::take(&mut self.older);
        let newest = older.pop()?;
        Some(Self { older, ..newest })
    }

    /// Older versions and the event itself, each alone.
    pub fn into_versions(mut self) -> Vec<Self> {
        let mut versions = std::mem::take(&mut self.older);
        versions.push(self);
        versions
    }

    /// The ids of all versions.
    pub fn ids(&self) -> impl Iterator<Item = EventId> {
        self.older.iter().chain([self]).map(|version| version.new.event.id)
    }

    /// Takes those out that nobody should wait for any more, older versions among them. The event itself is left
    /// unless it is one of them.
    pub fn give_up(mut self, hopeless: &impl Fn(&NewEvent) -> bool, given: &mut Vec<Self>) -> Option<Self> {
        given.extend(self.older.extract_if(.., |older| hopeless(&older.new)));
        if !hopeless(&self.new) {
            return Some(self);
        }
        // What came before it has waited longer.
        given.push(self);
        None
    }
}

/// Of so many turns in a row one is of those whose next event is not urgent.
const TURNS: usize = 4;

/// Events that wait. Authors take turns, an event each: who sends much waits for himself, and what must wait for
/// an earlier event of its author delays nobody else's. Those whose next event is urgent have most of the turns.
#[derive(Debug, Default)]
pub struct Queue {
    /// Those of an author in the order they came, but for versions of an event: the newest has the place of the first.
    authors: BTreeMap<PublicKey, VecDeque<Waiting>>,
    /// Authors with events that wait, each once, the next one first: those whose next event is urgent, and others.
    urgent: VecDeque<PublicKey>,
    others: VecDeque<PublicKey>,
    /// Whether the next group begins with one of the others: so each has its turn even where an event is a group.
    others_begin: bool,
}

impl Queue {
    pub fn push(&mut self, mut waiting: Waiting) {
        let author = waiting.new.event.pubkey;
        if waiting.new.act.is_some() {
            return self.push_act(waiting);
        }
        if !self.has(&author) {
            self.turns(waiting.urgent).push_back(author);
        }
        let own = self.authors.entry(author).or_default();
        match absorb(own, &mut waiting) {
            Some(place) => own.insert(place, waiting),
            None => own.push_back(waiting),
        }
    }

    /// Puts what the operator does before all events, and behind what he did before.
    fn push_act(&mut self, waiting: Waiting) {
        let own = self.authors.get_mut(&waiting.new.event.pubkey);
        let acts = own.as_ref().map_or(0, |own| own.iter().take_while(|before| before.new.act.is_some()).count());
        match own.filter(|_| acts > 0) {
            Some(own) => own.insert(acts, waiting),
            None => self.push_front(waiting),
        }
    }

    /// Puts an event before all others of its author, whose turn is next.
    pub fn push_front(&mut self, waiting: Waiting) {
        let author = waiting.new.event.pubkey;
        if self.has(&author) {
            [&mut self.urgent, &mut self.others].into_iter().for_each(|turns| turns.retain(|other| *other != author));
        }
        self.turns(waiting.urgent).push_front(author);
        self.authors.entry(author).or_default().push_front(waiting);
    }

    fn has(&self, author: &PublicKey) -> bool {
        self.authors.contains_key(author)
    }

    /// Whether an urgent event of this author would wait behind one that is not.
    pub fn holds_up(&self, author: &PublicKey) -> bool {
        self.authors.get(author).and_then(VecDeque::back).is_some_and(|last| !last.urgent)
    }

    pub fn find(&mut self, author: &PublicKey, id: &EventId) -> Option<&mut Waiting> {
        self.authors.get_mut(author)?.iter_mut().find_map(|waiting| waiting.version(id))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.authors.values().flatten()
    }

    /// Moves what fits into `group`.
    pub fn fill(&mut self, group: &mut Group) {
        // Each of them has an event in the group.
        let mut later = Vec::new();
        let from = if self.others_begin { 0 } else { 1 };
        self.others_begin = !self.others_begin;
        loop {
            let is_others = (group.events.len() + from).is_multiple_of(TURNS);
            let [first, second] =
                if is_others { [&mut self.others, &mut self.urgent] } else { [&mut self.urgent, &mut self.others] };
            let Some(author) = first.pop_front().or_else(|| second.pop_front()) else { break };
            let Some(own) = self.authors.get_mut(&author) else { continue };
            let Some(next) = own.front() else { continue };
            let urgent = next.urgent;
            if !group.has_room(next) {
                self.turns(urgent).push_front(author);
                break;
            }
            if !group.may_take(next) {
                later.push((urgent, author));
                continue;
            }
            if let Some(next) = own.pop_front() {
                group.take(next);
            }
            match own.front().map(|next| next.urgent) {
                Some(urgent) => self.turns(urgent).push_back(author),
                None => _ = self.authors.remove(&author),
            }
        }
        later.into_iter().rev().for_each(|(urgent, author)| self.turns(urgent).push_front(author));
    }

    fn turns(&mut self, urgent: bool) -> &mut VecDeque<PublicKey> {
        if urgent { &mut self.urgent } else { &mut self.others }
    }

    /// Takes those out that nobody should wait for any more.
    pub fn give_up(&mut self, hopeless: &impl Fn(&NewEvent) -> bool) -> Vec<Waiting> {
        let mut given = Vec::new();
        self.authors.retain(|_, own| {
            *own = own.drain(..).filter_map(|waiting| waiting.give_up(hopeless, &mut given)).collect();
            !own.is_empty()
        });
        [&mut self.urgent, &mut self.others]
            .into_iter()
            .for_each(|turns| turns.retain(|author| self.authors.contains_key(author)));
        given
    }
}

/// Puts those of an author's events with `newer` that are older versions of it, unless he deletes something after
/// them; says where the first of them was.
fn absorb(own: &mut VecDeque<Waiting>, newer: &mut Waiting) -> Option<usize> {
    let new = newer.new.clone();
    let place = new.event.replacement_key()?;
    let from = own.iter().rposition(|waiting| !waiting.new.deletes.is_empty()).map_or(0, |at| at + 1);
    let is_older = |waiting: &Waiting| {
        let event = &waiting.new.event;
        event.kind == new.event.kind && event.replacement_key() == Some(place) && new.event.replaces(event)
    };
    let first = from + own.iter().skip(from).position(is_older)?;
    let (older, others): (Vec<Waiting>, Vec<Waiting>) = own.drain(first..).partition(is_older);
    own.extend(others);
    newer.older = older.into_iter().flat_map(Waiting::into_versions).collect();
    newer.older.sort_by_key(|older| (older.new.event.created_at, Reverse(older.new.event.id)));
    Some(first)
}

/// A group that is being put together. Deletions come before all else in a group, and of the versions of an
/// event it keeps the newest; so whatever deletes or replaces an event of its author in the group waits for
/// the next one, and so does what he sends after it: the outcome is as if his events came one by one.
pub struct Group {
    pub events: Vec<Waiting>,
    bytes: usize,
    max: GroupMax,
    /// Whose events wait for the next group.
    later: BTreeSet<PublicKey>,
}

impl Group {
    /// A group of no events, and of no more than may be.
    pub fn new(max: GroupMax) -> Self {
        Self { events: Vec::new(), bytes: 0, max, later: BTreeSet::new() }
    }

    fn has_room(&self, next: &Waiting) -> bool {
        self.events.is_empty()
            || self.events.len() < self.max.events && self.bytes + next.bytes <= self.max.parameter_bytes
    }

    fn may_take(&mut self, next: &Waiting) -> bool {
        let NewEvent { event, deletes, .. } = &*next.new;
        let place = event.replacement_key().map(|d| (event.kind, d));
        // Only who vanishes deletes deletion requests, too.
        let all = next.new.vanishes();
        let conflicts = |NewEvent { event: earlier, deletes: also, .. }: &NewEvent| {
            earlier.pubkey == event.pubkey
                && (all
                    || !deletes.is_empty() && also.is_empty()
                    || place.is_some() && place == earlier.replacement_key().map(|d| (earlier.kind, d)))
        };
        if (!deletes.is_empty() || place.is_some()) && self.events.iter().any(|earlier| conflicts(&earlier.new)) {
            self.later.insert(event.pubkey);
        }
        !self.later.contains(&event.pubkey)
    }

    fn take(&mut self, next: Waiting) {
        self.bytes += next.bytes;
        self.events.push(next);
    }
}
