//! Wrong clusters: each breaks one promise, by changing what an engine that keeps them has said, and a rule must notice.

use std::collections::BTreeMap;

use nexus::link::{Batch, Incarnation};
use nexus::message::{Answer, Part, ToGateway, ToPartition};

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
}

/// Messages of batches by their sender, receiver and number.
type Changed<T> = BTreeMap<(usize, Incarnation, Option<Incarnation>, u64), Vec<T>>;

/// Changes what is said, the same the second time.
pub struct Mutator {
    pub mutation: Option<Mutation>,
    to_partition: Changed<ToPartition>,
    to_gateway: Changed<ToGateway>,
    held: BTreeMap<usize, Vec<ToPartition>>,
    count: u64,
}

impl Mutator {
    pub fn new(mutation: Option<Mutation>) -> Self {
        let (to_partition, to_gateway, held) = Default::default();
        Self { mutation, to_partition, to_gateway, held, count: 0 }
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Every third of what it is asked of.
    fn now_and_then(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(3)
    }

    pub fn change_asked(&mut self, gateway: usize, batch: &mut Batch<ToPartition>) {
        let Some(mutation) = self.mutation.filter(|_| batch.number > 0) else { return };
        let key = (gateway, batch.from, batch.to, batch.number);
        if let Some(messages) = self.to_partition.get(&key) {
            batch.messages = messages.clone();
            return;
        }
        let mut messages = batch.messages.clone();
        let interest = |message: &ToPartition| matches!(message, ToPartition::Interest(_));
        match mutation {
            Mutation::NoInterest => messages.retain(|message| !interest(message)),
            Mutation::LateInterest => {
                let held = self.held.remove(&gateway).unwrap_or_default();
                let (now, rest) = messages.into_iter().partition(interest);
                self.held.insert(gateway, now);
                messages = held.into_iter().chain(rest).collect();
            }
            Mutation::NoPosition => messages.iter_mut().for_each(|message| {
                if let ToPartition::Woke(told) = message {
                    *told = None;
                }
            }),
            Mutation::BatchLost if self.now_and_then() => messages.clear(),
            _ => {}
        }
        batch.messages = messages;
        self.to_partition.insert(key, batch.messages.clone());
    }

    pub fn change_told(&mut self, gateway: usize, batch: &mut Batch<ToGateway>) {
        let Some(mutation) = self.mutation.filter(|_| batch.number > 0) else { return };
        let key = (gateway, batch.from, batch.to, batch.number);
        if let Some(messages) = self.to_gateway.get(&key) {
            batch.messages = messages.clone();
            return;
        }
        let messages = batch.messages.iter().cloned().filter_map(|message| self.told(mutation, message));
        batch.messages = messages.collect();
        self.to_gateway.insert(key, batch.messages.clone());
    }

    fn told(&mut self, mutation: Mutation, mut message: ToGateway) -> Option<ToGateway> {
        match (&mut message, mutation) {
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
            _ => {}
        }
        Some(message)
    }
}
