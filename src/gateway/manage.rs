//! The management API (NIP-86): who has proven to be the owner, or to act for one, rules what may be here. What is done is
//! written by all partitions, home last, which tells all gateways; that is the answer.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde_json::{Value, json};

use super::{Gateway, RequestId, http};
use crate::message::{
    Allowance, Asked, Facts, NewEvent, Publish, Publisher, Refused, Seen, Sender, StoreError, Verdict,
};
use crate::moderation::{Act, Call, Method, RULINGS_MAX, Sort, Task};
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
    /// With whether the senders are wanted, of what was seen.
    asked: BTreeMap<Ticket, (RequestId, bool)>,
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
type Response = (u16, String, Option<u64>);

fn result(json: &str) -> Response {
    (200, format!("{{\"result\":{json}}}"), None)
}

fn too_many() -> Response {
    (503, http::error_body(&refusal::too_many_requests(RETRY_S)), Some(RETRY_S))
}

fn used_before() -> Response {
    refused(401, &refusal::http_auth_event("it was used before; sign each request").to_string())
}

fn refused(status: u16, reason: &str) -> Response {
    (status, http::error_body(reason), None)
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
            return Err(refused(403, &refusal::no_owner().to_string()));
        }
        if !is_owner && !self.managing.are_ruled {
            return Err(too_many());
        }
        if !is_owner && (!self.rulings.manages(&by) || self.ban_of_key(&by).is_some()) {
            return Err(refused(403, &refusal::not_a_manager().to_string()));
        }
        if self.managing.is_used(id, now) {
            return Err(used_before());
        }
        // Managers leave the owner some.
        let most = if is_owner { WAITING_MAX } else { WAITING_MAX / 2 };
        if self.managing.acts.len() + self.managing.asked.len() >= most {
            return Err(too_many());
        }
        // What is wrong with a call is an answer to it (NIP-86).
        let call = Call::parse(body).map_err(|error| refused(200, &error))?;
        if !is_owner && call.method != Method::SupportedMethods && !self.rulings.may(&by, call.method) {
            return Err(refused(403, &refusal::not_a_manager().to_string()));
        }
        let task = call.task().map_err(|error| refused(200, &error))?;
        match task {
            Task::Methods => Err(result(&serde_json::to_string(&self.methods_of(&by, is_owner)).unwrap_or_default())),
            Task::List(sort) => self.ask_home(request, Asked::Rulings(sort), false),
            Task::Audit(before) => self.ask_home(request, Asked::Acts(before), false),
            Task::Refusals => self.ask_home(request, Asked::Seen, false),
            Task::Senders => self.ask_home(request, Asked::Seen, true),
            Task::Act { rulings, removes } => {
                if !self.rulings.have_room(&rulings) {
                    return Err(refused(200, &format!("there are {RULINGS_MAX} rulings; take some back first")));
                }
                if let Some(key) = call.stops() {
                    // Of his own he may remove what there is.
                    if self.config.pubkey == Some(key) && !(is_owner && call.method == Method::PurgePubkey) {
                        return Err(refused(200, "the owner cannot be banned"));
                    }
                    if !is_owner && self.rulings.manages(&key) {
                        return Err(refused(200, "only the owner rules over who may use a method"));
                    }
                }
                let params = call.params_text();
                let act = Act { by, method: call.method, params, rulings };
                // What is dated ahead goes, too.
                let ahead = self.config.limits.created_at_upper_limit;
                self.act(request, NewEvent::of_act(id, act, removes, (now, ahead)));
                Ok(())
            }
        }
    }

    fn ask_home(&mut self, request: RequestId, asked: Asked, of_senders: bool) -> Result<(), Response> {
        let ticket = self.next_ticket();
        self.managing.asked.insert(ticket, (request, of_senders));
        self.partitions.ask(ticket, asked, true);
        Ok(())
    }

    fn methods_of(&self, key: &PublicKey, is_owner: bool) -> Vec<&'static str> {
        let may = |method: &Method| is_owner || *method == Method::SupportedMethods || self.rulings.may(key, *method);
        Method::ALL.iter().filter(|(method, _)| may(method)).map(|(_, name)| *name).collect()
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
            Verdict::Stored => result("true"),
            Verdict::Duplicate(_) => used_before(),
            // Part of it may have been done; to do it again changes nothing.
            Verdict::Refused(reason) => refused(503, &reason.to_string()),
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
        let Some((request, of_senders)) = self.managing.asked.remove(&ticket) else { return Some(facts) };
        let response = match facts {
            Some(Ok(Facts::Moderation(rows))) => result(&format!("[{}]", rows.join(","))),
            Some(Ok(Facts::Seen(elsewhere))) => result(&self.seen_of(of_senders, &elsewhere)),
            Some(Err(error)) => refused(503, &format!("database: {error}")),
            _ => refused(503, "database: it gave no answer"),
        };
        respond(request, response, out);
        None
    }

    /// What this gateway and the others have seen, as JSON: who sends most, or what was refused.
    fn seen_of(&self, of_senders: bool, elsewhere: &Seen) -> String {
        let mut seen = self.seen.clone();
        seen.add(elsewhere);
        let list: Vec<Value> = if of_senders {
            let of = |it: &Sender| json!({ "pubkey": it.key, "ip": it.network, "events": it.events, "bytes": it.bytes, "at": it.at });
            seen.senders(self.now / 1000).iter().map(of).collect()
        } else {
            let of = |it: &Refused| json!({ "at": it.at, "pubkey": it.key, "proven": it.proven, "ip": it.network, "kind": it.kind, "reason": it.reason, "times": it.times });
            seen.refusals().map(of).collect()
        };
        Value::Array(list).to_string()
    }

    /// The operator has done something.
    pub(super) fn acted(&mut self, new: &NewEvent, out: &mut Vec<Effect>) {
        if new.vanishes() {
            self.vanish(&new.event);
        }
        if let Some(act) = &new.act {
            self.rulings.apply(act);
            let rules = |over: &[Sort]| act.rulings.iter().any(|(ruling, _)| over.contains(&ruling.sort()));
            let keys = rules(&[Sort::BannedKey, Sort::AllowedKey]);
            self.end_blocked((rules(&[Sort::BlockedNetwork]), keys), out);
        }
    }
}

fn respond(request: RequestId, (status, body, retry_after_s): Response, out: &mut Vec<Effect>) {
    let body: Rc<str> = body.into();
    out.push(Effect::Respond { request, status, body, retry_after_s });
}
