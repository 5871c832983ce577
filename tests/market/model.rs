//! What the relay must hold and answer: the market's rules once more, over plain maps and one event
//! after the other. Knows no SQL and no counts kept; `recount` counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use nexus::nostr::{EventId, PublicKey};

use crate::people::{Ev, RETAIN, Role};

/// States of a job, each further than those before it.
pub const STATES: [&str; 8] =
    ["open", "payment-required", "processing", "partial", "expired", "error", "success", "cancelled"];

pub fn rank(state: &str) -> usize {
    STATES.iter().position(|known| *known == state).unwrap()
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stored,
    /// It is here already.
    Known,
    /// The prefix of the reason.
    Refused(&'static str),
}

/// An event that is held, when it came, and how many had been stored before.
#[derive(Clone)]
pub struct Held {
    pub ev: Rc<Ev>,
    came: u64,
    number: u64,
}

/// A request, as its job knows it.
pub struct Asked {
    pub kind: u16,
    pub customer: PublicKey,
    pub providers: BTreeSet<PublicKey>,
    pub encrypted: bool,
    pub at: u64,
    /// Unix second until which the job is remembered.
    until: u64,
}

/// A job: of its events those that are held, of the rest what they have said.
#[derive(Default)]
pub struct Job {
    pub held: BTreeSet<EventId>,
    pub asked: Option<Asked>,
    pub state: usize,
    /// When the first feedback and the first result came, each with the group it came in.
    pub reported: Option<(u64, u64)>,
    pub answered: Option<(u64, u64)>,
    /// Whose result came first.
    pub first: Option<PublicKey>,
    /// Feedbacks of keys that were not asked.
    pub unasked: HashMap<PublicKey, u64>,
}

/// What a provider did in jobs that were known here.
#[derive(Default)]
pub struct Deeds {
    pub results: u64,
    pub errors: u64,
    /// When it last answered.
    pub last: u64,
}

/// What a customer had of a provider.
#[derive(Clone, Copy, Default)]
pub struct Dealt {
    pub results: u64,
    pub errors: u64,
    /// Each result's millionths of what one would have that takes no time.
    pub speed: u64,
}

#[derive(Default)]
pub struct Model {
    /// Events that are held.
    pub held: HashMap<EventId, Held>,
    /// Jobs of which an event is held, or that are remembered for late answers.
    pub jobs: HashMap<EventId, Job>,
    /// Jobs that are remembered no more.
    pub past: Vec<Job>,
    pub providers: HashMap<PublicKey, Deeds>,
    /// By customer and provider.
    pub dealings: HashMap<(PublicKey, PublicKey), Dealt>,
    /// Who has given a customer results.
    served_by: HashMap<PublicKey, HashSet<PublicKey>>,
    /// Events ever stored, and events refused.
    pub stored: BTreeMap<u16, u64>,
    pub refused: BTreeMap<&'static str, u64>,
    deleted: HashSet<(PublicKey, EventId)>,
    results: HashSet<(EventId, PublicKey, u16)>,
    /// Jobs whose result its provider has deleted.
    spent: HashSet<(EventId, PublicKey)>,
    groups: u64,
}

impl Model {
    /// Why an event that comes in this second is not even looked at.
    pub fn unfit(&self, ev: &Ev, second: u64) -> Option<Fate> {
        (ev.malformed || ev.expires.is_some_and(|at| at <= second)).then_some(Fate::Refused("invalid"))
    }

    /// Takes a group: deletions first, then requests, then answers.
    pub fn group(&mut self, group: &[(Rc<Ev>, u64)]) -> Vec<Fate> {
        self.groups += 1;
        let mut fates = vec![Fate::Known; group.len()];
        for (ev, _) in group.iter().filter(|(ev, _)| ev.role == Role::Deletion) {
            self.delete(ev);
        }
        for turn in [false, true] {
            for (at, (ev, came)) in group.iter().enumerate().filter(|(_, (ev, _))| ev.is_answer() == turn) {
                fates[at] = self.take(ev, *came);
            }
        }
        self.forget(0);
        fates
    }

    fn take(&mut self, ev: &Rc<Ev>, came: u64) -> Fate {
        if self.held.contains_key(&ev.id()) {
            return Fate::Known;
        }
        if ev.role != Role::Deletion && self.deleted.contains(&(ev.event.pubkey, ev.id())) {
            return Fate::Refused("blocked");
        }
        if ev.role == Role::Result && self.spent.contains(&(ev.job, ev.event.pubkey)) {
            return Fate::Refused("blocked");
        }
        if ev.is_answer() {
            if self.jobs.get(&ev.job).and_then(|job| job.asked.as_ref()).is_some_and(|asked| !agrees(ev, asked)) {
                return Fate::Refused("invalid");
            }
            if self.jobs.get(&ev.job).is_some_and(|job| said_enough(ev, job)) {
                return Fate::Refused("restricted");
            }
            if ev.role == Role::Result && self.deleted.contains(&(ev.customer, ev.job)) {
                return Fate::Refused("blocked");
            }
            if ev.role == Role::Result && self.results.contains(&(ev.job, ev.event.pubkey, ev.event.kind)) {
                return Fate::Refused("duplicate");
            }
        }
        *self.stored.entry(ev.event.kind).or_default() += 1;
        self.replace(ev);
        let number = self.stored.values().sum();
        self.held.insert(ev.id(), Held { ev: ev.clone(), came, number });
        match ev.role {
            Role::Request => self.ask(ev, came),
            Role::Feedback | Role::Result => self.answer(ev, came),
            Role::Deletion | Role::Other => {}
        }
        Fate::Stored
    }

    /// Handlers are replaced by their newer versions.
    fn replace(&mut self, ev: &Ev) {
        let older = |(_, held): &(&EventId, &Held)| {
            let other = &held.ev.event;
            other.pubkey == ev.event.pubkey && other.kind == ev.event.kind
        };
        if ev.event.kind == 31_990
            && let Some(id) = self.held.iter().find(older).map(|(id, _)| *id)
        {
            self.held.remove(&id);
        }
    }

    fn delete(&mut self, ev: &Ev) {
        let author = ev.event.pubkey;
        for id in ev.event.tag_values("e").filter_map(EventId::parse) {
            self.deleted.insert((author, id));
            if let Some(job) = self.jobs.get_mut(&id)
                && job.asked.as_ref().is_some_and(|asked| asked.customer == author)
            {
                job.state = rank("cancelled");
            }
            let own = |held: &Held| held.ev.event.pubkey == author && held.ev.role != Role::Deletion;
            if let Some(held) = self.held.get(&id).filter(|held| own(held)) {
                if held.ev.role == Role::Result && self.jobs.get(&held.ev.job).is_some_and(|job| job.held.contains(&id))
                {
                    self.spent.insert((held.ev.job, author));
                }
                self.remove(&id);
            }
        }
    }

    fn ask(&mut self, ev: &Ev, came: u64) {
        let providers = ev.event.tag_values("p").filter_map(PublicKey::parse).collect();
        let until = ev.event.created_at + RETAIN[2];
        let encrypted = ev.event.tags.iter().any(|tag| tag.name() == "encrypted");
        let asked = Asked { kind: ev.event.kind, customer: ev.event.pubkey, providers, encrypted, at: came, until };
        let mut early: Vec<Held> = Vec::new();
        for id in self.jobs.get(&ev.id()).map(|job| job.held.clone()).unwrap_or_default() {
            let answer = self.held[&id].clone();
            if !agrees(&answer.ev, &asked) {
                // It stays an event of its author.
                self.jobs.get_mut(&ev.id()).unwrap().held.remove(&id);
            } else if counts(&answer.ev, Some(&asked)) {
                early.push(answer);
            }
        }
        let job = self.jobs.entry(ev.id()).or_default();
        let of = |role| early.iter().filter(move |held| held.ev.role == role);
        let first = |role| of(role).map(|held| (held.came, 0)).min();
        job.held.insert(ev.id());
        job.state = early.iter().map(|held| says(&held.ev).unwrap()).max().unwrap_or_default();
        job.first = of(Role::Result).min_by_key(|held| held.number).map(|held| held.ev.event.pubkey);
        job.reported = first(Role::Feedback);
        job.answered = first(Role::Result);
        job.asked = Some(asked);
        for answer in early {
            self.credit(&answer.ev, answer.came, came, ev.event.pubkey);
        }
    }

    /// What a provider did for somebody else whose request, which came at `asked`, is known.
    fn credit(&mut self, ev: &Ev, came: u64, asked: u64, customer: PublicKey) {
        if ev.event.pubkey == customer {
            return;
        }
        let deeds = self.providers.entry(ev.event.pubkey).or_default();
        deeds.last = deeds.last.max(came);
        let (result, error) = (ev.role == Role::Result, says(ev) == Some(rank("error")));
        deeds.results += u64::from(result);
        deeds.errors += u64::from(error);
        if result {
            self.served_by.entry(customer).or_default().insert(ev.event.pubkey);
        }
        if result || error {
            let dealt = self.dealings.entry((customer, ev.event.pubkey)).or_default();
            dealt.results += u64::from(result);
            dealt.errors += u64::from(error);
            dealt.speed += if result { 10_000_000_000 / (10_000 + came.saturating_sub(asked)) } else { 0 };
        }
    }

    /// Whether three providers have given a customer results.
    pub fn knows(&self, customer: &PublicKey) -> bool {
        self.served_by.get(customer).is_some_and(|providers| providers.len() >= 3)
    }

    fn answer(&mut self, ev: &Ev, came: u64) {
        let job = self.jobs.entry(ev.job).or_default();
        job.held.insert(ev.id());
        if ev.role == Role::Result {
            self.results.insert((ev.job, ev.event.pubkey, ev.event.kind));
        }
        if job.asked.as_ref().is_some_and(|asked| is_unasked(ev, asked)) {
            *job.unasked.entry(ev.event.pubkey).or_default() += u64::from(ev.role == Role::Feedback);
        }
        if !counts(ev, job.asked.as_ref()) {
            return;
        }
        job.state = job.state.max(says(ev).unwrap());
        let first = if ev.role == Role::Result { &mut job.answered } else { &mut job.reported };
        match first {
            Some((at, group)) if *group == self.groups => *at = came.min(*at),
            Some(_) => {}
            None => *first = Some((came, self.groups)),
        }
        if ev.role == Role::Result {
            job.first.get_or_insert(ev.event.pubkey);
        }
        if let Some((at, customer)) = job.asked.as_ref().map(|asked| (asked.at, asked.customer)) {
            self.credit(ev, came, at, customer);
        }
    }

    /// Removes what has expired; a job whose request goes unanswered has expired with it. Jobs are
    /// remembered until `second`.
    pub fn sweep(&mut self, ids: &[EventId], second: u64) {
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id)
                && self.held.contains_key(id)
            {
                job.state = job.state.max(rank("expired"));
            }
            self.remove(id);
        }
        self.forget(second);
    }

    fn remove(&mut self, id: &EventId) {
        let Some(Held { ev, .. }) = self.held.remove(id) else { return };
        if let Some(job) = self.jobs.get_mut(&ev.job) {
            job.held.remove(id);
        }
        self.results.remove(&(ev.job, ev.event.pubkey, ev.event.kind));
    }

    fn forget(&mut self, second: u64) {
        let over = |job: &Job| job.held.is_empty() && job.asked.as_ref().is_none_or(|asked| asked.until <= second);
        let gone: Vec<EventId> = self.jobs.iter().filter(|(_, job)| over(job)).map(|(id, _)| *id).collect();
        for id in gone {
            self.past.extend(self.jobs.remove(&id).filter(|job| job.asked.is_some()));
        }
    }
}

/// The state an answer speaks of, if its tags leave no doubt.
fn says(ev: &Ev) -> Option<usize> {
    let several = |name| ev.event.tag_values(name).collect::<BTreeSet<_>>().len() > 1;
    if several("p") || several("status") || ev.event.tag_values("amount").any(|amount| amount.parse::<u64>().is_err()) {
        return None;
    }
    Some(if ev.role == Role::Result { rank("success") } else { rank(ev.event.tag_value("status").unwrap()) })
}

/// Whether the author of an answer was not asked, and is not the customer speaking of the work.
fn is_unasked(ev: &Ev, asked: &Asked) -> bool {
    !asked.providers.is_empty() && !asked.providers.contains(&ev.event.pubkey) && !by_customer(ev, asked)
}

fn by_customer(ev: &Ev, asked: &Asked) -> bool {
    ev.role == Role::Feedback && ev.event.pubkey == asked.customer
}

/// Whether an answer moves its job.
fn counts(ev: &Ev, asked: Option<&Asked>) -> bool {
    says(ev).is_some() && !asked.is_some_and(|asked| is_unasked(ev, asked) || by_customer(ev, asked))
}

/// Whether a key that was not asked has no more to say: three feedbacks a key, twenty keys a job.
fn said_enough(ev: &Ev, job: &Job) -> bool {
    if !job.asked.as_ref().is_some_and(|asked| is_unasked(ev, asked)) {
        return false;
    }
    match job.unasked.get(&ev.event.pubkey) {
        Some(feedbacks) => ev.role == Role::Feedback && *feedbacks >= 3,
        None => job.unasked.len() >= 20,
    }
}

fn agrees(ev: &Ev, asked: &Asked) -> bool {
    by_customer(ev, asked)
        || ev.customer == asked.customer
            && (ev.role == Role::Feedback || ev.event.kind == asked.kind + 1000)
            && !(asked.encrypted && is_unasked(ev, asked))
}
