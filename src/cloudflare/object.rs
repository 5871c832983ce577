//! The `NexusRelay` Durable Object: holds the sockets (hibernation API) and performs what the engine
//! says.
//!
//! The engine is borrowed only while it handles one input, never across an await.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot::{Sender, channel};
use futures_util::future::{Either, select};
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::Function;
use worker::wasm_bindgen::{self, JsCast, JsValue};
use worker::wasm_bindgen_futures::spawn_local;
use worker::worker_sys::WebSocketRequestResponsePair;
use worker::{
    Date, Delay, DurableObject, Env, Request, Response, Result, SqlStorage, State, WebSocket, WebSocketPair,
    console_error, console_log, durable_object, web_sys,
};

use super::database::Database;
use super::frame::{self, Frame};
use super::kept::Kept;
use super::links;
use super::questions::{self, Batch, Questions};
use super::role::{Object, Objects, Role};
use super::{KEY, RAY, attachments, env, json, kept, refuse, retry, route};
use crate::gateway::http::Route;
use crate::gateway::{ConnId, RequestId, Requests, http};
use crate::log;
use crate::log::Level;
use crate::node::{GatewayNode, LinkedGateway, LinkedPartition, Node, PartitionNode};
use crate::nostr::PublicKey;
use crate::seam::{Effect, Host, Input, Ticket};
use crate::store::{Answer, Statement, StoreError};

/// A Durable Object holds 32,768 sockets; accepting one more is an exception in the runtime.
const MAX_SOCKETS: usize = 32_000;

/// Where a client names the subprotocols it speaks, and is told which one it is.
const PROTOCOL: &str = "sec-websocket-protocol";

#[wasm_bindgen]
extern "C" {
    /// The state of an object; the client library has no word for this.
    #[wasm_bindgen(js_name = Object)]
    type Abortable;
    /// Ends the object and all its memory; the next request makes a new one.
    #[wasm_bindgen(method, getter)]
    fn abort(this: &Abortable) -> Function;
    /// Calls a function in a later turn of the event loop.
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(function: &JsValue, ms: u32);
}

/// Takes the answer to an HTTP request: a status, a body, and the seconds after which to ask again.
type Asker = Sender<(u16, Rc<str>, Option<u64>)>;

thread_local! {
    /// Gateways and partitions that share the memory of this isolate; what one takes of it the other does not.
    static GATEWAYS: Cell<usize> = const { Cell::new(0) };
    static PARTITIONS: Cell<usize> = const { Cell::new(0) };
}

/// One object, one event loop. The handlers of its sockets are our own: the library's would copy a frame of any
/// length into memory.
#[durable_object(alarm)]
pub struct NexusRelay {
    core: std::result::Result<Rc<Core>, Unfit>,
}

/// Why an object does nothing: the status it answers with, and what it says.
struct Unfit(u16, String);

impl Unfit {
    fn new(what: impl std::fmt::Display) -> Self {
        Self(500, what.to_string())
    }
}

/// What an object has, as long as it has its memory.
pub(super) struct Core {
    state: State,
    pub(super) env: Env,
    pub(super) sql: SqlStorage,
    db: Database,
    /// Which object of the relay this is.
    pub(super) object: Object,
    pub(super) objects: Objects,
    pub(super) role: RefCell<Role>,
    sockets: RefCell<BTreeMap<ConnId, WebSocket>>,
    requests: RefCell<Requests<Asker>>,
    questions: RefCell<Questions>,
    /// When the engine's timer comes.
    timer: Cell<Option<u64>>,
}

impl DurableObject for NexusRelay {
    fn new(state: State, env: Env) -> Self {
        console_error_panic_hook::set_once();
        Self { core: Core::wake(state, &env) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let core = match &self.core {
            Ok(core) => core,
            Err(Unfit(status, error)) => return refuse(*status, error),
        };
        if let Some(sender) = links::sender(&request) {
            return core.hear(sender, request).await;
        }
        if let Some((signed, body)) = links::called(&mut request).await? {
            let call = |request| Input::Managed { request, signed, body };
            return core.answer(call, "application/json", request.headers().get(RAY)?).await;
        }
        let headers = request.headers();
        let (upgrade, ip) = (headers.get("upgrade")?, headers.get("cf-connecting-ip")?);
        match route(&request, upgrade.as_deref(), None)? {
            Route::Socket => core.open(ip, headers.get(PROTOCOL)?),
            Route::Api(api) => {
                let key = headers.get(KEY)?.and_then(|key| PublicKey::parse(&key));
                let ask = |request| Input::Requested { request, api: api.by(key), ip };
                core.answer(ask, http::content_type(api, 200), headers.get(RAY)?).await
            }
            // The entry sends nothing else.
            _ => refuse(404, "not found"),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        if let Ok(core) = &self.core {
            core.handle(Input::Alarm);
        }
        Response::empty()
    }
}

#[wasm_bindgen]
impl NexusRelay {
    /// A client sent a frame.
    #[wasm_bindgen(js_name = webSocketMessage)]
    pub fn message(&self, socket: web_sys::WebSocket, message: &JsValue) {
        let socket = WebSocket::from(socket);
        if let Err(Unfit(_, error)) = &self.core {
            // A close reason holds 123 bytes.
            let reason: String = error.chars().filter(char::is_ascii).take(120).collect();
            let _ = socket.close(Some(1011), Some(reason));
        }
        if let Some((core, conn)) = self.known(&socket) {
            core.handle(frame::received(conn, message));
        }
    }

    /// A client ended its connection, or answered that we did.
    #[wasm_bindgen(js_name = webSocketClose)]
    pub fn close(&self, socket: web_sys::WebSocket, code: u32) {
        let socket = WebSocket::from(socket);
        if let Some((core, conn)) = self.known(&socket) {
            core.closed(&socket, conn);
        }
        // Codes that only stand for the absence of one may not be sent.
        let code = u16::try_from(code).ok().filter(|code| !matches!(code, 1005 | 1006 | 1015)).unwrap_or(1000);
        // Fails when the peer is gone already: nothing is left to do then.
        let _ = socket.close(Some(code), Some(""));
    }

    /// A connection broke.
    #[wasm_bindgen(js_name = webSocketError)]
    pub fn broken(&self, socket: web_sys::WebSocket) {
        let socket = WebSocket::from(socket);
        if let Some((core, conn)) = self.known(&socket) {
            core.closed(&socket, conn);
        }
    }
}

impl NexusRelay {
    fn known(&self, socket: &WebSocket) -> Option<(&Rc<Core>, ConnId)> {
        let core = self.core.as_ref().ok()?;
        Some((core, core.conn_of(socket)?))
    }
}

impl Core {
    /// The one way into memory: after a first start, hibernation, a reset or a deploy.
    fn wake(state: State, env: &Env) -> std::result::Result<Rc<Self>, Unfit> {
        let config = Rc::new(env::config(env).map_err(Unfit::new)?);
        let objects = Objects::of(&config);
        let object = objects.which(&state, env).map_err(Unfit::new)?;
        let object = object
            .ok_or_else(|| Unfit(links::UNUSED, "the relay has no such gateway or partition any more".to_owned()))?;
        let sql = state.storage().sql();
        let storage = |error| Unfit::new(format!("the object's storage: {error}"));
        attachments::prepare(&sql).map_err(storage)?;
        let db = Database::open(config.store, object, &state, env).map_err(Unfit::new)?;
        if let Ok(pair) = WebSocketRequestResponsePair::new("ping", "pong") {
            state.set_websocket_auto_response(&pair);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Unfit::new(format!("random numbers: {error}")))?;
        let (writer, host, now) = (u64::from_be_bytes(random), Host::OBJECT, now());
        let role = if objects.are_one() {
            Role::Whole(Node::new(config, host, writer, now).into())
        } else {
            let Kept { incarnation, gateways, told } = kept::begin(&sql).map_err(storage)?;
            match object {
                Object::Partition(id) => {
                    let node = PartitionNode::new(&config, id, host, writer, now);
                    Role::Partition(LinkedPartition::new(node, incarnation, gateways, told, now).into())
                }
                Object::Gateway(_) => {
                    let node = GatewayNode::new(config, host, false, now);
                    Role::Gateway(LinkedGateway::new(node, incarnation).into())
                }
            }
        };
        let (sockets, requests, questions, timer) = Default::default();
        let (env, role) = (env.clone(), RefCell::new(role));
        let core = Rc::new(Self { state, env, sql, db, object, objects, role, sockets, requests, questions, timer });
        core.counted(|count| count + 1);
        let mut conns = Vec::new();
        for socket in core.state.get_websockets() {
            let Some(conn) = core.conn_of(&socket) else { continue };
            conns.push((conn, attachments::load(&core.sql, &socket, conn).unwrap_or_default()));
            core.sockets.borrow_mut().insert(conn, socket);
        }
        let open: Vec<ConnId> = conns.iter().map(|(conn, _)| *conn).collect();
        report(attachments::sweep(&core.sql, &open), "sweeping attachments failed", None);
        core.handle(Input::Woke { conns });
        Ok(core)
    }

    /// Our name for a socket is its first tag; a socket without one is not ours.
    fn conn_of(&self, socket: &WebSocket) -> Option<ConnId> {
        self.state.get_tags(socket).first().and_then(|tag| ConnId::parse(tag))
    }

    fn open(self: &Rc<Self>, ip: Option<String>, subprotocols: Option<String>) -> Result<Response> {
        let may_open = ip.as_deref().map_or(Ok(()), |ip| self.role.borrow_mut().may_open(ip, now()));
        if let Err(away) = may_open {
            return retry(refuse(away.status, &away.reason)?, away.retry_after_s);
        }
        if self.sockets.borrow().len() >= MAX_SOCKETS {
            return refuse(503, "the relay has no room for another connection");
        }
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|error| worker::Error::RustError(error.to_string()))?;
        let (conn, challenge) = ConnId::fresh(random);
        let pair = WebSocketPair::new()?;
        self.state.accept_websocket_with_tags(&pair.server, &[&conn.to_string()]);
        self.sockets.borrow_mut().insert(conn, pair.server);
        self.handle(Input::Opened { conn, challenge, ip });
        let response = Response::from_websocket(pair.client)?;
        if subprotocols.is_some_and(|asked| http::asks_for_subprotocol(&asked)) {
            response.headers().set(PROTOCOL, http::SUBPROTOCOL)?;
        }
        Ok(response)
    }

    fn closed(self: &Rc<Self>, socket: &WebSocket, conn: ConnId) {
        self.sockets.borrow_mut().remove(&conn);
        report(attachments::forget(&self.sql, socket, conn), "forgetting an attachment failed", Some(conn));
        self.handle(Input::Closed { conn });
    }

    /// Has the engine answer what is asked over HTTP, as of a type where all is well.
    async fn answer(
        self: &Rc<Self>,
        ask: impl FnOnce(RequestId) -> Input,
        content_type: &str,
        ray: Option<String>,
    ) -> Result<Response> {
        let (sender, answer) = channel();
        let given = ray.and_then(|ray| RequestId::of_ray(&ray)).unwrap_or(RequestId(0));
        let request = self.requests.borrow_mut().wait(given, sender);
        self.handle(ask(request));
        // Every request is answered; the sender is only dropped with the object.
        let restarted = |_| (503, http::error_body("the relay restarted").into(), None);
        let (status, body, retry_after_s) = answer.await.unwrap_or_else(restarted);
        let content_type = if status == 200 { content_type } else { "application/json" };
        retry(json(status, content_type, body.to_string())?, retry_after_s)
    }

    fn handle(self: &Rc<Self>, input: Input) {
        self.role.borrow_mut().share_memory(self.counted(|count| count));
        let effects = self.role.borrow_mut().handle(input, now());
        self.perform_all(effects);
        let _ = self.tell_others(None);
    }

    /// How many objects of its sort share the memory, after a change of that.
    fn counted(&self, change: impl Fn(usize) -> usize) -> usize {
        let objects = match self.object {
            Object::Partition(_) => &PARTITIONS,
            Object::Gateway(_) => &GATEWAYS,
        };
        objects.with(|objects| {
            objects.set(change(objects.get()));
            objects.get()
        })
    }

    pub(super) fn perform_all(self: &Rc<Self>, effects: Vec<Effect>) {
        let mut frame = Frame::default();
        for effect in effects {
            self.perform(effect, &mut frame);
        }
    }

    fn perform(self: &Rc<Self>, effect: Effect, frame: &mut Frame) {
        match effect {
            Effect::Send { conn, text } => {
                if let Some(socket) = self.sockets.borrow().get(&conn) {
                    frame.send(socket, text);
                }
            }
            Effect::Close { conn, code, reason } => {
                if let Some(socket) = self.sockets.borrow_mut().remove(&conn) {
                    let _ = socket.close(Some(code), Some(reason));
                }
            }
            Effect::Remember { conn, text } => {
                if let Some(socket) = self.sockets.borrow().get(&conn) {
                    report(
                        attachments::save(&self.sql, socket, conn, &text),
                        "saving an attachment failed",
                        Some(conn),
                    );
                }
            }
            Effect::Commit { ticket, statements, .. } => {
                let core = self.clone();
                spawn_local(async move {
                    let result = core.db.write(statements).await;
                    core.handle(Input::Committed { ticket, result });
                });
            }
            Effect::Query { ticket, statements, may_wait: false } => {
                let core = self.clone();
                spawn_local(async move {
                    let result = core.db.read(&[statements]).await;
                    let result = result.map(|mut answers| answers.pop().unwrap_or_default());
                    core.handle(Input::Answered { ticket, result });
                });
            }
            Effect::Query { ticket, statements, may_wait: true } => {
                self.questions.borrow_mut().wait(ticket, statements);
                self.ask_together();
            }
            Effect::Respond { request, status, body, retry_after_s } => {
                if let Some(sender) = self.requests.borrow_mut().take(request) {
                    // Fails when whoever asked is gone.
                    let _ = sender.send((status, body, retry_after_s));
                }
            }
            Effect::WakeAt { at } => self.wake_at(at),
            Effect::TimerAt { at } => {
                let core = self.clone();
                core.timer.set(Some(at));
                spawn_local(async move {
                    // A timer that runs keeps the object in memory.
                    Delay::from(Duration::from_millis(at.saturating_sub(now()))).await;
                    // One that an earlier one took the place of has been asked for again since.
                    if core.timer.get() == Some(at) {
                        core.timer.set(None);
                        core.handle(Input::Timer);
                    }
                });
            }
            // Nobody sees what a client has been written.
            Effect::Mark { .. } => {}
            Effect::Yield => {
                let core = self.clone();
                spawn_local(async move {
                    // The next turn of the event loop, after the frames that are here already.
                    Delay::from(Duration::ZERO).await;
                    core.handle(Input::Yielded);
                });
            }
            Effect::Restart => {
                // Not while our own code is on the stack: it would be cut off there, and with it the queue of all futures
                // of the isolate, in which the next object lives, too.
                let state: &JsValue = self.state.as_raw().as_ref();
                let abort = state.unchecked_ref::<Abortable>().abort();
                let why = JsValue::from_str("another relay writes to the database");
                set_timeout(&abort.bind1(state, &why).into(), 0);
            }
            Effect::Log { level: Level::Warn | Level::Error, line } => console_error!("{line}"),
            Effect::Log { line, .. } => console_log!("{line}"),
        }
    }

    /// Sets the object's one alarm, unless it is set for earlier.
    fn wake_at(self: &Rc<Self>, at: u64) {
        let core = self.clone();
        spawn_local(async move {
            let storage = core.state.storage();
            let set = match storage.get_alarm().await {
                Ok(Some(earlier)) if u64::try_from(earlier).is_ok_and(|earlier| earlier <= at) => Ok(()),
                Ok(_) => storage.set_alarm(Duration::from_millis(at.saturating_sub(now()))).await,
                Err(error) => Err(error),
            };
            report(set, "setting the alarm failed", None);
        });
    }

    /// Asks what waits, as many questions together as there are.
    fn ask_together(self: &Rc<Self>) {
        let Some(Batch { tickets, lists }) = self.questions.borrow_mut().next() else { return };
        let core = self.clone();
        spawn_local(async move {
            let go_on = || {
                core.questions.borrow_mut().go_on();
                core.ask_together();
            };
            let call = pin!(core.db.read(&lists));
            let (result, was_long) = match select(call, Delay::from(questions::LONG)).await {
                Either::Left((result, _)) => (result, false),
                Either::Right(((), call)) => {
                    go_on();
                    (call.await, true)
                }
            };
            core.answered(tickets, &lists, result);
            if !was_long {
                // What the answers lead to is asked with what waits.
                go_on();
            }
        });
    }

    /// The database has answered questions, each as if it had been asked by itself.
    fn answered(
        self: &Rc<Self>,
        tickets: Vec<Ticket>,
        lists: &[Vec<Statement>],
        result: std::result::Result<Vec<Answer>, StoreError>,
    ) {
        match result {
            Ok(answers) => {
                for (ticket, answer) in tickets.into_iter().zip(answers) {
                    self.handle(Input::Answered { ticket, result: Ok(answer) });
                }
            }
            Err(error) if tickets.len() > 1 && questions::is_of_one(&error) => {
                self.questions.borrow_mut().wait_alone(tickets, lists);
                self.ask_together();
            }
            Err(error) => {
                for ticket in tickets {
                    self.handle(Input::Answered { ticket, result: Err(error.clone()) });
                }
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.counted(|count| count.saturating_sub(1));
    }
}

pub(super) fn now() -> u64 {
    Date::now().as_millis()
}

pub(super) fn report(result: Result<()>, what: &str, conn: Option<ConnId>) {
    if let Err(error) = result {
        let mut fields = vec![("error", error.to_string())];
        fields.extend(conn.map(|conn| ("connection", conn.to_string())));
        console_error!("{}", log::line(Level::Error, what, &fields));
    }
}
