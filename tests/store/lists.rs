//! Filters of several lists: one is walked, and the others are checked.

use nexus::market::job::NIP90;
use nexus::nostr::{Event, Filter, PublicKey, Values};
use nexus::store::read::{self, Viewer};
use serde_json::json;

use super::{Database, get, put};
use crate::common::events::{Author, NOW};
use crate::common::ledger::for_ever;

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

/// Tags whose name and value together are written like those of another one.
pub fn names_alike(db: &mut dyn Database) {
    let author = Author::new(1);
    put(db, &[&author.sign(1, NOW, &[&["t", "v0"], &["t\"a\\", "b"]], "")]);
    let (keys, kept) = (Values::default(), for_ever());
    for count in [6, 9] {
        let mut values: Vec<String> = (1..=count).map(|n| format!("v{n}")).collect();
        values.push("a\"b".to_owned());
        let with_v0 = [&values[..], &["v0".to_owned()]].concat();
        for filter in [
            json!({"authors": [author.key()], "#t": values}),
            // Two that look like `t` are no `t` and a `k`.
            json!({"authors": [author.key()], "#t": with_v0, "#k": ["1", "2"]}),
        ] {
            assert_eq!(get(db, &json!([filter]).to_string()), [], "{filter}");
            let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &kept, now: NOW };
            let rows = db.run(&read::all(&Filter::parse(&filter.to_string()).unwrap(), false, &viewer)).unwrap();
            assert!(read::decode_counted(rows).unwrap().unwrap().is_empty(), "{filter} is counted");
        }
    }
}
