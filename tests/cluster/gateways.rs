//! The gateways of a run, each an object that is woken for whatever comes and sleeps when it has nothing to do.

use nexus::link::Batch;
use nexus::message::{PartitionId, ToGateway};
use nexus::node::{GatewayNode, LinkedGateway};
use nexus::seam::{Effect, Host, Input};

use crate::marks::Mark;
use crate::object::{self, Life};
use crate::seen::Seen;
use crate::sim::{Due, Sim, Way};

impl Sim<'_> {
    /// A gateway that has its memory: it wakes if it has none.
    pub fn gateway(&mut self, n: usize) -> &mut Life<LinkedGateway> {
        if self.gateways[n].life.is_none() {
            self.lives += 1;
            let number = self.lives;
            let node = GatewayNode::new(self.config.clone(), Host::OBJECT, false, self.clock());
            let node = LinkedGateway::new(node, object::incarnation(number));
            let conns = self.gateways[n].attachments.iter().map(|(conn, text)| (*conn, text.clone())).collect();
            self.gateways[n].life = Some(Life::new(node, number, self.now));
            self.gateways[n].knows.clear();
            self.note(|| format!("gateway {n} wakes as {number}"));
            self.gateway_input(n, Input::Woke { conns });
        }
        self.gateways[n].life.as_mut().unwrap()
    }

    pub fn gateway_input(&mut self, n: usize, input: Input) {
        let clock = self.clock();
        let effects = self.gateway(n).node.handle(input, clock);
        self.perform(n, effects);
    }

    pub fn gateway_receives(&mut self, Way { gateway: n, partition }: Way, batch: Batch<ToGateway>) {
        if self.gateways[n].life.is_none() {
            self.marks.hit(Mark::GatewayWokeForBatch);
        }
        let clock = self.clock();
        self.gateway(n);
        let gateway = &mut self.gateways[n];
        if gateway.knows.get(&partition).is_none_or(|known| *known <= batch.from) {
            let before = gateway.knows.insert(partition, batch.from);
            if before.is_some_and(|before| before != batch.from) {
                self.marks.hit(Mark::AnotherPartition);
            }
        }
        let effects = self.gateway(n).node.receive(PartitionId(partition as u32), batch, clock);
        self.perform(n, effects);
    }

    pub fn gateway_timer(&mut self, n: usize, number: u64) {
        let now = self.now;
        let life = self.gateways[n].life.as_mut().filter(|life| life.number == number);
        if life.is_some_and(|life| life.timer.take_if(|at| *at <= now).is_some()) {
            self.gateway_input(n, Input::Timer);
        }
    }

    pub fn gateway_sleeps(&mut self, n: usize, number: u64) {
        let now = self.now;
        let Some(after) = self.plan.sleeps_after else { return };
        let rests = |life: &Life<LinkedGateway>| {
            life.number == number && life.node.is_idle() && life.timer.is_none() && life.last + after <= now
        };
        if self.gateways[n].life.take_if(|life| rests(life)).is_some() {
            self.marks.hit(Mark::GatewaySlept);
            self.see(Seen::GatewayForgot { gateway: n, asleep: true });
        }
    }

    /// A gateway loses its memory.
    pub fn gateway_resets(&mut self, n: usize) {
        if self.gateways[n].life.take().is_some() {
            self.see(Seen::GatewayForgot { gateway: n, asleep: false });
        }
    }

    /// Does what a gateway wants done, and sends what it has to say.
    fn perform(&mut self, n: usize, effects: Vec<Effect>) {
        let start = self.clock() - self.now;
        for effect in effects {
            match effect {
                Effect::Send { conn, text } => match self.facts.read(conn, &text) {
                    _ if !self.facts.open.contains_key(&conn) => {}
                    Ok(seen) => seen.into_iter().for_each(|seen| self.see(seen)),
                    Err(why) => self.broken = self.broken.take().or(Some(why)),
                },
                Effect::Close { conn, .. } => {
                    self.gateways[n].attachments.remove(&conn);
                    self.see(Seen::Ends { conn, by_client: false });
                }
                Effect::Remember { conn, text } => {
                    if self.facts.open.contains_key(&conn) {
                        self.note(|| format!("gateway {n} remembers {text}"));
                        self.gateways[n].attachments.insert(conn, text);
                    }
                }
                Effect::Respond { request, .. } => self.see(Seen::Responded { request }),
                Effect::TimerAt { at } => {
                    let at = at.saturating_sub(start).max(self.now);
                    let life = self.gateway(n);
                    let number = life.number;
                    life.timer = Some(life.timer.map_or(at, |set| set.min(at)));
                    self.push(at, Due::GatewayTimer(n, number));
                }
                Effect::Log { line, .. } => self.note(|| format!("gateway {n}: {line}")),
                other => panic!("a gateway wants {other:?}"),
            }
        }
        let Some(life) = &mut self.gateways[n].life else { return };
        let number = life.number;
        life.last = self.now;
        for (PartitionId(to), batch) in life.node.take_batches() {
            self.send_to_partition(Way { gateway: n, partition: to as usize }, batch);
        }
        if let Some(after) = self.plan.sleeps_after {
            self.push(self.now + after, Due::GatewaySleeps(n, number));
        }
    }
}
