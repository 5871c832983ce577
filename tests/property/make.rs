//! Random events and filters: few authors, kinds, seconds and values, so that they meet.

use nexus::nostr::Event;
use serde_json::{Map, Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::model::coordinates;

/// A signed event, for the library and for the model.
pub struct Made {
    pub event: Event,
    pub json: Value,
}

const KINDS: &[u16] = &[
    1, 1, 1, 1, 40, 40, 1063, 1063, 9735, 9735, 0, 10_002, 30_023, 30_023, 31_989, 31_989, 4, 4, 1059, 1059, 5, 5, 5,
    20_001, 21_059,
];
/// Names of tags; a filter can ask for the first seven.
const NAMES: &[&str] = &["e", "p", "t", "k", "T", "d", "a", "alt", "é", "1", ""];
const WORDS: &[&str] =
    &["x", "y", "", "X", "5050", "\0", "\0x", "x\0", "\"", "'", "\\", "[]", "x=", "#", " ", "%", "🙂", "\u{feff}x"];
/// Seconds events are made in.
const WINDOW: u64 = 6;
/// Once in so many events somebody asks to vanish.
const VANISH: u64 = 160;

/// So many events, of which later ones refer to earlier ones.
pub fn events(chance: &mut Chance, authors: &[Author], count: usize) -> Vec<Made> {
    let mut made = Vec::new();
    while made.len() < count {
        let event = event(chance, authors, &made);
        let json = serde_json::from_str(&event.to_json()).unwrap();
        made.push(Made { event, json });
    }
    made
}

fn event(chance: &mut Chance, authors: &[Author], made: &[Made]) -> Event {
    let content = made.len().to_string();
    let mut time = NOW - WINDOW + chance.below(WINDOW + 1);
    let author = chance.pick(authors);
    if chance.one_in(VANISH) {
        let last = authors.last().unwrap();
        return last.sign(62, NOW - WINDOW + chance.below(3), &[&["relay", "ALL_RELAYS"]], &content);
    }
    let kind = *chance.pick(KINDS);
    let mut tags: Vec<Vec<String>> = Vec::new();
    match kind {
        5 => (time, tags) = deletion(chance, time, author, made),
        4 | 1059 | 21_059 if !chance.one_in(6) => tags.push(vec!["p".to_owned(), key(chance, authors)]),
        30_023 | 31_989 if !chance.one_in(6) => tags.push(vec!["d".to_owned(), word(chance)]),
        _ => {}
    }
    for _ in 0..chance.below(4) {
        tags.push(tag(chance, authors, made));
    }
    if !(20_000..30_000).contains(&kind) && chance.one_in(9) {
        tags.push(vec!["expiration".to_owned(), (NOW + chance.below(30)).to_string()]);
    }
    let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    author.sign(kind, time, &tags, &content)
}

/// What a deletion request names, mostly what its author may delete; and its time, often that of one.
fn deletion(chance: &mut Chance, mut time: u64, author: &Author, made: &[Made]) -> (u64, Vec<Vec<String>>) {
    let author = author.key().to_string();
    let may = |made: &&Made| made.json["pubkey"] == *author || made.json["kind"] == 1059;
    let own: Vec<&Made> = made.iter().filter(may).collect();
    let mut tags = Vec::new();
    for _ in 0..=chance.below(3) {
        let target = match chance.below(6) {
            0 if !made.is_empty() => chance.pick(made),
            _ if !own.is_empty() => *chance.pick(&own),
            _ => continue,
        };
        let (kind, key) = (target.event.kind, target.event.pubkey);
        if chance.one_in(2) {
            time = target.event.created_at;
        }
        tags.push(match chance.below(8) {
            0 => vec!["e".to_owned()],
            1 => vec!["a".to_owned(), format!("{kind}:{key}")],
            2..5 => vec!["a".to_owned(), coordinates(&target.json).unwrap_or(format!("{kind}:{key}:"))],
            _ => vec!["e".to_owned(), target.event.id.to_string()],
        });
    }
    (time, tags)
}

fn tag(chance: &mut Chance, authors: &[Author], made: &[Made]) -> Vec<String> {
    let name = *chance.pick(NAMES);
    let mut tag = vec![name.to_owned()];
    if !chance.one_in(12) {
        tag.push(if chance.one_in(8) { word(chance) } else { value(chance, name, authors, made) });
    }
    if tag.len() > 1 && chance.one_in(8) {
        tag.push("y".to_owned());
    }
    tag
}

/// Something to name under `name`.
fn value(chance: &mut Chance, name: &str, authors: &[Author], made: &[Made]) -> String {
    match name {
        "e" if made.is_empty() => "ab".repeat(32),
        "e" => chance.pick(made).event.id.to_string(),
        "p" if chance.one_in(8) => key(chance, authors).to_uppercase(),
        "p" => key(chance, authors),
        _ => word(chance),
    }
}

fn key(chance: &mut Chance, authors: &[Author]) -> String {
    chance.pick(authors).key().to_string()
}

fn word(chance: &mut Chance) -> String {
    match chance.below(12) {
        0 => "é".repeat(64),        // the longest that is indexed as it is
        1 => "é".repeat(64) + "x",  // the shortest that is not
        2 => "é".repeat(64) + "xy", // the same for 128 bytes
        3..7 => (*chance.pick(WORDS)).to_owned(),
        _ => (*chance.pick(&WORDS[..3])).to_owned(),
    }
}

/// A filter without a limit; most are about something there is.
pub fn filter(chance: &mut Chance, authors: &[Author], made: &[Made]) -> Value {
    let like = chance.pick(made);
    let mut filter = Map::new();
    if chance.one_in(12) {
        let other = |chance: &mut Chance| json!(chance.pick(made).event.id);
        filter.insert("ids".to_owned(), list(chance, Some(json!(like.event.id)), other));
    }
    if chance.one_in(3) {
        let other = |chance: &mut Chance| json!(key(chance, authors));
        filter.insert("authors".to_owned(), list(chance, Some(json!(like.event.pubkey)), other));
    }
    if chance.one_in(3) {
        let other = |chance: &mut Chance| if chance.one_in(8) { json!(65_535) } else { json!(chance.pick(KINDS)) };
        filter.insert("kinds".to_owned(), list(chance, Some(json!(like.event.kind)), other));
    }
    for _ in 0..2 {
        if chance.one_in(3) {
            let (name, known) = asked_tag(chance, like);
            let other = |chance: &mut Chance| match name {
                "p" => json!(key(chance, authors)),
                _ => json!(value(chance, name, authors, made)),
            };
            filter.insert(format!("#{name}"), list(chance, known, other));
        }
    }
    for bound in ["since", "until"] {
        if chance.one_in(4) {
            let odd = [0, u64::MAX, 1 << 53, (1 << 53) + 1];
            let second = NOW - WINDOW + chance.below(WINDOW + 1);
            filter.insert(bound.to_owned(), json!(if chance.one_in(16) { *chance.pick(&odd) } else { second }));
        }
    }
    Value::Object(filter)
}

/// A tag to ask for: one of `like`, or any.
fn asked_tag(chance: &mut Chance, like: &Made) -> (&'static str, Option<Value>) {
    let name = chance.pick(&NAMES[..7]);
    let tags = like.json["tags"].as_array().unwrap();
    let askable = |tag: &&Value| {
        let text = tag[1].as_str();
        text.is_some_and(|text| !matches!(tag[0].as_str(), Some("e" | "p")) || is_hex(text))
    };
    let found = tags.iter().filter(askable).find_map(|tag| {
        let name = NAMES[..7].iter().find(|name| tag[0] == **name)?;
        Some((*name, Some(tag[1].clone())))
    });
    found.filter(|_| !chance.one_in(4)).unwrap_or((name, None))
}

/// NIP-01 allows nothing else for `#e` and `#p`.
fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Some values of a list, now and then none.
fn list(chance: &mut Chance, like: Option<Value>, mut other: impl FnMut(&mut Chance) -> Value) -> Value {
    let mut values = Vec::new();
    if chance.one_in(30) {
        return json!(values);
    }
    values.extend(like.filter(|_| !chance.one_in(5)));
    let others = chance.below(3) + u64::from(values.is_empty());
    (0..others).for_each(|_| values.push(other(chance)));
    json!(values)
}
