//! What can be seen of a cluster from outside, one thing after the other: what clients say and are sent, what the database
//! has, and when memory is lost.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::{ConnId, RequestId};
use nexus::nostr::Filter;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::pool::{Ev, Pool};
use crate::subs::Stored;

/// Something that was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A client connects.
    Opens {
        conn: ConnId,
        gateway: usize,
    },
    /// A connection ends, by the client or, if not, by the relay.
    Ends {
        conn: ConnId,
        by_client: bool,
    },
    /// A client says EVENT or AUTH.
    Says {
        conn: ConnId,
        id: String,
    },
    /// REQ.
    Asks {
        conn: ConnId,
        sub: String,
        filters: Vec<Filter>,
    },
    /// COUNT.
    Counts {
        conn: ConnId,
        query: String,
        filters: Vec<Filter>,
    },
    /// CLOSE.
    Closes {
        conn: ConnId,
        sub: String,
    },
    /// OK; of an event of the pool, or of an AUTH.
    Ok {
        conn: ConnId,
        id: String,
        ev: Option<Ev>,
        accepted: bool,
        why: String,
    },
    Event {
        conn: ConnId,
        sub: String,
        ev: Ev,
    },
    Eose {
        conn: ConnId,
        sub: String,
    },
    Closed {
        conn: ConnId,
        sub: String,
        why: String,
    },
    Counted {
        conn: ConnId,
        query: String,
        count: u64,
    },
    /// Somebody asks a gateway over HTTP, and is answered.
    Requested {
        gateway: usize,
        request: RequestId,
    },
    Responded {
        request: RequestId,
    },
    /// A list of statements that writes was run for an incarnation of the partition: the version of the log before and
    /// after, and whether it was refused.
    Wrote {
        incarnation: u64,
        before: u64,
        after: u64,
        refused: bool,
    },
    /// The events that are stored have changed.
    Stored(Stored),
    /// A gateway or the partition has lost its memory, in its sleep or not.
    GatewayForgot {
        gateway: usize,
        asleep: bool,
    },
    PartitionForgot,
    /// Nothing goes wrong from now on.
    Healed,
    /// Nothing is on its way any more.
    Quiet,
}

/// What all who look know.
pub struct Facts<'a> {
    pub pool: &'a Pool,
    /// Whether nothing goes wrong in this run.
    pub is_calm: bool,
    pub now: u64,
    pub healed: bool,
    /// Events that are stored, with their numbers.
    pub stored: Stored,
    /// The numbers under which each was ever stored.
    pub ever: BTreeMap<Ev, BTreeSet<u64>>,
    /// The highest number there was.
    pub last_seq: u64,
    /// Where connections are that are open.
    pub open: BTreeMap<ConnId, usize>,
}

impl<'a> Facts<'a> {
    pub fn new(pool: &'a Pool, is_calm: bool) -> Self {
        let (stored, ever, open) = Default::default();
        Self { pool, is_calm, now: 0, healed: false, stored, ever, last_seq: 0, open }
    }

    pub fn name(&self, ev: Ev) -> &str {
        &self.pool.events[ev].name
    }

    /// Notes what was seen, after all who look have seen it.
    pub fn note(&mut self, seen: &Seen) {
        match seen {
            Seen::Opens { conn, gateway } => drop(self.open.insert(*conn, *gateway)),
            Seen::Ends { conn, .. } => drop(self.open.remove(conn)),
            Seen::Stored(stored) => {
                for (ev, seq) in stored {
                    self.ever.entry(*ev).or_default().insert(*seq);
                    self.last_seq = self.last_seq.max(*seq);
                }
                self.stored = stored.clone();
            }
            Seen::Healed => self.healed = true,
            _ => {}
        }
    }

    /// What a frame says.
    pub fn read(&self, conn: ConnId, text: &str) -> Result<Option<Seen>, String> {
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| format!("{text}: {e}"))?;
        let raw = |at: usize| parts.get(at).map_or("null", |raw| raw.get());
        let part = |at: usize| serde_json::from_str::<Value>(raw(at)).unwrap();
        let string = |at: usize| part(at).as_str().unwrap_or_default().to_owned();
        let sub = string(1);
        Ok(Some(match string(0).as_str() {
            "AUTH" | "NOTICE" => return Ok(None),
            "OK" => Seen::Ok { conn, ev: self.pool.by_id(&sub), id: sub, accepted: part(2) == true, why: string(3) },
            "EVENT" => {
                let ev = self.pool.by_json(raw(2)).ok_or_else(|| format!("nobody published {}", raw(2)))?;
                Seen::Event { conn, sub, ev }
            }
            "EOSE" => Seen::Eose { conn, sub },
            "CLOSED" => Seen::Closed { conn, sub, why: string(2) },
            "COUNT" => Seen::Counted { conn, query: sub, count: part(2)["count"].as_u64().unwrap_or(u64::MAX) },
            _ => return Err(format!("unexpected {text}")),
        }))
    }
}
