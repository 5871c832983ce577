//! What the operator has decided, as the database has it: nothing is written before that is known, and what it keeps out
//! is refused. Home tells all gateways.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Partition, Purpose};
use crate::ledger::NewEvent;
use crate::message::{PartitionId, ToGateway, Verdict};
use crate::moderation::Rulings;
use crate::nostr::{EventId, Reason, refusal};
use crate::seam::{Effect, Millis};
use crate::store::{Rows, Statement, StoreError, rulings};
use crate::trees::Gather;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Ruled {
    /// None until the database has told.
    rulings: Option<Arc<Rulings>>,
    /// Acts of the last minutes by their ids: none is done twice.
    acts: BTreeSet<EventId>,
    is_asked: bool,
}

impl Ruled {
    /// Whether it is known.
    pub fn is_known(&self) -> bool {
        self.rulings.is_some()
    }

    /// Somebody else may have written to the database.
    pub fn forget(&mut self) {
        self.rulings = None;
    }

    /// Why an event is not stored, if it is kept out and that is known.
    pub fn keeps_out(&self, new: &NewEvent) -> Option<Reason> {
        if new.act.is_some() {
            return None;
        }
        self.rulings.as_ref().and_then(|rulings| rulings.of(&new.event, new.part.as_ref().map(|part| &part.job)))
    }

    /// What is said of an event at once.
    pub fn verdict(&self, new: &NewEvent) -> Option<Verdict> {
        if new.act.is_some() && self.acts.contains(&new.event.id) {
            return Some(Verdict::Duplicate(refusal::already_have()));
        }
        self.keeps_out(new).map(Verdict::Refused)
    }
}

impl Partition {
    /// What is asked to learn it.
    pub(super) fn read_rulings(now: Millis) -> Statement {
        rulings::read((now / 1000).saturating_sub(rulings::REPEATED_WITHIN))
    }

    /// Asks the database, unless it is being asked.
    pub(super) fn ask_rulings(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.ruled.is_asked, true) {
            self.query(Purpose::Rulings, vec![Self::read_rulings(now)], now, out);
        }
    }

    /// The database has told.
    pub(super) fn rulings_read(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        self.ruled.is_asked = false;
        match result.and_then(|rows| self.note_rulings(rows.first().map(Vec::as_slice).unwrap_or_default())) {
            Ok(()) => self.go_on(now, out),
            Err(error) => self.store_failed(&error, now, out),
        }
    }

    /// Takes up what the database has told; what waits and is kept out is refused.
    pub(super) fn note_rulings(&mut self, rows: &[String]) -> Result<(), StoreError> {
        let (rulings, acts) = rulings::decode(rows)?;
        self.ruled.rulings = Some(Arc::new(rulings));
        self.ruled.acts = acts.into_iter().gather();
        self.refuse_ruled_out();
        self.gateways.know_rulings_no_more();
        Ok(())
    }

    /// Tells gateways all that is ruled, once that is known. What a gateway has missed comes first: while that waits behind
    /// something else, it may be too much to wait.
    pub(super) fn tell_rulings(&mut self) {
        let Some(rulings) = self.ruled.rulings.clone().filter(|_| self.is_home()) else { return };
        if self.log.is_known() && !self.log.is_catching_up() {
            for id in self.gateways.without_rulings(self.log.told()) {
                self.tell(id, ToGateway::Rulings(rulings.clone()));
            }
        }
    }

    /// The operator has done something.
    pub(super) fn acted(&mut self, new: &Arc<NewEvent>) {
        let Some(act) = &new.act else { return };
        self.ruled.acts.insert(new.event.id);
        if let Some(rulings) = &mut self.ruled.rulings {
            Arc::make_mut(rulings).apply(act);
        }
        if self.is_home() {
            self.tell_all(&ToGateway::Acted(new.clone()));
        }
    }

    fn is_home(&self) -> bool {
        PartitionId(self.settings.place.own) == PartitionId::HOME
    }

    /// Refuses what waits and is kept out, also of a group that is to be decided anew.
    pub(super) fn refuse_ruled_out(&mut self) {
        let ruled = std::mem::take(&mut self.ruled);
        for waiting in self.writer.take_out(&|new| ruled.keeps_out(new).is_some()) {
            if let Some(reason) = ruled.keeps_out(&waiting.new) {
                self.refuse_all(vec![waiting], &reason);
            }
        }
        self.ruled = ruled;
    }
}
