//! Nothing fails silently: every EVENT and AUTH gets one OK, every REQ one EOSE or CLOSED, every COUNT and every request
//! over HTTP one answer.
//!
//! The exception: a gateway that loses its memory, not in its sleep, does not remember EVENTs, AUTHs and requests over
//! HTTP that are on their way.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::{ConnId, RequestId};

use super::Check;
use crate::seen::{Facts, Seen};

#[derive(Default)]
pub struct Answered {
    /// How often each connection has said an event, and how often it was answered.
    said: BTreeMap<(ConnId, String), (u32, u32)>,
    /// Subscriptions, and whether their stored events were sent.
    subs: BTreeMap<(ConnId, String), bool>,
    counts: BTreeSet<(ConnId, String)>,
    requests: BTreeMap<RequestId, usize>,
}

impl Check for Answered {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        match seen {
            Seen::Says { conn, id } => self.said.entry((*conn, id.clone())).or_default().0 += 1,
            Seen::Asks { conn, sub, .. } => drop(self.subs.insert((*conn, sub.clone()), false)),
            Seen::Counts { conn, query, .. } => drop(self.counts.insert((*conn, query.clone()))),
            Seen::Closes { conn, sub } => drop(self.subs.remove(&(*conn, sub.clone()))),
            Seen::Ends { conn, by_client } => {
                self.said.retain(|(of, _), _| of != conn);
                self.subs.retain(|(of, _), _| of != conn);
                self.counts.retain(|(of, _)| of != conn);
                if !by_client {
                    return Err(format!("{conn} was closed"));
                }
            }
            Seen::Ok { conn, id, ev, accepted, why } => {
                let (said, answered) = self.said.entry((*conn, id.clone())).or_default();
                *answered += 1;
                if answered > said {
                    let name = ev.map_or("AUTH", |ev| facts.name(ev));
                    return Err(format!("OK number {answered} to {said} of {name}"));
                }
                if !accepted && why.starts_with("error:") && facts.is_calm {
                    return Err(format!("{why} although nothing goes wrong"));
                }
            }
            Seen::Eose { conn, sub, .. } => match self.subs.get_mut(&(*conn, sub.clone())) {
                Some(told @ false) => *told = true,
                Some(true) => return Err(format!("a second EOSE for {sub}")),
                None => return Err(format!("EOSE for {sub}, which is not open")),
            },
            Seen::Closed { conn, sub, why } => {
                let key = (*conn, sub.clone());
                if !self.counts.remove(&key) && self.subs.remove(&key).is_none() {
                    return Err(format!("CLOSED for {sub}, which is not open"));
                }
                if why.starts_with("error:") && facts.is_calm {
                    return Err(format!("{why} although nothing goes wrong"));
                }
            }
            Seen::Counted { conn, query, .. } if !self.counts.remove(&(*conn, query.clone())) => {
                return Err(format!("COUNT for {query}, which was not asked"));
            }
            Seen::Requested { gateway, request } => drop(self.requests.insert(*request, *gateway)),
            Seen::Responded { request } if self.requests.remove(request).is_none() => {
                return Err(format!("a second answer to request {request}"));
            }
            Seen::GatewayForgot { gateway, asleep: false } => {
                for ((conn, _), (said, answered)) in &mut self.said {
                    if facts.open.get(conn) == Some(gateway) {
                        *said = *answered;
                    }
                }
                self.requests.retain(|_, of| of != gateway);
            }
            Seen::Quiet => return self.last(facts),
            _ => {}
        }
        Ok(())
    }
}

impl Answered {
    fn last(&self, facts: &Facts) -> Result<(), String> {
        if let Some(((conn, id), (said, answered))) = self.said.iter().find(|(_, (said, answered))| said != answered) {
            let name = facts.pool.by_id(id).map_or("AUTH", |ev| facts.name(ev));
            return Err(format!("{conn} said {name} {said} times and got {answered} OKs"));
        }
        if let Some(((conn, sub), _)) = self.subs.iter().find(|(_, told)| !**told) {
            return Err(format!("{conn} got no answer to REQ {sub}"));
        }
        if let Some((conn, query)) = self.counts.first() {
            return Err(format!("{conn} got no answer to COUNT {query}"));
        }
        match self.requests.keys().next() {
            Some(request) => Err(format!("request {request} got no answer")),
            None => Ok(()),
        }
    }
}
