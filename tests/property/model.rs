//! The first judge: what the NIPs say, in the dumbest way. Events and filters are the JSON they travel
//! as. It shares no code with the library.

use serde_json::Value;

/// What became of a published event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It is new and stored.
    Stored,
    /// It was stored before.
    Known,
    /// A newer version came while it waited, and is stored.
    Absorbed,
    /// A better version has its place.
    Superseded,
    /// A request keeps it out.
    Deleted,
    /// It came too late (NIP-40).
    Expired,
    /// It asks for a deletion in words that name nothing (NIP-09).
    Misspelled,
    /// It is ephemeral and somebody listened.
    Heard,
    /// It is ephemeral and nobody listened.
    Unheard,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Proven keys, in hex.
    pub keys: &'a [String],
    /// Unix seconds.
    pub now: u64,
}

/// A relay: what it stores, what it was asked to be rid of, what a filter without a limit gets.
pub struct Model {
    pub stored: Vec<Value>,
    pub requests: Vec<Value>,
    pub default_limit: usize,
    pub max_limit: usize,
}

impl Model {
    /// Takes a group of different events at once. Within a group, requests count first; one that is
    /// itself kept out does nothing.
    pub fn take(&mut self, group: &[&Value]) -> Vec<Fate> {
        let before = self.requests.len();
        for kind in [62, 5] {
            for request in group.iter().filter(|event| event["kind"] == kind) {
                if !self.is_deleted(request) {
                    self.requests.push((*request).clone());
                }
            }
        }
        let (old, new) = self.requests.split_at(before);
        self.stored.retain(|event| !new.iter().any(|request| covers(request, event)));
        let deleted = |event: &Value| old.iter().chain(new).any(|request| covers(request, event));
        let alive: Vec<&Value> = group.iter().copied().filter(|event| !deleted(event)).collect();
        let fate = |event: &Value| {
            if deleted(event) {
                Fate::Deleted
            } else if self.stored.iter().chain(alive.iter().copied()).any(|rival| replaces(rival, event)) {
                Fate::Superseded
            } else if self.stored.contains(event) {
                Fate::Known
            } else {
                Fate::Stored
            }
        };
        let fates: Vec<Fate> = group.iter().map(|event| fate(event)).collect();
        self.stored.retain(|event| !alive.iter().any(|new| replaces(new, event)));
        let new = group.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Stored);
        self.stored.extend(new.map(|(event, _)| (*event).clone()));
        fates
    }

    fn is_deleted(&self, event: &Value) -> bool {
        self.requests.iter().any(|request| covers(request, event))
    }

    /// Removes what has expired.
    pub fn sweep(&mut self, now: u64) {
        self.stored.retain(|event| !has_expired(event, now));
    }

    /// All that `filter` finds, newest first, ties by the lowest id.
    pub fn all(&self, filter: &Value, view: View) -> Vec<&Value> {
        let served = |event: &&Value| !has_expired(event, view.now) && may_read(event, view.keys);
        let mut found: Vec<&Value> = self.stored.iter().filter(|event| matches(filter, event)).filter(served).collect();
        found.sort_by_key(|event| order(event));
        found
    }

    /// What a REQ finds of one filter, and whether that is all: the newest up to the limit; with 100 or
    /// more, whole seconds where that is a quarter more at the most.
    pub fn page(&self, filter: &Value, view: View) -> (Vec<&Value>, bool) {
        let mut found = self.all(filter, view);
        let limit = filter["limit"].as_u64().map_or(self.default_limit, |limit| limit as usize).min(self.max_limit);
        let cut = limit.min(found.len());
        let mut end = cut;
        while limit >= 100 && end < found.len() && found[end]["created_at"] == found[end - 1]["created_at"] {
            end += 1;
        }
        if end > limit + limit / 4 {
            end = cut;
        }
        let whole = end == found.len();
        found.truncate(end);
        (found, whole)
    }

    /// What a REQ finds, whether that is all, and whether it is for each filter by itself.
    pub fn answer(&self, filters: &[Value], view: View) -> (Vec<&Value>, bool, bool) {
        let (pages, each): (Vec<Vec<&Value>>, Vec<bool>) = filters.iter().map(|filter| self.page(filter, view)).unzip();
        let found = union(pages);
        let whole = found.len() == self.count(filters, view);
        (found, whole, each.into_iter().all(|whole| whole))
    }

    /// What a COUNT counts: the limit says nothing.
    pub fn count(&self, filters: &[Value], view: View) -> usize {
        union(filters.iter().map(|filter| self.all(filter, view)).collect()).len()
    }
}

fn union(lists: Vec<Vec<&Value>>) -> Vec<&Value> {
    let mut all = lists.concat();
    all.sort_by_key(|event| order(event));
    all.dedup();
    all
}

/// Newest first, ties by the lowest id.
fn order(event: &Value) -> (u64, &str) {
    (u64::MAX - time(event), event["id"].as_str().unwrap())
}

/// Every condition holds (NIP-01).
pub fn matches(filter: &Value, event: &Value) -> bool {
    let has = |list: &Value, value: &Value| list.as_array().unwrap().contains(value);
    filter.as_object().unwrap().iter().all(|(key, wanted)| match key.as_str() {
        "ids" => has(wanted, &event["id"]),
        "authors" => has(wanted, &event["pubkey"]),
        "kinds" => has(wanted, &event["kind"]),
        "since" => time(event) >= wanted.as_u64().unwrap(),
        "until" => time(event) <= wanted.as_u64().unwrap(),
        "limit" => true,
        tag => tags(event).iter().any(|t| t[0] == tag[1..] && has(wanted, &t[1])),
    })
}

/// Direct messages are for the author and those named, gift wraps for those named.
pub fn may_read(event: &Value, keys: &[String]) -> bool {
    let named = || keys.iter().any(|key| names(event, "p", key));
    match event["kind"].as_u64() {
        Some(4) => named() || keys.iter().any(|key| event["pubkey"] == **key),
        Some(1059 | 21059) => named(),
        _ => true,
    }
}

/// Who has proven no key and asks for nothing but what is for those named is told to.
pub fn must_prove(filters: &[Value], keys: &[String]) -> bool {
    let gated = |kind: &Value| [4, 1059, 21059].iter().any(|gated| kind == gated);
    let all_gated = |kinds: &Vec<Value>| !kinds.is_empty() && kinds.iter().all(gated);
    keys.is_empty() && filters.iter().all(|filter| filter["kinds"].as_array().is_some_and(all_gated))
}

/// Whether `request` deletes `event` (NIP-09, NIP-62; gift wraps, NIP-59).
pub fn covers(request: &Value, event: &Value) -> bool {
    let author = request["pubkey"].as_str().unwrap();
    let own = event["pubkey"] == author;
    let before = time(event) <= time(request);
    let addressee = event["kind"] == 1059 && names(event, "p", author);
    if !own && !addressee {
        return false;
    }
    if request["kind"] == 62 {
        return event["kind"] != 62 && before;
    }
    let address = coordinates(event);
    event["kind"] != 5
        && event["kind"] != 62
        && (names(request, "e", event["id"].as_str().unwrap())
            || own && before && address.is_some_and(|address| names(request, "a", &address)))
}

/// Whether `new` takes the place of `old`: newer, or as old with the lower id (NIP-01).
pub fn replaces(new: &Value, old: &Value) -> bool {
    new["pubkey"] == old["pubkey"]
        && new["kind"] == old["kind"]
        && order(new) < order(old)
        && coordinates(new).is_some_and(|address| coordinates(old) == Some(address))
}

/// Whether it makes a difference which of two events of one author is stored first.
pub fn needs_order(first: &Value, second: &Value) -> bool {
    let requests = |event: &Value| matches!(event["kind"].as_u64(), Some(5 | 62));
    second["kind"] == 62
        || second["kind"] == 5 && !requests(first)
        || coordinates(second).is_some_and(|address| coordinates(first) == Some(address))
}

/// `KIND:PUBKEY:D` of what newer versions replace.
pub fn coordinates(event: &Value) -> Option<String> {
    let d = match event["kind"].as_u64()? {
        0 | 3 | 10_000..=19_999 => "",
        30_000..=39_999 => tags(event).iter().find(|tag| tag[0] == "d").and_then(|tag| tag[1].as_str()).unwrap_or(""),
        _ => return None,
    };
    Some(format!("{}:{}:{d}", event["kind"], event["pubkey"].as_str()?))
}

/// Whether it is a deletion request with a target that is no id and no coordinates.
pub fn is_misspelled(event: &Value) -> bool {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let wrong = |tag: &Value| match (tag[0].as_str(), tag[1].as_str()) {
        (Some("e"), Some(id)) => !hex(id),
        (Some("a"), Some(address)) => {
            let parts: Vec<&str> = address.splitn(3, ':').collect();
            parts.len() < 3
                || !hex(parts[1])
                || parts[0].parse::<u16>().ok().map(|kind| kind.to_string()) != Some(parts[0].to_owned())
        }
        _ => false,
    };
    event["kind"] == 5 && event["tags"].as_array().unwrap().iter().any(wrong)
}

pub fn has_expired(event: &Value, now: u64) -> bool {
    let tag = tags(event).iter().find(|tag| tag[0] == "expiration");
    tag.is_some_and(|tag| tag[1].as_str().unwrap().parse::<u64>().unwrap() <= now)
}

pub fn is_ephemeral(event: &Value) -> bool {
    event["kind"].as_u64().is_some_and(|kind| (20_000..30_000).contains(&kind))
}

fn names(event: &Value, name: &str, value: &str) -> bool {
    tags(event).iter().any(|tag| tag[0] == name && tag[1] == value)
}

fn tags(event: &Value) -> &Vec<Value> {
    event["tags"].as_array().unwrap()
}

fn time(event: &Value) -> u64 {
    event["created_at"].as_u64().unwrap()
}
