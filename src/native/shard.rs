//! One shard: an engine on a thread of its own, and the loop that gives it what happens and performs what it
//! says.

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
use crate::relay::{
    Api, Config, ConnId, Effect, Gauges, Host, Input, News, Relay, RequestId, Requests, Ticket, TurnedAway,
};
use crate::store::{Answer, Statement, StoreError};

/// Messages of clients that wait for the engine; who sends more waits himself.
const MAX_WAITING: usize = 256;
/// Inputs that are taken before the engine's effects are looked at again.
const AT_ONCE: usize = 256;

/// What a shard is told from inside the process.
#[derive(Debug)]
pub enum Message {
    /// A client connected; what is to be sent to it goes there.
    Opened { conn: ConnId, challenge: String, ip: Option<String>, orders: Outbox },
    /// Something for the engine alone.
    Input(Input),
    /// Whether one more connection of this address may be opened.
    MayOpen(String, oneshot::Sender<Result<(), TurnedAway>>),
    /// What the engine is asked over HTTP, by whom if the address is known, with what the other shards know.
    Ask(Api, RequestId, Option<String>, Vec<Gauges>, oneshot::Sender<Response>),
    /// What the shard knows beside the store.
    Gauges(oneshot::Sender<Gauges>),
    /// Finish what is on its way to the store, as far as it is done in this time; then say good-bye and tell.
    Leave(oneshot::Sender<()>, Duration),
}

/// What the engine answers over HTTP.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
    /// Seconds after which to ask again.
    pub retry_after_s: Option<u64>,
}

/// How a shard is reached, from any thread.
#[derive(Clone)]
pub struct Shard {
    messages: UnboundedSender<Message>,
    clients: Sender<Message>,
}

impl Shard {
    /// Tells it something; a shard that has ended needs to know no more.
    pub fn tell(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    /// Whether both are ways to the same shard.
    pub fn is(&self, other: &Self) -> bool {
        self.messages.same_channel(&other.messages)
    }

    /// Tells it what a client does, in order; waits while it has too much to hear. Answers whether it still
    /// listens to clients.
    pub async fn hand(&self, message: Message) -> bool {
        self.clients.send(message).await.is_ok()
    }
}

/// The receiving ends of a [`Shard`].
pub struct Inbox {
    messages: UnboundedReceiver<Message>,
    clients: Receiver<Message>,
}

/// A way to a shard that is to be run.
pub fn way() -> (Shard, Inbox) {
    let (messages, told) = unbounded_channel();
    let (clients, handed) = channel(MAX_WAITING);
    (Shard { messages, clients }, Inbox { messages: told, clients: handed })
}

/// The state of the loop.
struct Core {
    relay: Relay,
    number: u32,
    own: Shard,
    /// All of them, this one among them.
    shards: Arc<[Shard]>,
    database: Database,
    conns: BTreeMap<ConnId, Outbox>,
    requests: Requests<oneshot::Sender<Response>>,
    /// Answers of the store that are to come.
    on_their_way: usize,
    /// When the engine wants to be woken, Unix milliseconds.
    alarm: Option<u64>,
    /// The same of its timer.
    timer: Option<u64>,
    yielding: bool,
    /// Whom to tell that the shard has left, and when it leaves at the latest.
    leaving: Option<(oneshot::Sender<()>, Instant)>,
}

/// Runs a shard until it has left.
pub async fn run(config: Config, host: Host, shards: Arc<[Shard]>, database: Database, mut inbox: Inbox) {
    let Some(own) = shards.get(host.shard as usize).cloned() else { return };
    let relay = Relay::new(Rc::new(config), host, now());
    let (conns, requests) = Default::default();
    let mut core = Core {
        relay,
        number: host.shard,
        own,
        shards,
        database,
        conns,
        requests,
        on_their_way: 0,
        alarm: None,
        timer: None,
        yielding: false,
        leaving: None,
    };
    core.handle(Input::Woke { conns: vec![] });
    let (mut messages, mut of_clients) = (Vec::new(), Vec::new());
    loop {
        let latest = core.leaving.as_ref().map(|(_, latest)| *latest);
        let open = latest.is_none();
        let [alarm, timer] =
            [core.alarm, core.timer].map(|at| at.map(|at| Duration::from_millis(at.saturating_sub(now()))));
        tokio::select! {
            biased;
            _ = inbox.messages.recv_many(&mut messages, AT_ONCE) => {}
            _ = inbox.clients.recv_many(&mut of_clients, AT_ONCE), if open => {}
            () = tokio::time::sleep_until(latest.unwrap_or_else(Instant::now)), if latest.is_some() => {}
            () = tokio::time::sleep(alarm.unwrap_or_default()), if alarm.is_some() => {
                core.alarm = None;
                core.handle(Input::Alarm);
            }
            () = tokio::time::sleep(timer.unwrap_or_default()), if timer.is_some() => {
                core.timer = None;
                core.handle(Input::Timer);
            }
        }
        messages.drain(..).chain(of_clients.drain(..)).for_each(|message| core.take(message));
        if core.yielding {
            // Tasks that have read a frame hand it over now.
            tokio::task::yield_now().await;
            while let Ok(message) = inbox.clients.try_recv() {
                core.take(message);
            }
            core.handle(Input::Yielded);
            core.yielding = false;
        }
        if (core.on_their_way == 0 || latest.is_some_and(|latest| latest <= Instant::now()))
            && let Some((done, _)) = core.leaving.take()
        {
            core.handle(Input::Leaving);
            let _ = done.send(());
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
                self.on_their_way -= usize::from(matches!(input, Input::Committed { .. } | Input::Answered { .. }));
                if let Input::Closed { conn } = input {
                    self.conns.remove(&conn);
                }
                self.handle(input);
            }
            Message::MayOpen(ip, answer) => drop(answer.send(self.relay.may_open(&ip, now()))),
            Message::Ask(api, given, ip, elsewhere, answer) => {
                let request = self.requests.wait(given, answer);
                self.handle(Input::Requested { request, api, ip, elsewhere });
            }
            Message::Gauges(answer) => drop(answer.send(self.relay.gauges())),
            Message::Leave(done, time) => self.leaving = Some((done, Instant::now() + time)),
        }
    }

    fn handle(&mut self, input: Input) {
        for effect in self.relay.handle(input, now()) {
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
            // Memory lasts as long as connections do.
            Effect::Remember { .. } => {}
            Effect::Commit { ticket, statements, news } => self.commit(ticket, statements, news),
            Effect::Query { ticket, statements } => {
                self.on_their_way += 1;
                let own = self.own.clone();
                let done = move |result| own.tell(Message::Input(Input::Answered { ticket, result }));
                self.database.read(statements, Box::new(done));
            }
            Effect::Pass { ticket, event } => {
                for shard in self.shards.iter().filter(|shard| !shard.is(&self.own)) {
                    let (event, from) = (event.clone(), self.number);
                    shard.tell(Message::Input(Input::Passed { event, from, ticket }));
                }
            }
            Effect::Heard { shard, ticket, listeners } => {
                if let Some(shard) = self.shards.get(shard as usize) {
                    shard.tell(Message::Input(Input::Heard { ticket, listeners }));
                }
            }
            Effect::Yield => self.yielding = true,
            Effect::WakeAt { at } => self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at))),
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

    /// The thread that writes tells all shards, so all hear of what is stored in the order of its numbers.
    fn commit(&mut self, ticket: Ticket, statements: Vec<Statement>, news: Option<News>) {
        self.on_their_way += 1;
        let (shards, own) = (self.shards.clone(), self.own.clone());
        let done = move |result: Result<Answer, StoreError>| {
            if let (Some(news), Ok(answer), true) = (news, &result, shards.len() > 1) {
                let rows = Arc::new(answer.rows.clone());
                for shard in shards.iter().filter(|shard| !shard.is(&own)) {
                    shard.tell(Message::Input(Input::Told { news: news.clone(), rows: rows.clone() }));
                }
            }
            own.tell(Message::Input(Input::Committed { ticket, result }));
        };
        self.database.write(statements, Box::new(done));
    }
}

/// Unix milliseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
