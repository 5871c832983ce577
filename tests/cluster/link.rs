//! The link by itself: two ends over a network that loses, repeats and reorders, and that lose their memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus::link::{Batch, GATHERED_BYTES_MAX, Incarnation, Link, Sender, Weigh};

use crate::common::chance::Chance;

#[derive(Clone, Debug, PartialEq)]
struct Word(u64);

impl Weigh for Word {
    fn weight(&self) -> usize {
        300_000
    }
}

/// One end, and what it was told by the incarnation it knows.
struct End {
    link: Link<Word>,
    incarnation: u64,
    said: u64,
    heard: Vec<u64>,
    /// How often the other end was another one.
    others: u64,
}

impl End {
    fn new(incarnation: u64) -> Self {
        Self { link: Link::new(Incarnation(incarnation)), incarnation, said: 0, heard: vec![], others: 0 }
    }

    fn say(&mut self, now: u64) {
        self.said += 1;
        self.link.send([Arc::new(Word(self.incarnation * 1_000_000 + self.said))], now);
    }
}

/// What is on its way, by time.
type Way = BTreeMap<(u64, u64), Batch<Arc<Word>>>;

/// Ends and what is on its way to each.
struct Two {
    ends: [End; 2],
    ways: [Way; 2],
    now: u64,
    count: u64,
}

impl Two {
    fn new() -> Self {
        Self { ends: [End::new(10), End::new(20)], ways: Default::default(), now: 0, count: 0 }
    }

    /// A millisecond passes; of a hundred batches so many are lost or come twice, and each comes at some time.
    fn pass(&mut self, chance: &mut Chance, bad: u64) {
        self.now += 1;
        for n in 0..2 {
            while let Some(batch) = self.ends[n].link.next(self.now) {
                for _ in 0..u64::from(chance.below(100) >= bad) + u64::from(chance.below(100) < bad) {
                    self.count += 1;
                    self.ways[1 - n].insert((self.now + 1 + chance.below(1 + 4 * bad), self.count), batch.clone());
                }
            }
            while let Some(entry) = self.ways[n].first_entry().filter(|entry| entry.key().0 <= self.now) {
                let heard = self.ends[n].link.take(entry.remove(), self.now);
                if heard.sender == Sender::Another {
                    self.ends[n].others += 1;
                    self.ends[n].link.take_unheard();
                    self.ends[n].heard.clear();
                }
                self.ends[n].heard.extend(heard.messages.iter().map(|word| word.0));
            }
        }
    }

    /// What an end has heard is what the other one said, in order, each once.
    fn check(&self, whole: bool) {
        for n in 0..2 {
            let (of, heard) = (&self.ends[1 - n], &self.ends[n].heard);
            assert!(heard.windows(2).all(|two| two[0] + 1 == two[1]), "{heard:?}");
            if whole {
                assert_eq!(heard.last().map_or(0, |last| last % 1_000_000), of.said);
            }
        }
    }
}

#[test]
fn what_is_said_is_heard_in_order_and_once() {
    for seed in 0..60 {
        let (chance, mut two) = (&mut Chance::new(seed), Two::new());
        for _ in 0..400 {
            if chance.one_in(4) {
                two.ends[chance.below(2) as usize].say(two.now);
            }
            two.pass(chance, 5 * (seed % 10));
            two.check(false);
        }
        for _ in 0..30_000 {
            two.pass(chance, 0);
            if two.ends.iter().all(|end| end.link.is_idle()) && two.ways.iter().all(BTreeMap::is_empty) {
                break;
            }
        }
        two.check(true);
        assert!(two.ends.iter().all(|end| end.link.is_idle() && end.link.stuck_since().is_none()), "seed {seed}");
    }
}

#[test]
fn another_incarnation_hears_nothing_that_was_said_to_the_one_before() {
    for seed in 0..60 {
        let (chance, mut two) = (&mut Chance::new(seed), Two::new());
        for _ in 0..600 {
            let n = chance.below(2) as usize;
            match chance.below(60) {
                0 => {
                    two.ends[n] = End::new(two.ends[n].incarnation + 1);
                }
                1 => {
                    two.ends[n].link.start_over();
                    two.ends[n].incarnation += 1;
                    two.ends[n].heard.clear();
                }
                2..10 => two.ends[n].say(two.now),
                _ => {}
            }
            two.pass(chance, 5 * (seed % 8));
            let heard = two.ends.iter().map(|end| &end.heard);
            heard.for_each(|heard| assert!(heard.windows(2).all(|two| two[0] < two[1]), "{heard:?}"));
        }
        // Both agree in the end, and what is said then arrives.
        (0..20_000).for_each(|_| two.pass(chance, 0));
        two.ends.iter_mut().for_each(|end| end.heard.clear());
        (0..2).for_each(|n| two.ends[n].say(two.now));
        (0..100).for_each(|_| two.pass(chance, 0));
        assert!(two.ends.iter().all(|end| end.heard.len() == 1), "seed {seed}");
    }
}

#[test]
fn one_batch_is_in_flight_and_the_next_one_gathers_in_bounds() {
    let mut link = Link::new(Incarnation(1));
    let mut other: Link<Word> = Link::new(Incarnation(2));
    link.send((0..60).map(Word).map(Arc::new), 0);
    // Nothing is said before it is known to whom.
    let hello = link.next(0).unwrap();
    assert!(hello.messages.is_empty() && link.next(0).is_none());
    other.take(hello, 1);
    link.take(other.next(1).unwrap(), 2);
    assert!(link.gathered_bytes() > GATHERED_BYTES_MAX);
    let first = link.next(2).unwrap();
    assert_eq!(first.messages.len(), 3, "a megabyte at the most");
    assert!(link.next(3).is_none());
    // It is sent again after a time that grows.
    assert_eq!(link.due(), Some(252));
    assert_eq!(link.next(252).map(|batch| batch.number), Some(1));
    assert_eq!(link.due(), Some(752));
    assert_eq!(other.take(first.clone(), 4).messages.len(), 3);
    assert!(other.take(first, 5).messages.is_empty(), "it came twice");
    link.take(other.next(5).unwrap(), 6);
    assert_eq!(link.next(6).map(|batch| batch.number), Some(2));
    // Who sleeps is told again what was not acknowledged: it is taken back.
    let mut woken: Link<Word> = Link::new(Incarnation(3));
    assert_eq!(link.take(woken.next(7).unwrap(), 7).sender, Sender::Another);
    assert_eq!(link.take_unheard().len(), 57);
    // What the one before has to say is not listened to.
    other.send([Arc::new(Word(1))], 8);
    let late = other.next(8).unwrap();
    assert!(link.take(late, 9).messages.is_empty());
}
