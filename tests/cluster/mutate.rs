//! Wrong clusters: each breaks one promise, by changing what an engine that keeps them has said, and a rule must notice.

use std::collections::BTreeMap;

use nexus::link::{Batch, Incarnation};
use nexus::message::{Answer, Page, Part, Publish, Publisher, ToGateway, ToPartition, Verdict};
use nexus::nostr::{refusal, relay_msg::Completeness};

use crate::sim::Way;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The partition does not hear what gateways care for.
    NoInterest,
    /// It hears it after what was asked at the same time.
    LateInterest,
    /// It does not hear how far clients were told.
    NoPosition,
    /// A gateway is not told of some events, or of some twice.
    LostEvent,
    EventTwice,
    /// It is not told what became of an event, or what a question is answered.
    LostOutcome,
    LostAnswer,
    /// It is not told of some events that are not stored.
    LostEphemeral,
    /// Batches that come twice are taken twice.
    BatchTwice,
    /// Batches are acknowledged and not taken.
    BatchLost,
    /// A question that could not be read is answered with what was read.
    NothingRead,
    /// The database says that it has stored what it has not stored yet.
    AnswersEarly,
    /// It gives numbers again.
    NumbersAgain,
    /// It lets write who is not the log's writer.
    NoGuard,
    /// A partition beside home is not asked what it has.
    LeftOut,
    /// What is deleted has its OK before the partitions beside home have taken it.
    TombstonesNotAwaited,
    /// The others' events are sent beyond the end of a page.
    NoBoundary,
    /// What a life says that should have ended is taken for what its successor says.
    OldAnswers,
    /// Every other gateway has events of jobs stored at home.
    WrongPlace,
    /// Some events are answered with an error although they are stored.
    Refused,
}

/// Messages of batches by their sender, receiver and number.
type Changed<T> = BTreeMap<(Way, Incarnation, Option<Incarnation>, u64), Vec<T>>;

/// Changes what is said, the same the second time.
pub struct Mutator {
    pub mutation: Option<Mutation>,
    to_partition: Changed<ToPartition>,
    to_gateway: Changed<ToGateway>,
    /// What is said with the next batch.
    held: BTreeMap<Way, Vec<ToPartition>>,
    held_back: BTreeMap<Way, Vec<ToGateway>>,
    count: u64,
}

impl Mutator {
    pub fn new(mutation: Option<Mutation>) -> Self {
        let (to_partition, to_gateway, held, held_back) = Default::default();
        Self { mutation, to_partition, to_gateway, held, held_back, count: 0 }
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Every third of what it is asked of.
    fn now_and_then(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(3)
    }

    pub fn change_asked(&mut self, way: Way, batch: &mut Batch<ToPartition>) {
        let Some(mutation) = self.mutation.filter(|_| batch.number > 0) else { return };
        let key = (way, batch.from, batch.to, batch.number);
        if let Some(messages) = self.to_partition.get(&key) {
            batch.messages = messages.clone();
            return;
        }
        let mut messages = batch.messages.clone();
        let interest = |message: &ToPartition| matches!(message, ToPartition::Interest(_));
        match mutation {
            Mutation::NoInterest => messages.retain(|message| !interest(message)),
            Mutation::LateInterest => {
                let held = self.held.remove(&way).unwrap_or_default();
                let (now, rest) = messages.into_iter().partition(interest);
                self.held.insert(way, now);
                messages = held.into_iter().chain(rest).collect();
            }
            Mutation::NoPosition => messages.iter_mut().for_each(|message| {
                if let ToPartition::Woke(told) = message {
                    *told = None;
                }
            }),
            Mutation::BatchLost if self.now_and_then() => messages.clear(),
            Mutation::TombstonesNotAwaited => {
                let late = self.held.remove(&way).unwrap_or_default();
                let tombstones = messages.iter_mut().filter_map(publish).filter(|publish| publish.new.is_elsewhere);
                for tombstone in tombstones {
                    let taken = Publish { from: Publisher(u64::MAX), ..tombstone.clone() };
                    self.held.entry(way).or_default().push(ToPartition::Publish(Box::new(taken)));
                    tombstone.new.deletes.clear();
                }
                messages.extend(late);
            }
            Mutation::WrongPlace if way.gateway % 2 == 1 => {
                let of_job =
                    |message: &mut ToPartition| publish(message).is_some_and(|publish| publish.new.part.is_some());
                let home = Way { partition: 0, ..way };
                if way == home {
                    messages.extend(self.held.remove(&way).unwrap_or_default());
                } else {
                    self.held.entry(home).or_default().extend(messages.extract_if(.., of_job));
                }
            }
            _ => {}
        }
        batch.messages = messages;
        self.to_partition.insert(key, batch.messages.clone());
    }

    /// Changes what a partition says; whether it is a life that should have ended.
    pub fn change_told(&mut self, way: Way, batch: &mut Batch<ToGateway>, is_old: bool) {
        let Some(mutation) = self.mutation.filter(|_| batch.number > 0) else { return };
        let key = (way, batch.from, batch.to, batch.number);
        if let Some(messages) = self.to_gateway.get(&key) {
            batch.messages = messages.clone();
            return;
        }
        let messages = batch.messages.iter().cloned().filter_map(|message| self.told(mutation, way, message));
        batch.messages = messages.collect();
        if mutation == Mutation::OldAnswers {
            if is_old {
                self.held_back.entry(way).or_default().extend(batch.messages.clone());
            } else {
                batch.messages.extend(self.held_back.remove(&way).unwrap_or_default());
            }
        }
        self.to_gateway.insert(key, batch.messages.clone());
    }

    fn told(&mut self, mutation: Mutation, way: Way, mut message: ToGateway) -> Option<ToGateway> {
        match (&mut message, mutation) {
            (ToGateway::Push(push), Mutation::Refused) => {
                for part in &mut push.parts {
                    if let Part::Outcome(outcome) = part
                        && self.now_and_then()
                    {
                        outcome.verdict = Verdict::Refused(refusal::lost_request());
                    }
                }
            }
            (ToGateway::Push(push), Mutation::LostEvent | Mutation::EventTwice | Mutation::LostOutcome) => {
                let parts = std::mem::take(&mut push.parts);
                for part in parts {
                    let is_event = matches!(part, Part::Event(_));
                    let concerned = is_event != (mutation == Mutation::LostOutcome) && self.now_and_then();
                    let times = if !concerned {
                        1
                    } else if mutation == Mutation::EventTwice {
                        2
                    } else {
                        0
                    };
                    push.parts.extend(std::iter::repeat_n(part, times));
                }
            }
            (ToGateway::Verdict(_), Mutation::LostOutcome) if self.now_and_then() => return None,
            (ToGateway::Ephemeral(_), Mutation::LostEphemeral) if self.now_and_then() => return None,
            (ToGateway::Answer { .. }, Mutation::LostAnswer) if self.now_and_then() => return None,
            (ToGateway::Answer { answer, .. }, Mutation::NothingRead) if answer.is_err() => {
                // What is no page is taken for an empty one.
                *answer = Ok(Ok(Answer::Count(0, None)));
            }
            (ToGateway::Answer { answer: Ok(Ok(answer)), .. }, Mutation::LeftOut) if way.partition > 0 => {
                match answer {
                    Answer::Stored(page) => {
                        *page = Page { completeness: Completeness::Finish, ..Page::default() };
                    }
                    Answer::Count(count, _) => *count = 0,
                }
            }
            (ToGateway::Answer { answer: Ok(Ok(Answer::Stored(page))), .. }, Mutation::NoBoundary) => page.end = None,
            _ => {}
        }
        Some(message)
    }
}

/// An event that a gateway wants stored.
fn publish(message: &mut ToPartition) -> Option<&mut Publish> {
    match message {
        ToPartition::Publish(publish) => Some(publish),
        _ => None,
    }
}
