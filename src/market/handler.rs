//! Who offers to do a kind of job (NIP-89 handler information), and in which order they are shown.
//!
//! Owns what a handler event announces and how candidates are ranked. Never looks anything up: what a
//! provider did, whether it is online and what is said of it come with the candidate.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dealing::{Dealing, worth};
use super::metadata::metadata;
use super::reputation::{Tally, round4, standing};
use crate::nostr::{Event, EventId, PublicKey};
use crate::trees::Gather;

/// What part of a score is the share of good answers, what part speed, what part standing.
const SUCCESS_PART: f64 = 0.5;
const SPEED_PART: f64 = 0.3;
const STANDING_PART: f64 = 0.2;

/// The job kinds a handler event (kind 31990) says it can do: its `k` tags. A value not written as
/// `#k` filters ask for it, such as `05050`, is none.
pub fn capabilities(event: &Event) -> BTreeSet<u16> {
    let kind = |value: &str| value.parse().ok().filter(|kind: &u16| kind.to_string() == value);
    event.tag_values("k").filter_map(kind).gather()
}

/// Whether a handler event can be ranked: it is one of several (`d`) and names what it can do.
pub fn can_be_ranked(event: &Event) -> bool {
    event.tag_value("d").is_some() && !capabilities(event).is_empty()
}

/// What a provider did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Results it gave.
    pub results: u64,
    /// Errors it reported.
    pub errors: u64,
    /// The same by customer: of those that weigh most, as many as are looked at.
    pub dealings: Vec<Dealing>,
    /// When it last answered a job: Unix time in seconds.
    pub last_active: Option<u64>,
}

/// A handler to be ranked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The provider.
    pub pubkey: PublicKey,
    /// Its handler information, kind 31990.
    pub event: Event,
    /// What it did.
    pub record: Record,
    /// What is said of it.
    pub reputation: Vec<Tally>,
    /// Whether it is connected.
    pub online: bool,
    /// When it was last seen: Unix time in seconds.
    pub last_seen: Option<u64>,
}

/// A handler in its place. Floats are finite and rounded to four digits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Its place; 1 is the best.
    pub rank: usize,
    /// The provider.
    pub pubkey: PublicKey,
    /// The `d` tag of its handler information (NIP-89).
    pub d: String,
    /// The kinds it can do.
    pub kinds: BTreeSet<u16>,
    /// When it said so: Unix time in seconds.
    pub created_at: u64,
    /// The content of its handler information, when that is a JSON object.
    pub metadata: Option<Value>,
    /// Whether it is connected.
    pub online: bool,
    /// When it was last seen: Unix time in seconds.
    pub last_seen: Option<u64>,
    /// Results it gave.
    pub results: u64,
    /// Errors it reported.
    pub errors: u64,
    /// The share of results in results and errors, 0 to 1; `None` when there are neither.
    pub success_rate: Option<f64>,
    /// Its customers that are known, of those that were looked at.
    pub known_customers: u64,
    /// The median time of its results in milliseconds, by customer.
    pub median_ms: Option<u64>,
    /// What is said of it.
    pub reputation: Vec<Tally>,
    /// What that comes to, -1 to 1.
    pub standing: f64,
    /// What it is ranked by, 0 to 1.
    pub score: f64,
    /// The id of its handler information.
    pub event_id: EventId,
}

/// Ranks handlers: who is online before who is not, then by score as it is shown; of equals, who was
/// seen last, then by key, `d` and event id. The order they come in changes nothing.
pub fn rank(candidates: Vec<Candidate>) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = candidates.into_iter().map(judge).collect();
    ranked.sort_by(|a, b| {
        let by_score = || b.score.total_cmp(&a.score);
        let rest = |r: &Ranked| (Reverse(r.last_seen), r.pubkey);
        let names = || (&a.d, a.event_id).cmp(&(&b.d, b.event_id));
        b.online.cmp(&a.online).then_with(by_score).then_with(|| rest(a).cmp(&rest(b))).then_with(names)
    });
    for (place, handler) in (1..).zip(&mut ranked) {
        handler.rank = place;
    }
    ranked
}

/// A candidate with its score and no place yet.
fn judge(candidate: Candidate) -> Ranked {
    let Candidate { pubkey, event, record, reputation, online, last_seen } = candidate;
    let (results, errors) = (record.results as f64, record.errors as f64);
    let (worth, standing) = (worth(&record.dealings), standing(&reputation));
    let score = SUCCESS_PART * worth.success + SPEED_PART * worth.speed + STANDING_PART * (standing + 1.0) / 2.0;

    Ranked {
        rank: 0,
        pubkey,
        d: event.tag_value("d").unwrap_or_default().to_owned(),
        kinds: capabilities(&event),
        created_at: event.created_at,
        metadata: metadata(&event.content),
        online,
        last_seen,
        results: record.results,
        errors: record.errors,
        success_rate: (results + errors > 0.0).then(|| round4(results / (results + errors))),
        known_customers: worth.known_customers,
        median_ms: worth.median_ms,
        reputation,
        standing: round4(standing),
        score: round4(score),
        event_id: event.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::dealing;
    use crate::nostr::{Signature, Tag};

    fn candidate(seed: u8, tags: &[&[&str]], content: &str) -> Candidate {
        let tags = tags.iter().filter_map(|tag| Tag::new(tag.iter().copied())).collect();
        let (id, pubkey, sig) = (EventId::new([seed; 32]), PublicKey::new([seed; 32]), Signature::new([0; 64]));
        let event = Event { id, pubkey, created_at: 7, kind: 31990, tags, content: content.to_owned(), sig };
        let (record, reputation) = (Record::default(), Vec::new());
        Candidate { pubkey, event, record, reputation, online: true, last_seen: None }
    }

    /// Somebody who has given known customers a result each, after so many milliseconds, and errors.
    fn did(seed: u8, errors: u64, ms: &[u64]) -> Candidate {
        let of = candidate(seed, &[], "");
        let result = |ms: &u64| {
            let speed = dealing::SPEED_MAX * dealing::HALF_SPEED_MS / (dealing::HALF_SPEED_MS + ms);
            Dealing { known: true, results: 1, errors: 0, speed }
        };
        let error = Dealing { known: true, results: 0, errors: 1, speed: 0 };
        let failed = (0..errors).map(|_| error);
        let dealings = ms.iter().map(result).chain(failed).collect();
        Candidate { record: Record { results: ms.len() as u64, errors, dealings, ..of.record }, ..of }
    }

    fn opinion(label: &str, weight: f64) -> Vec<Tally> {
        vec![Tally { namespace: "quality".into(), label: label.into(), votes: 9, customers: 9, weight }]
    }

    /// The order in which keys come out, whatever the order they go in.
    fn order(mut candidates: Vec<Candidate>) -> Vec<u8> {
        let keys = |ranked: Vec<Ranked>| ranked.iter().map(|r| r.pubkey.as_bytes()[0]).collect::<Vec<_>>();
        let first = keys(rank(candidates.clone()));
        for _ in 0..candidates.len() {
            candidates.rotate_left(1);
            assert_eq!(keys(rank(candidates.clone())), first);
        }
        candidates.reverse();
        assert_eq!(keys(rank(candidates)), first);
        first
    }

    #[test]
    fn capabilities_are_the_k_tags_that_are_kinds() {
        let k = ["5940", "5050", "5050", "65536", "-1", "+5050", "05051", "5052 ", "x", ""].map(|value| ["k", value]);
        let mut tags: Vec<&[&str]> = k.iter().map(|tag| tag.as_slice()).collect();
        tags.extend([&["k"] as &[&str], &["K", "5060"], &["k", "5070", "5071"]]);
        assert_eq!(capabilities(&candidate(1, &tags, "").event), BTreeSet::from([5050, 5070, 5940]));
        assert!(capabilities(&candidate(1, &[], "").event).is_empty());
    }

    #[test]
    fn online_comes_first_then_score() {
        let mut offline = did(1, 0, &[1; 100]);
        offline.online = false;
        let candidates = vec![
            offline,
            did(2, 50, &[]),
            did(3, 0, &[900; 50]),
            did(4, 0, &[90_000; 50]),
            Candidate { reputation: opinion("bad", 40.0), ..did(5, 0, &[900; 50]) },
            Candidate { reputation: opinion("good", 40.0), ..did(6, 0, &[900; 50]) },
            did(7, 0, &[]),
        ];
        assert_eq!(order(candidates), [6, 3, 5, 4, 7, 2, 1]);
    }

    #[test]
    fn equals_are_ordered_by_when_they_were_seen_then_by_key() {
        let seen = |seed, last_seen| Candidate { last_seen, ..candidate(seed, &[], "") };
        assert_eq!(order(vec![seen(4, None), seen(3, None), seen(2, Some(5)), seen(1, Some(6))]), [1, 2, 3, 4]);
        // One provider with two handlers.
        let mut twice = vec![candidate(1, &[&["d", "b"]], ""), candidate(1, &[&["d", "a"]], "")];
        let names = |ranked: Vec<Ranked>| ranked.into_iter().map(|r| (r.rank, r.d)).collect::<Vec<_>>();
        let first = names(rank(twice.clone()));
        assert_eq!(first, [(1, "a".to_owned()), (2, "b".to_owned())]);
        twice.reverse();
        assert_eq!(names(rank(twice)), first);
    }

    #[test]
    fn what_is_shown() {
        let tags: &[&[&str]] = &[&["d", "llm"], &["k", "5050"]];
        let mut full = candidate(1, tags, r#" {"name":"A"} "#);
        full.record = Record { last_active: Some(3), ..did(1, 1, &[2_500, 3_500]).record };
        (full.reputation, full.last_seen) = (opinion("good", 1.0), Some(9));
        let shown = serde_json::to_value(rank(vec![full])).unwrap();
        let hex = "01".repeat(32);
        // 0.5 * 3/5 + 0.3 * (1 / 1.25 + 1 / 1.35 + 1) / 4 + 0.2 * (1/6 + 1) / 2.
        let expected = serde_json::json!([{
            "rank": 1, "pubkey": hex, "d": "llm", "kinds": [5050], "created_at": 7, "metadata": {"name": "A"},
            "online": true, "last_seen": 9, "results": 2, "errors": 1, "success_rate": 0.6667, "known_customers": 3, "median_ms": 2500,
            "reputation": [{"namespace": "quality", "label": "good", "votes": 9, "customers": 9, "weight": 1.0}],
            "standing": 0.1667, "score": 0.6072, "event_id": hex,
        }]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn nothing_known_is_null_and_garbage_is_no_metadata() {
        let deep = "[".repeat(50_000);
        for content in ["", "{", "null", "[{}]", "\"{}\"", "{} {}", "{\"a\":1e999}", &format!("{{\"a\":{deep}")] {
            let ranked = rank(vec![candidate(1, &[&["d"]], content)]);
            let one = ranked.first().unwrap();
            assert_eq!((&one.metadata, one.d.as_str(), one.success_rate, one.median_ms), (&None, "", None, None));
            assert_eq!((one.score, one.standing), (0.5, 0.0));
        }
        let mut most = Candidate { reputation: opinion("bad", f64::INFINITY), ..did(1, 1, &[0]) };
        (most.record.results, most.record.errors) = (u64::MAX, u64::MAX);
        let ranked = rank(vec![most]);
        assert!(ranked.iter().all(|r| r.score.is_finite() && r.success_rate == Some(0.5)));
    }
}
