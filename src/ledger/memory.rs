//! What is remembered of facts, so that they need not be read again: jobs that move, who has worked for whom.
//!
//! The log has one writer, so what it has read or written holds until it writes again. What is not remembered may be
//! assumed not to be there, if the write itself makes sure of that: see [`Assumed`].

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, Needed, Place, Provider, Served};
use super::{Changes, Job};
use crate::market::dealing::Dealing;
use crate::nostr::{EventId, PublicKey};
use crate::trees::Gather;

/// Bytes that an entry takes besides what it has.
const ENTRY: usize = 150;

/// Of what is [`Needed`], what is not remembered and assumed not to be in the database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assumed {
    /// No event has one of these ids.
    pub ids: BTreeSet<EventId>,
    /// None has one of these places.
    pub places: BTreeSet<Place>,
    /// No such deletion is remembered.
    pub deletions: BTreeSet<String>,
    /// Nothing is known of these jobs.
    pub jobs: BTreeSet<EventId>,
    /// Nor of these providers.
    pub providers: BTreeSet<PublicKey>,
    /// These customers had nothing of these providers.
    pub dealings: BTreeSet<(PublicKey, PublicKey)>,
    /// These had nothing of anybody.
    pub customers: BTreeSet<PublicKey>,
}

/// Entries of which the ones that were put in last are kept, up to some bytes: when the newer half is full, the older one
/// is forgotten.
#[derive(Debug)]
struct Latest<K, V> {
    /// Each with the bytes it takes.
    newer: BTreeMap<K, (V, usize)>,
    older: BTreeMap<K, (V, usize)>,
    newer_bytes: usize,
    half_bytes: usize,
}

impl<K: Ord + Copy, V> Latest<K, V> {
    fn new(bytes: usize) -> Self {
        Self { newer: BTreeMap::new(), older: BTreeMap::new(), newer_bytes: 0, half_bytes: bytes / 2 }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.newer.get(key).or_else(|| self.older.get(key)).map(|(value, _)| value)
    }

    /// Puts an entry in that takes some bytes besides [`ENTRY`].
    fn put(&mut self, key: K, value: V, bytes: usize) {
        self.remove(&key);
        self.newer_bytes += ENTRY + bytes;
        self.newer.insert(key, (value, ENTRY + bytes));
        if self.newer_bytes > self.half_bytes {
            self.older = std::mem::take(&mut self.newer);
            self.newer_bytes = 0;
        }
    }

    fn remove(&mut self, key: &K) {
        self.older.remove(key);
        if let Some((_, bytes)) = self.newer.remove(key) {
            self.newer_bytes -= bytes;
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(&K, &mut V) -> bool) {
        self.older.retain(|key, (value, _)| stays(key, value));
        let bytes = &mut self.newer_bytes;
        self.newer.retain(|key, (value, own)| {
            let stays = stays(key, value);
            *bytes -= if stays { 0 } else { *own };
            stays
        });
    }

    fn clear(&mut self) {
        *self = Self::new(2 * self.half_bytes);
    }
}

/// What is remembered.
#[derive(Debug)]
pub struct Memory {
    jobs: Latest<EventId, Job>,
    providers: Latest<PublicKey, Provider>,
    dealings: Latest<(PublicKey, PublicKey), Dealing>,
    served: Latest<PublicKey, Served>,
}

impl Memory {
    /// A memory of so many bytes at most, about.
    pub fn new(bytes: usize) -> Self {
        let part = bytes / 8;
        Self {
            jobs: Latest::new(5 * part),
            providers: Latest::new(part),
            dealings: Latest::new(part),
            served: Latest::new(part),
        }
    }

    /// Forgets everything: something else has been written.
    pub fn clear(&mut self) {
        self.jobs.clear();
        self.providers.clear();
        self.dealings.clear();
        self.served.clear();
    }

    /// What is remembered of what is needed, and what is assumed of the rest; gives back what is needed where some of that
    /// is likely to be there, or cannot be assumed away.
    pub fn facts(&self, needed: Needed) -> Result<(Facts, Assumed), Box<Needed>> {
        // Answers that came before a request, and what a cancelled job keeps out, are to be looked at.
        let is_open = |job: &Job| job.asked.is_some() && !job.is_cancelled();
        if needed.is_likely || !needed.jobs.iter().all(|id| self.jobs.get(id).is_none_or(is_open)) {
            return Err(needed.into());
        }
        let Needed { ids, places, deletions, jobs, dealings, .. } = needed;
        let places = places.into_keys().gather();
        let mut assumed = Assumed { ids, places, deletions, ..Assumed::default() };
        let mut facts = Facts::default();
        for id in jobs {
            match self.jobs.get(&id) {
                Some(job) => _ = facts.jobs.insert(id, job.clone()),
                None => _ = assumed.jobs.insert(id),
            }
        }
        for pair @ (customer, provider) in dealings {
            match self.providers.get(&provider) {
                Some(known) => _ = facts.providers.insert(provider, *known),
                None => _ = assumed.providers.insert(provider),
            }
            match self.dealings.get(&pair) {
                Some(known) => _ = facts.dealings.insert(pair, *known),
                None => _ = assumed.dealings.insert(pair),
            }
            match self.served.get(&customer) {
                Some(known) => _ = facts.served.insert(customer, known.clone()),
                None => _ = assumed.customers.insert(customer),
            }
        }
        Ok((facts, assumed))
    }

    /// Remembers what was read.
    pub fn learn(&mut self, facts: &Facts) {
        facts.jobs.iter().for_each(|(id, job)| self.jobs.put(*id, job.clone(), job.memory_bytes()));
        facts.providers.iter().for_each(|(key, provider)| self.providers.put(*key, *provider, 0));
        facts.dealings.iter().for_each(|(pair, dealing)| self.dealings.put(*pair, *dealing, 0));
        facts.served.iter().for_each(|(key, served)| self.served.put(*key, served.clone(), ENTRY));
    }

    /// Follows what was written.
    pub fn follow(&mut self, changes: &Changes) {
        for key in changes.vanishing.keys() {
            self.providers.remove(key);
            self.dealings.retain(|(customer, provider), _| customer != key && provider != key);
            self.served.remove(key);
            self.served.retain(|_, served| {
                served.by.remove(key);
                // Nobody may be left of those who made it known.
                !served.known
            });
        }
        for (id, job) in &changes.jobs {
            match job {
                Some(job) => self.jobs.put(*id, job.clone(), job.memory_bytes()),
                None => self.jobs.remove(id),
            }
        }
        if changes.swept.forget > 0 {
            self.jobs.retain(|_, job| job.held > 0 || job.until > changes.swept.forget);
        }
        changes.providers.iter().for_each(|(key, provider)| self.providers.put(*key, *provider, 0));
        changes.dealings.iter().for_each(|(pair, dealing)| self.dealings.put(*pair, *dealing, 0));
        changes.served.iter().for_each(|(customer, served)| self.served.put(*customer, served.clone(), ENTRY));
        if !changes.known.is_empty() {
            self.dealings.retain(|(customer, _), dealing| {
                dealing.known |= changes.known.contains(customer);
                true
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a job takes grows with its request, after answers to it have come.
    #[test]
    fn an_entry_that_grows_is_counted_as_it_is() {
        const BYTES: usize = 100_000;
        let mut latest: Latest<u32, usize> = Latest::new(BYTES);
        for n in 0..500 {
            for bytes in [0, 5000, 100] {
                latest.put(n, bytes, bytes);
                let held = latest.newer.values().chain(latest.older.values()).map(|(value, _)| ENTRY + value);
                assert!(held.sum::<usize>() <= BYTES + ENTRY + 5000, "{n}");
            }
            if n % 3 == 0 {
                latest.retain(|key, _| key % 7 > 0);
            }
        }
        assert!(latest.get(&499).is_some());
    }
}
