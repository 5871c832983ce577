//! What is asked over HTTP, of all partitions: counts are added, histories put beside each other, and what a provider did is
//! the sum of what it did in each.
//!
//! Handlers are found at home, where announcements and labels are; then all are asked for their records. A job is found in its
//! own partition; of one that was cancelled, home has the deletion.

use std::collections::{BTreeMap, BTreeSet};

use super::Partitions;
use crate::market::dealing::Dealing;
use crate::market::handler::Record;
use crate::market::history;
use crate::message::{
    Asked, Counts, Facts, Found, PartitionGauges, PartitionId, ProviderRecord, StoreError, ToGateway, ToPartition,
};
use crate::nostr::PublicKey;
use crate::seam::Ticket;
use crate::trees::Gather;

/// Something that partitions were asked.
#[derive(Debug)]
pub(super) struct Asking {
    asked: Asked,
    /// Whether the databases are asked when it is not known without.
    database: bool,
    waits_for: BTreeSet<PartitionId>,
    /// None when one of them would have to ask its database.
    facts: Option<Result<Vec<(PartitionId, Facts)>, StoreError>>,
    rows_read: u64,
}

impl Asking {
    /// Takes what a partition has said.
    fn take(&mut self, from: PartitionId, facts: Option<Result<Facts, StoreError>>, rows_read: u64) {
        // Whoever looks what is wrong has to know where.
        let named =
            |error: StoreError| StoreError { message: format!("partition {}: {}", from.0, error.message), ..error };
        let facts = facts.map(|facts| facts.map_err(named));
        self.waits_for.remove(&from);
        self.rows_read += rows_read;
        self.facts = match (self.facts.take(), facts) {
            (Some(Ok(mut all)), Some(Ok(facts))) => {
                all.push((from, facts));
                Some(Ok(all))
            }
            (Some(Err(error)), _) | (Some(Ok(_)), Some(Err(error))) => Some(Err(error)),
            (None, _) | (_, None) => None,
        };
    }
}

impl Partitions {
    /// Asks something that is asked over HTTP.
    pub fn ask(&mut self, ticket: Ticket, asked: Asked, database: bool) {
        if self.count == 1 {
            return self.tell_home(ToPartition::Ask { ticket, asked, database });
        }
        let waits_for: BTreeSet<PartitionId> = match asked {
            Asked::Handlers(..) | Asked::Rulings(_) | Asked::Acts(_) | Asked::Seen => {
                BTreeSet::from([PartitionId::HOME])
            }
            Asked::Job(job) => BTreeSet::from([PartitionId::of_job(&job, self.count)]),
            _ => self.all().gather(),
        };
        for to in &waits_for {
            self.messages.push((*to, ToPartition::Ask { ticket, asked: asked.clone(), database }));
        }
        let (facts, rows_read) = (Some(Ok(Vec::new())), 0);
        self.asking.insert(ticket, Asking { asked, database, waits_for, facts, rows_read });
    }

    /// A partition has answered.
    pub(super) fn facts_told(
        &mut self,
        ticket: Ticket,
        from: PartitionId,
        facts: Option<Result<Facts, StoreError>>,
        rows_read: u64,
    ) -> Option<ToGateway> {
        let asking = self.asking.get_mut(&ticket)?;
        asking.take(from, facts, rows_read);
        if !asking.waits_for.is_empty() {
            return None;
        }
        // Of what the handlers did that were found at home each partition has a part.
        if let (Asked::Handlers(..), Some(Ok(facts))) = (&asking.asked, &asking.facts)
            && let [(_, Facts::Handlers(found, _))] = facts.as_slice()
            && !found.is_empty()
        {
            let keys: Vec<PublicKey> = found.iter().map(|found| found.event.pubkey).collect();
            asking.waits_for = PartitionId::all(self.count).gather();
            let database = asking.database;
            for to in &asking.waits_for {
                self.messages.push((*to, ToPartition::Ask { ticket, asked: Asked::Records(keys.clone()), database }));
            }
            return None;
        }
        if let (Asked::Job(job), Some(Ok(facts))) = (&asking.asked, &asking.facts)
            && let [(from, Facts::Job(Some(found)))] = facts.as_slice()
            && *from != PartitionId::HOME
            && let Some(customer) = found.cancelled_by()
        {
            let asked = Asked::Cancelled(*job, customer);
            asking.waits_for = BTreeSet::from([PartitionId::HOME]);
            self.messages.push((PartitionId::HOME, ToPartition::Ask { ticket, asked, database: asking.database }));
            return None;
        }
        let Asking { facts, rows_read, .. } = self.asking.remove(&ticket)?;
        let mut gauges = self.gauges();
        let facts = facts.map(|facts| facts.and_then(|facts| self.together(facts, &mut gauges)));
        Some(ToGateway::Facts { ticket, facts, rows_read, gauges: Box::new(gauges) })
    }

    /// What the partitions have told of themselves last.
    fn gauges(&self) -> PartitionGauges {
        let mut all = PartitionGauges::default();
        self.gauges.values().for_each(|gauges| all.add(gauges));
        all.elsewhere = self.gauges.get(&PartitionId::HOME).and_then(|home| home.elsewhere.clone());
        all
    }

    /// What all have said, in the order of the first.
    fn together(&self, facts: Vec<(PartitionId, Facts)>, gauges: &mut PartitionGauges) -> Result<Facts, StoreError> {
        let (mut counts, mut active, mut moments, mut histories) = (Counts::default(), 0, Vec::new(), Vec::new());
        let (mut handlers, mut records, mut healthy) = (None, Vec::new(), false);
        let (mut job, mut cancelled_ms) = (None, None);
        let mut has_counts = false;
        if let [(_, Facts::Moderation(_) | Facts::Seen(_))] = facts.as_slice() {
            return facts.into_iter().next().map(|(_, facts)| facts).ok_or_else(|| StoreError::new("it has no answer"));
        }
        for (from, facts) in facts {
            match facts {
                Facts::Counts(own, own_active, own_moments) => {
                    has_counts = true;
                    moments.push(own_moments);
                    // One that works for many is active in most of them.
                    active = own_active.max(active);
                    let unsaved = self.gauges.get(&from);
                    counts.add(&own, unsaved.into_iter().flat_map(|gauges| gauges.not_among(own.flush)));
                }
                Facts::Handlers(found, elsewhere) => handlers = Some((found, elsewhere)),
                Facts::Records(found) => records.extend(found),
                Facts::History(snapshots) => histories.push(snapshots),
                Facts::Healthy => healthy = true,
                // Home alone is asked these.
                Facts::Moderation(_) | Facts::Seen(_) => {}
                Facts::Job(found) => job = Some(found),
                Facts::Cancelled(at_ms) => cancelled_ms = at_ms,
            }
        }
        if has_counts {
            gauges.unsaved.clear();
            return Ok(Facts::Counts(Box::new(counts), active, history::together(moments)));
        }
        if let Some((mut found, elsewhere)) = handlers {
            add_records(&mut found, records);
            return Ok(Facts::Handlers(found, elsewhere));
        }
        if let Some(mut found) = job {
            if let Some(found) = &mut found {
                found.cancelled_ms = cancelled_ms;
            }
            return Ok(Facts::Job(found));
        }
        if !histories.is_empty() {
            return Ok(Facts::History(history::together(histories)));
        }
        if healthy { Ok(Facts::Healthy) } else { Err(StoreError::new("no partition has answered")) }
    }
}

/// Gives providers the record of what they did in all partitions.
fn add_records(found: &mut [Found], records: Vec<ProviderRecord>) {
    let mut by_key: BTreeMap<PublicKey, Vec<ProviderRecord>> = BTreeMap::new();
    for record in records {
        by_key.entry(record.provider).or_default().push(record);
    }
    for found in found {
        let (mut all, mut by_customer) = (Record::default(), BTreeMap::<PublicKey, Dealing>::new());
        for ProviderRecord { record, customers, .. } in by_key.remove(&found.event.pubkey).unwrap_or_default() {
            all.results += record.results;
            all.errors += record.errors;
            all.last_active = all.last_active.max(record.last_active);
            for (customer, dealing) in customers.into_iter().zip(record.dealings) {
                let known = by_customer.entry(customer).or_default();
                known.known |= dealing.known;
                known.results += dealing.results;
                known.errors += dealing.errors;
                known.speed += dealing.speed;
            }
        }
        for vote in &mut found.votes {
            if let Some(dealing) = by_customer.get(&vote.voter) {
                vote.customer |= dealing.results > 0;
                vote.known |= dealing.known;
            }
        }
        found.record = Record { dealings: by_customer.into_values().collect(), ..all };
    }
}
