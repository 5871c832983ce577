//! What each network has reserved of the partition's memory. A network that has nothing is forgotten in a while.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::budget::NetworkUse;
use crate::seam::Network;

/// Networks that are known before those that have nothing are looked for.
const FEW: usize = 64;

/// What networks have reserved.
#[derive(Debug, Default)]
pub(super) struct Networks {
    used: BTreeMap<Network, Rc<NetworkUse>>,
    /// How many there may be before they are looked through.
    looked_at: usize,
}

impl Networks {
    /// What a network has reserved.
    pub fn used_by(&mut self, network: Network) -> &Rc<NetworkUse> {
        if self.used.len() > FEW.max(self.looked_at) {
            self.used.retain(|_, used| Rc::strong_count(used) > 1);
            self.looked_at = 2 * self.used.len();
        }
        self.used.entry(network).or_default()
    }
}
