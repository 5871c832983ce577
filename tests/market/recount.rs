//! Counts everything anew from the model's events and jobs, in the form `/api/stats` has.

use std::collections::BTreeMap;

use nexus::market::histogram::BOUNDS_MS;
use nexus::nostr::Prefix;
use serde_json::{Map, Value, json};

use crate::model::{Job, Model, STATES};

const HOUR: u64 = 3_600_000;

/// The bounds of the bucket a time is in; the last one is open.
pub fn bounds(ms: u64) -> (u64, Option<u64>) {
    let lower = BOUNDS_MS.iter().copied().filter(|bound| *bound < ms).max().unwrap_or_default();
    (lower, BOUNDS_MS.iter().copied().find(|bound| *bound >= ms))
}

/// Times by bucket: its upper bound and how many.
fn histogram(times: &[u64]) -> Value {
    let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
    for ms in times {
        *buckets.entry(bounds(*ms).1.unwrap_or(u64::MAX)).or_default() += 1;
    }
    let bound = |bound: u64| if bound == u64::MAX { Value::Null } else { json!(bound) };
    buckets.into_iter().map(|(upper, n)| json!([bound(upper), n])).collect()
}

/// Of `/api/stats`, what can be counted again.
pub fn stats(model: &Model) -> Value {
    let jobs: Vec<&Job> = model.jobs.values().chain(&model.past).filter(|job| job.asked.is_some()).collect();
    let mut states: Map<String, Value> = STATES.iter().map(|state| ((*state).to_owned(), json!(0))).collect();
    let mut by_kind: BTreeMap<u16, BTreeMap<&str, u64>> = BTreeMap::new();
    let (mut to_feedback, mut to_result) = (Vec::new(), Vec::new());
    for job in &jobs {
        let asked = job.asked.as_ref().unwrap();
        let state = STATES[job.state];
        states[state] = json!(states[state].as_u64().unwrap() + 1);
        *by_kind.entry(asked.kind).or_default().entry(state).or_default() += 1;
        to_feedback.extend(job.reported.map(|(came, _)| came.saturating_sub(asked.at)));
        to_result.extend(job.answered.map(|(came, _)| came.saturating_sub(asked.at)));
    }
    let rate = to_result.len() as f64 / jobs.len() as f64;
    let refused = Prefix::ALL.into_iter().map(|prefix| {
        let prefix = prefix.as_str();
        (prefix.to_owned(), json!(model.refused.get(prefix).copied().unwrap_or_default()))
    });
    json!({
        "requested": jobs.len(),
        "states": states,
        "by_kind": by_kind,
        "with_feedback": to_feedback.len(),
        "with_result": to_result.len(),
        "fill_rate": (!jobs.is_empty()).then(|| (rate * 10_000.0).round() / 10_000.0),
        "time_to_feedback": histogram(&to_feedback),
        "time_to_result": histogram(&to_result),
        "stored": model.stored.values().sum::<u64>(),
        "events": model.stored,
        "refused": refused.collect::<Map<String, Value>>(),
    })
}

/// The same of what the relay says.
pub fn told(stats: &Value) -> Value {
    let (jobs, events) = (&stats["jobs"], &stats["events"]);
    for times in [&jobs["time_to_feedback"], &jobs["time_to_result"]] {
        let sum: u64 = times["buckets"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
        assert_eq!(times["count"], sum);
    }
    json!({
        "requested": jobs["requested"],
        "states": jobs["states"],
        "by_kind": jobs["by_kind"],
        "with_feedback": jobs["with_feedback"],
        "with_result": jobs["with_result"],
        "fill_rate": jobs["fill_rate"],
        "time_to_feedback": jobs["time_to_feedback"]["buckets"],
        "time_to_result": jobs["time_to_result"]["buckets"],
        "stored": events["stored"],
        "events": events["by_kind"],
        "refused": events["rejected"],
    })
}

/// How many providers have answered in the hour before `now`, to five minutes.
pub fn active(model: &Model, now: u64) -> u64 {
    let slot = |ms: u64| ms / 300_000;
    model.providers.values().filter(|deeds| slot(deeds.last) > slot(now - HOUR)).count() as u64
}
