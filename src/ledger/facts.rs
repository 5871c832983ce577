//! What a database has to tell before it can be decided what a group of events does.

use std::collections::{BTreeMap, BTreeSet};

use super::{Job, NewEvent, deletion, tag_key};
use crate::market::JobRole;
use crate::market::dealing::Dealing;
use crate::nostr::deletion::Target;
use crate::nostr::{EventId, PublicKey, Tag, kind};

/// Where one event of an author has its place: its author, its kind, and the index key of its `d` tag or of the job that it
/// is a result of.
pub type Place = (PublicKey, u16, String);

/// A stored event, as far as a decision needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Its author.
    pub pubkey: PublicKey,
    /// Its kind.
    pub kind: u16,
    /// Unix seconds.
    pub created_at: u64,
    /// Whether it is for its readers alone.
    pub private: bool,
    /// The job it belongs to.
    pub job: Option<EventId>,
    /// Whether it is a result.
    pub is_result: bool,
    /// The index key of its place, if it has one.
    pub place: Option<String>,
    /// Its tags, at least those that can be searched for; none of an event that stays.
    pub tags: Vec<Tag>,
    /// Index keys that it has besides those of its tags.
    pub extra: Vec<String>,
}

impl Held {
    /// The values of its `p` tags that are keys, in their order.
    pub fn named(&self) -> impl Iterator<Item = PublicKey> {
        self.tags.iter().filter(|tag| tag.name() == "p").filter_map(|tag| PublicKey::parse(tag.value()?))
    }

    /// All its index keys, each once, in their order.
    pub fn keys(&self) -> Vec<String> {
        keys_of(&self.tags, &self.extra)
    }
}

/// The index keys of an event's tags and others, each once, in their order.
pub(super) fn keys_of(tags: &[Tag], extra: &[String]) -> Vec<String> {
    let tags = tags.iter().filter_map(|tag| tag.indexed()).map(|(letter, value)| tag_key::of(letter, value));
    let mut keys: Vec<String> = tags.chain(extra.iter().cloned()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A stored answer to a job whose request has not been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The event.
    pub held: Held,
    /// When it came, Unix milliseconds.
    pub came_ms: u64,
    /// The state it brings the job to; `None` when it moves nothing.
    pub state: Option<u8>,
    /// Of a result: the kind of request it answers.
    pub kind: Option<u16>,
    /// The first key that it names.
    pub names: Option<PublicKey>,
    /// Whether it has so many tags that they are not read: then it cannot be hidden.
    pub is_long: bool,
}

/// What is known of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    /// Results it has given.
    pub results: u64,
    /// Errors it has reported.
    pub errors: u64,
    /// Unix seconds.
    pub seen: u64,
    /// Of its last answer: Unix time in units of [`ACTIVE_SLOT`](super::ACTIVE_SLOT) seconds.
    pub active: u64,
}

/// How well a customer is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Whether it has had results of enough providers.
    pub known: bool,
    /// Some of those it has had results of: all, while it is not known.
    pub by: BTreeSet<PublicKey>,
}

/// What has to be known of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needed {
    /// Events by id.
    pub ids: BTreeSet<EventId>,
    /// Events by their place, each up to which `created_at` it may have to go.
    pub places: BTreeMap<Place, u64>,
    /// Deletions by their key.
    pub deletions: BTreeSet<String>,
    /// Jobs.
    pub jobs: BTreeSet<EventId>,
    /// Those of them whose request is here, who asks and its `created_at`: the answers that came before are needed, too,
    /// unless a deletion keeps the request out.
    pub requests: BTreeSet<(EventId, PublicKey, u64)>,
    /// What may be deleted by its id, and by whom, or by the operator: the job is needed, too, where it is his or has an event that goes, and who
    /// has answered one that is cancelled.
    pub cancels: BTreeSet<(EventId, Option<PublicKey>)>,
    /// What customers had of providers: customer and provider.
    pub dealings: BTreeSet<(PublicKey, PublicKey)>,
    /// Events by number, and whether their authors vanish.
    pub seqs: BTreeSet<u64>,
    /// Whether some of it is likely to be there: something is deleted, replaced, removed or rated.
    pub is_likely: bool,
}

impl Needed {
    /// What has to be known before it can be decided what `group` does.
    pub(super) fn by<'a>(group: impl IntoIterator<Item = &'a NewEvent>) -> Self {
        let mut needed = Self::default();
        for new in group {
            let event = &new.event;
            if !new.is_elsewhere {
                needed.ids.insert(event.id);
            }
            if let Some(place) = new.place() {
                // No result takes the place of another one.
                let is_answer = new.part.as_ref().is_some_and(|part| part.is_answer());
                needed.place(place, if is_answer { 0 } else { event.created_at });
            }
            needed.is_likely |=
                event.replacement_key().is_some() || event.kind == kind::LABEL || !new.deletes.is_empty();
            needed.deletions.extend(deletion::keys_that_keep_out(event, new.part.as_ref()));
            if let Some(part) = &new.part {
                needed.jobs.insert(part.job);
                match part.role {
                    JobRole::Request => _ = needed.requests.insert((part.job, event.pubkey, event.created_at)),
                    JobRole::Feedback => {}
                    JobRole::Result => _ = needed.deletions.insert(deletion::of_event(&part.customer, &part.job)),
                }
                if part.is_answer() {
                    needed.dealings.insert((part.customer, event.pubkey));
                    needed.deletions.insert(deletion::key_of(&part.customer, &Target::Everything));
                }
            }
            if event.kind == kind::LABEL {
                needed.ids.extend(event.tag_values("e").filter_map(EventId::parse));
            }
            new.deletes.iter().for_each(|target| match (target, &new.act) {
                (Target::Event(id), Some(_)) => needed.deleted(None, *id),
                _ => needed.target(&event.pubkey, target, event.created_at),
            });
        }
        needed
    }

    /// A place, of which the event may have to go if its `created_at` is no later than `until`.
    pub(super) fn place(&mut self, place: Place, until: u64) {
        let known = self.places.entry(place).or_default();
        *known = until.max(*known);
    }

    /// What has to be known to carry out a deletion of a `created_at`.
    fn target(&mut self, author: &PublicKey, target: &Target, created_at: u64) {
        self.deletions.insert(deletion::key_of(author, target));
        match target {
            Target::Event(id) => self.deleted(Some(author), *id),
            Target::Address { kind, d } => self.place((*author, *kind, deletion::place_of(d)), created_at),
            Target::Everything => {}
        }
    }

    /// What has to be known to delete an event.
    pub(super) fn deleted(&mut self, author: Option<&PublicKey>, id: EventId) {
        self.ids.insert(id);
        self.cancels.insert((id, author.copied()));
    }
}

/// What a database knows of what is [`Needed`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Events, by id.
    pub events: BTreeMap<EventId, Held>,
    /// The ids of events that have a place.
    pub places: BTreeMap<Place, EventId>,
    /// Up to which `created_at` deletions reach, by their key.
    pub deletions: BTreeMap<String, u64>,
    /// Jobs, those of the events that may be deleted among them.
    pub jobs: BTreeMap<EventId, Job>,
    /// Answers to jobs whose request has not been seen.
    pub answers: BTreeMap<EventId, Vec<Answer>>,
    /// Who has answered jobs that may be cancelled.
    pub answered: BTreeMap<EventId, BTreeSet<PublicKey>>,
    /// Providers, those of the answers among them.
    pub providers: BTreeMap<PublicKey, Provider>,
    /// What customers had of providers.
    pub dealings: BTreeMap<(PublicKey, PublicKey), Dealing>,
    /// How well customers are known.
    pub served: BTreeMap<PublicKey, Served>,
    /// Authors that vanish, of events that were asked for by number.
    pub vanishing: BTreeSet<PublicKey>,
}
