//! The network of a run: batches go as bytes, are lost, come twice, late and in another order.

use std::sync::Arc;

use nexus::link::Batch;
use nexus::message::{ToGateway, ToPartition};
use nexus::wire;

use crate::marks::Mark;
use crate::mutate::Mutation;
use crate::sim::{Due, Passed, Sim};

impl Sim<'_> {
    pub fn send_to_partition(&mut self, gateway: usize, batch: Batch<Arc<ToPartition>>) {
        let mut batch = own(batch);
        let passed = (true, gateway, batch.from, batch.to, batch.number);
        self.mutator.change_asked(gateway, &mut batch);
        let sorts = || batch.messages.iter().map(sort).collect::<Vec<_>>();
        self.trace.note(self.now, self.facts.pool, || format!("  {} -> {:?}", passed_text(&passed), sorts()));
        let bytes = wire::encode(&batch);
        for at in self.arrives(gateway, passed) {
            self.push(at, Due::ToPartition(gateway, wire::decode(&bytes).unwrap()));
        }
    }

    pub fn send_to_gateway(&mut self, gateway: usize, batch: Batch<Arc<ToGateway>>) {
        let mut batch = own(batch);
        let passed = (false, gateway, batch.from, batch.to, batch.number);
        self.mutator.change_told(gateway, &mut batch);
        let sorts = || batch.messages.iter().map(sort).collect::<Vec<_>>();
        self.trace.note(self.now, self.facts.pool, || format!("  {} -> {:?}", passed_text(&passed), sorts()));
        let bytes = wire::encode(&batch);
        for at in self.arrives(gateway, passed) {
            let mut batch: Batch<ToGateway> = wire::decode(&bytes).unwrap();
            if self.mutator.is(Mutation::BatchTwice) && batch.number > 0 && batch.messages.len() > 1 {
                // As a receiver that does not look at numbers takes it.
                batch.messages = batch.messages.iter().chain(&batch.messages).cloned().collect();
            }
            self.push(at, Due::ToGateway(gateway, batch));
        }
    }

    /// When a batch arrives; never, once or twice.
    fn arrives(&mut self, gateway: usize, passed: Passed) -> Vec<u64> {
        if passed.4 > 0 && !self.sent.insert(passed) {
            self.marks.hit(Mark::Resent);
        }
        let healed = self.facts.healed;
        if !healed && (self.gateways[gateway].cut_until > self.now || self.rng.percent(self.plan.lost)) {
            return Vec::new();
        }
        let times = 1 + usize::from(self.rng.percent(self.plan.repeated));
        (0..times)
            .map(|_| {
                let late = !healed && self.rng.percent(self.plan.late);
                self.now + 1 + self.rng.below(if late { 3000 } else { 10 }) as u64
            })
            .collect()
    }

    /// Notes a batch that has come.
    pub fn came(&mut self, passed: Passed) {
        let (from_gateway, gateway, from, to, number) = passed;
        let later = (from_gateway, gateway, from, to, number + 1)..=(from_gateway, gateway, from, to, u64::MAX);
        if number == 0 {
            return;
        }
        if self.came.range(later).next().is_some() {
            self.marks.hit(Mark::Overtaken);
        }
        if !self.came.insert(passed) {
            self.marks.hit(Mark::CameTwice);
        }
    }
}

/// A batch whose messages are nobody else's.
fn own<T: Clone>(batch: Batch<Arc<T>>) -> Batch<T> {
    let Batch { from, to, asks, number, received, messages } = batch;
    Batch { from, to, asks, number, received, messages: messages.into_iter().map(Arc::unwrap_or_clone).collect() }
}

fn passed_text((from_gateway, gateway, from, to, number): &Passed) -> String {
    let (to, way) = (to.map(|to| to.0), if *from_gateway { "to partition" } else { "to gateway" });
    format!("{way} {gateway}: {} to {to:?} number {number}", from.0)
}

/// What sort of message it is.
fn sort(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    text.chars()
        .take(if text.starts_with("Push") || text.starts_with("Woke") || text.starts_with("Position") {
            40
        } else {
            12
        })
        .collect()
}
