//! What others say of a provider: the labels put on it (NIP-32), counted, and the one number made of them.
//!
//! Owns which labels of an event count, for how much, and which words are praise or blame. Never finds the labels,
//! nor who was a customer: the store keeps one vote of each key and namespace, and says who is known.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::dealing::{KNOWN_WEIGHT, weight_of_others};
use crate::nostr::{Event, PublicKey, kind};
use crate::trees::{Gather, in_order};

/// The namespace of labels that name none (NIP-32).
pub const UGC: &str = "ugc";
/// Labels of one event and namespace that count; further ones do not.
pub const MAX_LABELS: usize = 8;
/// Namespaces of one event that count.
pub const MAX_NAMESPACES: usize = 5;
/// Keys that one event is about and that count: each is a row in each namespace.
pub const MAX_TARGETS: usize = 4;
/// Namespaces and labels of more characters are ignored.
pub const MAX_CHARS: usize = 64;

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

/// What one key says of a provider in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The key.
    pub voter: PublicKey,
    /// The namespace.
    pub namespace: String,
    /// Its labels, which share the vote.
    pub labels: BTreeSet<String>,
    /// Whether the key is a customer of the provider.
    pub customer: bool,
    /// Whether it is one that is known ([`dealing`](super::dealing)).
    pub known: bool,
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

/// Counts the votes on a provider, one of each key and namespace, heaviest label first, then by namespace and label.
pub fn tally(votes: &[Vote]) -> Vec<Tally> {
    let others = weight_of_others(votes.iter().filter(|vote| !vote.known).count());
    let mut counts: BTreeMap<(&str, &str), (u64, u64, f64)> = BTreeMap::new();
    for vote in votes {
        let weight = if vote.known { KNOWN_WEIGHT } else { others } / vote.labels.len().max(1) as f64;
        for label in &vote.labels {
            let (votes, customers, sum) = counts.entry((&vote.namespace, label)).or_default();
            (*votes, *customers, *sum) = (*votes + 1, *customers + u64::from(vote.customer), *sum + weight);
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

/// What a label event says, by namespace; nothing of other events. Of more than [`MAX_NAMESPACES`] those count that make a
/// standing, then the first by name. A label's mark must name an `L` of the event; a label without a mark in an event
/// without an `L` is of [`UGC`].
pub fn said(event: &Event) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut said: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    if event.kind != kind::LABEL {
        return said;
    }
    let namespaces: BTreeSet<&str> = event.tag_values("L").gather();
    for tag in event.tags.iter().filter(|tag| tag.name() == "l") {
        let namespace = match tag.element(2).filter(|mark| !mark.is_empty()) {
            Some(mark) if namespaces.contains(mark) => mark,
            None if namespaces.is_empty() => UGC,
            _ => continue,
        };
        let Some(label) = tag.value().filter(|label| is_short(label) && is_short(namespace)) else { continue };
        let of_namespace = said.entry(namespace).or_default();
        if of_namespace.len() < MAX_LABELS {
            of_namespace.insert(label);
        }
    }
    let order = in_order(said.keys().copied().collect(), |namespace| u64::from(!NAMESPACES.contains(namespace)));
    for namespace in order.into_iter().skip(MAX_NAMESPACES) {
        said.remove(namespace);
    }
    said
}

/// Votes that an event makes at most: each is a row.
pub fn votes_max(event: &Event) -> u64 {
    let targets = event.tag_values("p").chain(event.tag_values("e")).take(MAX_TARGETS).count();
    (said(event).len() * targets) as u64
}

/// Whether it is text of at most [`MAX_CHARS`] characters, and without NUL, at which SQLite would cut it.
fn is_short(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && text.chars().nth(MAX_CHARS).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{EventId, PublicKey, Signature, Tag};

    /// A label event.
    fn event(tags: &[&[&str]]) -> Event {
        let tags = tags.iter().filter_map(|tag| Tag::new(tag.iter().copied())).collect();
        let (id, pubkey, sig) = (EventId::new([1; 32]), PublicKey::new([2; 32]), Signature::new([0; 64]));
        Event { id, pubkey, created_at: 1, kind: kind::LABEL, tags, content: String::new(), sig }
    }

    fn vote(customer: bool, known: bool, namespace: &str, labels: &[&str]) -> Vote {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Vote { voter: PublicKey::new([3; 32]), namespace: namespace.to_owned(), labels, customer, known }
    }

    fn some(count: usize, known: bool, label: &str) -> Vec<Vote> {
        vec![vote(known, known, "quality", &[label]); count]
    }

    fn told(votes: &[Vote]) -> Vec<(String, u64, u64, f64)> {
        let tallies = tally(votes).into_iter();
        tallies.map(|t| (format!("{} {}", t.namespace, t.label), t.votes, t.customers, t.weight)).collect()
    }

    /// What an event with these tags says.
    fn names(tags: &[&[&str]]) -> Vec<String> {
        let event = event(tags);
        let of = |(namespace, labels): (&str, BTreeSet<&str>)| {
            labels.iter().map(|label| format!("{namespace} {label}")).collect::<Vec<_>>()
        };
        said(&event).into_iter().flat_map(of).collect()
    }

    #[test]
    fn known_customers_outweigh_all_others_together() {
        let mut votes = some(19, false, "bad");
        votes.push(vote(true, true, "quality", &["good"]));
        votes.push(vote(true, false, "quality", &["good"]));
        let good = ("quality good".to_owned(), 2, 2, 1.0125);
        assert_eq!(told(&votes), [good, ("quality bad".to_owned(), 19, 0, 0.2375)]);
        assert_eq!(told(&some(3, false, "bad")), [("quality bad".to_owned(), 3, 0, 0.15)]);
        assert_eq!(told(&some(300, false, "bad")), [("quality bad".to_owned(), 300, 0, 0.25)]);
    }

    #[test]
    fn order_is_by_weight_then_names_and_labels_share_a_vote() {
        let votes = [
            vote(true, true, "a", &["y", "x"]),
            vote(true, true, "b", &["a"]),
            vote(false, false, "b", &["a"]),
            vote(true, true, "ugc", &["z"]),
        ];
        let order: Vec<(String, f64)> = told(&votes).into_iter().map(|(name, .., weight)| (name, weight)).collect();
        let expected = [("b a", 1.05), ("ugc z", 1.0), ("a x", 0.5), ("a y", 0.5)];
        assert_eq!(order, expected.map(|(name, weight)| (name.to_owned(), weight)));
    }

    #[test]
    fn marks_must_name_a_namespace_of_the_event() {
        assert_eq!(names(&[&["l", "good"], &["l", "fast", ""]]), ["ugc fast", "ugc good"]);
        assert!(names(&[&["l", "good", "quality"]]).is_empty());
        assert!(names(&[&["L", "quality"], &["l", "good"], &["l", "good", "latency"]]).is_empty());
        assert!(names(&[&["L", "quality"], &["L"], &["l"], &["l", "", "quality"], &["l"]]).is_empty());
        let (long, longest) = ("é".repeat(65), "é".repeat(64));
        assert!(names(&[&["L", &long], &["l", "good", &long], &["l", &long]]).is_empty());
        assert_eq!(names(&[&["L", "q"], &["l", &long, "q"], &["l", &longest, "q"]]), [format!("q {longest}")]);
    }

    #[test]
    fn a_bounded_number_of_labels_namespaces_and_keys_counts_and_only_of_labels() {
        let labels = ["9", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0"].map(|label| ["l", label]);
        let tags: Vec<&[&str]> = labels.iter().map(|tag| tag.as_slice()).collect();
        assert_eq!(names(&tags), (2..10).map(|label| format!("ugc {label}")).collect::<Vec<_>>());
        assert!(said(&Event { kind: 1, ..event(&tags) }).is_empty());
        let spaces = ["a", "b", "c", "d", "e", "quality"];
        let tags: Vec<[&str; 3]> = spaces.iter().flat_map(|name| [["L", name, ""], ["l", "x", name]]).collect();
        let mut tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
        assert_eq!(names(&tags), ["a x", "b x", "c x", "d x", "quality x"]);
        tags.extend(std::iter::repeat_n(&["p", "somebody"] as &[&str], 9));
        assert_eq!(votes_max(&event(&tags)), 20);
    }

    #[test]
    fn standing_is_praise_less_blame_over_all_and_some_doubt() {
        let of = |votes: &[Vote]| standing(&tally(votes));
        assert_eq!(of(&[]).to_bits(), 0.0_f64.to_bits());
        let (praise, blame) = (some(5, true, "quality/Good"), some(15, true, "scam"));
        assert_eq!((of(&praise), of(&blame), of(&some(1, true, "good/blue"))), (0.5, -0.75, 0.0));
        assert_eq!(of(&[praise, blame].concat()), -0.4);
        let everywhere: Vec<Vote> = (0..500).map(|n| vote(true, true, &format!("n{n}"), &["bad"])).collect();
        assert_eq!(of(&everywhere), 0.0, "namespaces are no ballots");
        let odd = |weight| Tally { namespace: UGC.into(), label: "bad".into(), votes: 1, customers: 1, weight };
        assert!(standing(&[odd(f64::NAN), odd(f64::INFINITY), odd(-9.0), odd(f64::MAX), odd(f64::MAX)]).is_finite());
    }
}
