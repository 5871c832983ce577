//! The text a connection is remembered by across hibernation and resets.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::conn::Conn;
use crate::nostr::{Filter, PublicKey};
use crate::store::market::Known;

const VERSION: u32 = 4;

/// A connection as text.
#[derive(Serialize, Deserialize)]
struct Attachment {
    /// Format.
    v: u32,
    /// Network.
    n: Option<String>,
    /// When it was opened, Unix milliseconds.
    o: u64,
    /// Challenge.
    c: String,
    /// Proven keys.
    k: BTreeSet<PublicKey>,
    /// The one proven first.
    f: Option<PublicKey>,
    /// What is known of them.
    p: BTreeMap<PublicKey, Known>,
    /// Levels of the network's and the keys' quotas, in that order.
    l: Vec<Option<String>>,
    /// COUNTs that wait for the store.
    q: BTreeSet<String>,
    /// Subscriptions.
    s: Vec<(String, bool, Vec<Box<RawValue>>)>,
}

/// A subscription as it was remembered.
pub struct Remembered {
    /// Its id.
    pub id: Rc<str>,
    /// Whether its stored events had not been sent yet.
    pub unread: bool,
    /// Its filters.
    pub filters: Rc<[Filter]>,
}

/// Writes `conn` down, with the levels of its holders' quotas.
pub fn encode(conn: &Conn, levels: Vec<Option<String>>) -> String {
    let raw = |filter: &Filter| serde_json::value::to_raw_value(filter).ok();
    let attachment = Attachment {
        v: VERSION,
        n: conn.network.clone(),
        o: conn.opened_at,
        c: conn.challenge.clone(),
        k: conn.keys.clone(),
        f: conn.first_key,
        p: conn.known.clone(),
        l: levels,
        q: conn.counting.clone(),
        s: conn
            .subs
            .iter()
            .map(|(id, sub)| (id.to_string(), sub.reading.is_some(), sub.filters.iter().filter_map(raw).collect()))
            .collect(),
    };
    serde_json::to_string(&attachment).unwrap_or_default()
}

/// Reads back what [`encode`] wrote: the connection without its subscriptions, these, and the levels.
/// `None` for anything else, such as another version's text.
pub fn decode(text: &str) -> Option<(Conn, Vec<Remembered>, Vec<Option<String>>)> {
    let attachment: Attachment = serde_json::from_str(text).ok().filter(|a: &Attachment| a.v == VERSION)?;
    let subs = attachment
        .s
        .into_iter()
        .map(|(id, unread, filters)| {
            let filters: Option<Vec<Filter>> = filters.iter().map(|raw| Filter::parse(raw.get()).ok()).collect();
            Some(Remembered { id: id.into(), unread, filters: filters?.into() })
        })
        .collect::<Option<_>>()?;
    let conn = Conn {
        network: attachment.n,
        opened_at: attachment.o,
        challenge: attachment.c,
        keys: attachment.k,
        first_key: attachment.f,
        known: attachment.p,
        counting: attachment.q,
        ..Conn::default()
    };
    Some((conn, subs, attachment.l))
}
