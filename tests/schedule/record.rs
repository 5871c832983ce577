//! The record of a run: what clients said, what they were told, what the database had, and the rules
//! that these must keep.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;
use nexus::nostr::{Event, EventId, Filter, PublicKey};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::host::Sent;
use crate::pool::{Ev, Pool};
use crate::subs::{Stored, Sub, Watch};

/// Milliseconds for which a question that fails is asked again.
const GIVE_UP_MS: u64 = 30_000;

/// Events whose fate the engine does not know, or did not.
#[derive(Default)]
pub struct Fates {
    /// They were still looked for when the memory was lost: they may never be told (ARCHITECTURE.md, "Limits of
    /// it").
    pub lost: BTreeSet<Ev>,
    /// They were refused as the store failed, or their OK was due when the memory was lost: they may have landed.
    unsure: BTreeSet<Ev>,
}

/// EVENTs, or AUTHs, of one id from one client.
#[derive(Default)]
pub struct Said {
    pub times: u32,
    pub answered: u32,
}

#[derive(Default)]
pub struct Client {
    pub open: bool,
    pub keys: BTreeSet<PublicKey>,
    pub subs: BTreeMap<String, Sub>,
    counts: BTreeMap<String, Watch>,
    said: BTreeMap<String, Said>,
}

/// How often the interesting things happened.
#[derive(Default, Debug)]
pub struct Tally {
    pub accepted: u64,
    pub duplicates: u64,
    pub refused: u64,
    pub sent: u64,
    pub eoses: u64,
    pub closed: u64,
    pub counts: u64,
    pub wakes: u64,
    pub landed_late: u64,
    /// Events sent to subscribers although their author was told of a failure.
    pub found_later: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.sent += other.sent;
        self.eoses += other.eoses;
        self.closed += other.closed;
        self.counts += other.counts;
        self.wakes += other.wakes;
        self.landed_late += other.landed_late;
        self.found_later += other.found_later;
    }
}

pub struct Record<'a> {
    pub pool: &'a Pool,
    pub clients: BTreeMap<ConnId, Client>,
    pub stored: Stored,
    pub fates: Fates,
    pub tally: Tally,
    /// The numbers under which each event was ever stored.
    ever: BTreeMap<Ev, BTreeSet<u64>>,
    last_seq: u64,
    /// The highest number that the engine knows to be stored.
    pub known: u64,
    /// Whether an answer that comes now is from memory: no statements were run since it was asked.
    pub from_memory: bool,
    now: u64,
}

impl<'a> Record<'a> {
    pub fn new(pool: &'a Pool) -> Self {
        Self {
            pool,
            clients: BTreeMap::new(),
            stored: Stored::new(),
            fates: Fates::default(),
            tally: Tally::default(),
            ever: BTreeMap::new(),
            last_seq: 0,
            known: 0,
            from_memory: false,
            now: 0,
        }
    }

    pub fn opens(&mut self) -> ConnId {
        let conn = ConnId(self.clients.len() as u64 + 1);
        self.clients.insert(conn, Client { open: true, ..Client::default() });
        conn
    }

    pub fn says(&mut self, conn: ConnId, id: &str) {
        self.client(conn).said.entry(id.to_owned()).or_default().times += 1;
    }

    pub fn subscribes(&mut self, conn: ConnId, id: &str, filters: Vec<Filter>, now: u64) {
        let sub = Sub::new(filters, &self.stored, self.last_seq, now);
        self.client(conn).subs.insert(id.to_owned(), sub);
    }

    pub fn counts(&mut self, conn: ConnId, id: &str, filters: Vec<Filter>, now: u64) {
        let watch = Watch::new(filters, &self.stored, now);
        self.client(conn).counts.insert(id.to_owned(), watch);
    }

    pub fn client(&mut self, conn: ConnId) -> &mut Client {
        self.clients.get_mut(&conn).unwrap()
    }

    /// Statements were run.
    pub fn ran(&mut self, stored: Stored) {
        if stored == self.stored {
            return;
        }
        for (ev, seq) in &stored {
            self.ever.entry(*ev).or_default().insert(*seq);
            self.last_seq = self.last_seq.max(*seq);
        }
        for client in self.clients.values_mut().filter(|client| client.open) {
            client.subs.values_mut().filter(|sub| !sub.eose).for_each(|sub| sub.changed(&stored));
            client.counts.values_mut().for_each(|watch| watch.changed(&stored));
        }
        self.stored = stored;
    }

    /// The engine has been told that events are stored.
    pub fn knows(&mut self, ids: &[EventId]) {
        let number = |id: &EventId| self.stored.get(&self.pool.by_id(&id.to_string())?).copied();
        self.known = ids.iter().filter_map(number).fold(self.known, u64::max);
    }

    /// A group was committed and answered; who left hears nothing of it.
    pub fn answered<'i>(&mut self, ids: impl Iterator<Item = &'i EventId>) {
        let ids: Vec<String> = ids.map(ToString::to_string).collect();
        for client in self.clients.values_mut().filter(|client| !client.open) {
            for (_, said) in client.said.iter_mut().filter(|(id, _)| ids.contains(id)) {
                said.answered = said.times;
            }
        }
    }

    /// The memory is lost now.
    pub fn forgets(&mut self) {
        self.tally.wakes += 1;
        self.known = 0;
        let Self { pool, clients, fates, stored, .. } = self;
        // What is still looked for is forgotten; what is on its way is looked for from now on.
        fates.lost.append(&mut fates.unsure);
        for client in clients.values_mut() {
            for (id, said) in &mut client.said {
                if said.answered < said.times {
                    said.times = said.answered;
                    fates.unsure.extend(pool.by_id(id));
                }
            }
            client.subs.values_mut().filter(|sub| !sub.eose).for_each(|sub| sub.forgotten(stored));
            client.counts.values_mut().for_each(|watch| watch.forgotten = true);
        }
    }

    /// Frames that one input made the relay send.
    pub fn heard(&mut self, sent: &[Sent], now: u64) -> Result<(), String> {
        self.now = now;
        for (conn, text) in sent {
            let text = text.as_ref().ok_or_else(|| format!("{conn} was closed"))?;
            self.frame(*conn, text).map_err(|why| format!("{conn}: {why}"))?;
        }
        for (conn, client) in self.clients.iter_mut().filter(|(_, client)| client.open) {
            for (id, sub) in &mut client.subs {
                sub.check(self.pool).map_err(|why| format!("{conn} {id}: {why}"))?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, conn: ConnId, text: &str) -> Result<(), String> {
        if !self.client(conn).open {
            return Err("is closed and was sent something".to_owned());
        }
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| format!("{text}: {e}"))?;
        let part = |at: usize| serde_json::from_str::<Value>(parts.get(at).map_or("null", |raw| raw.get())).unwrap();
        let name = part(1).as_str().unwrap_or_default().to_owned();
        match part(0).as_str().unwrap_or_default() {
            "AUTH" => Ok(()),
            "OK" => self.ok(conn, &name, part(2) == true, part(3).as_str().unwrap_or_default()),
            "EVENT" => self.event(conn, &name, parts.get(2).map_or("", |raw| raw.get())),
            "EOSE" => self.eose(conn, &name),
            "CLOSED" => self.closed(conn, &name, part(2).as_str().unwrap_or_default()),
            "COUNT" => self.counted(conn, &name, part(2)["count"].as_u64().unwrap_or(u64::MAX)),
            _ => Err(format!("unexpected {text}")),
        }
    }

    fn ok(&mut self, conn: ConnId, id: &str, accepted: bool, why: &str) -> Result<(), String> {
        let said = self.client(conn).said.entry(id.to_owned()).or_default();
        said.answered += 1;
        if said.answered > said.times {
            return Err(format!("OK number {} to {} messages", said.answered, said.times));
        }
        let Some(ev) = self.pool.by_id(id) else { return self.authenticated(conn, id, accepted) };
        let sample = &self.pool.events[ev];
        if !accepted {
            self.tally.refused += 1;
            if why.starts_with("error:") {
                self.fates.unsure.insert(ev);
            }
            let listens = |sub: &Sub| sub.watch.matches(ev, self.pool);
            let mut open = self.clients.values().filter(|client| client.open);
            if why.starts_with("mute:") && open.any(|client| client.subs.values().any(listens)) {
                return Err(format!("{} was refused although somebody listens", sample.name));
            }
            return Ok(());
        }
        let newer = |other: &Ev| {
            let other = &self.pool.events[*other].event;
            let place = |event: &Event| (event.pubkey, event.kind, event.replacement_key().map(str::to_owned));
            place(other) == place(&sample.event) && other.replaces(&sample.event)
        };
        let replaced = why == "duplicate: a newer version of this event is stored" && self.ever.keys().any(newer);
        if !sample.ephemeral && !self.ever.contains_key(&ev) && !replaced {
            return Err(format!("OK true to {} before it was stored", sample.name));
        }
        if !why.is_empty() {
            self.tally.duplicates += 1;
            return Ok(());
        }
        self.tally.accepted += 1;
        for client in self.clients.values_mut().filter(|client| client.open) {
            client.subs.values_mut().for_each(|sub| sub.accepted(ev, self.pool));
        }
        Ok(())
    }

    fn authenticated(&mut self, conn: ConnId, id: &str, accepted: bool) -> Result<(), String> {
        let at = conn.0 as usize - 1;
        let proven = self.pool.auths.iter().find(|auths| auths[at].event.id.to_string() == id);
        match proven {
            Some(auths) if accepted => drop(self.client(conn).keys.insert(auths[at].event.pubkey)),
            None if !accepted => {}
            _ => return Err(format!("AUTH was answered {accepted}")),
        }
        Ok(())
    }

    fn event(&mut self, conn: ConnId, id: &str, json: &str) -> Result<(), String> {
        let pool = self.pool;
        let ev = pool.by_json(json).ok_or_else(|| format!("nobody published {json}"))?;
        let name = &pool.events[ev].name;
        let stored = self.ever.get(&ev).map_or(0, BTreeSet::len) as u32;
        if stored == 0 && !pool.events[ev].ephemeral {
            return Err(format!("{name} was sent before it was stored"));
        }
        self.tally.sent += 1;
        self.tally.found_later += u64::from(self.fates.unsure.contains(&ev));
        let allowed = stored;
        let sub = self.client(conn).subs.get_mut(id).ok_or_else(|| format!("{name} for {id}, which is not open"))?;
        if !sub.watch.matches(ev, pool) {
            return Err(format!("{name} for {id}, which did not ask for it"));
        }
        *sub.got.entry(ev).or_default() += 1;
        if !pool.events[ev].ephemeral && sub.count(ev) > allowed {
            return Err(format!("{name} for {id} once more"));
        }
        Ok(())
    }

    fn eose(&mut self, conn: ConnId, id: &str) -> Result<(), String> {
        self.tally.eoses += 1;
        let pool = self.pool;
        // What is stored and not known to be is pushed when it is.
        let upto = if self.from_memory { self.known } else { u64::MAX };
        let sub = self.client(conn).subs.get_mut(id).ok_or_else(|| format!("EOSE for {id}, which is not open"))?;
        if std::mem::replace(&mut sub.eose, true) {
            return Err(format!("a second EOSE for {id}"));
        }
        match sub.watch.certain(upto, pool).iter().find(|ev| sub.count(**ev) == 0) {
            Some(ev) => Err(format!("EOSE for {id} without {}, which is stored", pool.events[*ev].name)),
            None => Ok(()),
        }
    }

    fn closed(&mut self, conn: ConnId, id: &str, why: &str) -> Result<(), String> {
        self.tally.closed += 1;
        let now = self.now;
        let client = self.client(conn);
        let early = |watch: &Watch| why.starts_with("error:") && now < watch.asked_at + GIVE_UP_MS;
        match (client.counts.remove(id), client.subs.remove(id)) {
            (None, Some(sub)) if sub.eose => Err(format!("CLOSED for {id} after its EOSE")),
            (None, Some(sub)) if early(&sub.watch) => Err(format!("CLOSED for {id} before its time was over")),
            (Some(watch), _) if !watch.forgotten && early(&watch) => Err(format!("CLOSED for COUNT {id} too early")),
            (None, None) => Err(format!("CLOSED for {id}, which is not open")),
            _ => Ok(()),
        }
    }

    fn counted(&mut self, conn: ConnId, id: &str, count: u64) -> Result<(), String> {
        self.tally.counts += 1;
        let watch =
            self.client(conn).counts.remove(id).ok_or_else(|| format!("COUNT for {id}, which was not asked"))?;
        let (least, most) = watch.counts(self.pool);
        if (least as u64..=most as u64).contains(&count) {
            return Ok(());
        }
        Err(format!("COUNT {id} is {count}, not {least} to {most}"))
    }

    /// Nothing is on its way any more.
    pub fn check_last(&self) -> Result<(), String> {
        let untold = &self.fates.lost;
        for (conn, client) in self.clients.iter().filter(|(_, client)| client.open) {
            if let Some((id, said)) = client.said.iter().find(|(_, said)| said.answered != said.times) {
                let name = self.pool.by_id(id).map_or("AUTH", |ev| &self.pool.events[ev].name);
                return Err(format!("{conn} said {name} {} times and got {} OKs", said.times, said.answered));
            }
            if let Some(id) = client.counts.keys().next() {
                return Err(format!("{conn} got no answer to COUNT {id}"));
            }
            for (id, sub) in &client.subs {
                if !sub.eose {
                    return Err(format!("{conn} got no answer to REQ {id}"));
                }
                sub.check_last(&self.stored, untold, self.pool).map_err(|why| format!("{conn} {id}: {why}"))?;
            }
        }
        Ok(())
    }
}
