//! What a partition needs to begin, and what ends it.

use nexus::gateway::Config;
use nexus::message::PartitionId;
use nexus::node::PartitionNode;
use nexus::seam::{Effect, Host};

/// A partition that knows nothing yet, of an incarnation that no other has.
pub fn partition(config: &Config, id: PartitionId, incarnation: u64, now: u64) -> PartitionNode {
    PartitionNode::new(config, id, Host::OBJECT, incarnation, now)
}

/// Whether an incarnation is to end.
pub fn is_restart(effect: &Effect) -> bool {
    matches!(effect, Effect::Restart)
}
