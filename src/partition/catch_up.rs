//! What has to be found out before anything is written again: what became of a group that has landed without saying so,
//! and what was stored without gateways being told, which is read from the log in pieces and pushed.

use std::sync::Arc;

use super::gateways::Pushes;
use super::{Partition, Purpose};
use crate::log::Level;
use crate::market::privacy;
use crate::message::{MISSED_MAX, NewEvent, Stored, StoredEvent, Text};
use crate::nostr::Event;
use crate::nostr::deletion::{self, Target, Vanished};
use crate::seam::{Effect, Millis};
use crate::store::counts::Totals;
use crate::store::write::{self, Committed};
use crate::store::{Rows, StoreError, read};

/// What has to be found out before anything is written again.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// Up to which number gateways are told.
    pub upto: u64,
    pub step: Step,
    /// Whether the store is being asked.
    pub asked: bool,
    /// What the group has come to that has landed without saying so.
    pub landed: Option<Committed>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// What became of the events of a group; the totals before it.
    Fates(Totals),
    /// What gateways have missed after a number.
    Missed(u64),
}

impl Partition {
    /// Tells gateways what they have missed up to a number.
    pub(super) fn catch_up(&mut self, upto: u64, landed: Option<Committed>, now: Millis, out: &mut Vec<Effect>) {
        match self.gateways.behind(upto) {
            Some(after) if upto - after <= MISSED_MAX => {
                self.log.catching_up = Some(CatchUp { upto, step: Step::Missed(after), asked: false, landed });
                return self.take_step(now, out);
            }
            Some(after) => {
                let fields = [("after", after.to_string()), ("upto", upto.to_string())];
                let what = "too many events were stored while memory was lost to tell them";
                self.log(Level::Warn, what, &fields, out);
            }
            None => {}
        }
        self.caught_up(upto, landed, now, out);
    }

    /// Asks the store what is to be found out next.
    pub(super) fn take_step(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(catch_up) = self.log.catching_up.as_mut().filter(|catch_up| !catch_up.asked) else { return };
        catch_up.asked = true;
        let statements = match catch_up.step {
            Step::Fates(before) => {
                let group: Vec<&NewEvent> = self.writer.group.iter().flatten().map(|waiting| &*waiting.new).collect();
                write::fates(&group, &before)
            }
            Step::Missed(after) => vec![read::log(after, catch_up.upto)],
        };
        self.query(Purpose::CatchUp, statements, now, out);
    }

    /// The store has said what was to be found out.
    pub(super) fn step_taken(&mut self, result: Result<Rows, StoreError>, now: Millis, out: &mut Vec<Effect>) {
        let Some(mut catch_up) = self.log.catching_up.take() else { return };
        catch_up.asked = false;
        let upto = catch_up.upto;
        let error = match (catch_up.step, result) {
            (_, Err(error)) => error,
            (Step::Fates(before), Ok(rows)) => match self.decode_group(&rows, before) {
                Ok(committed) => return self.catch_up(upto, Some(committed), now, out),
                Err(error) => error,
            },
            (Step::Missed(after), Ok(rows)) => match self.push_missed(after, upto, rows, out) {
                // A gateway that woke meanwhile may be further behind.
                Ok(None) => return self.catch_up(upto, catch_up.landed, now, out),
                Ok(Some(rest)) => {
                    catch_up.step = Step::Missed(rest);
                    self.log.catching_up = Some(catch_up);
                    return self.take_step(now, out);
                }
                Err(error) => error,
            },
        };
        self.log.catching_up = Some(catch_up);
        self.store_failed(&error, now, out);
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
            if new.deletes.contains(&Target::Everything) {
                self.vanish(&Vanished::by(&new.event));
            }
            self.handlers.announce(&new.event);
            pushes.missed(&self.gateways, seq, (new, readers));
        }
        self.push(pushes, after, rest.unwrap_or(upto));
        Ok(rest)
    }

    /// Gateways have been told of everything up to a number.
    fn caught_up(&mut self, upto: u64, landed: Option<Committed>, now: Millis, out: &mut Vec<Effect>) {
        self.log.caught_up(upto);
        self.tell_position(upto);
        if let Some(committed) = landed {
            let group = self.writer.group.take().unwrap_or_default();
            self.landed(group, committed, false, now, out);
        }
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
}
