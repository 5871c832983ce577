//! What was stored without gateways being told: it is read from the log in pieces and pushed before anything is written.

use std::sync::Arc;

use super::gateways::Pushes;
use super::{Partition, Purpose};
use crate::log::Level;
use crate::market::privacy;
use crate::message::{MISSED_MAX, NewEvent, Stored, StoredEvent, Text};
use crate::nostr::Event;
use crate::nostr::deletion::{self, Vanished};
use crate::seam::{Effect, Millis};
use crate::store::{Rows, StoreError, read};

/// What gateways have missed, and is read before anything is written again.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// After which number.
    after: u64,
    /// Up to which one.
    upto: u64,
    /// Whether the store is being asked.
    asked: bool,
}

impl Partition {
    /// Tells gateways what they have missed up to a number.
    pub(super) fn catch_up(&mut self, upto: u64, now: Millis, out: &mut Vec<Effect>) {
        match self.gateways.behind(upto) {
            Some(after) if upto - after <= MISSED_MAX => {
                self.log.catching_up = Some(CatchUp { after, upto, asked: false });
                return self.read_log(now, out);
            }
            Some(after) => {
                let fields = [("after", after.to_string()), ("upto", upto.to_string())];
                let what = "too many events were stored while memory was lost to tell them";
                self.log(Level::Warn, what, &fields, out);
            }
            None => {}
        }
        self.caught_up(upto, now, out);
    }

    /// Asks the store for what is missed next.
    pub(super) fn read_log(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(catch_up) = self.log.catching_up.as_mut().filter(|catch_up| !catch_up.asked) else { return };
        catch_up.asked = true;
        let statements = vec![read::log(catch_up.after, catch_up.upto)];
        self.query(Purpose::CatchUp, statements, now, out);
    }

    /// The store has told what was missed.
    pub(super) fn log_read(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let Some(mut catch_up) = self.log.catching_up.take() else { return };
        catch_up.asked = false;
        match result.and_then(|rows| self.push_missed(catch_up.after, catch_up.upto, rows, out)) {
            // A gateway that woke meanwhile may be further behind.
            Ok(None) => self.catch_up(catch_up.upto, now, out),
            Ok(Some(rest)) => {
                self.log.catching_up = Some(CatchUp { after: rest, ..catch_up });
                self.read_log(now, out);
            }
            Err(error) => {
                self.log.catching_up = Some(catch_up);
                self.store_failed(&error, now, out);
            }
        }
    }

    /// Pushes what was read of the log; says after which number more is to be read.
    fn push_missed(
        &mut self,
        after: u64,
        upto: u64,
        rows: Rows,
        out: &mut Vec<Effect>,
    ) -> Result<Option<u64>, StoreError> {
        let found = rows.into_iter().map(read::decode).collect::<Result<Vec<_>, _>>()?;
        let mut found: Vec<StoredEvent> = found.into_iter().flatten().flatten().collect();
        // What did not fit the answer is read next.
        let rest = found.iter().find(|found| matches!(found.text, Text::Large(_))).map(|found| found.seq - 1);
        let rest = rest.filter(|rest| *rest > after);
        found.retain(|found| rest.is_none_or(|rest| found.seq <= rest));
        let mut pushes = Pushes::default();
        for found in found {
            let seq = found.seq;
            let Some((new, readers)) = self.read_event(found, out) else { continue };
            if new.vanishes() {
                self.vanish(&Vanished::by(&new.event));
            }
            self.handlers.announce(&new.event);
            pushes.missed(&self.gateways, seq, (new, readers));
        }
        self.push(pushes, after, rest.unwrap_or(upto));
        Ok(rest)
    }

    /// Gateways have been told of everything up to a number.
    fn caught_up(&mut self, upto: u64, now: Millis, out: &mut Vec<Effect>) {
        self.log.caught_up(upto);
        self.tell_position(upto);
        self.release_held();
        self.read_next(now, out);
        self.go_on(now, out);
    }

    /// An event of the log, and who may read it.
    pub(super) fn read_event(&self, found: StoredEvent, out: &mut Vec<Effect>) -> Option<Stored> {
        let Text::Json(json) = found.text else { return None };
        match Event::parse(&json) {
            Ok(event) => {
                let part = self.settings.profile.part_of(&event);
                let readers = privacy::readers(&event, part.as_ref(), found.private);
                let deletes = deletion::targets(&event, &self.settings.relays).unwrap_or_default();
                let (text, expires_at) = (json, found.expires_at);
                let (came_ms, remember_until, is_elsewhere, act) = (0, 0, false, None);
                let new =
                    NewEvent { event, text, came_ms, expires_at, deletes, part, remember_until, is_elsewhere, act };
                Some((Arc::new(new), readers))
            }
            Err(reason) => {
                let fields = [("event", found.id.to_string()), ("error", reason.to_string())];
                self.log(Level::Error, "stored event does not parse", &fields, out);
                None
            }
        }
    }
}
