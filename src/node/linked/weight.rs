//! How much memory messages take that wait to be sent to another object, and how much of it is that of others, too: what is
//! for many of them is there once.

use std::sync::Arc;

use postcard::ser_flavors::Size;
use serde::Serialize;

use crate::link::Weigh;
use crate::message::{Answer, Interest, NewEvent, Part, Push, Question, Text, ToGateway, ToPartition};
use crate::nostr::Filter;

/// Bytes of a message besides what it carries.
const MESSAGE_BYTES: usize = 100;

impl Weigh for ToPartition {
    fn weight(&self) -> usize {
        let carries = match self {
            Self::Publish(publish) => publish.new.memory_bytes(),
            Self::Read {
                question: Question::Stored { filters, keys, .. } | Question::Count { filters, keys }, ..
            } => filter_bytes(filters) + 32 * keys.len(),
            Self::Interest(Interest::Keys { came, went }) => 8 * (came.len() + went.len()),
            Self::WhoIs { keys, .. } | Self::Left { keys, .. } => 32 * keys.len(),
            Self::Present { came, went } => 40 * (came.len() + went.len()),
            other => written(other),
        };
        MESSAGE_BYTES + carries
    }

    fn shared(&self) -> usize {
        match self {
            Self::Read { question: Question::Stored { filters, .. } | Question::Count { filters, .. }, .. } => {
                of_others(filters, filter_bytes(filters))
            }
            Self::Interest(Interest::Keys { came, went }) => {
                of_others(came, 8 * came.len()) + of_others(went, 8 * went.len())
            }
            _ => 0,
        }
    }
}

impl Weigh for ToGateway {
    fn weight(&self) -> usize {
        let text = |text: &Text| match text {
            Text::Json(json) => json.len(),
            Text::Large(_) => 0,
        };
        let carries = match self {
            Self::Push(Push { parts, .. }) => parts.iter().map(part_bytes).sum(),
            Self::Answer { answer: Ok(Ok(Answer::Stored(page))), .. } => {
                let events: usize = page.events.iter().map(|event| MESSAGE_BYTES + text(&event.text)).sum();
                events + page.missed.iter().map(|(new, _)| event_bytes(new)).sum::<usize>()
            }
            other => written(other),
        };
        MESSAGE_BYTES + carries
    }

    fn shared(&self) -> usize {
        match self {
            Self::Push(Push { parts, .. }) => parts.iter().map(shared_of_part).sum(),
            Self::Ephemeral(event) => of_others(event, written(event)),
            _ => 0,
        }
    }
}

/// Bytes of what so many hold that are the others'.
fn of_others<T: ?Sized>(held: &Arc<T>, bytes: usize) -> usize {
    bytes - bytes / Arc::strong_count(held).max(1)
}

fn filter_bytes(filters: &[Filter]) -> usize {
    filters.iter().map(Filter::memory_bytes).sum()
}

fn shared_of_part(part: &Part) -> usize {
    match part {
        Part::Event((new, _)) => of_others(new, event_bytes(new)),
        Part::Outcome(_) | Part::Cancelled(..) => 0,
    }
}

/// Bytes of what is sent as it is.
fn written(message: &impl Serialize) -> usize {
    // Counting cannot fail.
    postcard::serialize_with_flavor(message, Size::default()).unwrap_or_default()
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Event((new, _)) => event_bytes(new),
        Part::Outcome(_) | Part::Cancelled(..) => MESSAGE_BYTES + written(part),
    }
}

fn event_bytes(new: &NewEvent) -> usize {
    MESSAGE_BYTES + 2 * new.text.len()
}
