//! A partition, and what performs what it says: on a thread of its own where there are several gateways or partitions, else
//! on the thread of the only gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::database::Database;
use super::gateway::{self, GatewayThread, now};
use super::log;
use crate::gateway::Config;
use crate::message::{GatewayId, PartitionId, ToGateway, ToPartition};
use crate::node::PartitionNode;
use crate::seam::{Effect, Host, Input};

/// Messages that are taken before the effects of what they say are looked at again.
const AT_ONCE: usize = 1024;
/// How long the thread sleeps when there is nothing to wake it.
const LONG: Duration = Duration::from_secs(3600);
/// How long a relay that another one has taken the place of goes on refusing what it is sent.
const LAST_REFUSALS: Duration = Duration::from_millis(500);

/// What the partition is told.
enum Message {
    /// By a gateway.
    Gateway(GatewayId, Vec<ToPartition>),
    /// Something for the partition itself.
    Input(Input),
    /// Finish what is on its way to the database, as far as it is done in this time, and say so.
    Leave(oneshot::Sender<()>, Duration),
}

/// How a partition is reached, from any thread.
#[derive(Clone)]
pub enum Way {
    /// It has a thread of its own.
    Thread(PartitionThread),
    /// It is on the thread of the only gateway.
    Gateway(GatewayThread),
}

impl Way {
    /// Gives it other settings; a gateway that has it does so itself.
    pub fn configure(&self, config: Config) {
        if let Self::Thread(PartitionThread(thread)) = self {
            let _ = thread.send(Message::Input(Input::Configured { config: Box::new(config) }));
        }
    }

    /// Has it finish what is on its way to the database, as far as it is done in this time, and say so.
    pub fn leave(&self, left: oneshot::Sender<()>, time: Duration) {
        match self {
            Self::Thread(PartitionThread(thread)) => _ = thread.send(Message::Leave(left, time)),
            Self::Gateway(gateway) => gateway.tell(gateway::Message::PartitionLeaves(left, time)),
        }
    }
}

/// A partition with a thread of its own.
#[derive(Clone)]
pub struct PartitionThread(Sender<Message>);

impl PartitionThread {
    /// Tells it what a gateway says; one that has ended needs to know no more.
    pub fn tell(&self, from: GatewayId, messages: Vec<ToPartition>) {
        let _ = self.0.send(Message::Gateway(from, messages));
    }
}

/// The receiving end of a [`PartitionThread`].
pub struct Inbox(Receiver<Message>);

/// A way to a partition that is to be run on a thread of its own.
pub fn way() -> (PartitionThread, Inbox) {
    let (told, messages) = channel();
    (PartitionThread(told), Inbox(messages))
}

/// Takes an answer of the database, on a thread of the database's.
type Answered = Arc<dyn Fn(Input) + Send + Sync>;

/// A partition, and what is on its way for it.
pub struct Core {
    node: PartitionNode,
    database: Database,
    answered: Answered,
    /// Answers of the database that are to come.
    on_their_way: usize,
    /// When the partition wants to be woken, Unix milliseconds: its alarm and its timer.
    alarm: Option<u64>,
    timer: Option<u64>,
    yielding: bool,
    /// Whom to tell that it has left, and when it leaves at the latest.
    leaving: Option<(oneshot::Sender<()>, Instant)>,
}

/// Runs a partition on this thread until it has left.
pub fn run(
    config: &Config,
    id: PartitionId,
    way: &PartitionThread,
    Inbox(inbox): &Inbox,
    gateways: Arc<[GatewayThread]>,
    database: Database,
) {
    let own = way.0.clone();
    let answered = move |input| drop(own.send(Message::Input(input)));
    let mut core = Core::new(config, id, database, Arc::new(answered));
    let take = |core: &mut Core, message| match message {
        Message::Gateway(from, messages) => core.hear(from, messages),
        Message::Input(input) => core.handle(input),
        Message::Leave(left, time) => core.leave(left, time),
    };
    loop {
        match inbox.recv_timeout(core.sleep()) {
            Ok(message) => take(&mut core, message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // What has come together is handled together.
        inbox.try_iter().take(AT_ONCE).for_each(|message| take(&mut core, message));
        core.look_at_the_clock();
        if core.is_yielding() {
            core.yielded();
        }
        hand_on(&mut core, id, &gateways);
        if let Some(left) = core.may_leave() {
            core.handle(Input::Leaving);
            hand_on(&mut core, id, &gateways);
            let _ = left.send(());
            return;
        }
    }
}

/// Hands on what gateways are to be told.
fn hand_on(core: &mut Core, own: PartitionId, gateways: &[GatewayThread]) {
    let mut told: BTreeMap<GatewayId, Vec<ToGateway>> = BTreeMap::new();
    for (id, message) in core.take_messages() {
        told.entry(id).or_default().push(message);
    }
    for (id, messages) in told {
        if let Some(gateway) = gateways.get(id.0 as usize) {
            gateway.tell(gateway::Message::Told(own, messages));
        }
    }
}

impl Core {
    /// A partition that knows nothing yet; answers of the database are handed to `answered`, to be given to it.
    pub fn new(config: &Config, id: PartitionId, database: Database, answered: Answered) -> Self {
        Self {
            node: PartitionNode::new(config, id, Host::PROCESS, incarnation(), now()),
            database,
            answered,
            on_their_way: 0,
            alarm: None,
            timer: None,
            yielding: false,
            leaving: None,
        }
    }

    /// When it has something to do by itself, Unix milliseconds.
    pub fn due(&self) -> Option<u64> {
        [self.alarm, self.timer].into_iter().flatten().min()
    }

    /// When it leaves at the latest, if it is to leave.
    pub fn latest(&self) -> Option<Instant> {
        self.leaving.as_ref().map(|(_, latest)| *latest)
    }

    fn sleep(&self) -> Duration {
        let due = self.due().map_or(LONG, |at| Duration::from_millis(at.saturating_sub(now())));
        due.min(self.latest().map_or(LONG, |latest| latest.saturating_duration_since(Instant::now())))
    }

    /// Has it leave when nothing is on its way, or at the latest after this time.
    pub fn leave(&mut self, left: oneshot::Sender<()>, time: Duration) {
        self.leaving = Some((left, Instant::now() + time));
    }

    /// Whom to tell that it has left, once it may.
    pub fn may_leave(&mut self) -> Option<oneshot::Sender<()>> {
        let idle = self.on_their_way == 0;
        self.leaving.take_if(|(_, latest)| idle || *latest <= Instant::now()).map(|(left, _)| left)
    }

    /// Does what is due.
    pub fn look_at_the_clock(&mut self) {
        if self.alarm.take_if(|at| *at <= now()).is_some() {
            self.handle(Input::Alarm);
        }
        if self.timer.take_if(|at| *at <= now()).is_some() {
            self.handle(Input::Timer);
        }
    }

    /// Whether it wants what has arrived by now before it goes on.
    pub fn is_yielding(&self) -> bool {
        self.yielding
    }

    /// It has been given that.
    pub fn yielded(&mut self) {
        self.yielding = false;
        self.handle(Input::Yielded);
    }

    /// Takes what a gateway tells.
    pub fn hear(&mut self, from: GatewayId, messages: impl IntoIterator<Item = ToPartition>) {
        let effects = self.node.hear(from, messages, now());
        self.perform(effects);
    }

    /// What gateways are to be told.
    pub fn take_messages(&mut self) -> Vec<(GatewayId, ToGateway)> {
        self.node.take_messages()
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input) {
        self.on_their_way -= usize::from(matches!(input, Input::Committed { .. } | Input::Answered { .. }));
        let effects = self.node.handle(input, now());
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit { ticket, statements } => {
                    self.on_their_way += 1;
                    let answered = self.answered.clone();
                    let done = move |result| answered(Input::Committed { ticket, result });
                    self.database.write(statements, Box::new(done));
                }
                Effect::Query { ticket, statements, .. } => {
                    self.on_their_way += 1;
                    let answered = self.answered.clone();
                    let done = move |result| answered(Input::Answered { ticket, result });
                    self.database.read(statements, Box::new(done));
                }
                Effect::Yield => self.yielding = true,
                Effect::WakeAt { at } => self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at))),
                Effect::TimerAt { at } => self.timer = Some(self.timer.map_or(at, |timer| timer.min(at))),
                Effect::Log { line, .. } => log::write(&line),
                Effect::Restart => end_soon(),
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

/// Ends the process once clients have been told what became of their events; whoever started it starts the next one.
fn end_soon() {
    thread::spawn(|| {
        thread::sleep(LAST_REFUSALS);
        std::process::exit(1);
    });
}

/// A name that no other process has.
pub fn incarnation() -> u64 {
    let mut random = [0; 8];
    match getrandom::fill(&mut random) {
        Ok(()) => u64::from_be_bytes(random),
        Err(_) => now(),
    }
}
