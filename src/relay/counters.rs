//! What the relay has counted since it woke, and the report made of it for `/api/stats`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::conn::Conn;
use super::{ConnId, Millis};
use crate::nostr::Prefix;
use crate::store::write::Totals;

/// The version of the report's form.
const REPORT_VERSION: u32 = 1;

/// Counters in memory; what must survive is in [`Totals`].
#[derive(Debug, Default)]
pub struct Counters {
    woke_at: Millis,
    /// Connections ever opened.
    pub opened: u64,
    /// Events accepted, ephemeral ones among them.
    pub accepted: u64,
    /// Events that were here already.
    pub duplicates: u64,
    rejected: BTreeMap<Prefix, u64>,
    /// Events sent to subscribers.
    pub events_sent: u64,
    /// AUTH events accepted.
    pub auth_accepted: u64,
    /// AUTH events refused.
    pub auth_rejected: u64,
    /// REQs refused.
    pub refused_reqs: u64,
    /// In frames from clients.
    pub bytes_received: u64,
    /// In frames to clients.
    pub bytes_sent: u64,
    /// The store.
    pub storage: Storage,
}

/// How the store has answered.
#[derive(Debug, Default)]
pub struct Storage {
    commits: Latency,
    queries: Latency,
}

/// Answers of one sort; milliseconds.
#[derive(Debug, Default, Serialize)]
struct Latency {
    count: u64,
    failed: u64,
    last_ms: Millis,
    max_ms: Millis,
    total_ms: Millis,
}

impl Latency {
    fn add(&mut self, took: Millis, succeeded: bool) {
        self.count += 1;
        self.failed += u64::from(!succeeded);
        self.last_ms = took;
        self.max_ms = self.max_ms.max(took);
        self.total_ms += took;
    }
}

impl Storage {
    /// A group was answered after so many milliseconds.
    pub fn committed(&mut self, took: Millis, succeeded: bool) {
        self.commits.add(took, succeeded);
    }

    /// A query was answered after so many milliseconds.
    pub fn answered(&mut self, took: Millis, succeeded: bool) {
        self.queries.add(took, succeeded);
    }
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    uptime_seconds: u64,
    connections: Connections,
    subscriptions: usize,
    auth: Auth,
    events: Events,
    jobs: Option<Jobs>,
    reqs_refused: u64,
    bytes: Bytes,
    storage: StorageReport<'a>,
}

#[derive(Serialize)]
struct Connections {
    open: usize,
    authenticated: usize,
    opened: u64,
}

#[derive(Serialize)]
struct Auth {
    accepted: u64,
    rejected: u64,
}

#[derive(Serialize)]
struct Events {
    accepted: u64,
    duplicate: u64,
    rejected: BTreeMap<&'static str, u64>,
    sent: u64,
    stored: Option<u64>,
}

#[derive(Serialize)]
struct Jobs {
    requested: u64,
    with_feedback: u64,
    with_result: u64,
}

#[derive(Serialize)]
struct Bytes {
    received: u64,
    sent: u64,
}

#[derive(Serialize)]
struct StorageReport<'a> {
    commits: &'a Latency,
    queries: &'a Latency,
}

impl Counters {
    /// Counters of a relay that wakes now.
    pub fn new(now: Millis) -> Self {
        Self { woke_at: now, ..Self::default() }
    }

    /// An event was refused.
    pub fn rejected(&mut self, prefix: Prefix) {
        *self.rejected.entry(prefix).or_default() += 1;
    }

    /// The report as JSON; totals that are not known yet are null.
    pub fn report(&self, now: Millis, totals: Option<Totals>, conns: &BTreeMap<ConnId, Conn>) -> String {
        let report = Report {
            version: REPORT_VERSION,
            uptime_seconds: now.saturating_sub(self.woke_at) / 1000,
            connections: Connections {
                open: conns.len(),
                authenticated: conns.values().filter(|conn| !conn.keys.is_empty()).count(),
                opened: self.opened,
            },
            subscriptions: conns.values().map(|conn| conn.subs.len()).sum(),
            auth: Auth { accepted: self.auth_accepted, rejected: self.auth_rejected },
            events: Events {
                accepted: self.accepted,
                duplicate: self.duplicates,
                rejected: Prefix::ALL
                    .into_iter()
                    .map(|prefix| (prefix.as_str(), self.rejected.get(&prefix).copied().unwrap_or_default()))
                    .collect(),
                sent: self.events_sent,
                stored: totals.map(|totals| totals.stored),
            },
            jobs: totals.map(|totals| Jobs {
                requested: totals.requested,
                with_feedback: totals.with_feedback,
                with_result: totals.with_result,
            }),
            reqs_refused: self.refused_reqs,
            bytes: Bytes { received: self.bytes_received, sent: self.bytes_sent },
            storage: StorageReport { commits: &self.storage.commits, queries: &self.storage.queries },
        };
        serde_json::to_string(&report).unwrap_or_default()
    }
}
