//! Questions over HTTP that need the engine: `/api/stats` and `/api/handlers`. What the store says is
//! kept for a moment, so that many who look cost no more than one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Effect, Millis, Purpose, Relay, http};
use crate::market::handler::{self, Candidate};
use crate::market::reputation;
use crate::nostr::PublicKey;
use crate::store::counts::{self, Counts};
use crate::store::market::{self, Handlers};
use crate::store::{Rows, StoreError};

/// Milliseconds for which counts answer `/api/stats` while no event comes.
const STATS_FRESH: Millis = 60_000;
/// Milliseconds for which handlers of a kind answer `/api/handlers`.
const HANDLERS_FRESH: Millis = 15_000;
/// Kinds whose handlers are kept, and the bytes of all their answers.
const MAX_KINDS: usize = 64;
const MAX_KEPT: usize = 8_000_000;
/// Providers that are here and whose handlers are listed whatever others publish.
const MAX_ONLINE: usize = 200;

/// Names an HTTP request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What an HTTP request asks of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/api/stats`
    Stats,
    /// `/api/handlers?k=…`
    Handlers(u16),
}

/// Answers of the store that are kept, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Desk {
    counts: Option<Known>,
    /// By kind: when it was asked, and the answer.
    handlers: BTreeMap<u16, (Millis, Rc<str>)>,
    waiting: Vec<(RequestId, Api)>,
}

/// What the store has counted.
#[derive(Debug)]
struct Known {
    at: Millis,
    /// The log when it was asked.
    upto: u64,
    counts: Counts,
    active_providers: u64,
}

impl Desk {
    fn waits(&self, api: Api) -> bool {
        self.waiting.iter().any(|(_, waiting)| *waiting == api)
    }
}

impl Relay {
    pub(super) fn requested(&mut self, request: RequestId, api: Api, now: Millis, out: &mut Vec<Effect>) {
        if let Some(body) = self.known(api, now) {
            return out.push(Effect::Respond { request, status: 200, body });
        }
        let asked = self.desk.waits(api);
        self.desk.waiting.push((request, api));
        if asked {
            return;
        }
        let seconds = now / 1000;
        let statements = match api {
            Api::Stats => vec![counts::read_counts(), market::active_providers(seconds)],
            Api::Handlers(kind) => {
                let online: BTreeSet<PublicKey> =
                    self.conns.values().flat_map(|state| &state.providers).copied().collect();
                market::handlers(kind, online.iter().take(MAX_ONLINE), seconds)
            }
        };
        self.query(Purpose::Api(api, self.writer.told()), statements, now, out);
    }

    pub(super) fn api_answered(
        &mut self,
        api: Api,
        upto: u64,
        result: Result<Rows, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let (status, body) = match result.and_then(|rows| self.keep(api, upto, &rows, now)) {
            Ok(body) => (200, body),
            // What is in memory is told all the same: an operator looks when things are broken.
            Err(_) if api == Api::Stats => (200, self.stats(now).into()),
            Err(error) => (503, http::error_body(&format!("database: {error}")).into()),
        };
        let waiting = std::mem::take(&mut self.desk.waiting);
        let (answered, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, waiting)| *waiting == api);
        self.desk.waiting = waiting;
        let respond = |(request, _)| Effect::Respond { request, status, body: body.clone() };
        out.extend(answered.into_iter().map(respond));
    }

    /// Keeps what the store said, and answers with it.
    fn keep(&mut self, api: Api, upto: u64, rows: &Rows, now: Millis) -> Result<Rc<str>, StoreError> {
        match api {
            Api::Stats => {
                let active = rows.last().and_then(|rows| rows.first()).and_then(|row| row.parse().ok());
                let (counts, active_providers) = (counts::decode_counts(rows)?, active.unwrap_or_default());
                self.desk.counts = Some(Known { at: now, upto, counts, active_providers });
                Ok(self.stats(now).into())
            }
            Api::Handlers(kind) => {
                let body: Rc<str> = self.ranked(kind, &market::decode_handlers(rows)?, now).into();
                let kept = &mut self.desk.handlers;
                kept.retain(|_, (at, _)| now.saturating_sub(*at) <= HANDLERS_FRESH);
                let bytes: usize = kept.values().map(|(_, body)| body.len()).sum();
                if kept.len() < MAX_KINDS && bytes + body.len() <= MAX_KEPT {
                    kept.insert(kind, (now, body.clone()));
                }
                Ok(body)
            }
        }
    }

    /// The report, with the counts the store has told last.
    fn stats(&self, now: Millis) -> String {
        let known = self.desk.counts.as_ref();
        self.counters.report(now, known.map(|known| (&known.counts, known.active_providers)), &self.conns)
    }

    /// The answer, when what the store said of it is fresh.
    fn known(&self, api: Api, now: Millis) -> Option<Rc<str>> {
        match api {
            Api::Stats => {
                let known = self.desk.counts.as_ref()?;
                let fresh = known.upto == self.writer.told() && now.saturating_sub(known.at) <= STATS_FRESH;
                fresh.then(|| self.stats(now).into())
            }
            Api::Handlers(kind) => {
                let (at, body) = self.desk.handlers.get(&kind)?;
                (now.saturating_sub(*at) <= HANDLERS_FRESH).then(|| body.clone())
            }
        }
    }

    fn ranked(&self, kind: u16, handlers: &Handlers, now: Millis) -> String {
        let online: BTreeSet<PublicKey> = self.conns.values().flat_map(|state| state.keys.iter().copied()).collect();
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
