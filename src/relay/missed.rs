//! Events that are in the store although their commit was reported as failed: nobody has been told of
//! them. Their numbers lie in gaps between what was told, and there they are looked for.

use std::collections::BTreeSet;

use super::conn::Conn;
use super::vanished::Vanished;
use super::{ConnId, Effect, Level, Millis, Purpose, Relay};
use crate::market::privacy::{self, Readers};
use crate::nostr::deletion::{self, Target};
use crate::nostr::{Event, EventId, Filter};
use crate::store::counts::{self, Totals};
use crate::store::read::{self, StoredEvent, Text};
use crate::store::{Rows, StoreError};

/// Numbers of the log that are read to find what was stored while memory was lost: more than one group takes, and what
/// one answer can hold.
pub(super) const MAX_MISSED: u64 = 1000;
/// Bytes of filters above which a connection is asked no longer to remember what was told, and the connections that
/// one is chosen of.
const KEEPER_BYTES: usize = 4000;
const KEEPERS: usize = 64;

/// Gaps in what was told.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Ranges of numbers, each above the first up to the second, that are still to be looked at.
    gaps: Vec<(u64, u64)>,
    /// Ranges the store is being asked for.
    searched: Vec<(u64, u64)>,
    /// Events inside of them that were told by other ways.
    pub told: BTreeSet<EventId>,
    /// What subscribers had been told of when memory was lost, as far as some connection remembers.
    pub before: Option<u64>,
    /// The connection that remembers what they have been told of since.
    keeper: Option<ConnId>,
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
        for found in found {
            if self.log.told.contains(&found.id) {
                continue;
            }
            let Some((event, readers, json)) = self.read_event(&found, out) else { continue };
            if deletion::targets(&event, &self.config.relays).is_ok_and(|of| of.contains(&Target::Everything)) {
                self.vanish(&event);
            }
            if !vanished.iter().any(|vanished| vanished.takes(&event)) {
                self.handlers.announce(&event);
                self.fan_out(&event, readers.as_ref(), json, out);
            }
        }
        if self.log.gaps.is_empty() {
            self.log.told.clear();
        }
        self.search(now, out);
    }

    /// An event of the log, who may read it (`None` is everybody), and its text.
    fn read_event<'f>(
        &self,
        found: &'f StoredEvent,
        out: &mut Vec<Effect>,
    ) -> Option<(Event, Option<Readers>, &'f str)> {
        let Text::Json(json) = &found.text else { return None };
        match Event::parse(json) {
            Ok(event) => {
                let part = self.config.profile.part_of(&event);
                let readers = privacy::readers(&event, part.as_ref(), found.private);
                Some((event, readers, json))
            }
            Err(reason) => {
                let fields = [("event", found.id.to_string()), ("error", reason.to_string())];
                self.log(Level::Error, "stored event does not parse", &fields, out);
                None
            }
        }
    }

    /// Those events of the log that are for a subscription, and for whom it is.
    pub(super) fn live_for<'f>(
        &self,
        conn: ConnId,
        filters: &[Filter],
        found: &'f [StoredEvent],
        out: &mut Vec<Effect>,
    ) -> Vec<(EventId, &'f str)> {
        let Some(state) = self.conns.get(&conn) else { return vec![] };
        let mut live = |found: &'f StoredEvent| {
            let (event, readers, json) = self.read_event(found, out)?;
            let matches = filters.iter().any(|filter| filter.matches(&event));
            (matches && privacy::may_read(readers.as_ref(), &state.keys)).then_some((event.id, json))
        };
        found.iter().filter_map(&mut live).collect()
    }

    /// What subscribers have been told of, as far as is known; before the store has answered, what they had been
    /// told of when memory was lost.
    pub(super) fn told_upto(&self) -> Option<u64> {
        if self.writer.is_known() { Some(self.writer.told()) } else { self.log.before }
    }

    /// The totals are known since memory was lost: what was stored meanwhile is looked for.
    pub(super) fn totals_known(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.host.lasting {
            return;
        }
        let upto = self.writer.told();
        if let Some(before) = self.log.before {
            if upto.saturating_sub(before) <= MAX_MISSED {
                self.look_for(before, upto);
                self.search(now, out);
            } else {
                let fields = [("after", before.to_string()), ("upto", upto.to_string())];
                self.log(Level::Warn, "too many events were stored while memory was lost to tell them", &fields, out);
            }
        }
        let mut learned = Vec::new();
        for (conn, state) in &mut self.conns {
            let backlogs = state.subs.values_mut().filter_map(|sub| sub.reading.as_mut());
            for backlog in backlogs.filter(|backlog| backlog.after.is_none()) {
                backlog.after = Some(upto);
                learned.push(*conn);
            }
        }
        learned.dedup();
        learned.into_iter().for_each(|conn| self.remember(conn, out));
        self.keep_told(out);
    }

    /// Has one connection remember what subscribers have been told of: one that remembers little else.
    pub(super) fn keep_told(&mut self, out: &mut Vec<Effect>) {
        if self.host.lasting {
            return;
        }
        let size = |state: &Conn| state.subs.values().map(|sub| sub.text.get().len()).sum::<usize>();
        let small = |conn: &ConnId| self.conns.get(conn).is_some_and(|state| size(state) <= KEEPER_BYTES);
        if !self.log.keeper.as_ref().is_some_and(small) {
            let some = self.conns.iter().take(KEEPERS);
            self.log.keeper = some.min_by_key(|(_, state)| size(state)).map(|(conn, _)| *conn);
        }
        if let Some(keeper) = self.log.keeper {
            self.remember(keeper, out);
        }
    }

    /// When the connection that remembers what was told is gone, another one does.
    pub(super) fn replace_keeper(&mut self, out: &mut Vec<Effect>) {
        if self.log.keeper.is_some_and(|keeper| !self.conns.contains_key(&keeper)) {
            self.keep_told(out);
        }
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
            self.keep_told(out);
            self.search(now, out);
        }
    }
}
