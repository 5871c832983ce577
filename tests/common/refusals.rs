//! The table of refusals, judged by what the relay says: each must be of one entry, and told as the entry tells.

use nexus::nostr::refusal::{self, Entry};
use serde_json::Value;

/// All entries.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    refusal::ALL.into_iter().flatten()
}

/// The whole message an entry is seen as, with `{name}` in place of what is filled in.
pub fn message(entry: &Entry) -> String {
    entry.prefix.map(|prefix| format!("{}: ", prefix.as_str())).unwrap_or_default() + entry.text
}

/// What of a message stands between the places that are filled in.
pub fn pieces(message: &str) -> Vec<&str> {
    message
        .split('{')
        .enumerate()
        .map(|(n, piece)| if n == 0 { piece } else { piece.split_once('}').unwrap().1 })
        .collect()
}

/// Whether something that is said is of an entry.
pub fn fits(entry: &Entry, said: &str) -> bool {
    let message = message(entry);
    let pieces = pieces(&message);
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    if pieces.len() == 1 {
        return said == first;
    }
    let Some(mut rest) = said.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    // Something is filled in at each place.
    pieces[1..pieces.len() - 1].iter().all(|piece| {
        let found = rest.match_indices(piece).find(|(at, _)| *at > 0);
        found.is_some_and(|(at, piece)| {
            rest = &rest[at + piece.len()..];
            true
        })
    }) && !rest.is_empty()
}

/// The codes of something that is said.
pub fn codes(said: &str) -> Vec<&'static str> {
    entries().filter(|entry| fits(entry, said)).map(|entry| entry.code).collect()
}

/// Panics unless what is said is of one entry, and told as that says.
pub fn check(told: &str, said: &str) {
    let found: Vec<&Entry> = entries().filter(|entry| fits(entry, said)).collect();
    let [entry] = found.as_slice() else { panic!("{told} {said:?} is of {:?} in the table of refusals", codes(said)) };
    assert!(entry.told.split(", ").any(|it| it == told), "{}: {told} is not among {}", entry.code, entry.told);
}

/// Checks a frame, if it is one that refuses.
pub fn check_frame(frame: &Value) {
    let text = |at: usize| frame[at].as_str().unwrap();
    match text(0) {
        "OK" if frame[2] == true && text(3).is_empty() => {}
        "OK" => check(if frame[2] == true { "OK true" } else { "OK" }, text(3)),
        told @ ("CLOSED" | "NEG-ERR") => check(told, text(2)),
        "NOTICE" => check("NOTICE", text(1)),
        _ => {}
    }
}

/// Checks how a request over HTTP was refused; what the database could not answer is none of this.
pub fn check_response(status: u16, body: &str, retry_after_s: Option<u64>) {
    if matches!(status, 403 | 429) || status == 503 && retry_after_s.is_some() {
        let body: Value = serde_json::from_str(body).unwrap();
        check(&format!("HTTP {status}"), body["error"].as_str().unwrap());
    }
}
