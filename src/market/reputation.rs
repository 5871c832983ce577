//! What others say of a provider: the labels put on it (NIP-32), counted, and the one number made of them.
//!
//! Owns whose label counts, for how much, and which words are praise or blame. Never finds the labels
//! or who was a customer: the caller brings both, from events that were verified when they came in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::nostr::{Event, PublicKey, kind};

/// The namespace of labels that name none (NIP-32).
pub const UGC: &str = "ugc";
/// Labels of one event and namespace that count; further ones do not.
pub const MAX_LABELS: usize = 8;
/// Namespaces and labels of more characters are ignored.
pub const MAX_CHARS: usize = 64;
/// What the label of a customer weighs.
pub const CUSTOMER_WEIGHT: f64 = 1.0;
/// What the label of anyone else weighs: keys cost nothing.
pub const STRANGER_WEIGHT: f64 = 0.05;

/// The namespaces whose words make a standing. All others are only told: who could choose the
/// namespace freely would have as many votes as there are namespaces.
const NAMESPACES: [&str; 5] = ["openagents/inference", "quality", "latency", "reliability", UGC];

/// Words that are praise, as the last part of a label: `quality/good`.
const GOOD: &str = "good great excellent best fast quick responsive reliable stable correct accurate \
    trusted trustworthy honest helpful recommended verified positive";

/// Words that are blame.
const BAD: &str = "bad poor terrible worst slow late unresponsive unreliable unstable wrong incorrect inaccurate \
    untrusted dishonest malicious spam scam fraud fake broken failed negative";

/// How much weight of opinion a standing needs to mean something: that much is neither praise nor blame.
const DOUBT: f64 = 5.0;

/// One label event about a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The label event, kind 1985.
    pub event: Event,
    /// Whether its author was ever a customer of the provider.
    pub customer: bool,
}

/// How many keys put one label on a provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// The label's namespace, its `L`.
    pub namespace: String,
    /// The label, its `l`.
    pub label: String,
    /// Keys that say so.
    pub votes: u64,
    /// How many of them were customers.
    pub customers: u64,
    /// What their votes weigh together.
    pub weight: f64,
}

/// Counts the labels on `provider`, heaviest first, then by namespace and label. A key has one vote
/// per namespace, shared among the labels of its newest event there (of equally old ones, that with the
/// lowest id). The provider has none.
pub fn tally(provider: &PublicKey, votes: &[Vote]) -> Vec<Tally> {
    let customers: BTreeSet<&PublicKey> = votes.iter().filter(|v| v.customer).map(|v| &v.event.pubkey).collect();
    let mut newest: BTreeMap<(&PublicKey, &str), (&Event, BTreeSet<&str>)> = BTreeMap::new();
    for event in votes.iter().map(|vote| &vote.event).filter(|event| is_about(event, provider)) {
        for (namespace, labels) in labels(event) {
            let kept = newest.entry((&event.pubkey, namespace)).or_insert_with(|| (event, labels.clone()));
            if event.replaces(kept.0) {
                *kept = (event, labels);
            }
        }
    }
    let mut counts: BTreeMap<(&str, &str), (u64, u64, f64)> = BTreeMap::new();
    for ((author, namespace), (_, labels)) in newest {
        let customer = customers.contains(author);
        let weight = if customer { CUSTOMER_WEIGHT } else { STRANGER_WEIGHT } / labels.len() as f64;
        for label in labels {
            let (votes, paying, sum) = counts.entry((namespace, label)).or_default();
            (*votes, *paying, *sum) = (*votes + 1, *paying + u64::from(customer), *sum + weight);
        }
    }
    let mut tallies: Vec<Tally> = counts
        .into_iter()
        .map(|((namespace, label), (votes, customers, weight))| Tally {
            namespace: namespace.to_owned(),
            label: label.to_owned(),
            votes,
            customers,
            weight: round4(weight),
        })
        .collect();
    // Stable: equal weights stay in the order of their names.
    tallies.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    tallies
}

/// What the labels come to: from -1 (all blame) to 1 (all praise), near 0 while few have spoken.
pub fn standing(tallies: &[Tally]) -> f64 {
    let (mut good, mut bad) = (0.0, 0.0);
    for tally in tallies.iter().filter(|tally| NAMESPACES.contains(&tally.namespace.as_str())) {
        let word = tally.label.rsplit('/').next().unwrap_or_default().to_lowercase();
        let weight = if tally.weight.is_finite() { tally.weight.max(0.0) } else { 0.0 };
        if GOOD.split(' ').any(|praise| praise == word) {
            good += weight;
        } else if BAD.split(' ').any(|blame| blame == word) {
            bad += weight;
        }
    }
    let share = (good - bad) / (good + bad + DOUBT);
    if share.is_finite() { share } else { 0.0 }
}

/// To four digits after the point, as floats are shown; 0 for what is no number.
pub fn round4(value: f64) -> f64 {
    // Adding 0 turns -0 into 0.
    if value.is_finite() { (value * 10_000.0).round() / 10_000.0 + 0.0 } else { 0.0 }
}

/// Whether it is someone else's label. Whom it is about the caller knows: a label may name a result.
fn is_about(event: &Event, provider: &PublicKey) -> bool {
    event.kind == kind::LABEL && event.pubkey != *provider
}

/// The labels of an event by namespace. A label's mark must name an `L` of the event; a label
/// without a mark in an event without an `L` is of [`UGC`].
fn labels(event: &Event) -> BTreeMap<&str, BTreeSet<&str>> {
    let namespaces: BTreeSet<&str> = event.tag_values("L").collect();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for tag in event.tags.iter().filter(|tag| tag.name() == "l") {
        let namespace = match tag.element(2).filter(|mark| !mark.is_empty()) {
            Some(mark) if namespaces.contains(mark) => mark,
            None if namespaces.is_empty() => UGC,
            _ => continue,
        };
        let Some(label) = tag.value().filter(|label| is_short(label) && is_short(namespace)) else { continue };
        let of_namespace = labels.entry(namespace).or_default();
        if of_namespace.len() < MAX_LABELS {
            of_namespace.insert(label);
        }
    }
    labels
}

/// Whether it is text of at most [`MAX_CHARS`] characters.
fn is_short(text: &str) -> bool {
    !text.is_empty() && text.chars().nth(MAX_CHARS).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{EventId, Signature, Tag};

    const PROVIDER: u8 = 9;

    fn key(seed: u8) -> PublicKey {
        PublicKey::new([seed; 32])
    }

    /// A label event of key `by` with the id of only `id`s, about the provider.
    fn vote(by: u8, id: u8, created_at: u64, customer: bool, tags: &[&[&str]]) -> Vote {
        let about = key(PROVIDER).to_string();
        let target: &[&str] = &["p", &about];
        let tags = tags.iter().chain([&target]).filter_map(|tag| Tag::new(tag.iter().copied())).collect();
        let (id, sig) = (EventId::new([id; 32]), Signature::new([0; 64]));
        Vote {
            event: Event { id, pubkey: key(by), created_at, kind: kind::LABEL, tags, content: String::new(), sig },
            customer,
        }
    }

    fn said(by: u8, id: u8, created_at: u64, customer: bool, label: &str) -> Vote {
        vote(by, id, created_at, customer, &[&["L", "quality"], &["l", label, "quality"]])
    }

    fn told(votes: &[Vote]) -> Vec<(String, u64, u64, f64)> {
        let tallies = tally(&key(PROVIDER), votes).into_iter();
        tallies.map(|t| (format!("{} {}", t.namespace, t.label), t.votes, t.customers, t.weight)).collect()
    }

    fn names(votes: &[Vote]) -> Vec<String> {
        told(votes).into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn only_the_newest_vote_of_a_key_counts_in_a_namespace() {
        let mut votes = vec![
            said(1, 3, 100, false, "good"),
            said(1, 2, 200, false, "bad"),
            said(1, 1, 50, false, "best"),
            // Another namespace is another vote.
            vote(1, 4, 10, false, &[&["L", "latency"], &["l", "fast", "latency"]]),
        ];
        let expected = ["latency fast", "quality bad"];
        assert_eq!(names(&votes), expected);
        votes.reverse();
        assert_eq!(names(&votes), expected);
        // As old as the newest, but with a lower id.
        votes.push(said(1, 1, 200, false, "slow"));
        votes.push(said(1, 1, 200, false, "slow"));
        assert_eq!(names(&votes), ["latency fast", "quality slow"]);
    }

    #[test]
    fn customers_outweigh_strangers_and_the_provider_has_no_vote() {
        let mut votes: Vec<Vote> = (10..29).map(|by| said(by, by, 1, false, "bad")).collect();
        votes.push(said(1, 1, 1, true, "good"));
        votes.push(said(2, 2, 1, false, "good"));
        votes.extend((0..5).map(|id| said(PROVIDER, 40 + id, 9, true, "excellent")));
        let good = ("quality good".to_owned(), 2, 1, 1.05);
        assert_eq!(told(&votes), [good, ("quality bad".to_owned(), 19, 0, 0.95)]);
        // Who was a customer is one in all events.
        votes.push(said(1, 3, 2, false, "poor"));
        assert_eq!(told(&votes).first(), Some(&("quality poor".to_owned(), 1, 1, 1.0)));
    }

    #[test]
    fn order_is_by_weight_then_names() {
        let both: &[&[&str]] = &[&["L", "b"], &["L", "a"], &["l", "y", "a"], &["l", "x", "a"], &["l", "a", "b"]];
        let votes = [vote(1, 1, 1, true, both), vote(2, 2, 1, false, both), vote(3, 3, 1, true, &[&["l", "z"]])];
        assert_eq!(names(&votes), ["b a", "ugc z", "a x", "a y"]);
    }

    #[test]
    fn marks_must_name_a_namespace_of_the_event() {
        let one = |tags: &[&[&str]]| names(&[vote(1, 1, 1, true, tags)]);
        assert_eq!(one(&[&["l", "good"], &["l", "fast", ""]]), ["ugc fast", "ugc good"]);
        assert!(one(&[&["l", "good", "quality"]]).is_empty());
        assert!(one(&[&["L", "quality"], &["l", "good"], &["l", "good", "latency"]]).is_empty());
        assert!(one(&[&["L", "quality"], &["L"], &["l"], &["l", "", "quality"], &["l"]]).is_empty());
        let (long, longest) = ("é".repeat(65), "é".repeat(64));
        assert!(one(&[&["L", &long], &["l", "good", &long], &["l", &long]]).is_empty());
        assert_eq!(one(&[&["L", "q"], &["l", &long, "q"], &["l", &longest, "q"]]), [format!("q {longest}")]);
    }

    #[test]
    fn eight_distinct_labels_count_and_only_of_labels() {
        let labels = ["9", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0"].map(|label| ["l", label]);
        let tags: Vec<&[&str]> = labels.iter().map(|tag| tag.as_slice()).collect();
        let mut vote = vote(1, 1, 1, true, &tags);
        assert_eq!(names(&[vote.clone()]), (2..10).map(|label| format!("ugc {label}")).collect::<Vec<_>>());
        vote.event.kind = 1;
        assert!(told(&[vote]).is_empty());
    }

    #[test]
    fn standing_is_praise_less_blame_over_all_and_some_doubt() {
        let of = |votes: &[Vote]| standing(&tally(&key(PROVIDER), votes));
        assert_eq!(of(&[]).to_bits(), 0.0_f64.to_bits());
        let praise: Vec<Vote> = (20..25).map(|by| said(by, by, 1, true, "quality/Good")).collect();
        let blame: Vec<Vote> = (30..45).map(|by| said(by, by, 1, true, "scam")).collect();
        let unknown = said(1, 1, 1, true, "good/blue");
        assert_eq!((of(&praise), of(&blame), of(&[unknown])), (0.5, -0.75, 0.0));
        assert_eq!(of(&[praise, blame].concat()), -0.4);
        let everywhere: Vec<String> = (0..500).map(|n| format!("n{n}")).collect();
        let tags = everywhere.iter().flat_map(|name| [vec!["L", name], vec!["l", "bad", name]]).collect::<Vec<_>>();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        assert_eq!(of(&[vote(1, 1, 1, true, &tags)]), 0.0, "namespaces are no ballots");
        let odd = |weight| Tally { namespace: UGC.into(), label: "bad".into(), votes: 1, customers: 1, weight };
        assert!(standing(&[odd(f64::NAN), odd(f64::INFINITY), odd(-9.0), odd(f64::MAX), odd(f64::MAX)]).is_finite());
    }
}
