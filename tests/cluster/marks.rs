//! Marks: how often what is rare has happened, so that a test can say that it does.

use std::collections::BTreeMap;

/// Something rare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Statements that were reported as failed have landed, by an incarnation that was there yet, or no more.
    LandedLate,
    LandedAfterEnd,
    /// A group was written again after a failure.
    WrittenAgain,
    /// The log was read to find what gateways were not told.
    LookedForMissed,
    /// A write was refused as the log is another writer's.
    Fenced,
    /// A batch was sent again, came twice, came after a later one, was for an incarnation that is gone.
    Resent,
    CameTwice,
    Overtaken,
    ForTheDead,
    /// A gateway has heard of another incarnation of the partition than before.
    AnotherPartition,
    /// Objects have slept, and woken for a batch.
    GatewaySlept,
    PartitionSlept,
    GatewayWokeForBatch,
    /// An incarnation has written although there was a later one.
    OldOneWrote,
    /// A client was told that nothing is known of its event; that what it asked could not be read.
    NotKnown,
    GivenUp,
    /// A page ended before it had to.
    CutShort,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks(pub BTreeMap<Mark, u64>);

impl Marks {
    pub fn hit(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(mark, n)| *self.0.entry(*mark).or_default() += n);
    }
}
