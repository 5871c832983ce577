//! The comparing: what each judge says to a question, and where they disagree.

use std::collections::BTreeMap;

use nexus::market::job::NIP90;
use nexus::market::privacy;
use nexus::nostr::Filter;
use serde_json::{Value, json};

use crate::model::{self, Fate, View};
use crate::on_d1::{self, Asked};
use crate::trial::Trial;

/// A question to D1: who asks, a filter, a limit.
pub type Question = (usize, Value, u64);

impl Trial<'_> {
    fn view(&self, reader: usize) -> View<'_> {
        View { keys: &self.engine.readers[reader].hex, now: self.now }
    }

    pub fn judge_oks(&self, group: &[usize], fates: &BTreeMap<usize, Fate>, mut said: Vec<(String, bool, String)>) {
        let mut seen = Vec::new();
        let mut expected: Vec<(String, bool, String)> = Vec::new();
        for at in group {
            let (taken, prefix) = match fates[at] {
                Fate::Stored if seen.contains(at) => (true, "duplicate"),
                Fate::Stored | Fate::Heard => (true, ""),
                Fate::Known | Fate::Absorbed => (true, "duplicate"),
                Fate::Superseded => (false, "duplicate"),
                Fate::Deleted => (false, "blocked"),
                Fate::Expired | Fate::Misspelled => (false, "invalid"),
                Fate::Unheard => (false, "mute"),
            };
            seen.push(*at);
            expected.push((self.made[*at].event.id.to_string(), taken, prefix.to_owned()));
        }
        expected.sort();
        said.sort();
        let wrong = expected.iter().zip(&said).find(|(expected, said)| expected != said);
        self.check(expected.len() == said.len(), || format!("{} OKs, not {}", said.len(), expected.len()));
        self.check(wrong.is_none(), || {
            let (expected, said) = wrong.unwrap();
            let event = self.made.iter().find(|made| made.json["id"] == *expected.0).unwrap();
            format!("the model says {expected:?}, the engine {said:?} to {}", self.story(&event.json))
        });
    }

    /// Each subscription gets each new event that it is for, once.
    pub fn judge_live(&mut self, news: &[usize]) {
        for reader in 0..self.engine.readers.len() {
            let mut heard = self.engine.live(reader);
            let mut expected = Vec::new();
            for ((_, id), filters) in self.open.iter().filter(|((who, _), _)| *who == reader) {
                self.tally.live += news.len() as u64;
                for event in news.iter().map(|at| &self.made[*at].json) {
                    if hears(&self.engine.readers[reader].hex, filters, event) {
                        expected.push((id.clone(), event.clone()));
                    }
                }
            }
            self.tally.matched += expected.len() as u64;
            let key = |(id, event): &(String, Value)| (id.clone(), event["id"].to_string());
            heard.sort_by_key(key);
            expected.sort_by_key(key);
            self.check(heard == expected, || {
                let missing = expected.iter().find(|entry| !heard.contains(entry));
                let extra = heard.iter().find(|entry| !expected.contains(entry));
                let (what, (id, event)) = match (missing, extra) {
                    (Some(missing), _) => ("not heard", missing),
                    (_, extra) => ("heard too much", extra.unwrap_or(&heard[0])),
                };
                let filters = json!(self.open[&(reader, id.clone())]);
                format!("live, reader {reader}: {what}: {event} by {filters}")
            });
        }
    }

    /// A REQ; says whether its subscription is open.
    pub fn judge_stored(&mut self, reader: usize, id: &str, filters: &[Value]) -> bool {
        self.engine.at(self.now);
        let answer = self.engine.stored(reader, id, filters);
        let asked = || format!("REQ of reader {reader}: {}", json!(filters));
        if model::must_prove(filters, &self.engine.readers[reader].hex) {
            self.check(answer.as_ref().is_err_and(|reason| reason.starts_with("auth-required:")), asked);
            return false;
        }
        let (found, hint) = answer.unwrap_or_else(|reason| self.fail(&format!("{}: {reason}", asked())));
        let (expected, whole, each) = self.model.answer(filters, self.view(reader));
        self.compare(&expected, &found, "the engine", asked);
        let silent = filters.iter().any(|filter| self.is_silent(reader, filter));
        let said = match hint.as_deref() {
            Some("finish") => whole && !silent,
            Some("more") => !whole,
            // Nobody may know, or nobody looked whether one filter sent what another cut off.
            _ => silent || filters.len() > 1 && !each,
        };
        self.check(said, || format!("{} with hint {hint:?}, all sent: {whole}", asked()));
        if filters.iter().all(|filter| filter.get("limit").is_none()) {
            self.tally.stored += self.model.stored.len() as u64;
            self.tally.matched += expected.len() as u64;
        }
        true
    }

    pub fn judge_count(&mut self, reader: usize, filters: &[Value]) {
        self.engine.at(self.now);
        let answer = self.engine.count(reader, filters);
        let asked = || format!("COUNT of reader {reader}: {}: {answer:?}", json!(filters));
        if model::must_prove(filters, &self.engine.readers[reader].hex) {
            return self.check(answer.as_ref().is_err_and(|reason| reason.starts_with("auth-required:")), asked);
        }
        let expected = self.model.count(filters, self.view(reader)) as u64;
        self.check(answer == Ok(expected), || format!("{}, not {expected}", asked()));
    }

    pub fn judge_d1(&mut self, questions: &[Question]) {
        let asked = questions.iter().map(|(reader, filter, limit)| Asked {
            filter,
            limit: *limit,
            keys: &self.engine.readers[*reader].keys,
            now: self.now,
        });
        let asked: Vec<Asked> = asked.collect();
        let found = on_d1::find(self.d1, &asked);
        for ((reader, filter, limit), found) in questions.iter().zip(found) {
            let mut expected = self.model.all(filter, self.view(*reader));
            let asked = |what: &str| format!("{what} for reader {reader}: {filter}");
            self.compare(&expected, &found.all, "D1", || asked("search"));
            self.check(found.counted == expected.len(), || asked("D1 counts otherwise"));
            expected.truncate(*limit as usize);
            self.compare(&expected, &found.limited, "D1", || asked(&format!("search with limit {limit}")));
        }
    }

    /// Whether some event may match that is for others.
    fn may_withhold(&self, reader: usize, filter: &Value) -> bool {
        let filter = Filter::parse(&filter.to_string()).unwrap();
        !filter.is_void() && !privacy::shows_all(&NIP90, &filter, &self.engine.readers[reader].keys)
    }

    /// Whether EOSE says nothing of a filter: nobody looked, or something may be withheld.
    fn is_silent(&self, reader: usize, filter: &Value) -> bool {
        let unasked = filter["limit"] == 0 && !Filter::parse(&filter.to_string()).unwrap().is_void();
        unasked || self.may_withhold(reader, filter)
    }

    /// Collects all pages of a filter.
    pub fn judge_pages(&mut self, reader: usize, mut filter: Value) {
        if model::must_prove(std::slice::from_ref(&filter), &self.engine.readers[reader].hex) {
            return;
        }
        filter["limit"] = json!(100 + self.chance.below(60));
        let all: Vec<Value> = self.model.all(&filter, self.view(reader)).into_iter().cloned().collect();
        let asked = format!("pages of reader {reader}: {filter}");
        let mut collected: Vec<Value> = Vec::new();
        loop {
            self.engine.at(self.now);
            let (events, hint) = self.engine.stored(reader, "page", &[filter.clone()]).unwrap();
            self.tally.pages += 1;
            let last = events.last().map(|event| event["created_at"].as_u64().unwrap());
            // The oldest second of the page before comes again, from its beginning.
            let before = collected.len();
            let new: Vec<Value> = events.into_iter().filter(|event| !collected.contains(event)).collect();
            collected.extend(new);
            match hint.as_deref() {
                Some("finish") => break,
                None if self.may_withhold(reader, &filter) => break,
                Some("more") => {}
                hint => self.fail(&format!("{asked}: hint {hint:?}")),
            }
            self.check(collected.len() <= all.len(), || format!("{asked}: too many"));
            let last = last.unwrap_or_else(|| self.fail(&format!("{asked}: an empty page")));
            self.check(collected.len() > before, || format!("{asked}: a page with nothing new"));
            filter["until"] = json!(last);
        }
        self.compare(&all.iter().collect::<Vec<_>>(), &collected, "the engine", || asked.clone());
        self.engine.close(reader, "page");
    }

    fn compare(&self, expected: &[&Value], found: &[Value], judge: &str, asked: impl Fn() -> String) {
        if expected.iter().copied().eq(found) {
            return;
        }
        let missing = expected.iter().copied().find(|event| !found.contains(event));
        let extra = found.iter().find(|event| !expected.contains(event));
        let what = match (missing, extra) {
            (Some(event), _) => format!("{judge} misses {}", self.story(event)),
            (_, Some(event)) => format!("{judge} has {}", self.story(event)),
            _ => format!("{judge} has another order, or repeats: {} events, not {}", found.len(), expected.len()),
        };
        self.fail(&format!("{}\n{what}", asked()));
    }

    /// An event with all that was said against it.
    pub fn story(&self, event: &Value) -> String {
        let known = self.made.iter().map(|made| &made.json);
        let against = known.filter(|other| {
            matches!(other["kind"].as_u64(), Some(5 | 62)) && model::covers(other, event)
                || model::replaces(other, event)
        });
        let against: Vec<String> = against.map(|other| format!("\n  against it: {other}")).collect();
        format!("{event}{}", against.concat())
    }

    pub fn check(&self, holds: bool, what: impl Fn() -> String) {
        if !holds {
            self.fail(&what());
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("NEXUS_PROPERTY_SEED={} at {} s: {what}", self.seed, self.now);
    }
}

/// Whether a subscription of somebody with these keys is for an event.
pub fn hears(keys: &[String], filters: &[Value], event: &Value) -> bool {
    model::may_read(event, keys) && filters.iter().any(|filter| model::matches(filter, event))
}
