//! How much memory messages take that wait to be sent to another object.

use crate::link::Weigh;
use crate::message::{Answer, Interest, NewEvent, Part, Push, Question, Text, ToGateway, ToPartition};
use crate::nostr::Filter;

/// Bytes of a message besides what it carries.
const MESSAGE_BYTES: usize = 100;

impl Weigh for ToPartition {
    fn weight(&self) -> usize {
        let filters = |filters: &[Filter]| filters.iter().map(Filter::memory_bytes).sum::<usize>();
        let carries = match self {
            Self::Publish(publish) => publish.new.memory_bytes(),
            Self::Ephemeral { event, .. } => event.content.len() + 100 * event.tags.len(),
            Self::Read {
                question: Question::Stored { filters: asked, .. } | Question::Count { filters: asked, .. },
                ..
            } => filters(asked),
            Self::Interest(Interest::Keys { came, went }) => 8 * (came.len() + went.len()),
            Self::WhoIs { keys, .. } | Self::Left { keys, .. } => 32 * keys.len(),
            Self::Present { came, went } => 40 * (came.len() + went.len()),
            _ => 0,
        };
        MESSAGE_BYTES + carries
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
            Self::Ephemeral(event) => event.content.len() + 100 * event.tags.len(),
            _ => 0,
        };
        MESSAGE_BYTES + carries
    }
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Event((new, _)) => event_bytes(new),
        Part::Outcome(_) | Part::Cancelled(..) => MESSAGE_BYTES,
    }
}

fn event_bytes(new: &NewEvent) -> usize {
    MESSAGE_BYTES + 2 * new.text.len()
}
