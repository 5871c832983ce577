//! Which providers are here. The partition is told at once when that changes: so all gateways know who is connected to any.

use std::collections::BTreeSet;

use super::Gateway;
use crate::message::{Provider, ToPartition};
use crate::trees::Gather;

/// What the partition was told of.
#[derive(Debug, Default)]
pub(super) struct Presence {
    told: BTreeSet<Provider>,
    /// Whether that may not be so any more.
    pub changed: bool,
}

impl Gateway {
    /// The providers that are connected to this gateway.
    pub(super) fn present(&self) -> BTreeSet<Provider> {
        let of = |conn: &super::conn::Conn| -> Vec<Provider> {
            conn.handlers().map(|key| Provider { is_new: !conn.known(key).served, key: *key }).collect()
        };
        self.conns.values().flat_map(|conn| of(conn)).gather()
    }

    /// Tells the partition who came and went, if it has other gateways.
    pub(super) fn tell_presence(&mut self) {
        if !std::mem::take(&mut self.presence.changed) || self.alone {
            return;
        }
        let now = self.present();
        let before = std::mem::replace(&mut self.presence.told, now.clone());
        let came: Vec<Provider> = now.difference(&before).copied().collect();
        let went: Vec<Provider> = before.difference(&now).copied().collect();
        if !came.is_empty() || !went.is_empty() {
            self.partitions.tell_home(ToPartition::Present { came, went });
        }
    }

    /// Tells home, which knows nothing of this gateway, who is here.
    pub(super) fn tell_presence_anew(&mut self) {
        self.presence = Presence { changed: true, ..Presence::default() };
        self.tell_presence();
    }
}
