//! The stored events of a subscription: asked of the partition, sent, EOSE. When the database is asked is `asking`'s to
//! know.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::asking::Question;
use super::conn::Backlog;
use super::{ConnId, Gateway};
use crate::market::privacy;
use crate::message::{self, Page, StoreError, Text, When};
use crate::nostr::{EventId, Reason, relay_msg};
use crate::seam::{Effect, Millis};
use crate::trees::Gather;

impl Gateway {
    /// Asks for the stored events of an installed subscription.
    pub(super) fn read_stored(&mut self, conn: ConnId, subscription: Rc<str>, now: Millis, out: &mut Vec<Effect>) {
        let when = if self.has_to_read(conn, now, out) { When::Later } else { When::Known };
        let Some(question) = self.stored_question(conn, &subscription) else { return };
        let after = self.told_upto();
        if let Some(sub) = self.sub_mut(conn, &subscription) {
            sub.reading.get_or_insert_with(|| Box::new(Backlog { after, ..Backlog::default() }));
        }
        self.ask(conn, Question::Stored(subscription), question, when);
    }

    /// What a subscription asks.
    pub(super) fn stored_question(&self, conn: ConnId, subscription: &Rc<str>) -> Option<message::Question> {
        let state = self.conns.get(&conn)?;
        let filters = state.subs.get(subscription)?.filters.clone();
        let limits = &self.config.limits;
        Some(message::Question::Stored {
            filters,
            limits: (limits.default_limit, limits.max_limit),
            event_bytes_max: limits.max_message_length,
            keys: state.keys.clone(),
            missed: None,
        })
    }

    pub(super) fn stored_answered(
        &mut self,
        conn: ConnId,
        subscription: &Rc<str>,
        answer: Result<Result<Page, Reason>, StoreError>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        match answer {
            Ok(Ok(page)) => self.send_stored(conn, subscription, page, out),
            Ok(Err(reason)) => self.refuse_stored(conn, subscription, &reason, out),
            Err(error) => self.repeat_stored(conn, subscription, error, now, out),
        }
    }

    /// Ends a subscription whose stored events cannot be sent.
    pub(super) fn refuse_stored(&mut self, conn: ConnId, subscription: &str, reason: &Reason, out: &mut Vec<Effect>) {
        self.end_subscription(conn, subscription);
        self.send(conn, relay_msg::closed(subscription, reason), out);
        self.remember(conn);
    }

    fn send_stored(&mut self, conn: ConnId, subscription: &Rc<str>, page: Page, out: &mut Vec<Effect>) {
        let Page { events, completeness, missed, .. } = page;
        let sent: BTreeSet<EventId> = events.iter().map(|event| event.id).gather();
        let (mut backlog, mut filters) = (None, None);
        if let Some(sub) = self.sub_mut(conn, subscription) {
            backlog = sub.reading.take();
            filters = Some(sub.filters.clone());
        }
        for event in &events {
            // What was read before an event was banned may come after that.
            if let Text::Json(json) = &event.text
                && !self.late.takes_text(json)
                && !self.rulings.bans(&event.id)
            {
                self.send_event(conn, subscription, json, out);
            }
        }
        self.send(conn, relay_msg::eose(subscription, completeness), out);
        if let Some(mut backlog) = backlog {
            backlog.live.retain(|(id, _)| !self.rulings.bans(id));
            // What waited when memory was lost, before what waits since.
            for (new, readers) in missed {
                let id = new.event.id;
                let known = sent.contains(&id) || backlog.live.iter().any(|(waits, _)| *waits == id);
                let matches =
                    filters.iter().flat_map(|filters| filters.iter()).any(|filter| filter.matches(&new.event));
                let keys = self.conns.get(&conn).map(|state| &state.keys);
                if !known
                    && !self.rulings.bans(&id)
                    && matches
                    && keys.is_some_and(|keys| privacy::may_read(readers.as_ref(), keys))
                {
                    self.send_event(conn, subscription, &new.text, out);
                }
            }
            for (_, json) in backlog.live.iter().filter(|(id, _)| !sent.contains(id)) {
                self.send_event(conn, subscription, json, out);
            }
            self.remember(conn);
        }
    }
}
