//! The partition of a run: an object that is woken for whatever comes, and the lives it should have ended.

use nexus::link::Batch;
use nexus::message::ToPartition;
use nexus::node::{Address, Keep, LinkedPartition};
use nexus::seam::{Effect, Input};
use nexus::store::StoreError;

use crate::common::Database;
use crate::common::events::NOW;
use crate::db;
use crate::engine;
use crate::marks::Mark;
use crate::mutate::Mutation;
use crate::object::{self, Life};
use crate::plan::{Fate, Fault};
use crate::seen::Seen;
use crate::sim::{Due, Run, Sim};

impl Sim<'_> {
    /// The partition that has its memory: it wakes if it has none.
    pub fn living_partition(&mut self) -> u64 {
        if let Some(life) = &self.partition.life {
            return life.number;
        }
        self.lives += 1;
        let number = self.lives;
        let node = engine::partition(&self.config, number, self.clock());
        let node = LinkedPartition::new(
            node,
            object::incarnation(number),
            self.partition.gateways.iter().copied(),
            self.partition.told,
            self.clock(),
        );
        self.partition.life = Some(Life::new(node, number, self.now));
        self.note(|| format!("the partition wakes as {number}"));
        // It greets those it knows.
        self.partition_input(number, Input::Timer);
        number
    }

    pub fn partition_input(&mut self, number: u64, input: Input) {
        let clock = self.clock();
        if let Some(life) = self.partition.life_of(number) {
            let effects = life.node.handle(input, clock);
            self.perform_partition(number, effects);
        }
    }

    pub fn partition_receives(&mut self, gateway: usize, batch: Batch<ToPartition>) {
        let address = Address(gateway as u32);
        let number = self.living_partition();
        self.came((true, gateway, batch.from, batch.to, batch.number));
        if batch.to.is_some_and(|to| object::number(to) != number) {
            self.marks.hit(Mark::ForTheDead);
        }
        let clock = self.clock();
        if let Some(life) = self.partition.life_of(number) {
            let effects = life.node.receive(address, batch, clock);
            self.perform_partition(number, effects);
        }
    }

    pub fn partition_timer(&mut self, number: u64) {
        let now = self.now;
        let life = self.partition.life_of(number);
        if life.is_some_and(|life| life.timer.take_if(|at| *at <= now).is_some()) {
            self.partition_input(number, Input::Timer);
        }
    }

    pub fn alarm(&mut self) {
        let now = self.now;
        if self.partition.alarm.take_if(|at| *at <= now).is_some() {
            let number = self.living_partition();
            self.partition_input(number, Input::Alarm);
        }
    }

    pub fn partition_sleeps(&mut self, number: u64) {
        let now = self.now;
        let Some(after) = self.plan.sleeps_after else { return };
        let rests = |life: &Life<LinkedPartition>| {
            let is_idle = life.runs == 0 && life.timer.is_none() && life.node.is_idle();
            life.number == number && is_idle && life.last + after <= now
        };
        if self.partition.life.take_if(|life| rests(life)).is_some() {
            self.marks.hit(Mark::PartitionSlept);
            self.see(Seen::PartitionForgot);
        }
    }

    /// Something goes wrong.
    pub fn fault(&mut self, n: usize) {
        let Some((_, fault)) = self.plan.faults.get(n) else { return };
        self.note(|| format!("{fault:?}"));
        match *fault {
            Fault::Gateway { gateway, at_once } => {
                self.gateway_resets(gateway);
                if at_once {
                    self.push(self.now, Due::WakeGateway(gateway));
                }
            }
            Fault::Partition { at_once, goes_on_ms } => self.partition_resets(at_once, goes_on_ms),
            Fault::Cut { gateway, ms } => self.gateways[gateway].cut_until = self.now + ms,
            Fault::Database { percent, fate, ms } => self.fate = Some((fate, percent, self.now + ms)),
        }
    }

    fn partition_resets(&mut self, at_once: bool, goes_on_ms: u64) {
        if let Some(life) = self.partition.life.take() {
            self.see(Seen::PartitionForgot);
            if goes_on_ms > 0 {
                self.push(self.now + goes_on_ms, Due::OldPartitionEnds(life.number));
                self.partition.old.push(life);
            }
        }
        if at_once {
            self.push(self.now, Due::WakePartition);
        }
    }

    fn perform_partition(&mut self, number: u64, effects: Vec<Effect>) {
        let start = NOW * 1000;
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => {
                    if self.failed.remove(&number) {
                        self.marks.hit(Mark::WrittenAgain);
                    }
                    self.asked(Run { number, commit: true, ticket, statements, is_late: false });
                }
                Effect::Query { ticket, statements, .. } => {
                    if db::looks_for_missed(&statements) {
                        self.marks.hit(Mark::LookedForMissed);
                    }
                    self.asked(Run { number, commit: false, ticket, statements, is_late: false });
                }
                Effect::Yield => {
                    let at = self.now + self.rng.below(3) as u64;
                    self.push(at, Due::Yielded(number));
                }
                Effect::WakeAt { at } => {
                    let at = at.saturating_sub(start).max(self.now);
                    self.partition.alarm = Some(self.partition.alarm.map_or(at, |set| set.min(at)));
                    self.push(at, Due::Alarm);
                }
                Effect::TimerAt { at } => {
                    let at = at.saturating_sub(start).max(self.now);
                    let Some(life) = self.partition.life_of(number) else { continue };
                    life.timer = Some(life.timer.map_or(at, |set| set.min(at)));
                    self.push(at, Due::PartitionTimer(number));
                }
                Effect::Log { line, .. } => self.note(|| format!("partition: {line}")),
                effect if engine::is_restart(&effect) => {
                    self.partition.old.retain(|life| life.number != number);
                    if self.partition.life.take_if(|life| life.number == number).is_some() {
                        self.see(Seen::PartitionForgot);
                        self.push(self.now, Due::WakePartition);
                    }
                    return;
                }
                other => panic!("the partition wants {other:?}"),
            }
        }
        // The storage of an object is that of its newest life.
        let is_newest = self.partition.life.as_ref().is_some_and(|life| life.number == number);
        let Some(life) = self.partition.life_of(number) else { return };
        life.last = self.now;
        let kept = life.node.take_kept();
        for keep in kept.into_iter().filter(|_| is_newest) {
            match keep {
                Keep::Told(upto) => self.partition.told = upto,
                Keep::Gateway(address) => drop(self.partition.gateways.insert(address)),
                Keep::Gone(address) => drop(self.partition.gateways.remove(&address)),
            }
        }
        let Some(life) = self.partition.life_of(number) else { return };
        for (Address(gateway), batch) in life.node.take_batches() {
            self.send_to_gateway(gateway as usize, batch);
        }
        if let Some(after) = self.plan.sleeps_after {
            self.push(self.now + after, Due::PartitionSleeps(number));
        }
    }

    /// Statements are on their way.
    fn asked(&mut self, mut run: Run) {
        if let Some(life) = self.partition.life_of(run.number) {
            life.runs += 1;
        }
        if self.mutator.is(Mutation::NoGuard) && run.commit {
            for statement in &mut run.statements {
                statement.sql = statement.sql.replace("iif(version = ?1, version + 1, NULL)", "version + 1").into();
            }
        }
        let stalls = self.drawn_fate() == Some(Fate::Stalls);
        let takes = if stalls { 1000 + self.rng.below(20_000) } else { 1 + self.rng.below(15) };
        self.push(self.now + takes as u64, Due::Run(run));
    }

    /// What becomes of the next statements, if it is to go wrong.
    fn drawn_fate(&mut self) -> Option<Fate> {
        let (fate, percent, _) = self.fate.filter(|(_, _, until)| self.now < *until)?;
        self.rng.percent(percent).then_some(fate)
    }

    /// Statements have arrived at the database.
    pub fn run(&mut self, mut run: Run) {
        let fate = if run.is_late { None } else { self.drawn_fate().filter(|fate| *fate != Fate::Stalls) };
        let lives = self.partition.life_of(run.number).is_some();
        let error = if self.now.is_multiple_of(3) { StoreError::timed_out() } else { StoreError::new("disk on fire") };
        let (number, commit, ticket) = (run.number, run.commit, run.ticket);
        let result = match fate {
            Some(Fate::Fails | Fate::FailsAndLandsLate) => Err(error),
            Some(_) if !commit => Err(error),
            Some(_) => self.execute(&run).and(Err(error)),
            None if !commit || lives || run.is_late || self.rng.percent(50) => self.execute(&run),
            // What was on its way when its writer ended is lost.
            None => return,
        };
        self.note(|| format!("  {} of {number}: {fate:?}", if commit { "commit" } else { "query" }));
        if result.is_err() && commit {
            self.failed.insert(number);
        }
        if run.is_late {
            self.marks.hit(Mark::LandedLate);
            return;
        }
        if fate == Some(Fate::FailsAndLandsLate) && commit {
            run.is_late = true;
            let late = *self.rng.pick(&[50, 500, 5000, 40_000]);
            self.push(self.now + late, Due::Run(run));
        }
        let result = result.map(nexus::store::Answer::from);
        let input = if commit { Input::Committed { ticket, result } } else { Input::Answered { ticket, result } };
        let takes = 1 + self.rng.below(10) as u64;
        self.push(self.now + takes, Due::Answer(number, input));
    }

    /// Runs statements now.
    fn execute(&mut self, run: &Run) -> Result<nexus::store::Rows, StoreError> {
        let before = db::version(&self.db);
        let result = self.db.run(&run.statements);
        if !run.commit {
            return result;
        }
        let after = db::version(&self.db);
        let refused = result.as_ref().is_err_and(StoreError::is_fenced);
        if refused {
            self.marks.hit(Mark::Fenced);
        }
        if result.is_ok() {
            if self.partition.life_of(run.number).is_none() {
                self.marks.hit(Mark::LandedAfterEnd);
            }
            if run.number < self.writer {
                self.marks.hit(Mark::OldOneWrote);
            }
            self.writer = self.writer.max(run.number);
        }
        self.see(Seen::Wrote { incarnation: run.number, before, after, refused });
        if self.mutator.is(Mutation::AnswersEarly) {
            self.push(self.now + 200, Due::Look);
        } else {
            self.look();
        }
        if self.mutator.is(Mutation::NumbersAgain) && self.rng.percent(30) {
            db::forget_numbers(&self.db);
        }
        result
    }

    /// What is stored is seen.
    pub fn look(&mut self) {
        let stored = db::stored(&self.db, self.facts.pool);
        if stored != self.facts.stored {
            self.see(Seen::Stored(stored));
        }
    }

    pub fn answer(&mut self, number: u64, input: Input) {
        if let Some(life) = self.partition.life_of(number) {
            life.runs -= 1;
        }
        self.partition_input(number, input);
    }
}
