//! The report of `/api/stats` as Prometheus text (`/metrics`), by a table of names.

use std::fmt::Write;

use serde_json::Value;

use super::report::Report;
use crate::market::histogram::BOUNDS_MS;

/// How a metric is shown.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Only grows, but for restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, count and sum.
    Histogram,
}

/// Name, kind, help, where it is in the report, what it is divided by to be in the unit of the name, and the
/// labels of the levels below that.
type Metric = (&'static str, Kind, &'static str, &'static str, f64, &'static [&'static str]);

use Kind::{Counter, Gauge, Histogram};

/// The report's number as it is.
const AS_IS: f64 = 1.0;
/// Milliseconds in the report, seconds here: Prometheus has base units.
const MS: f64 = 1000.0;

const METRICS: &[Metric] = &[
    ("nexus_uptime_seconds", Gauge, "Seconds since the relay last woke.", "/uptime_seconds", AS_IS, &[]),
    ("nexus_connections_open", Gauge, "Open connections.", "/connections/open", AS_IS, &[]),
    (
        "nexus_connections_authenticated",
        Gauge,
        "Of these, with a proven key.",
        "/connections/authenticated",
        AS_IS,
        &[],
    ),
    ("nexus_connections_providers", Gauge, "Of these, of providers.", "/connections/providers", AS_IS, &[]),
    ("nexus_connections_opened_total", Counter, "Connections opened.", "/connections/opened", AS_IS, &[]),
    ("nexus_subscriptions", Gauge, "Open subscriptions.", "/subscriptions", AS_IS, &[]),
    ("nexus_auth_accepted_total", Counter, "AUTH events accepted.", "/auth/accepted", AS_IS, &[]),
    ("nexus_auth_rejected_total", Counter, "AUTH events refused.", "/auth/rejected", AS_IS, &[]),
    ("nexus_events_stored_total", Counter, "Events stored.", "/events/stored", AS_IS, &[]),
    ("nexus_events_by_kind_total", Counter, "Events stored, by kind.", "/events/by_kind", AS_IS, &["kind"]),
    ("nexus_events_rejected_total", Counter, "Events refused, by prefix.", "/events/rejected", AS_IS, &["prefix"]),
    ("nexus_events_accepted_total", Counter, "Events accepted since the relay woke.", "/events/accepted", AS_IS, &[]),
    ("nexus_events_duplicate_total", Counter, "Events that were here already.", "/events/duplicate", AS_IS, &[]),
    ("nexus_events_sent_total", Counter, "Events sent to subscribers.", "/events/sent", AS_IS, &[]),
    ("nexus_jobs_requested_total", Counter, "Jobs requested.", "/jobs/requested", AS_IS, &[]),
    ("nexus_jobs_with_feedback_total", Counter, "Of these, with feedback.", "/jobs/with_feedback", AS_IS, &[]),
    ("nexus_jobs_with_result_total", Counter, "Of these, with a result.", "/jobs/with_result", AS_IS, &[]),
    ("nexus_jobs_fill_ratio", Gauge, "Jobs with a result to jobs requested.", "/jobs/fill_rate", AS_IS, &[]),
    ("nexus_jobs", Gauge, "Jobs, by state.", "/jobs/states", AS_IS, &["state"]),
    ("nexus_jobs_by_kind", Gauge, "Jobs, by kind and state.", "/jobs/by_kind", AS_IS, &["kind", "state"]),
    (
        "nexus_jobs_time_to_feedback_seconds",
        Histogram,
        "From request to first feedback.",
        "/jobs/time_to_feedback",
        MS,
        &[],
    ),
    ("nexus_jobs_time_to_result_seconds", Histogram, "From request to first result.", "/jobs/time_to_result", MS, &[]),
    (
        "nexus_providers_active",
        Gauge,
        "Providers that answered a job in the last hour.",
        "/providers/active_last_hour",
        AS_IS,
        &[],
    ),
    ("nexus_reqs_refused_total", Counter, "REQ and COUNT refused.", "/reqs_refused", AS_IS, &[]),
    ("nexus_rate_limited_total", Counter, "Messages refused for their rate.", "/rate_limited", AS_IS, &["metered"]),
    ("nexus_received_bytes_total", Counter, "Bytes in frames from clients.", "/bytes/received", AS_IS, &[]),
    ("nexus_sent_bytes_total", Counter, "Bytes in frames to clients.", "/bytes/sent", AS_IS, &[]),
    ("nexus_memory_used_bytes", Gauge, "Memory in use, by what for.", "/memory/used", AS_IS, &["share"]),
    ("nexus_memory_max_bytes", Gauge, "Memory that may be used, by what for.", "/memory/max", AS_IS, &["share"]),
    ("nexus_storage_commits_total", Counter, "Groups committed.", "/storage/commits/count", AS_IS, &[]),
    ("nexus_storage_commits_failed_total", Counter, "Of these, failed.", "/storage/commits/failed", AS_IS, &[]),
    ("nexus_storage_commits_seconds_total", Counter, "Time commits took.", "/storage/commits/total_ms", MS, &[]),
    ("nexus_storage_queries_total", Counter, "Queries answered.", "/storage/queries/count", AS_IS, &[]),
    ("nexus_storage_queries_failed_total", Counter, "Of these, failed.", "/storage/queries/failed", AS_IS, &[]),
    ("nexus_storage_queries_seconds_total", Counter, "Time queries took.", "/storage/queries/total_ms", MS, &[]),
    (
        "nexus_storage_failures_total",
        Counter,
        "Commits and queries that failed, by what was wrong.",
        "/storage/failures",
        AS_IS,
        &["kind"],
    ),
    ("nexus_storage_from_memory_total", Counter, "REQs answered from memory.", "/storage/from_memory", AS_IS, &[]),
    ("nexus_storage_bytes", Gauge, "Bytes of the database.", "/storage/bytes", AS_IS, &[]),
    ("nexus_storage_max_bytes", Gauge, "Bytes that it may have.", "/storage/bytes_max", AS_IS, &[]),
    ("nexus_storage_rows_read", Gauge, "Rows read in this month.", "/storage/rows/read", AS_IS, &[]),
    ("nexus_storage_rows_written", Gauge, "Rows written in this month.", "/storage/rows/written", AS_IS, &[]),
    ("nexus_storage_rows_today", Gauge, "Rows taken from today's allowance.", "/storage/rows/today", AS_IS, &[]),
    ("nexus_storage_rows_per_day", Gauge, "Rows that may be taken in a day.", "/storage/rows/per_day", AS_IS, &[]),
    (
        "nexus_storage_month_dollars",
        Gauge,
        "What this month comes to at D1's list price if it goes on so, by what is charged for.",
        "/storage/month_dollars",
        AS_IS,
        &["for"],
    ),
    (
        "nexus_storage_month_dollars_above_included",
        Gauge,
        "What of it is above what the paid plan includes.",
        "/storage/month_dollars_above_included",
        AS_IS,
        &[],
    ),
];

/// The report in Prometheus' text format; what is not known is left out.
pub(super) fn text(report: &Report) -> String {
    let report = serde_json::to_value(report).unwrap_or_default();
    let mut text = String::new();
    for (name, kind, help, pointer, unit, labels) in METRICS {
        let Some(value) = report.pointer(pointer).filter(|value| !value.is_null()) else { continue };
        let word = match kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {word}");
        if *kind == Histogram {
            buckets(&mut text, name, value, *unit);
        } else {
            samples(&mut text, name, value, *unit, labels, "");
        }
    }
    text
}

/// A number, or one for each key of an object, whose keys are values of the first label; nothing where it is
/// not known.
fn samples(text: &mut String, name: &str, value: &Value, unit: f64, labels: &[&str], known: &str) {
    if let (Value::Object(entries), Some((label, rest))) = (value, labels.split_first()) {
        for (key, value) in entries {
            let comma = if known.is_empty() { "" } else { "," };
            samples(text, name, value, unit, rest, &format!("{known}{comma}{label}=\"{key}\""));
        }
    } else if let Some(number) = value.as_f64() {
        let labels = if known.is_empty() { String::new() } else { format!("{{{known}}}") };
        let _ = writeln!(text, "{name}{labels} {}", number / unit);
    }
}

/// Every bucket, those in which nothing is as well: a series that comes later has no rate.
fn buckets(text: &mut String, name: &str, times: &Value, unit: f64) {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
    let filled = times.get("buckets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut below = 0;
    for bound in BOUNDS_MS {
        let bucket = filled.iter().find(|bucket| bucket.get(0).and_then(Value::as_u64) == Some(bound));
        below += number(bucket.and_then(|bucket| bucket.get(1)));
        let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", bound as f64 / unit);
    }
    let (count, sum) = (number(times.get("count")), number(times.get("sum_ms")) as f64 / unit);
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
}
