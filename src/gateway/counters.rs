//! What the gateway counts for good: it is told to the partition, which saves it. Where the partition has other gateways,
//! they are told through it what this one knows of its clients; both once in a while.

use std::collections::BTreeMap;

use super::class::Metered;
use super::timer::Due;
use super::{Gateway, report};
use crate::message::ToPartition;
use crate::nostr::Prefix;
use crate::seam::{Effect, Millis};

/// Milliseconds after a change until the partition is told of it: where that is a request, and where it is none.
const TELL_REQUEST_MS: Millis = 5000;
const TELL_MS: Millis = 1000;

/// What the partition was not told yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// What was counted, by key.
    counts: BTreeMap<String, u64>,
    /// Whether anything may have changed.
    pub changed: bool,
}

impl Untold {
    /// An event was refused.
    pub fn rejected(&mut self, prefix: Prefix) {
        self.count(report::rejected(prefix));
    }

    /// A quota was exceeded.
    pub fn limited(&mut self, metered: Metered) {
        self.count(report::limited(metered));
    }

    /// What was counted, by key.
    pub fn counts(&self) -> impl Iterator<Item = (&String, u64)> {
        self.counts.iter().map(|(key, n)| (key, *n))
    }

    fn count(&mut self, key: String) {
        *self.counts.entry(key).or_default() += 1;
    }
}

impl Gateway {
    /// Has the partition told of what was counted: at once where that costs nothing.
    pub(super) fn tell_soon(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.alone {
            self.tell_counts();
        } else if self.untold.changed {
            let after = if self.host.lasting { TELL_MS } else { TELL_REQUEST_MS };
            self.do_at(Due::Tell, now + after, out);
        }
    }

    /// Tells the partition what was counted, and for the other gateways what is known here.
    pub(crate) fn tell_known(&mut self) {
        self.tell_counts();
        if self.untold.changed {
            self.tell_gauges();
        }
    }

    /// Tells partitions what is known here.
    pub(super) fn tell_gauges(&mut self) {
        self.untold.changed = false;
        let gauges = self.gauges_to_tell();
        for to in self.partitions.all() {
            self.partitions.tell_gauges(to, Box::new(gauges.clone()));
        }
    }

    fn tell_counts(&mut self) {
        if !self.untold.counts.is_empty() {
            let counts = std::mem::take(&mut self.untold.counts);
            self.partitions.tell_home(ToPartition::Counted(counts));
        }
    }
}
