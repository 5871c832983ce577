//! Questions over HTTP that need the engine: `/api/stats`, `/metrics`, `/api/handlers`, `/api/history`, `/health`.
//! What the store says is kept for a moment, so that many who look cost no more than one. The store is asked one of
//! these questions at a time, so that those of clients wait for one at the most; what can be asked in many ways is
//! paid by the guests of the network that asks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use super::charge::Payer;
use super::gauges::Gauges;
use super::{Effect, Kept, Level, Millis, Purpose, Relay, TurnedAway, http, metrics};
use crate::market::handler::{self, Candidate};
use crate::market::reputation;
use crate::nostr::{PublicKey, refusal};
use crate::store::counts;
use crate::store::history::{self, Step};
use crate::store::market::{self, Active, Found};
use crate::store::schema::{self, Schema};
use crate::store::{Rows, Statement, StoreError, sweep};

/// Milliseconds for which counts are believed while something may have landed that nobody was told of.
const DOUBTFUL_FRESH: Millis = 60_000;
/// Milliseconds for which an answer to `/api/handlers` and `/api/history` is kept.
const KEPT_FRESH: Millis = 15_000;
/// The same for `/health`.
const HEALTH_FRESH: Millis = 1000;
/// Requests that wait for an answer, and questions that wait for their turn at the store.
const MAX_WAITING: usize = 1000;
const MAX_IN_LINE: usize = 32;
/// Seconds after which to ask again when these are too many.
const RETRY_S: u64 = 2;
/// Providers that are here and whose handlers are looked at whatever others publish.
const MAX_ONLINE: usize = 4000;

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
    /// `/health`: whether the database answers and has the schema that this version needs.
    Health,
}

impl Api {
    /// Whether this is one of a few questions that everybody asks: together they ask the store little.
    pub(super) const fn is_shared(self) -> bool {
        !matches!(self, Self::Handlers(_))
    }
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
    /// Questions that wait for the store, each once, and who pays.
    line: VecDeque<(Api, Option<Payer>)>,
    /// The one that the store is being asked.
    asking: Option<(Api, Option<Payer>)>,
    /// Whether the database was seen to have the schema that is needed.
    schema_fits: bool,
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

    /// Bytes of answers that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// A key has vanished.
    pub fn vanished(&mut self, key: &PublicKey) {
        self.active.remove(key);
    }

    fn keep(&mut self, api: Api, body: String, now: Millis) -> Rc<str> {
        let body: Rc<str> = body.into();
        self.kept.keep(api, body.clone(), now);
        body
    }

    fn is_asked(&self, api: Api) -> bool {
        self.asking.iter().chain(&self.line).any(|(asked, _)| *asked == api)
    }
}

impl Relay {
    pub(super) fn requested(
        &mut self,
        request: RequestId,
        api: Api,
        ip: Option<&str>,
        elsewhere: Vec<Gauges>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        self.desk.elsewhere = elsewhere;
        if let Some(body) = self.known(api, now) {
            return out.push(Effect::Respond { request, status: 200, body, retry_after_s: None });
        }
        let may_wait = match self.desk.is_asked(api) {
            true if self.desk.waiting.len() < MAX_WAITING => Ok(()),
            false if self.desk.line.len() < MAX_IN_LINE || api.is_shared() => {
                self.may_ask(api, ip, now).map(|payer| match payer {
                    // What everybody shares does not wait for what one has thought of.
                    None => self.desk.line.push_front((api, None)),
                    payer => self.desk.line.push_back((api, payer)),
                })
            }
            _ => Err(TurnedAway {
                status: 503,
                reason: refusal::too_many_requests(RETRY_S),
                retry_after_s: Some(RETRY_S),
            }),
        };
        match may_wait {
            Ok(()) => {
                self.desk.waiting.push((request, api));
                self.ask_next_request(now, out);
            }
            Err(TurnedAway { status, reason, retry_after_s }) => {
                let body = http::error_body(&reason).into();
                out.push(Effect::Respond { request, status, body, retry_after_s });
            }
        }
    }

    /// Asks the store the next question, unless it is being asked one.
    fn ask_next_request(&mut self, now: Millis, out: &mut Vec<Effect>) {
        while self.desk.asking.is_none()
            && let Some((api, payer)) = self.desk.line.pop_front()
        {
            if let Some(body) = self.known(api, now) {
                self.respond(api, 200, &body, out);
                continue;
            }
            let statements = self.statements(api, now);
            self.desk.asking = Some((api, payer));
            self.query(Purpose::Api(api, self.desk.writes), statements, now, out);
        }
    }

    fn statements(&self, api: Api, now: Millis) -> Vec<Statement> {
        let seconds = now / 1000;
        match api {
            Api::Stats | Api::Metrics => vec![counts::read_counts(), market::active(seconds)],
            Api::History(step) => history::read(step, seconds),
            Api::Handlers(kind) => {
                let online = self.all_gauges().providing;
                let online = online.iter().map(|(_, key)| key).take(MAX_ONLINE);
                let mut statements = market::handlers(kind, online, seconds);
                if !self.handlers.announced_at().is_some_and(|at| self.is_believed(at, now)) {
                    statements.push(market::announced());
                }
                statements
            }
            Api::Health if self.desk.schema_fits => counts::read_totals(),
            Api::Health => vec![Schema::read()],
        }
    }

    /// Answers all who wait for this.
    fn respond(&mut self, api: Api, status: u16, body: &Rc<str>, out: &mut Vec<Effect>) {
        let respond = |(request, _)| Effect::Respond { request, status, body: body.clone(), retry_after_s: None };
        out.extend(self.desk.waiting.extract_if(.., |(_, waiting)| *waiting == api).map(respond));
    }

    /// The store has answered a question that was asked at a time and read so many rows.
    pub(super) fn api_answered(
        &mut self,
        (api, writes, asked_at): (Api, u64, Millis),
        rows_read: u64,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if let Some((_, Some(payer))) = self.desk.asking.take() {
            self.pay_rows(payer, rows_read, now);
        }
        let (status, body) = match result.and_then(|rows| self.keep(api, writes, asked_at, rows, now)) {
            Ok(body) => (200, body),
            // What is in memory is told all the same: an operator looks when things are broken.
            Err(_) if matches!(api, Api::Stats | Api::Metrics) => (200, self.reported(api, now)),
            Err(error) => (503, http::error_body(&format!("database: {error}")).into()),
        };
        self.respond(api, status, &body, out);
        self.ask_next_request(now, out);
    }

    /// The statements a relay asks when it wakes: where memory does not last nobody has looked at the schema before.
    pub(super) fn waking_statements(&self) -> Vec<Statement> {
        let looks = !self.host.lasting && !self.desk.schema_fits;
        counts::read_totals().into_iter().chain([sweep::due()]).chain(looks.then(Schema::read)).collect()
    }

    /// Takes up what the database has, if it was asked for that after the totals; a difference is logged.
    pub(super) fn note_schema(&mut self, rows: &Rows, out: &mut Vec<Effect>) {
        let Some(found) = rows.get(2) else { return };
        match schema::check(found) {
            Ok(()) => self.desk.schema_fits = true,
            Err(error) => {
                self.log(Level::Error, "the database cannot be relied on", &[("error", error.to_string())], out);
            }
        }
    }

    /// Keeps what the store said when it had been written to so often, and answers with it.
    fn keep(
        &mut self,
        api: Api,
        writes: u64,
        asked_at: Millis,
        mut rows: Rows,
        now: Millis,
    ) -> Result<Rc<str>, StoreError> {
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
                for announced in rows.drain(1.min(rows.len())..) {
                    let (kinds, all) = market::decode_announced(&announced);
                    self.handlers.learn_announced(kinds, all, asked_at);
                }
                let body = self.ranked(kind, market::decode_handlers(&rows)?, now);
                Ok(self.desk.keep(api, body, now))
            }
            Api::Health => {
                // It may have been seen to fit since this was asked.
                if !self.desk.schema_fits {
                    schema::check(rows.first().map(Vec::as_slice).unwrap_or_default())?;
                    // Where memory lasts the schema may change under it.
                    self.desk.schema_fits = !self.host.lasting;
                }
                Ok(self.desk.keep(api, r#"{"status":"ok"}"#.to_owned(), now))
            }
            Api::History(step) => {
                let points = history::decode(&rows)?;
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
                self.is_believed(at, now).then(|| self.reported(api, now))
            }
            Api::Handlers(kind) => {
                let at = self.handlers.announced_at().filter(|_| self.handlers.has_none(kind));
                if at.is_some_and(|at| self.is_believed(at, now)) {
                    return Some(self.ranked(kind, Vec::new(), now).into());
                }
                self.desk.kept.get(api, now, KEPT_FRESH)
            }
            Api::History(_) => self.desk.kept.get(api, now, KEPT_FRESH),
            Api::Health => self.desk.kept.get(api, now, HEALTH_FRESH),
        }
    }

    /// Whether what the store said at a time, and what was told since, is the whole truth, or nearly.
    fn is_believed(&self, at: Millis, now: Millis) -> bool {
        at >= self.doubt_until || now.saturating_sub(at) <= DOUBTFUL_FRESH
    }

    fn ranked(&self, kind: u16, found: Vec<Found>, now: Millis) -> String {
        let online = self.all_gauges().online;
        let candidate = |found: Found| {
            let online = online.contains(&found.event.pubkey);
            Candidate {
                pubkey: found.event.pubkey,
                reputation: reputation::tally(&found.votes),
                online,
                last_seen: if online { Some(now / 1000) } else { found.record.last_active },
                event: found.event,
                record: found.record,
            }
        };
        let ranked = handler::rank(found.into_iter().map(candidate).collect());
        serde_json::json!({ "version": 1, "kind": kind, "handlers": ranked }).to_string()
    }
}
