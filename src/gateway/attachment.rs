//! The text a connection is remembered by across hibernation and resets.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Millis;
use super::conn::{Backlog, Conn, Sub};
use super::keeper::Positions;
use crate::message::Known;
use crate::nostr::{Filter, PublicKey, Values};
use crate::trees::Gather;

const VERSION: u32 = 6;
/// Bytes of text that a socket's attachment holds.
pub const MAX_ATTACHED: usize = 16_000;
/// Bytes of it that are not filters, at the most.
const OTHER_BYTES: usize = 4_000;
/// In place of a text that is out of date; [`decode`] knows nothing by it.
pub const OUTDATED: &str = "outdated";

/// A connection as text, with its subscriptions.
#[derive(Serialize, Deserialize)]
struct Attachment<S> {
    /// Format.
    v: u32,
    /// Network.
    n: Option<Box<str>>,
    /// When it was opened, Unix milliseconds.
    o: u64,
    /// Challenge.
    c: String,
    /// Proven keys.
    k: Values<PublicKey>,
    /// The one proven first.
    f: Option<PublicKey>,
    /// What is known of them.
    p: BTreeMap<PublicKey, Known>,
    /// Levels of the network's and the keys' quotas, in that order.
    l: Vec<Option<String>>,
    /// COUNTs that wait for the store.
    q: BTreeSet<String>,
    /// What subscribers had been told of, as far as is known.
    t: Positions,
    /// Subscriptions.
    s: Vec<S>,
}

/// Its id, whether its stored events are still to be sent, and its filters.
type Subscription = (String, Option<Unread>, Vec<Box<RawValue>>);

/// Of a subscription whose stored events have not been sent: what subscribers had been told of when they were asked
/// for, and when they could not be read first.
type Unread = (Positions, Option<Millis>);

/// A connection as it was remembered.
pub struct RememberedConn {
    /// Without its subscriptions.
    pub conn: Conn,
    pub subs: Vec<Remembered>,
    /// Levels of its holders' quotas.
    pub levels: Vec<Option<String>>,
    /// What subscribers had been told of, as far as is known.
    pub told: Positions,
}

/// A subscription as it was remembered.
pub struct Remembered {
    /// Its id.
    pub id: Rc<str>,
    /// Set while its stored events had not been sent yet.
    pub unread: Option<Backlog>,
    /// Its filters.
    pub filters: Arc<[Filter]>,
}

/// Writes `conn` down, with the levels of its holders' quotas, and what subscribers have been told of.
pub fn encode(conn: &Conn, levels: Vec<Option<String>>, told: Positions) -> String {
    let unread = |sub: &Sub| sub.reading.as_ref().map(|backlog| (backlog.after.clone(), backlog.failed_at));
    let attachment = Attachment {
        v: VERSION,
        n: conn.network.as_deref().map(Box::from),
        o: conn.opened_at,
        c: conn.challenge.clone(),
        k: conn.keys.clone(),
        f: conn.first_key,
        p: conn.known.iter().copied().gather(),
        l: levels,
        q: conn.counting.clone(),
        t: told,
        s: conn.subs.iter().map(|(id, sub)| (&**id, unread(sub), &*sub.text)).collect(),
    };
    serde_json::to_string(&attachment).unwrap_or_default()
}

impl Conn {
    /// Whether what it is remembered by may not fit an attachment.
    pub fn is_large(&self) -> bool {
        let bytes = |id: &str, sub: &Sub| id.len() + sub.text.get().len() + 40;
        self.subs.iter().map(|(id, sub)| bytes(id, sub)).sum::<usize>() > MAX_ATTACHED - OTHER_BYTES
    }
}

/// Reads back what [`encode`] wrote; `None` for anything else, such as another version's text.
pub fn decode(text: &str) -> Option<RememberedConn> {
    let lost = |(after, failed_at)| Backlog { after, failed_at, lost: true, ..Backlog::default() };
    let attachment: Attachment<Subscription> = serde_json::from_str(text).ok()?;
    if attachment.v != VERSION {
        return None;
    }
    let subs = attachment
        .s
        .into_iter()
        .map(|(id, unread, filters)| {
            let filters: Option<Vec<Filter>> = filters.iter().map(|raw| Filter::parse(raw.get()).ok()).collect();
            Some(Remembered { id: id.into(), unread: unread.map(lost), filters: filters?.into() })
        })
        .collect::<Option<_>>()?;
    let conn = Conn {
        network: attachment.n.map(Rc::from),
        opened_at: attachment.o,
        challenge: attachment.c,
        keys: attachment.k,
        first_key: attachment.f,
        known: attachment.p.into_iter().collect(),
        counting: attachment.q,
        ..Conn::default()
    };
    Some(RememberedConn { conn, subs, levels: attachment.l, told: attachment.t })
}
