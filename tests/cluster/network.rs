//! The network of a run: batches go as bytes, are lost, come twice, late and in another order.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use nexus::link::Batch;
use nexus::message::{Answer, Page, ToGateway, ToPartition};
use nexus::nostr::relay_msg::Completeness;
use nexus::wire;

use crate::marks::Mark;
use crate::mutate::Mutation;
use crate::object::number;
use crate::rng::Rng;
use crate::sim::{Due, Passed, Sim, Way};

impl Sim<'_> {
    pub fn send_to_partition(&mut self, way: Way, batch: Batch<Arc<ToPartition>>) {
        let mut batch = own(batch);
        let passed = (true, way, batch.from, batch.to, batch.number);
        self.mutator.change_asked(way, &mut batch);
        let sorts = || batch.messages.iter().map(sort).collect::<Vec<_>>();
        self.trace.note(self.now, self.facts.pool, || format!("  {} -> {:?}", passed_text(&passed), sorts()));
        let bytes = wire::encode(&batch);
        for at in self.arrives(passed) {
            self.push(at, Due::ToPartition(way, wire::decode(&bytes).unwrap()));
        }
    }

    pub fn send_to_gateway(&mut self, way: Way, batch: Batch<Arc<ToGateway>>) {
        let mut batch = own(batch);
        let passed = (false, way, batch.from, batch.to, batch.number);
        self.cut_short(way, &mut batch);
        let is_old = !self.partitions[way.partition].is_newest(number(batch.from));
        self.mutator.change_told(way, &mut batch, is_old);
        let sorts = || batch.messages.iter().map(sort).collect::<Vec<_>>();
        self.trace.note(self.now, self.facts.pool, || format!("  {} -> {:?}", passed_text(&passed), sorts()));
        let bytes = wire::encode(&batch);
        for at in self.arrives(passed) {
            let mut batch: Batch<ToGateway> = wire::decode(&bytes).unwrap();
            if self.mutator.is(Mutation::BatchTwice) && batch.number > 0 && batch.messages.len() > 1 {
                // As a receiver that does not look at numbers takes it.
                batch.messages = batch.messages.iter().chain(&batch.messages).cloned().collect();
            }
            self.push(at, Due::ToGateway(way, batch));
        }
    }

    /// Some pages end early, as those do that have too many bytes, the same when they are sent again.
    fn cut_short(&mut self, way: Way, batch: &mut Batch<ToGateway>) {
        if self.plan.cut_short == 0 || self.facts.healed {
            return;
        }
        for message in &mut batch.messages {
            if let ToGateway::Answer { ticket, answer: Ok(Ok(Answer::Stored(page))), .. } = message
                && page.events.len() > 1
            {
                let mut hasher = DefaultHasher::new();
                (self.plan.seed, way.gateway, batch.from.0, format!("{ticket:?}")).hash(&mut hasher);
                let chance = &mut Rng::new(hasher.finish());
                if chance.percent(self.plan.cut_short) {
                    end_early(page, 1 + chance.below(page.events.len() - 1));
                    self.marks.hit(Mark::CutShort);
                }
            }
        }
    }

    /// When a batch arrives; never, once or twice.
    fn arrives(&mut self, passed: Passed) -> Vec<u64> {
        if passed.4 > 0 && !self.sent.insert(passed) {
            self.marks.hit(Mark::Resent);
        }
        let healed = self.facts.healed;
        let is_cut =
            self.gateways[passed.1.gateway].cut_until.get(&passed.1.partition).is_some_and(|end| *end > self.now);
        if !healed && (is_cut || self.rng.percent(self.plan.lost)) {
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
        let (from_gateway, way, from, to, number) = passed;
        let later = (from_gateway, way, from, to, number + 1)..=(from_gateway, way, from, to, u64::MAX);
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

/// A page that has no room for more than so many events.
fn end_early(page: &mut Page, count: usize) {
    page.events.truncate(count);
    page.end = page.events.last().map(|event| (event.created_at, event.id));
    page.completeness = Completeness::More;
}

/// A batch whose messages are nobody else's.
fn own<T: Clone>(batch: Batch<Arc<T>>) -> Batch<T> {
    let Batch { from, to, asks, number, received, messages } = batch;
    Batch { from, to, asks, number, received, messages: messages.into_iter().map(Arc::unwrap_or_clone).collect() }
}

fn passed_text((from_gateway, Way { gateway, partition }, from, to, number): &Passed) -> String {
    let to = to.map(|to| to.0);
    let way = if *from_gateway {
        format!("gateway {gateway} to partition {partition}")
    } else {
        format!("partition {partition} to gateway {gateway}")
    };
    format!("{way}: {} to {to:?} number {number}", from.0)
}

/// The beginning of a text; the rest is not made.
struct Beginning {
    text: String,
    left: usize,
}

impl fmt::Write for Beginning {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let taken: String = part.chars().take(self.left).collect();
        self.left -= taken.chars().count();
        self.text.push_str(&taken);
        if self.left == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

/// What sort of message it is.
fn sort(message: &impl fmt::Debug) -> String {
    let begin = |left| {
        let mut beginning = Beginning { text: String::new(), left };
        // It ends early when there is more.
        _ = write!(beginning, "{message:?}");
        beginning.text
    };
    let short = begin(12);
    if ["Push", "Woke", "Position"].iter().any(|sort| short.starts_with(sort)) { begin(40) } else { short }
}
