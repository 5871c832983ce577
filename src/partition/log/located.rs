//! How far the log is: when that is asked, and what follows from the answer, which knows what became of a write, what was
//! stored without this partition's being told, and whether the database was set back.

use crate::message::ToGateway;
use crate::partition::{Partition, Purpose};
use crate::seam::{Effect, Millis};
use crate::store::counts::{self, Position};
use crate::store::log::{Landing, Write, WriteName};
use crate::store::{Rows, StoreError};

impl Partition {
    /// Asks how far the log is, unless it is being asked.
    pub(in crate::partition) fn ask_position(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.log.asking, true) {
            self.log.asked_of = self.gateways.furthest();
            let statements = if self.log.is_known() { vec![counts::read()] } else { self.waking_statements(now) };
            self.query(Purpose::Position, statements, now, out);
        }
    }

    /// A gateway was told of more than is known here: a predecessor has stored it meanwhile, or the database was set back.
    /// What is read after the gateway has said so knows which, as does who has the log.
    pub(super) fn told_of_more(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let was_read_since = !self.log.asking && self.log.asked_of >= self.gateways.furthest();
        if self.log.taken || was_read_since {
            self.take_back(self.log.told);
            self.go_on(now, out);
        } else {
            self.ask_position(now, out);
        }
    }

    /// The store has said how far the log is, and at first what there will be to remove and what schema it has.
    pub(in crate::partition) fn position_answered(
        &mut self,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if !self.log.is_known() {
            self.note_schema(result.as_ref().unwrap_or(&Rows::new()), out);
            self.due_found(result.as_ref().ok().and_then(|rows| rows.get(1)).map(Vec::as_slice), now, out);
        }
        let found = result.and_then(|rows| {
            let found = counts::decode(&rows)?;
            self.note_place(&rows, &found)?;
            rows.get(3).map_or(Ok(()), |rulings| self.note_rulings(rulings))?;
            Ok(found)
        });
        self.located(found, now, out);
    }

    fn located(&mut self, result: Result<Position, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        self.log.asking = false;
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                self.refuse_held(&error);
                self.tell_all(&ToGateway::Position(Err(error.clone())));
                return self.store_failed(&error, now, out);
            }
        };
        let Some(known) = self.log.totals() else {
            self.writer.works();
            let upto = found.totals.last_seq;
            (self.log.position, self.log.known_at, self.log.began) = (Some(found.into()), now, upto);
            return self.catch_up(upto, now, out);
        };
        if self.log.fenced || self.log.is_on_its_way() || self.log.catching_up.is_some() {
            // An answer that is to come says more.
            self.log.asked_of = None;
            return;
        }
        let mine = |name: &WriteName| name.incarnation == self.log.incarnation;
        let last = WriteName { incarnation: self.log.incarnation, number: self.log.writes };
        // Whichever of this incarnation's: they are sent one after the other until one has landed.
        let name = found.totals.writer.filter(mine).unwrap_or(last);
        match (Write { expected: known.version, name }).landing(&found.totals) {
            Landing::NotLanded => self.has_not_landed(now, out),
            Landing::Landed => {
                self.log.taken = true;
                self.take_back_if_taken();
                self.writer.works();
                match self.log.writing.take_if(|writing| writing.number == name.number) {
                    Some(writing) => {
                        self.follow(writing.what, writing.decided, writing.since, now, out);
                        self.go_on(now, out);
                    }
                    // An earlier attempt: what it did is in the log, and what this one was to do is decided anew.
                    None => self.adopt(found, now, out),
                }
            }
            // The predecessor's last write has landed late, and so this incarnation's first has not.
            Landing::Fenced if !self.log.taken && found.totals.version == known.version + 1 => {
                self.adopt(found, now, out)
            }
            Landing::Fenced if !self.log.taken && !self.log.may_be_taken => self.adopt(found, now, out),
            Landing::Fenced => self.fence(found.totals, out),
        }
    }

    /// What has landed is what follows the log that was known, so no gateway can have been told of more than that.
    pub(super) fn take_back_if_taken(&mut self) {
        if self.log.taken && self.gateways.furthest() > Some(self.log.told) {
            self.take_back(self.log.told);
        }
    }

    /// The write has not been made. A group is decided anew, as far as somebody waits for it yet; what is to be removed is
    /// looked for anew, counts are kept, and who left is forgotten.
    fn has_not_landed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.log.writing = None;
        self.go_on(now, out);
    }

    /// Something was stored without this partition's being told what: it is found in the log.
    fn adopt(&mut self, found: Position, now: Millis, out: &mut Vec<Effect>) {
        let totals = found.totals;
        (self.log.position, self.log.known_at, self.log.writing) = (Some(found.into()), now, None);
        // What may be on its way yet expects what is past.
        self.log.may_be_taken = false;
        self.counters.flushed(totals);
        self.forget_what_is_stored();
        self.may_have_to_sweep(now, out);
        self.catch_up(totals.last_seq, now, out);
    }

    /// Something was added or removed of which nothing is known.
    fn forget_what_is_stored(&mut self) {
        self.recent.start_over(self.log.totals().map_or(u64::MAX, |totals| totals.newest));
        self.handlers.clear();
        self.facts.forget();
        self.log.memory.clear();
        self.ruled.forget();
    }
}
