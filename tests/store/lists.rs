//! Filters of several lists: one is walked, and the others are checked.

use nexus::nostr::{Event, PublicKey};
use serde_json::json;

use super::{Database, get, put};
use crate::common::events::{Author, NOW};

pub fn several(db: &mut dyn Database) {
    let authors: Vec<Author> = (1..5).map(Author::new).collect();
    let (keys, values): (Vec<PublicKey>, _) = (authors.iter().map(Author::key).collect(), ["a", "b", "c"]);
    let mut events = Vec::new();
    for (n, author) in authors.iter().enumerate() {
        for (m, value) in values.iter().enumerate() {
            let at = NOW + (n * 3 + m) as u64;
            events.push(author.sign(if m == 0 { 1 } else { 7 }, at, &[&["t", value], &["u", "x"], &["t", "all"]], ""));
        }
    }
    put(db, &events.iter().collect::<Vec<_>>());
    // 150 more have one of the values, so the lists are not all short.
    for n in 0..150 {
        put(db, &[&Author::new(9).sign(7, NOW, &[&["t", "c"]], &n.to_string())]);
    }
    let own = |event: &&Event| keys[..3].contains(&event.pubkey);
    let mut wanted: Vec<&Event> = events.iter().filter(own).collect();
    wanted.reverse();
    for kinds in [r#","kinds":[1,7]"#, ""] {
        let filter = json!({"authors": &keys[..3], "#t": values, "#u": ["x", "y"]}).to_string();
        let filter = format!("[{}{kinds}}}]", filter.trim_end_matches('}'));
        assert_eq!(get(db, &filter).iter().collect::<Vec<_>>(), wanted, "{filter}");
        let filter = json!({"authors": &keys[..3], "#t": ["a", "all"]}).to_string();
        let filter = format!("[{}{kinds}}}]", filter.trim_end_matches('}'));
        assert_eq!(get(db, &filter).iter().collect::<Vec<_>>(), wanted, "{filter}");
    }
}
