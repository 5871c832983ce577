//! The partition on a thread of its own, and the loop that gives it what gateways tell and the database answers, and
//! performs what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::database::Database;
use super::gateway::{self, GatewayThread, now};
use super::log;
use crate::gateway::Config;
use crate::message::{GatewayId, ToGateway, ToPartition};
use crate::node::PartitionNode;
use crate::seam::{Effect, Host, Input};

/// Messages that are taken before the effects of what they say are looked at again.
const AT_ONCE: usize = 1024;
/// How long the thread sleeps when there is nothing to wake it.
const LONG: Duration = Duration::from_secs(3600);

/// What the partition is told.
enum Message {
    /// By a gateway.
    Gateway(GatewayId, Vec<ToPartition>),
    /// Something for the partition itself.
    Input(Input),
    /// Finish what is on its way to the database, as far as it is done in this time, and say so.
    Leave(oneshot::Sender<()>, Duration),
}

/// How the partition is reached, from any thread.
#[derive(Clone)]
pub struct PartitionThread(Sender<Message>);

impl PartitionThread {
    /// Tells it what a gateway says; one that has ended needs to know no more.
    pub fn tell(&self, from: GatewayId, messages: Vec<ToPartition>) {
        let _ = self.0.send(Message::Gateway(from, messages));
    }

    /// Gives it other settings.
    pub fn configure(&self, config: Config) {
        let _ = self.0.send(Message::Input(Input::Configured { config: Box::new(config) }));
    }

    /// Has it finish what is on its way to the database, as far as it is done in this time, and say so.
    pub fn leave(&self, left: oneshot::Sender<()>, time: Duration) {
        let _ = self.0.send(Message::Leave(left, time));
    }
}

/// The receiving end of a [`PartitionThread`].
pub struct Inbox(Receiver<Message>);

/// A way to a partition that is to be run.
pub fn way() -> (PartitionThread, Inbox) {
    let (told, messages) = channel();
    (PartitionThread(told), Inbox(messages))
}

/// The state of the loop.
struct Core {
    node: PartitionNode,
    own: Sender<Message>,
    gateways: Arc<[GatewayThread]>,
    database: Database,
    /// Answers of the database that are to come.
    on_their_way: usize,
    /// When the partition wants to be woken, Unix milliseconds: its alarm and its timer.
    alarm: Option<u64>,
    timer: Option<u64>,
    yielding: bool,
    /// Whom to tell that it has left, and when it leaves at the latest.
    leaving: Option<(oneshot::Sender<()>, Instant)>,
}

/// Runs a partition until it has left.
pub fn run(
    config: &Config,
    way: &PartitionThread,
    Inbox(inbox): &Inbox,
    gateways: Arc<[GatewayThread]>,
    database: Database,
) {
    let mut core = Core {
        node: PartitionNode::new(config, Host::PROCESS, now()),
        own: way.0.clone(),
        gateways,
        database,
        on_their_way: 0,
        alarm: None,
        timer: None,
        yielding: false,
        leaving: None,
    };
    loop {
        match inbox.recv_timeout(core.sleep()) {
            Ok(message) => core.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // What has come together is handled together.
        inbox.try_iter().take(AT_ONCE).for_each(|message| core.take(message));
        core.look_at_the_clock();
        if std::mem::take(&mut core.yielding) {
            core.handle(Input::Yielded);
        }
        core.hand_on();
        if core.may_leave()
            && let Some((left, _)) = core.leaving.take()
        {
            core.handle(Input::Leaving);
            core.hand_on();
            let _ = left.send(());
            return;
        }
    }
}

impl Core {
    fn sleep(&self) -> Duration {
        let at = [self.alarm, self.timer].into_iter().flatten().min();
        let due = at.map_or(LONG, |at| Duration::from_millis(at.saturating_sub(now())));
        let latest = self.leaving.as_ref().map(|(_, latest)| latest.saturating_duration_since(Instant::now()));
        due.min(latest.unwrap_or(LONG))
    }

    fn may_leave(&self) -> bool {
        self.leaving.as_ref().is_some_and(|(_, latest)| self.on_their_way == 0 || *latest <= Instant::now())
    }

    fn look_at_the_clock(&mut self) {
        if self.alarm.take_if(|at| *at <= now()).is_some() {
            self.handle(Input::Alarm);
        }
        if self.timer.take_if(|at| *at <= now()).is_some() {
            self.handle(Input::Timer);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Gateway(from, messages) => {
                let effects = self.node.hear(from, messages, now());
                self.perform_all(effects);
            }
            Message::Input(input) => {
                self.on_their_way -= usize::from(matches!(input, Input::Committed { .. } | Input::Answered { .. }));
                self.handle(input);
            }
            Message::Leave(left, time) => self.leaving = Some((left, Instant::now() + time)),
        }
    }

    fn handle(&mut self, input: Input) {
        let effects = self.node.handle(input, now());
        self.perform_all(effects);
    }

    /// Hands on what gateways are to be told.
    fn hand_on(&mut self) {
        let mut told: BTreeMap<GatewayId, Vec<ToGateway>> = BTreeMap::new();
        for (id, message) in self.node.take_messages() {
            told.entry(id).or_default().push(message);
        }
        for (id, messages) in told {
            if let Some(gateway) = self.gateways.get(id.0 as usize) {
                gateway.tell(gateway::Message::Told(messages));
            }
        }
    }

    fn perform_all(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => {
                    self.on_their_way += 1;
                    let own = self.own.clone();
                    let done = move |result| drop(own.send(Message::Input(Input::Committed { ticket, result })));
                    self.database.write(statements, Box::new(done));
                }
                Effect::Query { ticket, statements } => {
                    self.on_their_way += 1;
                    let own = self.own.clone();
                    let done = move |result| drop(own.send(Message::Input(Input::Answered { ticket, result })));
                    self.database.read(statements, Box::new(done));
                }
                Effect::Yield => self.yielding = true,
                Effect::WakeAt { at } => self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at))),
                Effect::TimerAt { at } => self.timer = Some(self.timer.map_or(at, |timer| timer.min(at))),
                Effect::Log { line, .. } => log::write(&line),
                // These are a gateway's.
                Effect::Send { .. }
                | Effect::Mark { .. }
                | Effect::Close { .. }
                | Effect::Remember { .. }
                | Effect::Respond { .. } => {}
            }
        }
    }
}
