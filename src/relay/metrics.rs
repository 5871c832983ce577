//! The report of `/api/stats` as Prometheus text (`/metrics`), by a table of names.

use std::fmt::Write;

use serde_json::Value;

use super::report::Report;

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

/// Name, kind, help, where it is in the report, and the labels of the levels below that.
type Metric = (&'static str, Kind, &'static str, &'static str, &'static [&'static str]);

use Kind::{Counter, Gauge, Histogram};

const METRICS: &[Metric] = &[
    ("nexus_uptime_seconds", Gauge, "Seconds since the relay last woke.", "/uptime_seconds", &[]),
    ("nexus_connections_open", Gauge, "Open connections.", "/connections/open", &[]),
    ("nexus_connections_authenticated", Gauge, "Of these, with a proven key.", "/connections/authenticated", &[]),
    ("nexus_connections_providers", Gauge, "Of these, of providers.", "/connections/providers", &[]),
    ("nexus_connections_opened_total", Counter, "Connections opened.", "/connections/opened", &[]),
    ("nexus_subscriptions", Gauge, "Open subscriptions.", "/subscriptions", &[]),
    ("nexus_auth_accepted_total", Counter, "AUTH events accepted.", "/auth/accepted", &[]),
    ("nexus_auth_rejected_total", Counter, "AUTH events refused.", "/auth/rejected", &[]),
    ("nexus_events_stored_total", Counter, "Events stored.", "/events/stored", &[]),
    ("nexus_events_by_kind_total", Counter, "Events stored, by kind.", "/events/by_kind", &["kind"]),
    ("nexus_events_rejected_total", Counter, "Events refused, by prefix.", "/events/rejected", &["prefix"]),
    ("nexus_events_accepted_total", Counter, "Events accepted since the relay woke.", "/events/accepted", &[]),
    ("nexus_events_duplicate_total", Counter, "Events that were here already.", "/events/duplicate", &[]),
    ("nexus_events_sent_total", Counter, "Events sent to subscribers.", "/events/sent", &[]),
    ("nexus_jobs_requested_total", Counter, "Jobs requested.", "/jobs/requested", &[]),
    ("nexus_jobs_with_feedback_total", Counter, "Of these, with feedback.", "/jobs/with_feedback", &[]),
    ("nexus_jobs_with_result_total", Counter, "Of these, with a result.", "/jobs/with_result", &[]),
    ("nexus_jobs_fill_ratio", Gauge, "Jobs with a result to jobs requested.", "/jobs/fill_rate", &[]),
    ("nexus_jobs", Gauge, "Jobs, by state.", "/jobs/states", &["state"]),
    ("nexus_jobs_by_kind", Gauge, "Jobs, by kind and state.", "/jobs/by_kind", &["kind", "state"]),
    (
        "nexus_jobs_time_to_feedback_milliseconds",
        Histogram,
        "From request to first feedback.",
        "/jobs/time_to_feedback",
        &[],
    ),
    ("nexus_jobs_time_to_result_milliseconds", Histogram, "From request to first result.", "/jobs/time_to_result", &[]),
    (
        "nexus_providers_active",
        Gauge,
        "Providers that answered a job in the last hour.",
        "/providers/active_last_hour",
        &[],
    ),
    ("nexus_reqs_refused_total", Counter, "REQ and COUNT refused.", "/reqs_refused", &[]),
    ("nexus_rate_limited_total", Counter, "Messages refused for their rate.", "/rate_limited", &["lane"]),
    ("nexus_received_bytes_total", Counter, "Bytes in frames from clients.", "/bytes/received", &[]),
    ("nexus_sent_bytes_total", Counter, "Bytes in frames to clients.", "/bytes/sent", &[]),
    ("nexus_storage_commits_total", Counter, "Groups committed.", "/storage/commits/count", &[]),
    ("nexus_storage_commits_failed_total", Counter, "Of these, failed.", "/storage/commits/failed", &[]),
    ("nexus_storage_commits_milliseconds_total", Counter, "Time commits took.", "/storage/commits/total_ms", &[]),
    ("nexus_storage_queries_total", Counter, "Queries answered.", "/storage/queries/count", &[]),
    ("nexus_storage_queries_failed_total", Counter, "Of these, failed.", "/storage/queries/failed", &[]),
    ("nexus_storage_queries_milliseconds_total", Counter, "Time queries took.", "/storage/queries/total_ms", &[]),
    ("nexus_storage_bytes", Gauge, "Bytes of the database.", "/storage/bytes", &[]),
    ("nexus_storage_rows_read", Gauge, "Rows read in this month.", "/storage/rows/read", &[]),
    ("nexus_storage_rows_written", Gauge, "Rows written in this month.", "/storage/rows/written", &[]),
    (
        "nexus_storage_month_dollars",
        Gauge,
        "What this month comes to at D1's list price if it goes on so, by what is charged for.",
        "/storage/month_dollars",
        &["for"],
    ),
    (
        "nexus_storage_month_dollars_above_included",
        Gauge,
        "What of it is above what the paid plan includes.",
        "/storage/month_dollars_above_included",
        &[],
    ),
];

/// The report in Prometheus' text format; what is not known is left out.
pub(super) fn text(report: &Report) -> String {
    let report = serde_json::to_value(report).unwrap_or_default();
    let mut text = String::new();
    for (name, kind, help, pointer, labels) in METRICS {
        let Some(value) = report.pointer(pointer).filter(|value| !value.is_null()) else { continue };
        let word = match kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {word}");
        if *kind == Histogram {
            buckets(&mut text, name, value);
        } else {
            samples(&mut text, name, value, labels, "");
        }
    }
    text
}

/// A number, or one for each key of an object, whose keys are values of the first label; nothing where it is
/// not known.
fn samples(text: &mut String, name: &str, value: &Value, labels: &[&str], known: &str) {
    if value.is_null() {
        return;
    }
    if let (Value::Object(entries), Some((label, rest))) = (value, labels.split_first()) {
        for (key, value) in entries {
            let comma = if known.is_empty() { "" } else { "," };
            samples(text, name, value, rest, &format!("{known}{comma}{label}=\"{key}\""));
        }
    } else if known.is_empty() {
        let _ = writeln!(text, "{name} {value}");
    } else {
        let _ = writeln!(text, "{name}{{{known}}} {value}");
    }
}

fn buckets(text: &mut String, name: &str, times: &Value) {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
    let mut below = 0;
    for bucket in times.get("buckets").and_then(Value::as_array).into_iter().flatten() {
        below += number(bucket.get(1));
        if let Some(bound) = bucket.get(0).and_then(Value::as_u64) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
    }
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {below}");
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {below}", number(times.get("sum_ms")));
}
