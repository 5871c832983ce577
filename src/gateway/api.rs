//! Questions over HTTP: `/api/stats`, `/metrics`, `/api/handlers`, `/api/history`, `/api/jobs`, `/health`.
//! Answers are kept for a moment, so that many who look cost no more than one. The partition's database is asked one of
//! these questions at a time, so that those of clients wait for one at the most; what can be asked in many ways is
//! paid by the guests of the network that asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use super::charge::Payer;
use super::{Gateway, SharedAnswers, TurnedAway, access, http, job_report, metrics};
use crate::market::handler::{self, Candidate};
use crate::market::history;
use crate::market::reputation;
use crate::message::{Asked, Counts, Facts, Found, JobRows, ONLINE_MAX, PartitionGauges, Snapshot, Step, StoreError};
use crate::nostr::{EventId, PublicKey, refusal};
use crate::seam::{Effect, Millis, Ticket};
use crate::trees::Gather;

/// Milliseconds for which an answer to `/api/handlers` and `/api/history` is kept.
const KEPT_FRESH: Millis = 15_000;
/// The same for `/api/jobs`, which somebody may wait for, and for `/health`.
const JOB_FRESH: Millis = 2000;
const HEALTH_FRESH: Millis = 1000;
/// Requests that wait for an answer, and questions that wait for their turn at the store.
const MAX_WAITING: usize = 1000;
const MAX_IN_LINE: usize = 32;
/// Seconds after which to ask again when these are too many.
const RETRY_S: u64 = 2;

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
    /// `/api/jobs/ID`, as it is shown to who has proven this key.
    Job(EventId, Option<PublicKey>),
    /// `/health`: whether the database answers and has the schema that this version needs.
    Health,
}

impl Api {
    /// Whether this is one of a few questions that everybody asks: together they ask the store little.
    pub(super) const fn is_shared(self) -> bool {
        !matches!(self, Self::Handlers(_) | Self::Job(..))
    }

    /// The same, asked by who has proven a key, or none.
    pub const fn by(self, key: Option<PublicKey>) -> Self {
        match self {
            Self::Job(job, _) => Self::Job(job, key),
            other => other,
        }
    }
}

/// Somebody who asks what the partition may know without its database.
#[derive(Debug)]
struct Asking {
    request: RequestId,
    api: Api,
    ip: Option<String>,
}

/// What the partition is being asked.
#[derive(Debug)]
enum Of {
    /// Whether it knows this without its database.
    Known(Asking),
    /// What the database says.
    Database(Api, Option<Payer>),
}

/// Answers that are kept, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct HttpRequests {
    /// What the partition knew beside its database when it last told.
    pub partition: PartitionGauges,
    /// Of what is not asked of the store each time.
    kept: SharedAnswers,
    waiting: Vec<(RequestId, Api)>,
    /// Questions that wait for the store, each once, and who pays.
    line: VecDeque<(Api, Option<Payer>)>,
    /// What the partition has not answered.
    asked: BTreeMap<Ticket, Of>,
}

impl HttpRequests {
    /// Bytes of answers that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    fn keep(&mut self, api: Api, body: String, now: Millis) -> Rc<str> {
        let body: Rc<str> = body.into();
        self.kept.keep(api, body.clone(), now);
        body
    }

    /// What the database is being asked.
    fn database(&self) -> Option<Api> {
        self.asked.values().find_map(|of| match of {
            Of::Database(api, _) => Some(*api),
            Of::Known(_) => None,
        })
    }

    fn is_asked(&self, api: Api) -> bool {
        self.database() == Some(api) || self.line.iter().any(|(asked, _)| *asked == api)
    }
}

impl Gateway {
    pub(super) fn requested(
        &mut self,
        request: RequestId,
        api: Api,
        ip: Option<&str>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let fresh = match api {
            Api::Health => HEALTH_FRESH,
            Api::Job(..) => JOB_FRESH,
            _ => KEPT_FRESH,
        };
        if let Some(body) = self.requests.kept.get(api, now, fresh) {
            return out.push(Effect::Respond { request, status: 200, body, retry_after_s: None });
        }
        let asking = Asking { request, api, ip: ip.map(str::to_owned) };
        match api {
            Api::Stats | Api::Metrics | Api::Handlers(_) => self.ask_partition(Of::Known(asking), api),
            Api::History(_) | Api::Job(..) | Api::Health => self.wait(asking, now, out),
        }
    }

    fn ask_partition(&mut self, of: Of, api: Api) {
        let asked = match api {
            Api::Stats | Api::Metrics => Asked::Counts,
            Api::History(step) => Asked::History(step),
            Api::Health => Asked::Health,
            Api::Job(job, _) => Asked::Job(job),
            Api::Handlers(kind) => {
                Asked::Handlers(kind, self.present().iter().map(|provider| provider.key).take(ONLINE_MAX).collect())
            }
        };
        let (ticket, database) = (self.next_ticket(), matches!(of, Of::Database(..)));
        self.requests.asked.insert(ticket, of);
        self.partitions.ask(ticket, asked, database);
    }

    /// Has somebody wait until the database is asked, if he may.
    fn wait(&mut self, Asking { request, api, ip }: Asking, now: Millis, out: &mut Vec<Effect>) {
        let may_wait = match self.requests.is_asked(api) {
            true if self.requests.waiting.len() < MAX_WAITING => Ok(()),
            false if self.requests.line.len() < MAX_IN_LINE || api.is_shared() => {
                self.may_ask(api, ip.as_deref(), now).map(|payer| match payer {
                    // What everybody shares does not wait for what one has thought of.
                    None => self.requests.line.push_front((api, None)),
                    payer => self.requests.line.push_back((api, payer)),
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
                self.requests.waiting.push((request, api));
                self.ask_next_request();
            }
            Err(TurnedAway { status, reason, retry_after_s }) => {
                let body = http::error_body(&reason).into();
                out.push(Effect::Respond { request, status, body, retry_after_s });
            }
        }
    }

    /// Asks the next question, unless the database is being asked one.
    fn ask_next_request(&mut self) {
        if self.requests.database().is_none()
            && let Some((api, payer)) = self.requests.line.pop_front()
        {
            self.ask_partition(Of::Database(api, payer), api);
        }
    }

    /// Answers all who wait for this.
    fn respond(&mut self, api: Api, status: u16, body: &Rc<str>, out: &mut Vec<Effect>) {
        let respond = |(request, _)| Effect::Respond { request, status, body: body.clone(), retry_after_s: None };
        out.extend(self.requests.waiting.extract_if(.., |(_, waiting)| *waiting == api).map(respond));
    }

    /// The partition has answered.
    pub(super) fn facts_told(
        &mut self,
        ticket: Ticket,
        facts: Option<Result<Facts, StoreError>>,
        rows_read: u64,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(facts) = self.management_told(ticket, facts, out) else { return };
        match (self.requests.asked.remove(&ticket), facts) {
            (Some(Of::Known(asking)), Some(Ok(facts))) => {
                let body = self.body(asking.api, facts, now).into();
                out.push(Effect::Respond { request: asking.request, status: 200, body, retry_after_s: None });
            }
            (Some(Of::Known(asking)), _) => self.wait(asking, now, out),
            (Some(Of::Database(api, payer)), facts) => {
                if let Some(payer) = payer {
                    self.pay_rows(payer, rows_read, now);
                }
                let facts = facts.unwrap_or_else(|| Err(StoreError::new("it gave no answer")));
                if let Err(error) = &facts {
                    let request = self.requests.waiting.iter().find(|(_, waiting)| *waiting == api);
                    let request = request.map(|(request, _)| request.to_string()).unwrap_or_default();
                    self.log_failed(error, ("request", request), out);
                }
                let (status, body) = match (facts, api) {
                    (Ok(facts), Api::Stats | Api::Metrics) => (200, self.body(api, facts, now).into()),
                    (Ok(Facts::Job(None)), _) => (404, http::error_body(http::NO_JOB).into()),
                    (Ok(Facts::Job(Some(rows))), Api::Job(job, key)) => match self.told_of(&job, &rows, key, now) {
                        Ok(body) => (200, self.requests.keep(api, body, now)),
                        Err(away) => (away.status, http::error_body(&away.reason).into()),
                    },
                    (Ok(facts), _) => {
                        let body = self.body(api, facts, now);
                        (200, self.requests.keep(api, body, now))
                    }
                    // What is in memory is told all the same: an operator looks when things are broken.
                    (Err(_), Api::Stats | Api::Metrics) => (200, self.reported(api, None, now).into()),
                    (Err(error), _) => (503, http::error_body(&format!("database: {error}")).into()),
                };
                self.respond(api, status, &body, out);
                self.ask_next_request();
            }
            (None, _) => {}
        }
    }

    fn body(&self, api: Api, facts: Facts, now: Millis) -> String {
        match facts {
            Facts::Counts(counts, active, moments) => self.reported(api, Some((*counts, active, moments)), now),
            Facts::Handlers(found, elsewhere) => match api {
                Api::Handlers(kind) => self.ranked(kind, found, elsewhere, now),
                _ => String::new(),
            },
            Facts::History(snapshots) => {
                let points = history::points(snapshots);
                let seconds = match api {
                    Api::History(step) => step.seconds(),
                    _ => 0,
                };
                serde_json::json!({ "version": 1, "step_seconds": seconds, "points": points }).to_string()
            }
            // Partitions say this to each other's gateway alone, the management API asks these, and a job is told by what it is
            // to who asks.
            Facts::Records(_) | Facts::Moderation(_) | Facts::Seen(_) | Facts::Cancelled(_) | Facts::Job(_) => {
                String::new()
            }
            Facts::Healthy => r#"{"status":"ok"}"#.to_owned(),
        }
    }

    /// What is told of a job to who has proven this key, or none.
    fn told_of(
        &self,
        job: &EventId,
        rows: &JobRows,
        key: Option<PublicKey>,
        now: Millis,
    ) -> Result<String, TurnedAway> {
        let kept = self.config.retention.of_jobs(&self.config.profile);
        let found = rows.read(&kept, now / 1000).ok_or_else(|| TurnedAway {
            status: 503,
            reason: "database: a job cannot be read".to_owned(),
            retry_after_s: None,
        })?;
        let found = &found;
        let is_party = job_report::is_party(found, key.as_ref());
        match access::hides_job(&self.config, key.as_ref(), is_party) {
            None => Ok(job_report::text(job, found, key.as_ref(), now)),
            Some(away) => Err(away),
        }
    }

    /// The report, with what the store has counted, how many providers are active, and the last minute, if that is known.
    fn reported(&self, api: Api, counts: Option<(Counts, u64, Vec<Snapshot>)>, now: Millis) -> String {
        let report = self.report(counts, now);
        match api {
            Api::Metrics => metrics::text(&report),
            _ => serde_json::to_string(&report).unwrap_or_default(),
        }
    }

    fn ranked(&self, kind: u16, found: Vec<Found>, elsewhere: Vec<PublicKey>, now: Millis) -> String {
        let here = self.present().into_iter().map(|provider| provider.key);
        let online: BTreeSet<PublicKey> = here.chain(elsewhere).gather();
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
