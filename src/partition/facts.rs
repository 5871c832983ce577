//! What is asked over HTTP of the partition: the counts, handlers of a kind, the history, a job, whether the database is there.
//! Each write tells what it changes of the counts and of who is active, so both are asked for once.

use super::{Asker, Partition, Purpose};
use crate::log::Level;
use crate::market::moments::Moments;
use crate::message::{AUDIT_LINES, Asked, Facts, GatewayId, ONLINE_MAX, PartitionGauges, ToGateway};
use crate::nostr::PublicKey;
use crate::seam::{Effect, Millis, Network};
use crate::store::counts::{self, Position};
use crate::store::history;
use crate::store::jobs;
use crate::store::map;
use crate::store::market::{self, Active};
use crate::store::schema::{self, Schema};
use crate::store::{Rows, Statement, StoreError, rulings, sweep};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Milliseconds for which counts are believed while something may have landed that nobody was told of.
const DOUBTFUL_FRESH: Millis = 60_000;

/// What the store has told, and what it is being asked.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// How often the store has been written to.
    writes: u64,
    /// As of the last write, or as they were asked for.
    position: Option<Arc<Position>>,
    active: Active,
    /// What it was in the last minute.
    moments: Moments,
    /// When both were asked for last: since then each write tells what it changes.
    asked_at: Option<Millis>,
    /// Whether the database was seen to have the schema that is needed.
    schema_fits: bool,
    /// Whether the database has yet to be told which partition it is.
    pub keeps_place: bool,
    /// Why the database is not this partition's, if it is not: then nothing is asked of it and nothing stored.
    pub misplaced: Option<StoreError>,
    /// What the database is being asked.
    asked: BTreeMap<Asker, Asked>,
}

impl Known {
    /// The store was written to: where it is after that, and who is more active now, each with a slot.
    pub fn written(&mut self, after: &Arc<Position>, active: impl IntoIterator<Item = (PublicKey, u64)>, now: Millis) {
        self.writes += 1;
        let before = self.position.as_ref().map(|before| |at| before.counts.moment(at));
        self.moments.change(now / 1000, before);
        self.position = Some(after.clone());
        active.into_iter().for_each(|(key, slot)| self.active.note(key, slot));
    }

    /// Something was written that has not told.
    pub fn forget(&mut self) {
        self.writes += 1;
        (self.position, self.asked_at) = (None, None);
        self.moments.forget();
    }

    /// A key has vanished.
    pub fn vanished(&mut self, key: &PublicKey) {
        self.active.remove(key);
    }
}

impl Partition {
    /// Answers from memory; if that is not enough, and it may be, the database is asked.
    pub(super) fn asked(&mut self, asker: Asker, mut asked: Asked, database: bool, now: Millis, out: &mut Vec<Effect>) {
        if let Asked::Handlers(_, online) = &mut asked {
            let more = ONLINE_MAX.saturating_sub(online.len());
            online.extend(self.gateways.present_beside(asker.0).map(|provider| provider.key).take(more));
        }
        let known = self.fact(asker.0, &asked, now);
        if known.is_some() || !database {
            return self.tell_facts(asker, known.map(Ok), 0);
        }
        let statements = self.statements_for(&asked, now);
        self.facts.asked.insert(asker, asked);
        self.query(Purpose::Ask(asker, self.facts.writes), statements, now, out);
    }

    fn tell_facts(&mut self, asker: Asker, mut facts: Option<Result<Facts, StoreError>>, rows_read: u64) {
        if let Some(Ok(Facts::Handlers(found, elsewhere))) = &mut facts {
            let present = self.gateways.present_beside(asker.0).map(|provider| provider.key);
            elsewhere.extend(present.filter(|key| found.iter().any(|found| found.event.pubkey == *key)));
        }
        let gauges = Box::new(PartitionGauges { elsewhere: self.gateways.gauges_beside(asker.0), ..self.gauges() });
        self.tell(asker.0, ToGateway::Facts { ticket: asker.1, facts, rows_read, gauges });
    }

    /// What is known of it without the database.
    fn fact(&mut self, asker: GatewayId, asked: &Asked, now: Millis) -> Option<Facts> {
        match asked {
            Asked::Counts => {
                let at = self.facts.asked_at.filter(|_| self.facts.position.is_some())?;
                self.is_believed(at, now).then(|| self.counts(now))?
            }
            Asked::Handlers(kind, _) => {
                let at = self.handlers.announced_at().filter(|_| self.handlers.has_none(*kind))?;
                self.is_believed(at, now).then(|| Facts::Handlers(Vec::new(), Vec::new()))
            }
            Asked::Seen => Some(Facts::Seen(Box::new(self.gateways.seen_beside(asker)))),
            Asked::History(_)
            | Asked::Records(_)
            | Asked::Health
            | Asked::Rulings(_)
            | Asked::Acts(_)
            | Asked::Job(_)
            | Asked::Cancelled(..) => None,
        }
    }

    fn counts(&mut self, now: Millis) -> Option<Facts> {
        let counts = self.facts.position.as_ref()?.counts.clone();
        let moments = self.facts.moments.told(now / 1000, |at| counts.moment(at));
        Some(Facts::Counts(Box::new(counts), self.facts.active.count(now / 1000), moments))
    }

    fn statements_for(&self, asked: &Asked, now: Millis) -> Vec<Statement> {
        let seconds = now / 1000;
        match asked {
            Asked::Counts => vec![counts::read(), market::active(seconds)],
            Asked::History(step) => history::read(*step, seconds),
            Asked::Handlers(kind, online) => {
                let mut statements = market::handlers(*kind, online.iter(), seconds);
                if !self.handlers.announced_at().is_some_and(|at| self.is_believed(at, now)) {
                    statements.push(market::announced());
                }
                statements
            }
            Asked::Records(keys) => vec![market::records(keys)],
            Asked::Rulings(sort) => vec![rulings::of_sort(*sort)],
            Asked::Acts(before) => vec![rulings::acts(*before, AUDIT_LINES)],
            Asked::Job(job) => jobs::find(job, &self.settings.profile, seconds),
            Asked::Cancelled(job, customer) => vec![jobs::cancelled(job, customer)],
            Asked::Health if self.facts.schema_fits => vec![counts::read()],
            Asked::Health => vec![Schema::read()],
            Asked::Seen => Vec::new(),
        }
    }

    /// The database has answered what was asked at a time, when it had been written to so often.
    pub(super) fn ask_answered(
        &mut self,
        asker: Asker,
        writes: u64,
        asked_at: Millis,
        rows_read: u64,
        result: Result<Rows, StoreError>,
        now: Millis,
    ) {
        let Some(asked) = self.facts.asked.remove(&asker) else { return };
        let facts = result.and_then(|rows| self.learn(&asked, writes, asked_at, rows, now));
        self.tell_facts(asker, Some(facts), rows_read);
    }

    fn learn(
        &mut self,
        asked: &Asked,
        writes: u64,
        asked_at: Millis,
        mut rows: Rows,
        now: Millis,
    ) -> Result<Facts, StoreError> {
        match asked {
            Asked::Counts => {
                let [_, active] = rows.as_slice() else {
                    return Err(StoreError::new("the counts were answered with another number of results"));
                };
                let found = counts::decode(&rows)?;
                // What a write since has told is later.
                if self.facts.position.is_none() || writes == self.facts.writes {
                    self.facts.position = Some(found.into());
                }
                self.facts.active.add(active, now / 1000);
                self.facts.asked_at = Some(now);
                self.counts(now).ok_or_else(|| StoreError::new("the counts cannot be read"))
            }
            Asked::Handlers(..) => {
                for announced in rows.drain(1.min(rows.len())..) {
                    let (kinds, all) = market::decode_announced(&announced);
                    self.handlers.learn_announced(kinds, all, asked_at);
                }
                Ok(Facts::Handlers(market::decode_handlers(&rows)?, Vec::new()))
            }
            Asked::Health => {
                // It may have been seen to fit since this was asked.
                if !self.facts.schema_fits {
                    schema::check(rows.first().map(Vec::as_slice).unwrap_or_default())?;
                    // Where memory lasts the schema may change under it.
                    self.facts.schema_fits = !self.host.lasting;
                } else if rows.first().is_none_or(Vec::is_empty) {
                    return Err(counts::missing());
                }
                self.facts.misplaced.clone().map_or(Ok(Facts::Healthy), Err)
            }
            Asked::Records(_) => market::decode_records(&rows).map(Facts::Records),
            Asked::History(_) => history::decode(&rows).map(Facts::History),
            Asked::Rulings(_) | Asked::Acts(_) => Ok(Facts::Moderation(rows.concat())),
            Asked::Job(_) => jobs::decode(rows).map(Facts::Job),
            Asked::Cancelled(..) => Ok(Facts::Cancelled(jobs::decode_cancelled(&rows))),
            Asked::Seen => Err(StoreError::new("that is in memory alone")),
        }
    }

    /// Whether what the store said at a time, and what was told since, is the whole truth, or nearly.
    fn is_believed(&self, at: Millis, now: Millis) -> bool {
        self.log.known_at().is_some_and(|known| at >= known) || now.saturating_sub(at) <= DOUBTFUL_FRESH
    }

    /// The statements that are asked on waking: where memory does not last nobody has looked at the schema before.
    pub(super) fn waking_statements(&self, now: Millis) -> Vec<Statement> {
        let looks = !self.host.lasting && !self.facts.schema_fits;
        let first = [counts::read(), sweep::due(&self.settings.kept), map::read(), Self::read_rulings(now)];
        first.into_iter().chain(looks.then(Schema::read)).collect()
    }

    /// Takes up what the database has, if it was asked for that after the totals; a difference is logged.
    pub(super) fn note_schema(&mut self, rows: &Rows, out: &mut Vec<Effect>) {
        let Some(found) = rows.get(4) else { return };
        match schema::check(found) {
            Ok(()) => self.facts.schema_fits = true,
            Err(error) => {
                self.log(Level::Error, "the database cannot be relied on", &[("error", error.to_string())], out);
            }
        }
    }

    /// Takes up which partition the database has, if it was asked for that: it must be this one.
    pub(super) fn note_place(&mut self, rows: &Rows, found: &Position) -> Result<(), StoreError> {
        if let Some(map) = rows.get(2) {
            let checked = self.settings.place.check(map, found.totals.version == 0);
            self.facts.misplaced = checked.as_ref().err().cloned();
            self.facts.keeps_place = checked?;
        }
        Ok(())
    }

    /// Asks what is known of keys.
    pub(super) fn who_is(&mut self, asker: Asker, keys: &[PublicKey], now: Millis, out: &mut Vec<Effect>) {
        self.query(Purpose::WhoIs(asker), vec![market::known_of(keys, now / 1000)], now, out);
    }

    pub(super) fn known(&mut self, asker: Asker, result: Result<Rows, StoreError>) {
        let known = result.map(|rows| rows.iter().flatten().filter_map(|row| market::decode_known(row)).collect());
        self.tell(asker.0, ToGateway::Known { ticket: asker.1, known });
    }

    /// Notes when providers were last here, if somebody pays for it.
    pub(super) fn left(&mut self, keys: &[PublicKey], network: Option<Network>, now: Millis, out: &mut Vec<Effect>) {
        if self.spend_unasked(network, keys.len() as u64) {
            self.log.note_seen(keys);
            self.go_on(now, out);
        }
    }
}
