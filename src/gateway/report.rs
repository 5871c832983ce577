//! The form of `/api/stats`, and the keys under which the engine's own counts are kept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::class::Metered;
use crate::calendar::{DAY_MS, civil, month};
use crate::market::State;
use crate::market::histogram::{self, Histogram};
use crate::market::reputation::round4;
use crate::message::{self, Counts, ErrorKind, GatewayGauges, Latency, PartitionGauges, Snapshot, metered_keys};
use crate::nostr::Prefix;
use crate::seam::Millis;
use crate::trees::Gather;

/// The version of the report's form.
const VERSION: u32 = 2;
/// Dollars for a million rows read and written on D1 and for a GB kept a month, and how much of each the
/// paid plan includes.
const READ_PRICE: f64 = 0.001;
const WRITE_PRICE: f64 = 1.0;
const GB_PRICE: f64 = 0.75;
const READ_INCLUDED: f64 = 25e9;
const WRITE_INCLUDED: f64 = 50e6;
const BYTES_INCLUDED: f64 = 5e9;

/// The key of refused events.
pub(super) fn rejected(prefix: Prefix) -> String {
    format!("x {}", prefix.as_str())
}

/// The key of exceeded quotas.
pub(super) fn limited(metered: Metered) -> String {
    format!("l {}", metered.as_str())
}

/// The whole report.
#[derive(Serialize)]
pub(super) struct Report {
    version: u32,
    uptime_seconds: u64,
    since: u64,
    connections: Connections,
    subscriptions: usize,
    auth: Auth,
    events: Events,
    jobs: Option<Jobs>,
    providers: Option<Providers>,
    reqs_refused: u64,
    rate_limited: BTreeMap<&'static str, i64>,
    bytes: Bytes,
    memory: Memory,
    storage: Storage,
    /// Unix seconds, events stored by then, and jobs in each state then, in the order of the states.
    moments: Vec<Vec<i64>>,
}

#[derive(Serialize)]
struct Connections {
    open: usize,
    authenticated: usize,
    providers: usize,
    opened: u64,
}

#[derive(Serialize)]
struct Auth {
    accepted: u64,
    rejected: u64,
}

#[derive(Serialize)]
struct Events {
    stored: Option<u64>,
    by_kind: BTreeMap<String, i64>,
    rejected: BTreeMap<&'static str, i64>,
    accepted: u64,
    duplicate: u64,
    sent: u64,
}

#[derive(Serialize)]
struct Jobs {
    requested: i64,
    states: BTreeMap<&'static str, i64>,
    by_kind: BTreeMap<String, BTreeMap<&'static str, i64>>,
    with_feedback: u64,
    with_result: u64,
    fill_rate: Option<f64>,
    time_to_feedback: Times,
    time_to_result: Times,
}

/// How long jobs took.
#[derive(Serialize)]
struct Times {
    #[serde(flatten)]
    histogram: histogram::Report,
    sum_ms: i64,
}

#[derive(Serialize)]
struct Providers {
    active_last_hour: u64,
}

#[derive(Serialize)]
struct Bytes {
    received: u64,
    sent: u64,
}

/// Bytes that clients have made the relay take, and may at the most, by what they are taken for.
#[derive(Serialize)]
struct Memory {
    used: BTreeMap<&'static str, usize>,
    max: BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
struct Storage {
    bytes: Option<u64>,
    /// What the operator allows, of all databases together.
    bytes_max: Option<u64>,
    commits: Latency,
    queries: Latency,
    /// By what was wrong.
    failures: BTreeMap<&'static str, u64>,
    from_memory: u64,
    rows: Rows,
    month_dollars: Dollars,
    month_dollars_above_included: f64,
}

/// Rows the database has metered in this month, and what the month will come to.
#[derive(Serialize)]
struct Rows {
    month: String,
    read: i64,
    written: i64,
    month_read: u64,
    month_written: u64,
    /// Taken from the allowance of today (UTC), and that allowance.
    today: u64,
    per_day: Option<u64>,
}

/// What a month comes to at D1's list price, by what it is charged for.
#[derive(Serialize)]
struct Dollars {
    rows: f64,
    bytes: Option<f64>,
}

impl Report {
    /// The report; without `active_providers` the store has not answered, and `counts` is the engine's
    /// own. `bytes_max` is how large the databases may become.
    pub fn new(
        gauges: &GatewayGauges,
        partition: &PartitionGauges,
        counts: &Counts,
        active_providers: Option<u64>,
        (moments, bytes_max): (&[Snapshot], Option<u64>),
        now: Millis,
    ) -> Self {
        let counters = &gauges.counted;
        let memory = partition.memory_with(gauges);
        let get = |key: &str| counts.counts.get(key).copied().unwrap_or_default();
        let [read, written] = metered_keys(month(now));
        let rows = Rows {
            today: partition.rows_today,
            per_day: partition.rows_per_day,
            ..rows(get(&read), get(&written), counts.since_ms, now)
        };
        Self {
            version: VERSION,
            uptime_seconds: now.saturating_sub(gauges.woke_at) / 1000,
            since: counts.since_ms / 1000,
            connections: Connections {
                open: gauges.open,
                authenticated: gauges.authenticated,
                providers: gauges.providers,
                opened: counters.opened,
            },
            subscriptions: gauges.subscriptions,
            auth: Auth { accepted: counters.auth_accepted, rejected: counters.auth_rejected },
            events: Events {
                stored: active_providers.map(|_| counts.stored),
                by_kind: of_letter(counts, "e ").map(|(kind, n)| (kind.to_owned(), n)).gather(),
                rejected: Prefix::ALL.into_iter().map(|p| (p.as_str(), get(&rejected(p)))).gather(),
                accepted: counters.accepted,
                duplicate: counters.duplicates,
                sent: counters.events_sent,
            },
            jobs: active_providers.map(|_| jobs(counts)),
            providers: active_providers.map(|active_last_hour| Providers { active_last_hour }),
            reqs_refused: counters.refused_reqs,
            rate_limited: Metered::ALL.into_iter().map(|metered| (metered.as_str(), get(&limited(metered)))).gather(),
            bytes: Bytes { received: counters.bytes_received, sent: counters.bytes_sent },
            memory: Memory {
                used: memory.iter().map(|(share, (used, _))| (*share, *used)).gather(),
                max: memory.into_iter().map(|(share, (_, max))| (share, max)).gather(),
            },
            storage: Storage { bytes_max, ..storage(&partition.storage, counters.from_memory, rows) },
            moments: moments.iter().map(moment).collect(),
        }
    }
}

/// The numbers of a moment, in a row.
fn moment(moment: &Snapshot) -> Vec<i64> {
    let states = State::ALL.into_iter().map(|state| moment.states.get(state.as_str()).copied().unwrap_or_default());
    [moment.at, moment.stored].map(u64::cast_signed).into_iter().chain(states).collect()
}

/// What was counted under keys that begin so, by the rest of the key.
fn of_letter<'a>(counts: &'a Counts, letter: &'a str) -> impl Iterator<Item = (&'a str, i64)> {
    counts.counts.iter().filter_map(move |(key, n)| Some((key.strip_prefix(letter)?, *n)))
}

fn jobs(counts: &Counts) -> Jobs {
    let mut by_kind: BTreeMap<String, BTreeMap<&'static str, i64>> = BTreeMap::new();
    let mut states: BTreeMap<&'static str, i64> = State::ALL.into_iter().map(|state| (state.as_str(), 0)).gather();
    for (name, n) in of_letter(counts, "j ") {
        let Some((kind, state)) = name.split_once(' ') else { continue };
        let Some(state) = State::ALL.into_iter().find(|known| known.as_str() == state) else { continue };
        if n != 0 {
            by_kind.entry(kind.to_owned()).or_default().insert(state.as_str(), n);
        }
        *states.entry(state.as_str()).or_default() += n;
    }
    let times = |letter| -> Histogram {
        let bucket = |(bucket, n): (&str, i64)| Some((bucket.parse().ok()?, u64::try_from(n).ok()?));
        of_letter(counts, letter).filter_map(bucket).collect()
    };
    let report = |times: &Histogram, sum: &str| Times {
        histogram: times.report(),
        sum_ms: counts.counts.get(sum).copied().unwrap_or_default(),
    };
    let (feedback, result) = (times("f "), times("r "));
    let requested: i64 = states.values().sum();
    Jobs {
        requested,
        states,
        by_kind,
        with_feedback: feedback.count(),
        with_result: result.count(),
        fill_rate: (requested > 0).then(|| round4(result.count() as f64 / requested as f64)),
        time_to_feedback: report(&feedback, "f sum"),
        time_to_result: report(&result, "r sum"),
    }
}

/// What this month's rows come to, if it goes on like this; nothing of today's.
fn rows(read: i64, written: i64, since_ms: Millis, now: Millis) -> Rows {
    let (year, month, day) = civil(now / DAY_MS);
    let start = (now / DAY_MS).saturating_sub(day - 1) * DAY_MS;
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let days = (28..=31).find(|days| {
        let (year, month, _) = civil(start / DAY_MS + days);
        (year, month) == next
    });
    let length = days.unwrap_or(30) * DAY_MS;
    // An hour at least: the first minutes say nothing of a month.
    let elapsed = now.saturating_sub(start.max(since_ms)).max(3_600_000).min(length);
    let whole = |rows: i64| rows.max(0) as f64 * length as f64 / elapsed as f64;
    Rows {
        month: format!("{year}-{month:02}"),
        read,
        written,
        month_read: whole(read) as u64,
        month_written: whole(written) as u64,
        today: 0,
        per_day: None,
    }
}

/// The store, and what it comes to: the rows of a month, and its present size kept for one.
fn storage(storage: &message::Storage, from_memory: u64, rows: Rows) -> Storage {
    let (read, written) = (rows.month_read as f64, rows.month_written as f64);
    let of_rows = |read: f64, written: f64| (read * READ_PRICE + written * WRITE_PRICE) / 1e6;
    let of_bytes = |bytes: f64| bytes * GB_PRICE / 1e9;
    let bytes = storage.bytes.map(|bytes| bytes as f64);
    let above = |all: f64, included: f64| (all - included).max(0.0);
    Storage {
        bytes: storage.bytes,
        bytes_max: None,
        commits: storage.commits.clone(),
        queries: storage.queries.clone(),
        failures: ErrorKind::ALL
            .map(|kind| (kind.as_str(), storage.failures.get(&kind).copied().unwrap_or_default()))
            .into(),
        from_memory,
        rows,
        month_dollars: Dollars {
            rows: round4(of_rows(read, written)),
            bytes: bytes.map(|bytes| round4(of_bytes(bytes))),
        },
        month_dollars_above_included: round4(
            of_rows(above(read, READ_INCLUDED), above(written, WRITE_INCLUDED))
                + of_bytes(above(bytes.unwrap_or_default(), BYTES_INCLUDED)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_told_from_what_has_passed_of_it() {
        // Ten of November's thirty days.
        let now = 20_758 * DAY_MS + 10 * DAY_MS;
        let rows = rows(1_000_000, 100_000_000, 0, now);
        assert_eq!((rows.month.as_str(), rows.month_read, rows.month_written), ("2026-11", 3_000_000, 300_000_000));
        let told = message::Storage { bytes: Some(7_000_000_000), ..message::Storage::default() };
        let all = storage(&told, 0, rows);
        assert_eq!((all.month_dollars.rows, all.month_dollars.bytes), (300.003, Some(5.25)));
        assert_eq!(all.month_dollars_above_included, 250.0 + 1.5);
    }

    #[test]
    fn a_size_that_is_not_known_costs_nothing_and_says_so() {
        let all = storage(&message::Storage::default(), 0, rows(0, 0, 0, DAY_MS));
        assert_eq!((all.bytes, all.month_dollars.bytes, all.month_dollars_above_included), (None, None, 0.0));
    }
}
