//! What the engine has to do later, as long as its memory lasts. What must happen whatever becomes of the
//! memory is the partition's alarm.

use std::collections::BTreeMap;

use super::{ConnId, Effect, Gateway, Millis};

/// Something to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Connections that are to end wait no longer for the answers to their events.
    Ending,
    /// The store is asked again what it knows of the keys of a connection, as it gave no answer.
    Known(ConnId),
    /// Questions that the store failed to answer are asked again, or given up.
    Repeat,
    /// A question of a connection goes on, if what was sent to it is paid for by now.
    Question(ConnId),
    /// Messages of some connections have their turn.
    Turns,
    /// What a connection is remembered by is kept.
    Remember(ConnId),
    /// What waits until it is known what is ruled waits no longer.
    Ruled,
    /// The partition is told what was counted, and what is known here.
    Tell,
}

/// When what is to be done, and the time the host was asked for.
#[derive(Debug, Default)]
pub(super) struct Timer {
    due: BTreeMap<Due, Millis>,
    set: Option<Millis>,
}

impl Gateway {
    /// Has something done at a time, or earlier if it was to be done earlier.
    pub(super) fn do_at(&mut self, due: Due, at: Millis, out: &mut Vec<Effect>) {
        let known = self.timer.due.entry(due).or_insert(at);
        *known = at.min(*known);
        self.set_timer(out);
    }

    /// Asks the host for the earliest time, unless it was asked for that or an earlier one.
    fn set_timer(&mut self, out: &mut Vec<Effect>) {
        let Some(at) = self.timer.due.values().min().copied() else { return };
        if self.timer.set.is_none_or(|set| at < set) {
            self.timer.set = Some(at);
            out.push(Effect::TimerAt { at });
        }
    }

    /// The timer has come: does what is due.
    pub(super) fn timed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.timer.set = None;
        let due: Vec<Due> = self.timer.due.iter().filter(|(_, at)| **at <= now).map(|(due, _)| *due).collect();
        self.timer.due.retain(|_, at| *at > now);
        for due in due {
            match due {
                Due::Ending => self.end_whose_events_are_answered(now, out),
                Due::Known(conn) => self.ask_known(conn),
                Due::Repeat => self.repeat_due(now, out),
                Due::Question(conn) => self.go_on_asking(conn, now, out),
                Due::Turns => self.take_turns(now, out),
                Due::Remember(conn) => self.remember_now(conn, out),
                Due::Ruled => self.refuse_unruled(out),
                Due::Tell => self.tell_known(),
            }
        }
        self.set_timer(out);
    }
}
