//! A gateway and a partition that are in different objects, each with its end of the [link](crate::link) to the other.
//!
//! Beside what a node owns, each knows what it has asked, or was asked, of an incarnation of the other: when there is
//! another one, that has no answer any more. A gateway then says again what it cares for and how far its clients were told,
//! and what was not acknowledged; what was, it takes for failed. A partition forgets the gateway that was.

mod gateway;
mod partition;
mod weight;

pub use gateway::LinkedGateway;
pub use partition::{Keep, LinkedPartition};

/// Names a gateway whatever its incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u32);
