//! Counts everything anew from the model's events and jobs, in the form `/api/stats` has.

use std::collections::BTreeMap;

use nexus::market::histogram::BOUNDS_MS;
use nexus::nostr::{Prefix, PublicKey};
use serde_json::{Map, Value, json};

use crate::model::{Dealt, Job, Model, STATES};

const HOUR: u64 = 3_600_000;

/// The bounds of the bucket a time is in; the last one is open.
fn bounds(ms: u64) -> (u64, Option<u64>) {
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

/// Of `/api/handlers`, what a provider's work alone makes of it: its known customers, its median and its score.
pub fn worth(model: &Model, provider: &PublicKey) -> (u64, Option<f64>, f64) {
    let of_provider = |((customer, by), dealt): (&(PublicKey, PublicKey), &Dealt)| {
        (by == provider).then(|| (!model.knows(customer), *customer, *dealt))
    };
    let mut dealings: Vec<(bool, PublicKey, Dealt)> = model.dealings.iter().filter_map(of_provider).collect();
    dealings.sort_by_key(|(stranger, customer, _)| (*stranger, *customer));
    dealings.truncate(100);
    let strangers = dealings.iter().filter(|(stranger, ..)| *stranger).count();
    let weight = |stranger: bool| if stranger { (0.25 / strangers as f64).min(0.05) } else { 1.0 };
    let (mut success, mut speed, mut times) = ((1.0, 2.0), (1.0, 2.0), Vec::new());
    for (stranger, _, dealt) in &dealings {
        let (weight, results) = (weight(*stranger), dealt.results as f64);
        success = (success.0 + weight * results / (results + dealt.errors as f64), success.1 + weight);
        if dealt.results > 0 {
            let mean = dealt.speed as f64 / results / 1e6;
            speed = (speed.0 + weight * mean, speed.1 + weight);
            times.push((10_000.0 / mean - 10_000.0, weight));
        }
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = times.iter().map(|(_, weight)| weight).sum();
    let upto = |time: f64| times.iter().filter(|(other, _)| *other <= time).map(|(_, weight)| weight).sum::<f64>();
    let median = times.iter().map(|(time, _)| *time).find(|time| 2.0 * upto(*time) > all - 1e-6);
    let score = 0.5 * success.0 / success.1 + 0.3 * speed.0 / speed.1 + 0.1;
    ((dealings.len() - strangers) as u64, median, score)
}

/// How many providers have answered in the hour before `now`, to five minutes.
pub fn active(model: &Model, now: u64) -> u64 {
    let slot = |ms: u64| ms / 300_000;
    model.providers.values().filter(|deeds| slot(deeds.last) > slot(now - HOUR)).count() as u64
}
