//! What can be seen of a cluster from outside, one thing after the other: what clients say and are sent, what the database
//! has, and when memory is lost.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::{ConnId, RequestId};
use nexus::nostr::Filter;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::plan::Plan;
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
    /// `hint` is what NIP-67 has it say: that these are all, or that there are more.
    Eose {
        conn: ConnId,
        sub: String,
        hint: String,
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
    /// A list of statements that writes was run for an incarnation of a partition: the version of its log before and
    /// after, and whether it was refused.
    Wrote {
        partition: usize,
        incarnation: u64,
        before: u64,
        after: u64,
        refused: bool,
    },
    /// The events that a partition has stored have changed: they are these with their numbers, and those of all
    /// partitions in the order they were stored.
    Stored {
        partition: usize,
        log: Stored,
        all: Stored,
    },
    /// A gateway has lost its memory, in its sleep or not; a partition has.
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

/// What a partition has stored.
#[derive(Clone, Default)]
pub struct Log {
    /// Events with their numbers.
    pub stored: Stored,
    /// The highest number there was.
    pub last_seq: u64,
}

/// What all who look know.
pub struct Facts<'a> {
    pub pool: &'a Pool,
    /// Whether nothing goes wrong in this run.
    pub is_calm: bool,
    /// Partitions with which something may go wrong.
    pub sick: BTreeSet<usize>,
    pub now: u64,
    pub healed: bool,
    /// Whether pages may end before they must.
    pub has_short_pages: bool,
    /// What each partition has stored.
    pub logs: Vec<Log>,
    /// Events that are stored anywhere, numbered in the order they were.
    pub stored: Stored,
    /// The numbers of that order under which each was ever stored.
    pub ever: BTreeMap<Ev, BTreeSet<u64>>,
    /// The highest number of that order.
    pub last_seq: u64,
    /// Where connections are that are open.
    pub open: BTreeMap<ConnId, usize>,
}

impl<'a> Facts<'a> {
    pub fn new(pool: &'a Pool, plan: &Plan) -> Self {
        let (stored, ever, open) = Default::default();
        let (is_calm, sick, has_short_pages) = (plan.is_calm(), plan.sick(), plan.cut_short > 0);
        let logs = vec![Log::default(); plan.partitions];
        Self { pool, is_calm, sick, now: 0, healed: false, has_short_pages, logs, stored, ever, last_seq: 0, open }
    }

    /// What all have stored when a partition has this.
    pub fn all_with(&self, partition: usize, log: &Stored) -> Stored {
        let before = &self.logs[partition].stored;
        let mut all = self.stored.clone();
        all.retain(|ev, _| !before.contains_key(ev) || log.get(ev) == before.get(ev));
        let mut new: Vec<(u64, Ev)> = log.iter().map(|(ev, seq)| (*seq, *ev)).collect();
        new.retain(|(seq, ev)| before.get(ev) != Some(seq));
        new.sort_unstable();
        all.extend(new.into_iter().zip(self.last_seq + 1..).map(|((_, ev), number)| (ev, number)));
        all
    }

    pub fn name(&self, ev: Ev) -> &str {
        &self.pool.events[ev].name
    }

    /// Notes what was seen, after all who look have seen it.
    pub fn note(&mut self, seen: &Seen) {
        match seen {
            Seen::Opens { conn, gateway } => drop(self.open.insert(*conn, *gateway)),
            Seen::Ends { conn, .. } => drop(self.open.remove(conn)),
            Seen::Stored { partition, log, all } => {
                for (ev, number) in all {
                    self.ever.entry(*ev).or_default().insert(*number);
                    self.last_seq = self.last_seq.max(*number);
                }
                self.stored = all.clone();
                let of = &mut self.logs[*partition];
                of.last_seq = log.values().copied().max().unwrap_or_default().max(of.last_seq);
                of.stored = log.clone();
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
            "EOSE" => Seen::Eose { conn, sub, hint: part(2)[0].as_str().unwrap_or_default().to_owned() },
            "CLOSED" => Seen::Closed { conn, sub, why: string(2) },
            "COUNT" => Seen::Counted { conn, query: sub, count: part(2)["count"].as_u64().unwrap_or(u64::MAX) },
            _ => return Err(format!("unexpected {text}")),
        }))
    }
}
