//! How far clients have been told of what is stored, and who remembers it when memory is lost: one connection does, by
//! what it is remembered by itself.

use super::conn::Conn;
use super::{ConnId, Gateway};

/// Bytes of filters above which a connection is asked no longer to remember what was told, and the connections that
/// one is chosen of.
const KEEPER_BYTES: usize = 4000;
const KEEPERS: usize = 64;

/// How far clients have been told.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The number that the partition said last.
    pub told: Option<u64>,
    /// What clients had been told of when memory was lost, as far as some connection remembers.
    pub before: Option<u64>,
    /// The connection that remembers what they have been told of since.
    keeper: Option<ConnId>,
}

impl Gateway {
    /// What clients have been told of, as far as is known; before the partition has said, what they had been told of
    /// when memory was lost.
    pub(super) fn told_upto(&self) -> Option<u64> {
        self.position.told.or(self.position.before)
    }

    /// The partition has said how far the log is.
    pub(super) fn advance(&mut self, upto: u64) {
        let is_back = self.told_upto().is_some_and(|told| told > upto);
        let first = self.position.told.replace(upto).is_none();
        if self.host.lasting {
            return;
        }
        if is_back {
            // The database was set back: no connection is to remember more.
            self.position.before = self.position.before.map(|before| before.min(upto));
            self.changed.extend(self.conns.keys());
        }
        if first {
            let mut learned = Vec::new();
            for (conn, state) in &mut self.conns {
                let backlogs = state.subs.values_mut().filter_map(|sub| sub.reading.as_mut());
                for backlog in backlogs.filter(|backlog| backlog.after.is_none()) {
                    backlog.after = Some(upto);
                    learned.push(*conn);
                }
            }
            learned.dedup();
            learned.into_iter().for_each(|conn| self.remember(conn));
        }
        self.keep_told();
    }

    /// Has one connection remember what clients have been told of: one that remembers little else.
    pub(super) fn keep_told(&mut self) {
        if self.host.lasting {
            return;
        }
        let size = |state: &Conn| state.subs.values().map(|sub| sub.text.get().len()).sum::<usize>();
        let small = |conn: &ConnId| self.conns.get(conn).is_some_and(|state| size(state) <= KEEPER_BYTES);
        if !self.position.keeper.as_ref().is_some_and(small) {
            let some = self.conns.iter().take(KEEPERS);
            self.position.keeper = some.min_by_key(|(_, state)| size(state)).map(|(conn, _)| *conn);
        }
        if let Some(keeper) = self.position.keeper {
            self.remember(keeper);
        }
    }

    /// When the connection that remembers what was told is gone, another one does.
    pub(super) fn replace_keeper(&mut self) {
        if self.position.keeper.is_some_and(|keeper| !self.conns.contains_key(&keeper)) {
            self.keep_told();
        }
    }
}
