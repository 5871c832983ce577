//! Questions over HTTP that need the engine: `/api/stats`, `/metrics`, `/api/handlers`, `/api/history`.
//! What the store says is kept for a moment, so that many who look cost no more than one.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::gauges::Gauges;
use super::{Effect, Kept, Millis, Purpose, Relay, http, metrics};
use crate::market::handler::{self, Candidate};
use crate::market::reputation;
use crate::nostr::PublicKey;
use crate::store::counts;
use crate::store::history::{self, Step};
use crate::store::market::{self, Active, Handlers};
use crate::store::{Rows, StoreError};

/// Milliseconds for which counts are believed while something may have landed that nobody was told of.
const DOUBTFUL_FRESH: Millis = 60_000;
/// Milliseconds for which an answer to `/api/handlers` and `/api/history` is kept.
const KEPT_FRESH: Millis = 15_000;
/// Providers that are here and whose handlers are listed whatever others publish.
const MAX_ONLINE: usize = 200;

/// Names an HTTP request until it is answered, and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl RequestId {
    /// From what Cloudflare calls a request (`cf-ray`): 16 hex digits, and the place.
    pub fn of_ray(ray: &str) -> Option<Self> {
        let name = ray.split('-').next()?;
        u64::from_str_radix(name, 16).ok().filter(|_| name.len() == 16).map(Self)
    }
}

/// HTTP requests that wait for the engine's answer, each with what a host answers it by.
#[derive(Debug)]
pub struct Requests<T>(BTreeMap<RequestId, T>);

impl<T> Default for Requests<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Requests<T> {
    /// Notes who waits, by the name it was given, or the next one that is free.
    pub fn wait(&mut self, given: RequestId, answer: T) -> RequestId {
        let mut request = given;
        while self.0.contains_key(&request) {
            request = RequestId(request.0.wrapping_add(1));
        }
        self.0.insert(request, answer);
        request
    }

    /// Who has waited under that name.
    pub fn take(&mut self, request: RequestId) -> Option<T> {
        self.0.remove(&request)
    }
}

/// What an HTTP request asks of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// `/api/stats`
    Stats,
    /// `/metrics`: the same numbers as text for Prometheus.
    Metrics,
    /// `/api/handlers?k=…`
    Handlers(u16),
    /// `/api/history?step=…`
    History(Step),
}

/// Answers of the store that are kept, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// How often the store has been written to.
    writes: u64,
    /// The row of [`counts::read_counts`] as of the last write, or as it was asked for.
    counts: Option<String>,
    active: Active,
    /// When both were asked for last: since then each write tells what it changes.
    asked_at: Option<Millis>,
    /// What the other shards know, as was last told.
    elsewhere: Vec<Gauges>,
    /// Of what is not asked of the store each time.
    kept: Kept,
    waiting: Vec<(RequestId, Api)>,
}

impl Desk {
    /// Who was the first of those who wait for this.
    pub fn asked_by(&self, api: Api) -> Option<RequestId> {
        self.waiting.iter().find(|(_, waiting)| *waiting == api).map(|(request, _)| *request)
    }

    /// What the other shards know.
    pub fn elsewhere(&self) -> &[Gauges] {
        &self.elsewhere
    }

    /// A write to the store has told its counts and who is more active now, each with a slot; without
    /// counts nothing is known.
    pub fn written(&mut self, counts: Option<String>, active: Vec<(PublicKey, u64)>) {
        self.writes += 1;
        self.counts = counts;
        active.into_iter().for_each(|(key, slot)| self.active.note(key, slot));
    }

    /// A key has vanished.
    pub fn vanished(&mut self, key: &PublicKey) {
        self.active.remove(key);
    }

    fn keep(&mut self, api: Api, body: String, now: Millis) -> Rc<str> {
        let body: Rc<str> = body.into();
        self.kept.keep(api, body.clone(), now, KEPT_FRESH);
        body
    }
}

impl Relay {
    pub(super) fn requested(
        &mut self,
        request: RequestId,
        api: Api,
        elsewhere: Vec<Gauges>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        self.desk.elsewhere = elsewhere;
        if let Some(body) = self.known(api, now) {
            return out.push(Effect::Respond { request, status: 200, body });
        }
        let asked = self.desk.asked_by(api).is_some();
        self.desk.waiting.push((request, api));
        if asked {
            return;
        }
        let seconds = now / 1000;
        let statements = match api {
            Api::Stats | Api::Metrics => vec![counts::read_counts(), market::active(seconds)],
            Api::History(step) => history::read(step, seconds),
            Api::Handlers(kind) => {
                let online = self.all_gauges().providing;
                market::handlers(kind, online.iter().take(MAX_ONLINE), seconds)
            }
        };
        self.query(Purpose::Api(api, self.desk.writes), statements, now, out);
    }

    pub(super) fn api_answered(
        &mut self,
        api: Api,
        writes: u64,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let (status, body) = match result.and_then(|rows| self.keep(api, writes, &rows, now)) {
            Ok(body) => (200, body),
            // What is in memory is told all the same: an operator looks when things are broken.
            Err(_) if matches!(api, Api::Stats | Api::Metrics) => (200, self.reported(api, now)),
            Err(error) => (503, http::error_body(&format!("database: {error}")).into()),
        };
        let waiting = std::mem::take(&mut self.desk.waiting);
        let (answered, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, waiting)| *waiting == api);
        self.desk.waiting = waiting;
        let respond = |(request, _)| Effect::Respond { request, status, body: body.clone() };
        out.extend(answered.into_iter().map(respond));
    }

    /// Keeps what the store said when it had been written to so often, and answers with it.
    fn keep(&mut self, api: Api, writes: u64, rows: &Rows, now: Millis) -> Result<Rc<str>, StoreError> {
        match api {
            Api::Stats | Api::Metrics => {
                let [counts, active] = rows.as_slice() else {
                    return Err(StoreError::new("the counts were answered with another number of results"));
                };
                counts::decode_counts(counts.first())?;
                // What a write since has told is later.
                if self.desk.counts.is_none() || writes == self.desk.writes {
                    self.desk.counts = counts.first().cloned();
                }
                self.desk.active.add(active, now / 1000);
                self.desk.asked_at = Some(now);
                Ok(self.reported(api, now))
            }
            Api::Handlers(kind) => {
                let body = self.ranked(kind, &market::decode_handlers(rows)?, now);
                Ok(self.desk.keep(api, body, now))
            }
            Api::History(step) => {
                let points = history::decode(rows)?;
                let body = serde_json::json!({ "version": 1, "step_seconds": step.seconds(), "points": points });
                Ok(self.desk.keep(api, body.to_string(), now))
            }
        }
    }

    /// The report, with what the store has told last if it has been asked.
    fn reported(&mut self, api: Api, now: Millis) -> Rc<str> {
        let counts = self.desk.asked_at.and_then(|_| counts::decode_counts(self.desk.counts.as_ref()).ok());
        let active = self.desk.active.count(now / 1000);
        let report = self.report(counts.map(|counts| (counts, active)), now);
        match api {
            Api::Metrics => metrics::text(&report).into(),
            _ => serde_json::to_string(&report).unwrap_or_default().into(),
        }
    }

    /// The answer, when what the store said of it is fresh.
    fn known(&mut self, api: Api, now: Millis) -> Option<Rc<str>> {
        match api {
            Api::Stats | Api::Metrics => {
                let at = self.desk.asked_at.filter(|_| self.desk.counts.is_some())?;
                let fresh = at >= self.doubt_until || now.saturating_sub(at) <= DOUBTFUL_FRESH;
                fresh.then(|| self.reported(api, now))
            }
            Api::Handlers(_) | Api::History(_) => self.desk.kept.get(api, now, KEPT_FRESH),
        }
    }

    fn ranked(&self, kind: u16, handlers: &Handlers, now: Millis) -> String {
        let online = self.all_gauges().online;
        let candidate = |found: &market::Found| {
            let pubkey = found.event.pubkey;
            let votes = handlers.votes.get(&pubkey).map(Vec::as_slice).unwrap_or_default();
            let online = online.contains(&pubkey);
            Candidate {
                pubkey,
                event: found.event.clone(),
                record: found.record.clone(),
                reputation: reputation::tally(&pubkey, votes),
                online,
                last_seen: if online { Some(now / 1000) } else { found.record.last_active },
            }
        };
        let ranked = handler::rank(handlers.found.iter().map(candidate).collect());
        serde_json::json!({ "version": 1, "kind": kind, "handlers": ranked }).to_string()
    }
}
