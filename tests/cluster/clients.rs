//! The clients of a run.

use nexus::gateway::{Api, ConnId, RequestId};
use nexus::message::Step as HistoryStep;
use nexus::seam::Input;

use crate::common::world::challenge;
use crate::market;
use crate::plan::{SUBS, Step};
use crate::pool::Ev;
use crate::seen::Seen;
use crate::sim::Sim;

impl Sim<'_> {
    /// A client does what is planned, if there is one.
    pub fn step(&mut self, n: usize) {
        let Some((_, step)) = self.plan.steps.get(n) else { return };
        match step.clone() {
            Step::Open { gateway } => {
                // Some are kept for the end.
                if self.conns < self.plan.clients {
                    self.open(gateway);
                }
            }
            Step::Leave { who } => {
                if let Some((conn, gateway)) = self.client(who) {
                    self.see(Seen::Ends { conn, by_client: true });
                    // One that sleeps wakes with what the connection remembers, which may be how far clients were told.
                    self.gateway(gateway);
                    self.gateways[gateway].attachments.remove(&conn);
                    self.gateway_input(gateway, Input::Closed { conn });
                }
            }
            Step::Publish { who, ev } => self.with(who, |sim, conn| sim.publishes(conn, ev)),
            Step::Prove { who, author } => self.with(who, |sim, conn| sim.proves(conn, author)),
            Step::Ask { who, sub, filters } => self.with(who, |sim, conn| sim.asks(conn, SUBS[sub], &filters)),
            Step::Count { who, filters } => self.with(who, |sim, conn| {
                sim.asked += 1;
                let query = format!("count{}", sim.asked);
                let (text, filters) = sim.filters("COUNT", &query, &filters);
                sim.see(Seen::Counts { conn, query, filters });
                sim.says(conn, text);
            }),
            Step::Close { who, sub } => self.with(who, |sim, conn| {
                sim.see(Seen::Closes { conn, sub: SUBS[sub].to_owned() });
                sim.says(conn, format!(r#"["CLOSE","{}"]"#, SUBS[sub]));
            }),
            Step::Http { gateway, api } => {
                self.asked += 1;
                let request = RequestId(self.asked);
                let apis = [Api::Stats, Api::Handlers(5050), Api::Health, Api::History(HistoryStep::Minute)];
                self.see(Seen::Requested { gateway, request });
                let input = Input::Requested { request, api: apis[api], ip: None };
                self.gateway_input(gateway, input);
            }
        }
    }

    /// One of those who are connected, and where.
    fn client(&self, who: usize) -> Option<(ConnId, usize)> {
        let open = &self.facts.open;
        open.iter().nth(who % open.len().max(1)).map(|(conn, gateway)| (*conn, *gateway))
    }

    fn with(&mut self, who: usize, act: impl FnOnce(&mut Self, ConnId)) {
        if let Some((conn, _)) = self.client(who) {
            act(self, conn);
        }
    }

    fn open(&mut self, gateway: usize) -> ConnId {
        let conn = self.fresh_conn();
        self.see(Seen::Opens { conn, gateway });
        self.gateway_input(gateway, Input::Opened { conn, challenge: challenge(conn), ip: None });
        conn
    }

    fn says(&mut self, conn: ConnId, text: String) {
        self.note(|| format!("{} says {text}", conn.0));
        if let Some(gateway) = self.facts.open.get(&conn).copied() {
            self.gateway_input(gateway, Input::Received { conn, text });
        }
    }

    pub fn publishes(&mut self, conn: ConnId, ev: Ev) {
        let sample = &self.facts.pool.events[ev];
        self.see(Seen::Says { conn, id: sample.event.id.to_string() });
        self.says(conn, sample.frame.clone());
    }

    fn proves(&mut self, conn: ConnId, author: usize) {
        let sample = &self.facts.pool.auths[author][conn.0 as usize - 1];
        self.see(Seen::Says { conn, id: sample.event.id.to_string() });
        self.says(conn, sample.frame.clone());
    }

    fn asks(&mut self, conn: ConnId, sub: &str, filters: &[usize]) {
        let (text, filters) = self.filters("REQ", sub, filters);
        self.see(Seen::Asks { conn, sub: sub.to_owned(), filters });
        self.says(conn, text);
    }

    fn filters(&self, verb: &str, id: &str, filters: &[usize]) -> (String, Vec<nexus::nostr::Filter>) {
        let questions = filters.iter().map(|n| &self.facts.pool.filters[*n]);
        let texts: Vec<&str> = questions.clone().map(|question| question.text.as_str()).collect();
        let text = format!(r#"["{verb}","{id}",{}]"#, texts.join(","));
        (text, questions.map(|question| question.filter.clone()).collect())
    }

    /// At each gateway somebody subscribes to all, and says something.
    pub fn publish_last(&mut self) {
        let conns: Vec<ConnId> = (0..self.gateways.len()).map(|gateway| self.open(gateway)).collect();
        for conn in &conns {
            if self.plan.locked {
                self.proves(*conn, 0);
            }
            self.asks(*conn, "all", &[0]);
        }
        self.go_on_until(self.now + 5000);
        for (gateway, conn) in conns.into_iter().enumerate() {
            for ev in market::last(self.facts.pool, gateway, self.gateways.len()) {
                self.publishes(conn, ev);
            }
            let pause = self.rng.below(50) as u64;
            self.go_on_until(self.now + pause);
        }
    }
}
