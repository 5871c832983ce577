//! Events that are in the store although their commit was reported as failed: nobody has been told of
//! them. Their numbers lie in gaps between what was told, and there they are looked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::gateways::Pushes;
use super::{Partition, Purpose, SHARD};
use crate::log::Level;
use crate::market::privacy;
use crate::message::{MISSED_MAX, NewEvent, Stored};
use crate::nostr::deletion::{self, Target, Vanished};
use crate::nostr::{Event, EventId};
use crate::seam::{Effect, Millis};
use crate::store::counts::{self, Totals};
use crate::store::read::{self, StoredEvent, Text};
use crate::store::{Rows, StoreError};

/// Gaps in what was told.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Ranges of numbers, each above the first up to the second, that are still to be looked at.
    gaps: Vec<(u64, u64)>,
    /// Ranges the store is being asked for.
    searched: Vec<(u64, u64)>,
    /// Events inside of them that were told by other ways.
    pub told: BTreeSet<EventId>,
    /// What clients had been told of when memory was lost, as far as their gateway knows.
    pub before: Option<u64>,
    /// Keys that vanished while the store was asked.
    vanished: Vec<Vanished>,
}

impl Log {
    /// Nothing is found any more that a key which vanished takes.
    pub fn vanish(&mut self, vanished: &Vanished) {
        if !self.searched.is_empty() {
            self.vanished.push(vanished.clone());
        }
    }

    /// Whether an event of this number may still be found and told.
    pub fn is_open(&self, seq: u64) -> bool {
        self.gaps.iter().chain(&self.searched).any(|(after, upto)| seq > *after && seq <= *upto)
    }
}

impl Partition {
    /// Notes a gap, if it is one.
    pub(super) fn look_for(&mut self, after: u64, upto: u64) {
        if upto > after {
            self.log.gaps.push((after, upto));
        }
    }

    /// Looks into the gaps, one search at a time; what fails is looked for again with the next group.
    pub(super) fn search(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.log.searched.is_empty() && !self.log.gaps.is_empty() {
            self.log.searched = std::mem::take(&mut self.log.gaps);
            let statements = self.log.searched.iter().map(|(after, upto)| read::log(*after, *upto)).collect();
            self.query(Purpose::Missed, statements, now, out);
        }
    }

    pub(super) fn found_missed(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let searched = std::mem::take(&mut self.log.searched);
        let vanished = std::mem::take(&mut self.log.vanished);
        let found = result.and_then(|rows| rows.into_iter().map(read::decode).collect::<Result<Vec<_>, _>>());
        let Ok(found) = found else {
            self.log.gaps.extend(searched);
            return;
        };
        let mut found: Vec<StoredEvent> = found.into_iter().flatten().flatten().collect();
        // What did not fit the answer is looked for in the next one.
        let left = found.iter().find(|found| matches!(found.text, Text::Large(_))).map(|found| found.seq - 1);
        if let Some(left) = left {
            found.retain(|found| found.seq <= left);
            self.log.gaps.extend(
                searched.iter().filter(|(_, upto)| *upto > left).map(|(after, upto)| (left.max(*after), *upto)),
            );
        }
        if let Some(newest) = found.iter().map(|found| found.created_at).max() {
            self.recent.start_over(newest);
            self.handlers.clear();
        }
        let mut pushes = Pushes::default();
        for found in found {
            if self.log.told.contains(&found.id) {
                continue;
            }
            let Some((new, readers)) = self.read_event(found, out) else { continue };
            if new.deletes.contains(&Target::Everything) {
                self.vanish(&Vanished::by(&new.event));
            }
            if !vanished.iter().any(|vanished| vanished.takes(&new.event)) {
                self.handlers.announce(&new.event);
                pushes.event(&self.gateways, (new, readers));
            }
        }
        self.push(pushes, self.writer.told());
        if self.log.gaps.is_empty() {
            self.log.told.clear();
        }
        self.search(now, out);
    }

    /// An event of the log, and who may read it.
    pub(super) fn read_event(&self, found: StoredEvent, out: &mut Vec<Effect>) -> Option<Stored> {
        let Text::Json(json) = found.text else { return None };
        match Event::parse(&json) {
            Ok(event) => {
                let part = self.settings.profile.part_of(&event);
                let readers = privacy::readers(&event, part.as_ref(), found.private);
                let deletes = deletion::targets(&event, &self.settings.relays).unwrap_or_default();
                let (text, expires_at) = (json.into(), found.expires_at);
                let new = NewEvent { event, text, came_ms: 0, expires_at, deletes, part, remember_until: 0 };
                Some((Arc::new(new), readers))
            }
            Err(reason) => {
                let fields = [("event", found.id.to_string()), ("error", reason.to_string())];
                self.log(Level::Error, "stored event does not parse", &fields, out);
                None
            }
        }
    }

    /// The totals are known since memory was lost: what was stored meanwhile is looked for.
    pub(super) fn totals_known(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.host.lasting {
            return;
        }
        let upto = self.writer.told();
        if let Some(before) = self.log.before {
            if upto.saturating_sub(before) <= MISSED_MAX {
                self.look_for(before, upto);
                self.search(now, out);
            } else {
                let fields = [("after", before.to_string()), ("upto", upto.to_string())];
                self.log(Level::Warn, "too many events were stored while memory was lost to tell them", &fields, out);
            }
        }
    }

    /// After a commit that was reported as failed: whether it landed all the same. While another group
    /// is on its way nothing is concluded: that one's answer says it, too.
    pub(super) fn landed_after_all(&mut self, totals: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let totals: Option<Totals> = totals.and_then(|rows| counts::decode_totals(&rows, SHARD)).ok();
        let told = self.writer.told();
        let newer = |totals: &Totals| totals.last_seq > told;
        if let (Some(totals), true, None) = (totals.filter(newer), self.writer.is_known(), &self.writer.in_flight) {
            self.look_for(told, totals.last_seq);
            self.writer.advance(totals);
            self.tell_position(totals.last_seq);
            self.search(now, out);
        }
    }
}
