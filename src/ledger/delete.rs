//! What deletion requests (NIP-09) and requests to vanish (NIP-62) do: they are remembered, jobs are cancelled, and events
//! go. Of one that another partition stores this is all that is done here.

use std::sync::Arc;

use super::decide::Deciding;
use super::facts::{Held, Place};
use super::job::{Job, Moved};
use super::{NewEvent, Outcome, deletion};
use crate::nostr::deletion::Target;
use crate::nostr::{EventId, MAX_INTEGER, PublicKey, kind};

impl Deciding {
    /// Carries out what a group asks to be rid of, before any of its events is stored.
    pub(super) fn delete_what_is_asked(&mut self, group: &[Arc<NewEvent>]) {
        group.iter().filter_map(|new| new.act.as_ref()).for_each(|act| self.ruled.apply(act));
        let mut vanishing = Vec::new();
        for new in group.iter().filter(|new| new.vanishes()) {
            let (author, at) = (new.event.pubkey, new.event.created_at);
            // What is remembered was carried out; what the operator does can be undone, and is not remembered.
            let is_new = new.act.is_some() || self.remember(&author, &Target::Everything, at);
            vanishing.extend(is_new.then_some((author, at)));
        }
        for new in group.iter().filter(|new| !new.vanishes() && !self.is_blocked(new)).collect::<Vec<_>>() {
            let (author, at) = (new.event.pubkey, new.event.created_at);
            new.deletes.iter().for_each(|target| match (target, &new.act) {
                (Target::Event(id), Some(_)) => self.delete_event(None, id),
                _ => self.delete(&author, target, at),
            });
        }
        vanishing.into_iter().for_each(|(author, at)| self.vanish(author, at));
        for new in group.iter().filter(|new| new.is_elsewhere) {
            self.take_elsewhere(new);
        }
    }

    /// Takes what another partition stores, and whose deletions are done.
    fn take_elsewhere(&mut self, new: &Arc<NewEvent>) {
        let is_blocked = self.is_blocked(new);
        let outcome = if is_blocked { Outcome::Deleted } else { Outcome::Elsewhere };
        self.decision.outcomes.insert(new.event.id, outcome);
        self.decision.elsewhere.extend((!is_blocked).then(|| new.clone()));
        self.decision.changes.acts.extend(new.act.as_ref().map(|act| (new.event.id, new.came_ms / 1000, act.clone())));
    }

    /// Whether a deletion keeps an event out.
    pub(super) fn is_blocked(&self, new: &NewEvent) -> bool {
        if new.act.is_none() && self.ruled.of(&new.event, new.part.as_ref().map(|part| &part.job)).is_some() {
            return true;
        }
        let keys = deletion::keys_that_keep_out(&new.event, new.part.as_ref());
        keys.iter().any(|key| self.facts.deletions.get(key).is_some_and(|until| *until >= new.event.created_at))
    }

    /// Remembers a deletion; says whether it reaches further than what was remembered.
    pub(super) fn remember(&mut self, author: &PublicKey, target: &Target, created_at: u64) -> bool {
        self.remember_key(deletion::key_of(author, target), deletion::reach(created_at, target))
    }

    pub(super) fn remember_key(&mut self, key: String, until: u64) -> bool {
        let known = self.facts.deletions.get(&key).copied();
        let is_further = known.is_none_or(|known| known < until);
        if is_further {
            self.facts.deletions.insert(key.clone(), until);
            self.decision.changes.deletions.insert(key, until);
        }
        is_further
    }

    /// Carries out a deletion: remembers it, cancels the author's job, and removes what is there.
    pub(super) fn delete(&mut self, author: &PublicKey, target: &Target, created_at: u64) {
        self.remember(author, target, created_at);
        match target {
            Target::Event(id) => self.delete_event(Some(author), id),
            Target::Address { kind, d } => self.delete_at(&(*author, *kind, deletion::place_of(d)), created_at),
            Target::Everything => {}
        }
    }

    /// Cancels the job of this id and removes the event, if they are the author's; the operator's are all.
    pub(super) fn delete_event(&mut self, author: Option<&PublicKey>, id: &EventId) {
        self.cancel(author, id);
        let may = |held: &&Held| author.is_none_or(|author| may_delete(author, held));
        let Some(held) = self.facts.events.get(id).filter(may).cloned() else { return };
        if let (true, Some(job), true) = (held.is_result, &held.job, author == Some(&held.pubkey)) {
            self.remember_key(deletion::of_result(&held.pubkey, job), MAX_INTEGER);
        }
        self.remove(&held);
    }

    /// Removes what has a place, unless it is later.
    pub(super) fn delete_at(&mut self, place: &Place, created_at: u64) {
        if let Some(held) = self.at(place).filter(|held| held.created_at <= created_at).cloned() {
            self.remove(&held);
        }
    }

    /// A customer, or the operator, cancels a job.
    fn cancel(&mut self, author: Option<&PublicKey>, id: &EventId) {
        let by = |customer: &PublicKey| author.is_none_or(|author| author == customer);
        let is_own = |job: &&mut Job| job.asked.as_ref().is_some_and(|asked| by(&asked.customer));
        if let Some(job) = self.facts.jobs.get_mut(id).filter(is_own)
            && !job.is_cancelled()
        {
            self.moved.entry(*id).or_insert_with(|| Moved::from(Some(&*job)));
            job.cancel();
            self.decision.changes.jobs.insert(*id, None);
            let answered = self.facts.answered.get(id).into_iter().flatten();
            self.decision.cancelled.extend(answered.map(|key| (*id, *key)));
        }
    }

    /// A key vanishes: its events are removed later.
    pub(super) fn vanish(&mut self, key: PublicKey, created_at: u64) {
        let until = self.decision.changes.vanishing.entry(key).or_default();
        *until = created_at.max(*until);
        self.facts.providers.remove(&key);
        self.facts.dealings.retain(|(customer, provider), _| *customer != key && *provider != key);
        self.facts.served.remove(&key);
        self.facts.served.values_mut().for_each(|served| _ = served.by.remove(&key));
        let goes = |held: &Held| held.pubkey == key && held.created_at <= created_at;
        self.facts.answers.values_mut().for_each(|answers| answers.retain(|answer| !goes(&answer.held)));
    }
}

/// Whether `author` may delete an event by its id: his own, or a gift wrap that is for him.
fn may_delete(author: &PublicKey, held: &Held) -> bool {
    !matches!(held.kind, kind::DELETION | kind::VANISH)
        && (held.pubkey == *author || held.kind == kind::GIFT_WRAP && held.named().any(|key| key == *author))
}
