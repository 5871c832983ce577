//! Events that are in the store although their commit was reported as failed: nobody has been told of
//! them. Their numbers lie in gaps between what was told, and there they are looked for.

use std::collections::BTreeSet;

use super::{Effect, Level, Millis, Purpose, Relay};
use crate::market::privacy;
use crate::nostr::{Event, EventId};
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
}

impl Log {
    /// Whether an event of this number may still be found and told.
    pub fn is_open(&self, seq: u64) -> bool {
        self.gaps.iter().chain(&self.searched).any(|(after, upto)| seq > *after && seq <= *upto)
    }
}

impl Relay {
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
        let found = result.and_then(|rows| rows.into_iter().map(read::decode).collect::<Result<Vec<_>, _>>());
        let Ok(found) = found else {
            self.log.gaps.extend(searched);
            return;
        };
        let found: Vec<StoredEvent> = found.into_iter().flatten().flatten().collect();
        if let Some(newest) = found.iter().map(|found| found.created_at).max() {
            self.recent.start_over(newest);
            self.handlers.clear();
        }
        for found in found {
            if let (Text::Json(json), false) = (&found.text, self.log.told.contains(&found.id)) {
                match Event::parse(json) {
                    Ok(event) => {
                        let part = self.config.profile.part_of(&event);
                        let readers = privacy::readers(&event, part.as_ref(), found.private);
                        self.handlers.announce(&event);
                        self.fan_out(&event, readers.as_ref(), json, out);
                    }
                    Err(reason) => {
                        let fields = [("event", found.id.to_string()), ("error", reason.to_string())];
                        self.log(Level::Error, "stored event does not parse", &fields, out);
                    }
                }
            }
        }
        if self.log.gaps.is_empty() {
            self.log.told.clear();
        }
        self.search(now, out);
    }

    /// After a commit that was reported as failed: whether it landed all the same. While another group
    /// is on its way nothing is concluded: that one's answer says it, too.
    pub(super) fn landed_after_all(&mut self, totals: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let totals: Option<Totals> = totals.and_then(|rows| counts::decode_totals(&rows, self.host.shard)).ok();
        let told = self.writer.told();
        let newer = |totals: &Totals| totals.last_seq > told;
        if let (Some(totals), true, None) = (totals.filter(newer), self.writer.is_known(), &self.writer.in_flight) {
            self.look_for(told, totals.last_seq);
            self.writer.advance(totals);
            self.search(now, out);
        }
    }
}
