//! A gateway on a thread of its own, and the loop that gives it what happens and performs what it says.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::database::Database;
use super::log;
use super::outbox::{Order, Outbox};
use super::partition::{self, PartitionThread};
use crate::gateway::{Api, Config, ConnId, RequestId, Requests, TurnedAway};
use crate::message::{GatewayId, PartitionId, ToGateway, ToPartition};
use crate::node::GatewayNode;
use crate::nostr::http_auth::Signed;
use crate::seam::{Effect, Host, Input};

/// Messages of clients that wait for the engine; who sends more waits himself.
const MAX_WAITING: usize = 256;
/// Inputs that are taken before the engine's effects are looked at again.
const AT_ONCE: usize = 256;

/// What a gateway is told from inside the process.
#[derive(Debug)]
pub enum Message {
    /// A client connected; what is to be sent to it goes there.
    Opened { conn: ConnId, challenge: String, ip: Option<String>, orders: Outbox },
    /// Something for the engine alone.
    Input(Input),
    /// Whether one more connection of this address may be opened.
    MayOpen(String, oneshot::Sender<Result<(), TurnedAway>>),
    /// What the engine is asked over HTTP, by whom if the address is known.
    Ask(Api, RequestId, Option<String>, oneshot::Sender<Response>),
    /// Somebody calls the management API.
    Manage(Signed, String, RequestId, oneshot::Sender<Response>),
    /// What a partition tells.
    Told(PartitionId, Vec<ToGateway>),
    /// An answer of the database for the partition that is on this thread.
    Answered(Input),
    /// Have that partition finish what is on its way to the database, as far as it is done in this time, and say so.
    PartitionLeaves(oneshot::Sender<()>, Duration),
    /// Hear no client any more, and say when what they had said was handed on.
    Close(oneshot::Sender<()>),
    /// Say good-bye to everybody, and say when that is done.
    Leave(oneshot::Sender<()>),
}

/// What the engine answers over HTTP.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
    /// Seconds after which to ask again.
    pub retry_after_s: Option<u64>,
}

/// How a gateway is reached, from any thread.
#[derive(Clone)]
pub struct GatewayThread {
    messages: UnboundedSender<Message>,
    clients: Sender<Message>,
}

impl GatewayThread {
    /// Tells it something; one that has ended needs to know no more.
    pub fn tell(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    /// Tells it what a client does, in order; waits while it has too much to hear. Answers whether it still
    /// listens to clients.
    pub async fn hand(&self, message: Message) -> bool {
        self.clients.send(message).await.is_ok()
    }
}

/// The receiving ends of a [`GatewayThread`].
pub struct Inbox {
    messages: UnboundedReceiver<Message>,
    clients: Receiver<Message>,
}

/// A way to a gateway that is to be run.
pub fn way() -> (GatewayThread, Inbox) {
    let (messages, told) = unbounded_channel();
    let (clients, handed) = channel(MAX_WAITING);
    (GatewayThread { messages, clients }, Inbox { messages: told, clients: handed })
}

/// Where the partitions are.
pub enum Partitions {
    /// On threads of their own, by their number.
    Far(Arc<[PartitionThread]>),
    /// The only one is on this thread, with this database.
    Here(Database),
}

enum Reached {
    Far(Arc<[PartitionThread]>),
    Here(Box<partition::Core>),
}

/// The state of the loop.
struct Core {
    node: GatewayNode,
    id: GatewayId,
    partitions: Reached,
    conns: BTreeMap<ConnId, Outbox>,
    requests: Requests<oneshot::Sender<Response>>,
    /// When the gateway wants to be woken, Unix milliseconds.
    timer: Option<u64>,
    /// Whether clients are heard.
    open: bool,
    /// Whom to tell that the gateway has left.
    left: Option<oneshot::Sender<()>>,
}

/// Runs one of so many gateways until it has left.
pub async fn run(
    config: Config,
    (id, gateways): (GatewayId, usize),
    own: GatewayThread,
    partitions: Partitions,
    mut inbox: Inbox,
) {
    let alone = gateways == 1;
    let partitions = match partitions {
        Partitions::Far(partitions) => Reached::Far(partitions),
        Partitions::Here(database) => {
            let answered = Arc::new(move |input| own.tell(Message::Answered(input)));
            Reached::Here(Box::new(partition::Core::new(&config, PartitionId::HOME, database, answered)))
        }
    };
    let node = GatewayNode::new(Rc::new(config), Host::PROCESS, alone, now());
    let (conns, requests) = Default::default();
    let mut core = Core { node, id, partitions, conns, requests, timer: None, open: true, left: None };
    core.handle(Input::Woke { conns: vec![] });
    core.hand_on();
    let (mut messages, mut of_clients) = (Vec::new(), Vec::new());
    loop {
        let (due, latest) = core.due();
        let due = due.map(|at| Duration::from_millis(at.saturating_sub(now())));
        tokio::select! {
            biased;
            _ = inbox.messages.recv_many(&mut messages, AT_ONCE) => {}
            _ = inbox.clients.recv_many(&mut of_clients, AT_ONCE), if core.open => {}
            () = tokio::time::sleep_until(latest.unwrap_or_else(Instant::now)), if latest.is_some() => {}
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
        }
        messages.drain(..).chain(of_clients.drain(..)).for_each(|message| core.take(message));
        core.look_at_the_clock();
        core.hand_on();
        if core.yields() {
            // Tasks that have read a frame hand it over now.
            tokio::task::yield_now().await;
            while let Ok(message) = inbox.clients.try_recv() {
                core.take(message);
            }
            core.hand_on();
            core.yielded();
        }
        core.let_partition_leave();
        if let Some(left) = core.left.take() {
            let _ = left.send(());
            return;
        }
    }
}

impl Core {
    fn take(&mut self, message: Message) {
        match message {
            Message::Opened { conn, challenge, ip, orders } => {
                self.conns.insert(conn, orders);
                self.handle(Input::Opened { conn, challenge, ip });
            }
            Message::Input(input) => {
                match (&input, &mut self.partitions) {
                    (Input::Closed { conn }, _) => _ = self.conns.remove(conn),
                    (Input::Configured { .. }, Reached::Here(partition)) => partition.handle(input.clone()),
                    _ => {}
                }
                self.handle(input);
            }
            Message::Told(from, messages) => {
                let effects = self.node.hear(from, messages, now());
                effects.into_iter().for_each(|effect| self.perform(effect));
            }
            Message::Answered(input) => {
                if let Reached::Here(partition) = &mut self.partitions {
                    partition.handle(input);
                }
            }
            Message::PartitionLeaves(left, time) => {
                if let Reached::Here(partition) = &mut self.partitions {
                    partition.leave(left, time);
                }
            }
            Message::MayOpen(ip, answer) => drop(answer.send(self.node.may_open(&ip, now()))),
            Message::Ask(api, given, ip, answer) => {
                let request = self.requests.wait(given, answer);
                self.handle(Input::Requested { request, api, ip });
            }
            Message::Manage(signed, body, given, answer) => {
                let request = self.requests.wait(given, answer);
                self.handle(Input::Managed { request, signed, body });
            }
            Message::Close(closed) => {
                self.open = false;
                self.node.tell_known();
                self.hand_on();
                let _ = closed.send(());
            }
            Message::Leave(left) => {
                self.handle(Input::Leaving);
                self.left = Some(left);
            }
        }
    }

    /// Hands on what partitions are to be told, and hears what one on this thread says to that.
    fn hand_on(&mut self) {
        loop {
            let messages = self.node.take_messages();
            let told = match &mut self.partitions {
                Reached::Far(partitions) => return tell(partitions, self.id, messages),
                Reached::Here(partition) => {
                    if !messages.is_empty() {
                        partition.hear(self.id, messages.into_iter().map(|(_, message)| message));
                    }
                    partition.take_messages()
                }
            };
            if told.is_empty() {
                return;
            }
            let effects = self.node.hear(PartitionId::HOME, told.into_iter().map(|(_, message)| message), now());
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
    }

    /// When there is something to do, Unix milliseconds, and when a partition on this thread leaves at the latest.
    fn due(&self) -> (Option<u64>, Option<Instant>) {
        match &self.partitions {
            Reached::Far(_) => (self.timer, None),
            Reached::Here(partition) => {
                let due = [self.timer, partition.due()].into_iter().flatten().min();
                (due, partition.latest().map(Instant::from_std))
            }
        }
    }

    fn look_at_the_clock(&mut self) {
        if self.timer.take_if(|at| *at <= now()).is_some() {
            self.handle(Input::Timer);
        }
        if let Reached::Here(partition) = &mut self.partitions {
            partition.look_at_the_clock();
        }
    }

    fn yields(&self) -> bool {
        matches!(&self.partitions, Reached::Here(partition) if partition.is_yielding())
    }

    fn yielded(&mut self) {
        if let Reached::Here(partition) = &mut self.partitions {
            partition.yielded();
        }
        self.hand_on();
    }

    fn let_partition_leave(&mut self) {
        if let Reached::Here(partition) = &mut self.partitions
            && let Some(left) = partition.may_leave()
        {
            partition.handle(Input::Leaving);
            self.hand_on();
            let _ = left.send(());
        }
    }

    fn handle(&mut self, input: Input) {
        for effect in self.node.handle(input, now()) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            // A connection that has ended has told so, or will.
            Effect::Send { conn, text } => {
                if let Some(orders) = self.conns.get(&conn) {
                    orders.put(Order::Send(text));
                }
            }
            Effect::Mark { conn } => {
                if let Some(orders) = self.conns.get(&conn) {
                    orders.put(Order::Mark);
                }
            }
            Effect::Close { conn, code, reason } => {
                if let Some(orders) = self.conns.remove(&conn) {
                    orders.put(Order::Close(code, reason));
                }
            }
            // Memory lasts as long as connections do, and the others are a partition's.
            Effect::Remember { .. }
            | Effect::Commit { .. }
            | Effect::Query { .. }
            | Effect::Yield
            | Effect::Restart
            | Effect::WakeAt { .. } => {}
            Effect::TimerAt { at } => self.timer = Some(self.timer.map_or(at, |timer| timer.min(at))),
            Effect::Respond { request, status, body, retry_after_s } => {
                if let Some(answer) = self.requests.take(request) {
                    // Fails when whoever asked is gone.
                    let _ = answer.send(Response { status, body: body.to_string(), retry_after_s });
                }
            }
            Effect::Log { line, .. } => log::write(&line),
        }
    }
}

/// Tells each partition what is for it, in order.
fn tell(partitions: &[PartitionThread], own: GatewayId, messages: Vec<(PartitionId, ToPartition)>) {
    let mut told: BTreeMap<PartitionId, Vec<ToPartition>> = BTreeMap::new();
    for (to, message) in messages {
        told.entry(to).or_default().push(message);
    }
    for (to, messages) in told {
        if let Some(partition) = partitions.get(to.0 as usize) {
            partition.tell(own, messages);
        }
    }
}

/// Unix milliseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
