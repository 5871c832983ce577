//! How far clients have been told of what is stored, and who remembers it when memory is lost: one connection does, by
//! what it is remembered by itself.

use super::conn::Conn;
use super::{ConnId, Gateway};
use crate::message::{PartitionId, ToPartition};

/// Bytes of filters above which a connection is asked no longer to remember what was told, and the connections that
/// one is chosen of.
const KEEPER_BYTES: usize = 4000;
const KEEPERS: usize = 64;

/// A number of each partition's log, as far as it is known.
pub(super) type Positions = Vec<Option<u64>>;
/// Numbers of each partition's log, above the first up to the second.
pub(super) type Ranges = Vec<Option<(u64, u64)>>;

/// How far clients have been told, by partition.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The numbers that the partitions said last.
    told: Positions,
    /// What clients had been told of when memory was lost, as far as some connection remembers.
    before: Positions,
    /// The connection that remembers what they have been told of since.
    keeper: Option<ConnId>,
}

fn of(positions: &Positions, partition: PartitionId) -> Option<u64> {
    positions.get(partition.0 as usize).copied().flatten()
}

impl Position {
    /// Positions in the logs of so many partitions, of which nothing is known.
    pub fn new(partitions: u32) -> Self {
        let unknown = vec![None; partitions as usize];
        Self { told: unknown.clone(), before: unknown, keeper: None }
    }

    /// The number that a partition said last.
    pub fn told(&self, partition: PartitionId) -> Option<u64> {
        of(&self.told, partition)
    }

    /// Whether each partition has said one.
    pub fn is_known(&self) -> bool {
        self.told.iter().all(Option::is_some)
    }

    /// Some connection remembers that clients had been told so far.
    pub fn remembered(&mut self, told: &Positions) {
        for (before, told) in self.before.iter_mut().zip(told) {
            *before = (*before).max(*told);
        }
    }

    /// What lies between what clients had been told `after` which something was asked, and when memory was lost.
    pub fn before_and_after(&self, after: &Positions) -> Ranges {
        let range = |(after, upto): (&Option<u64>, &Option<u64>)| after.zip(*upto).filter(|(after, upto)| after < upto);
        after.iter().zip(&self.before).map(range).collect()
    }
}

impl Gateway {
    /// What clients have been told of, as far as is known; before a partition has said, what they had been told of
    /// when memory was lost.
    pub(super) fn told_upto(&self) -> Positions {
        self.partitions.all().map(|partition| self.told_upto_of(partition)).collect()
    }

    /// The same of one partition.
    pub(super) fn told_upto_of(&self, partition: PartitionId) -> Option<u64> {
        self.position.told(partition).or_else(|| of(&self.position.before, partition))
    }

    /// Tells partitions that this gateway woke, and how far clients had been told then.
    pub(super) fn tell_woke(&mut self) {
        for to in self.partitions.all() {
            self.partitions.tell(to, ToPartition::Woke(of(&self.position.before, to)));
        }
    }

    /// A partition has said how far its log is.
    pub(super) fn advance(&mut self, partition: PartitionId, upto: u64) {
        let at = partition.0 as usize;
        let is_back = self.told_upto_of(partition).is_some_and(|told| told > upto);
        let Some(told) = self.position.told.get_mut(at) else { return };
        let first = told.replace(upto).is_none();
        if self.host.lasting {
            return;
        }
        if is_back {
            // The database was set back: no connection is to remember more.
            if let Some(Some(before)) = self.position.before.get_mut(at) {
                *before = upto.min(*before);
            }
            self.changed.extend(self.conns.keys());
        }
        if first {
            let mut learned = Vec::new();
            for (conn, state) in &mut self.conns {
                let backlogs = state.subs.values_mut().filter_map(|sub| sub.reading.as_mut());
                let unknown = backlogs.filter_map(|backlog| backlog.after.get_mut(at).filter(|after| after.is_none()));
                for after in unknown {
                    *after = Some(upto);
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
