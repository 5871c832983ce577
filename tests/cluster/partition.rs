//! The partitions of a run, each an object that is woken for whatever comes, and the lives it should have ended.

use nexus::link::Batch;
use nexus::message::{PartitionId, ToPartition};
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
use crate::sim::{Due, Run, Sim, Way};

impl Sim<'_> {
    /// The life of a partition that has its memory: it wakes if it has none.
    pub fn living_partition(&mut self, partition: usize) -> u64 {
        if let Some(life) = &self.partitions[partition].life {
            return life.number;
        }
        self.lives += 1;
        let number = self.lives;
        let id = PartitionId(partition as u32);
        let node = engine::partition(&self.config, id, number, self.clock());
        let object = &self.partitions[partition];
        let node = LinkedPartition::new(
            node,
            object::incarnation(number),
            object.gateways.iter().copied(),
            object.told,
            self.clock(),
        );
        self.partitions[partition].life = Some(Life::new(node, number, self.now));
        self.note(|| format!("partition {partition} wakes as {number}"));
        // It greets those it knows.
        self.partition_input(partition, number, Input::Timer);
        number
    }

    pub fn partition_input(&mut self, partition: usize, number: u64, input: Input) {
        let clock = self.clock();
        if let Some(life) = self.partitions[partition].life_of(number) {
            let effects = life.node.handle(input, clock);
            self.perform_partition(partition, number, effects);
        }
    }

    pub fn partition_receives(&mut self, way: Way, batch: Batch<ToPartition>) {
        let Way { gateway, partition } = way;
        let address = Address(gateway as u32);
        let number = self.living_partition(partition);
        self.came((true, way, batch.from, batch.to, batch.number));
        if batch.to.is_some_and(|to| object::number(to) != number) {
            self.marks.hit(Mark::ForTheDead);
        }
        let clock = self.clock();
        if let Some(life) = self.partitions[partition].life_of(number) {
            let effects = life.node.receive(address, batch, clock);
            self.perform_partition(partition, number, effects);
        }
    }

    pub fn partition_timer(&mut self, partition: usize, number: u64) {
        let now = self.now;
        let life = self.partitions[partition].life_of(number);
        if life.is_some_and(|life| life.timer.take_if(|at| *at <= now).is_some()) {
            self.partition_input(partition, number, Input::Timer);
        }
    }

    pub fn alarm(&mut self, partition: usize) {
        let now = self.now;
        if self.partitions[partition].alarm.take_if(|at| *at <= now).is_some() {
            let number = self.living_partition(partition);
            self.partition_input(partition, number, Input::Alarm);
        }
    }

    pub fn partition_sleeps(&mut self, partition: usize, number: u64) {
        let now = self.now;
        let Some(after) = self.plan.sleeps_after else { return };
        let rests = |life: &Life<LinkedPartition>| {
            let is_idle = life.runs == 0 && life.timer.is_none() && life.node.is_idle();
            life.number == number && is_idle && life.last + after <= now
        };
        if self.partitions[partition].life.take_if(|life| rests(life)).is_some() {
            self.marks.hit(Mark::PartitionSlept);
            self.see(Seen::PartitionForgot);
        }
    }

    /// Something goes wrong.
    pub fn fault(&mut self, n: usize) {
        let Some((_, fault)) = self.plan.faults.get(n) else { return };
        self.note(|| format!("{fault:?}"));
        // A smaller plan may have fewer partitions.
        let count = self.partitions.len();
        let these = |partition: Option<usize>| match partition {
            None => 0..count,
            Some(n) => n % count..n % count + 1,
        };
        match *fault {
            Fault::Gateway { gateway, at_once } => {
                self.gateway_resets(gateway);
                if at_once {
                    self.push(self.now, Due::WakeGateway(gateway));
                }
            }
            Fault::Partition { partition, at_once, goes_on_ms } => {
                self.partition_resets(partition % count, at_once, goes_on_ms);
            }
            Fault::Cut { gateway, partition, ms } => {
                let until = self.now + ms;
                self.gateways[gateway].cut_until.extend(these(partition).map(|partition| (partition, until)));
            }
            Fault::Database { partition, percent, fate, ms } => {
                let until = self.now + ms;
                these(partition).for_each(|n| self.partitions[n].fate = Some((fate, percent, until)));
            }
        }
    }

    fn partition_resets(&mut self, partition: usize, at_once: bool, goes_on_ms: u64) {
        if let Some(life) = self.partitions[partition].life.take() {
            self.see(Seen::PartitionForgot);
            if goes_on_ms > 0 {
                self.push(self.now + goes_on_ms, Due::OldPartitionEnds(partition, life.number));
                self.partitions[partition].old.push(life);
            }
        }
        if at_once {
            self.push(self.now, Due::WakePartition(partition));
        }
    }

    fn perform_partition(&mut self, partition: usize, number: u64, effects: Vec<Effect>) {
        let start = NOW * 1000;
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => {
                    if self.partitions[partition].failed.remove(&number) {
                        self.marks.hit(Mark::WrittenAgain);
                    }
                    self.asked(Run { partition, number, commit: true, ticket, statements, is_late: false });
                }
                Effect::Query { ticket, statements, .. } => {
                    if db::looks_for_missed(&statements) {
                        self.marks.hit(Mark::LookedForMissed);
                    }
                    self.asked(Run { partition, number, commit: false, ticket, statements, is_late: false });
                }
                Effect::Yield => {
                    let at = self.now + self.rng.below(3) as u64;
                    self.push(at, Due::Yielded(partition, number));
                }
                Effect::WakeAt { at } => {
                    let at = at.saturating_sub(start).max(self.now);
                    let alarm = &mut self.partitions[partition].alarm;
                    *alarm = Some(alarm.map_or(at, |set| set.min(at)));
                    self.push(at, Due::Alarm(partition));
                }
                Effect::TimerAt { at } => {
                    let at = at.saturating_sub(start).max(self.now);
                    let Some(life) = self.partitions[partition].life_of(number) else { continue };
                    life.timer = Some(life.timer.map_or(at, |set| set.min(at)));
                    self.push(at, Due::PartitionTimer(partition, number));
                }
                Effect::Log { line, .. } => self.note(|| format!("partition {partition}: {line}")),
                effect if engine::is_restart(&effect) => {
                    let object = &mut self.partitions[partition];
                    object.old.retain(|life| life.number != number);
                    if object.life.take_if(|life| life.number == number).is_some() {
                        self.see(Seen::PartitionForgot);
                        self.push(self.now, Due::WakePartition(partition));
                    }
                    return;
                }
                other => panic!("the partition wants {other:?}"),
            }
        }
        // The storage of an object is that of its newest life.
        let object = &mut self.partitions[partition];
        let is_newest = object.is_newest(number);
        let Some(life) = object.life_of(number) else { return };
        life.last = self.now;
        let kept = life.node.take_kept();
        for keep in kept.into_iter().filter(|_| is_newest) {
            match keep {
                Keep::Told(upto) => object.told = upto,
                Keep::Gateway(address) => drop(object.gateways.insert(address)),
                Keep::Gone(address) => drop(object.gateways.remove(&address)),
            }
        }
        let Some(life) = object.life_of(number) else { return };
        for (Address(gateway), batch) in life.node.take_batches() {
            self.send_to_gateway(Way { gateway: gateway as usize, partition }, batch);
        }
        if let Some(after) = self.plan.sleeps_after {
            self.push(self.now + after, Due::PartitionSleeps(partition, number));
        }
    }

    /// Statements are on their way.
    fn asked(&mut self, mut run: Run) {
        if let Some(life) = self.partitions[run.partition].life_of(run.number) {
            life.runs += 1;
        }
        if self.mutator.is(Mutation::NoGuard) && run.commit {
            for statement in &mut run.statements {
                statement.sql = statement.sql.replace("iif(version = ?1, version + 1, NULL)", "version + 1").into();
            }
        }
        let stalls = self.drawn_fate(run.partition) == Some(Fate::Stalls);
        let takes = if stalls { 1000 + self.rng.below(20_000) } else { 1 + self.rng.below(15) };
        self.push(self.now + takes as u64, Due::Run(run));
    }

    /// What becomes of the next statements of a partition, if it is to go wrong.
    fn drawn_fate(&mut self, partition: usize) -> Option<Fate> {
        let (fate, percent, _) = self.partitions[partition].fate.filter(|(_, _, until)| self.now < *until)?;
        self.rng.percent(percent).then_some(fate)
    }

    /// Statements have arrived at the database.
    pub fn run(&mut self, mut run: Run) {
        let fate = if run.is_late { None } else { self.drawn_fate(run.partition).filter(|fate| *fate != Fate::Stalls) };
        let partition = run.partition;
        let lives = self.partitions[partition].life_of(run.number).is_some();
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
        self.note(|| {
            format!("  {} of partition {partition}, {number}: {fate:?}", if commit { "commit" } else { "query" })
        });
        if result.is_err() && commit {
            self.partitions[partition].failed.insert(number);
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
        self.push(self.now + takes, Due::Answer(partition, number, input));
    }

    /// Runs statements now.
    fn execute(&mut self, run: &Run) -> Result<nexus::store::Rows, StoreError> {
        let partition = run.partition;
        let object = &mut self.partitions[partition];
        let before = db::version(&object.db);
        let result = object.db.run(&run.statements);
        if !run.commit {
            return result;
        }
        let after = db::version(&object.db);
        let refused = result.as_ref().is_err_and(StoreError::is_fenced);
        if refused {
            self.marks.hit(Mark::Fenced);
        }
        if result.is_ok() {
            if object.life_of(run.number).is_none() {
                self.marks.hit(Mark::LandedAfterEnd);
            }
            if run.number < object.writer {
                self.marks.hit(Mark::OldOneWrote);
            }
            object.writer = object.writer.max(run.number);
        }
        self.see(Seen::Wrote { partition, incarnation: run.number, before, after, refused });
        if self.mutator.is(Mutation::AnswersEarly) {
            self.push(self.now + 200, Due::Look(partition));
        } else {
            self.look(partition);
        }
        if self.mutator.is(Mutation::NumbersAgain) && self.rng.percent(30) {
            db::forget_numbers(&self.partitions[partition].db);
        }
        result
    }

    /// What a partition has stored is seen.
    pub fn look(&mut self, partition: usize) {
        let log = db::stored(&self.partitions[partition].db, self.facts.pool);
        if log != self.facts.logs[partition].stored {
            let all = self.facts.all_with(partition, &log);
            self.see(Seen::Stored { partition, log, all });
        }
    }

    pub fn answer(&mut self, partition: usize, number: u64, input: Input) {
        if let Some(life) = self.partitions[partition].life_of(number) {
            life.runs -= 1;
        }
        self.partition_input(partition, number, input);
    }
}
