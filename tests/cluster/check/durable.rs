//! Durable before told: no OK true and no EVENT of what is to be stored before the database has it.

use super::Check;
use crate::pool::Ev;
use crate::seen::{Facts, Seen};

#[derive(Default)]
pub struct Durable;

impl Check for Durable {
    fn see(&mut self, seen: &Seen, facts: &Facts) -> Result<(), String> {
        let (ev, what) = match seen {
            Seen::Ok { ev: Some(ev), accepted: true, why, .. } if is_replaced(*ev, why, facts) => return Ok(()),
            Seen::Ok { ev: Some(ev), accepted: true, .. } => (*ev, "OK true to"),
            Seen::Event { ev, .. } => (*ev, "a subscriber was sent"),
            _ => return Ok(()),
        };
        if facts.pool.events[ev].ephemeral || facts.ever.contains_key(&ev) {
            return Ok(());
        }
        Err(format!("{what} {} before it was stored", facts.name(ev)))
    }
}

/// Whether OK true says that a newer version is stored, and one is.
fn is_replaced(ev: Ev, why: &str, facts: &Facts) -> bool {
    let event = &facts.pool.events[ev].event;
    let place = |ev: Ev| {
        let event = &facts.pool.events[ev].event;
        (event.pubkey, event.kind, event.replacement_key().map(str::to_owned))
    };
    let newer = |other: &Ev| place(*other) == place(ev) && facts.pool.events[*other].event.replaces(event);
    why == "duplicate: a newer version of this event is stored" && facts.ever.keys().any(newer)
}
