//! The management API (NIP-86): who has proven to be the owner, or to act for one, rules what may be here. What is done is
//! written by all partitions, home last, which tells all gateways; that is the answer.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde_json::{Value, json};

use super::{Gateway, RequestId};
use crate::message::{
    Allowance, Asked, Facts, NewEvent, Publish, Publisher, Refused, Seen, Sender, StoreError, Verdict,
};
use crate::moderation::{Act, Call, Method, RULINGS_MAX, Ruled, Ruling, Sort, Task};
use crate::nostr::http_auth::{HTTP_AUTH_WINDOW, Signed};
use crate::nostr::{EventId, PublicKey, refusal};
use crate::seam::{Effect, Millis, Ticket};

/// Requests that are remembered, so that none is made twice by who has overheard it.
const USED_MAX: usize = 1000;
/// Calls that wait for an answer.
const WAITING_MAX: usize = 100;
/// Seconds after which to call again.
const RETRY_S: u64 = 1;

/// Calls that are being answered, and what is known of who may call.
#[derive(Debug, Default)]
pub(super) struct Managing {
    /// Whether home has told what is ruled.
    pub are_ruled: bool,
    /// By when they may be forgotten.
    used: VecDeque<(Millis, EventId)>,
    acts: BTreeMap<Publisher, RequestId>,
    asked: BTreeMap<Ticket, (RequestId, Task)>,
}

impl Managing {
    /// Whether what becomes of an event is the answer to a call.
    pub fn waits(&self, to: Publisher) -> bool {
        self.acts.contains_key(&to)
    }

    /// Whether a request was made before; it is remembered for as long as it would be taken.
    fn is_used(&mut self, id: EventId, now: Millis) -> bool {
        while self.used.len() >= USED_MAX || self.used.front().is_some_and(|(until, _)| *until < now) {
            self.used.pop_front();
        }
        if self.used.iter().any(|(_, used)| *used == id) {
            return true;
        }
        self.used.push_back((now + 2000 * HTTP_AUTH_WINDOW, id));
        false
    }
}

/// What a call is answered: a status, a body, and the seconds after which to call again, if that helps.
type Response = (u16, Value, Option<u64>);

fn result(result: impl Into<Value>) -> Response {
    (200, json!({ "result": result.into() }), None)
}

fn too_many() -> Response {
    let error: String = refusal::too_many_requests(RETRY_S);
    (503, json!({ "error": error }), Some(RETRY_S))
}

fn refused(status: u16, reason: impl Into<String>) -> Response {
    let reason: String = reason.into();
    (status, json!({ "error": reason }), None)
}

impl Gateway {
    /// Somebody calls.
    pub(super) fn managed(
        &mut self,
        request: RequestId,
        signed: Signed,
        body: &str,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        match self.call(request, signed, body, now) {
            Ok(()) => {}
            Err(response) => respond(request, response, out),
        }
    }

    /// Has a call answered, now or later.
    fn call(&mut self, request: RequestId, signed: Signed, body: &str, now: Millis) -> Result<(), Response> {
        let Signed { by, id } = signed;
        let is_owner = self.config.pubkey == Some(by);
        if self.config.pubkey.is_none() {
            return Err(refused(403, refusal::no_owner()));
        }
        if !is_owner && !self.managing.are_ruled {
            return Err(too_many());
        }
        if !is_owner && !self.rulings.manages(&by) {
            return Err(refused(403, refusal::not_a_manager()));
        }
        if self.managing.is_used(id, now) {
            return Err(refused(401, refusal::http_auth_event("it was used before; sign each request")));
        }
        if self.managing.acts.len() + self.managing.asked.len() >= WAITING_MAX {
            return Err(too_many());
        }
        // What is wrong with a call is an answer to it (NIP-86).
        let call = Call::parse(body).map_err(|error| refused(200, error))?;
        if !is_owner && call.method != Method::SupportedMethods && !self.rulings.may(&by, call.method) {
            return Err(refused(403, refusal::not_a_manager()));
        }
        let task = call.task().map_err(|error| refused(200, error))?;
        match task {
            Task::Methods => Err(result(self.methods_of(&by, is_owner))),
            Task::List(_) | Task::Audit(_) | Task::Refusals | Task::Senders => {
                let ticket = self.next_ticket();
                let asked = match &task {
                    Task::List(sort) => Asked::Rulings(*sort),
                    Task::Audit(before) => Asked::Acts(*before),
                    Task::Refusals | Task::Senders => Asked::Seen,
                    Task::Methods | Task::Act { .. } => return Ok(()),
                };
                self.managing.asked.insert(ticket, (request, task));
                self.partitions.ask(ticket, asked, true);
                Ok(())
            }
            Task::Act { rulings, removes } => {
                let comes = rulings.iter().filter(|(_, reason)| reason.is_some()).count();
                if self.rulings.len() + comes > RULINGS_MAX {
                    return Err(refused(200, format!("there are {RULINGS_MAX} rulings; take some back first")));
                }
                if rulings.iter().any(|(ruling, reason)| reason.is_some() && self.is_own(ruling)) {
                    return Err(refused(200, "the owner cannot be banned"));
                }
                let params = Value::Array(call.params).to_string();
                let act = Act { by, method: call.method, params, rulings };
                self.act(request, NewEvent::of_act(id, act, removes, now));
                Ok(())
            }
        }
    }

    fn methods_of(&self, key: &PublicKey, is_owner: bool) -> Vec<&'static str> {
        let may = |method: &Method| is_owner || *method == Method::SupportedMethods || self.rulings.may(key, *method);
        Method::ALL.iter().filter(|(method, _)| may(method)).map(|(_, name)| *name).collect()
    }

    /// Whether a ruling bans the owner.
    fn is_own(&self, ruling: &Ruling) -> bool {
        matches!(ruling, Ruling::BannedKey(key) if self.config.pubkey == Some(*key))
    }

    /// Has all partitions do something.
    fn act(&mut self, request: RequestId, new: NewEvent) {
        // Connections count from below.
        let from = Publisher(u64::MAX - self.next_ticket().0);
        self.managing.acts.insert(from, request);
        let publish = Publish { from, new, network: None, is_limited: false, allowance: Allowance::Listed };
        self.partitions.publish(Box::new(publish));
    }

    /// All partitions have done it, or one has not.
    pub(super) fn act_decided(&mut self, from: Publisher, verdict: Verdict, out: &mut Vec<Effect>) {
        let Some(request) = self.managing.acts.remove(&from) else { return };
        let response = match verdict {
            Verdict::Stored => result(true),
            Verdict::Duplicate(_) => refused(401, refusal::http_auth_event("it was used before; sign each request")),
            // Part of it may have been done; to do it again changes nothing.
            Verdict::Refused(reason) => refused(503, reason),
        };
        respond(request, response, out);
    }

    /// Home has answered a question of a call, if that is what it was.
    pub(super) fn management_told(
        &mut self,
        ticket: Ticket,
        facts: Option<Result<Facts, StoreError>>,
        out: &mut Vec<Effect>,
    ) -> Option<Option<Result<Facts, StoreError>>> {
        let Some((request, task)) = self.managing.asked.remove(&ticket) else { return Some(facts) };
        let response = match facts {
            Some(Ok(Facts::Rulings(ruled))) => result(listed(&task, ruled)),
            Some(Ok(Facts::Seen(elsewhere))) => result(self.seen_of(&task, &elsewhere)),
            Some(Ok(Facts::Acts(acts))) => result(serde_json::to_value(acts).unwrap_or_default()),
            Some(Err(error)) => refused(503, format!("database: {error}")),
            _ => refused(503, "database: it gave no answer"),
        };
        respond(request, response, out);
        None
    }

    /// What this gateway and the others have seen.
    fn seen_of(&self, task: &Task, elsewhere: &Seen) -> Vec<Value> {
        let mut seen = self.seen.clone();
        seen.add(elsewhere);
        if *task == Task::Senders {
            let of = |it: &Sender| json!({ "pubkey": it.key, "ip": it.network, "events": it.events, "bytes": it.bytes, "at": it.at });
            return seen.senders(self.now / 1000).iter().map(of).collect();
        }
        let of = |it: &Refused| json!({ "at": it.at, "pubkey": it.key, "proven": it.proven, "ip": it.network, "kind": it.kind, "reason": it.reason, "times": it.times });
        seen.refusals().map(of).collect()
    }

    /// The operator has done something.
    pub(super) fn acted(&mut self, new: &NewEvent, out: &mut Vec<Effect>) {
        if let Some(act) = &new.act {
            self.rulings.apply(act);
        }
        if new.vanishes() {
            self.vanish(&new.event);
        }
        self.end_blocked(out);
    }
}

fn respond(request: RequestId, (status, body, retry_after_s): Response, out: &mut Vec<Effect>) {
    let body: Rc<str> = body.to_string().into();
    out.push(Effect::Respond { request, status, body, retry_after_s });
}

/// What a list method gives.
fn listed(task: &Task, ruled: Vec<Ruled>) -> Value {
    let Task::List(sort) = task else { return Value::Null };
    let name = match sort {
        Sort::DisallowedKind => return ruled.iter().filter_map(|one| one.item.parse::<u16>().ok()).collect(),
        Sort::Manager => return assignees(&ruled),
        Sort::BannedKey | Sort::AllowedKey => "pubkey",
        Sort::BannedEvent => "id",
        Sort::BlockedNetwork => "ip",
    };
    ruled.iter().map(|one| json!({ name: one.item, "reason": one.reason, "since": one.since })).collect()
}

/// The methods of each key that may use some.
fn assignees(ruled: &[Ruled]) -> Value {
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, method) in ruled.iter().filter_map(|one| one.item.split_once(' ')) {
        methods.entry(key).or_default().push(method);
    }
    methods.iter().map(|(key, methods)| json!({ "pubkey": key, "methods": methods })).collect()
}
