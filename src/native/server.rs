//! HTTP: what needs no state is answered here, WebSockets and `/api/` go to the shard the connection was
//! dealt to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};

use super::database::Database;
use super::proxy::Proxies;
use super::shard::{Message, Shard, now};
use super::{hud, log, socket};
use crate::relay::http::{self, CORS, DOCUMENT_TYPE, NOT_FOUND, PAGE_HEADERS, Route, UNLISTED};
use crate::relay::{Api, Config, Gauges, Kept, MAX_FRAME_BYTES, RequestId};
use crate::store::schema::{self, Schema};
use crate::store::{Answer, Statement, StoreError, counts};

/// Bytes of the buffers of a connection, each way: most connections wait most of the time.
const BUFFER: usize = 4096;

/// What requests are answered from.
#[derive(Clone)]
pub struct Context {
    /// The one that serves this connection, and all.
    pub shard: Shard,
    pub shards: Arc<[Shard]>,
    pub database: Database,
    pub config: Arc<RwLock<Arc<Config>>>,
    /// Whose word about a client's address is taken.
    pub proxies: Option<Proxies>,
    /// How long a connection may be silent before it is pinged.
    pub silence: Duration,
    /// Held by every WebSocket until it has ended.
    pub alive: mpsc::WeakSender<()>,
}

/// Who is at the other end.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Answers one request.
pub async fn answer(State(context): State<Context>, peer: axum::Extension<Peer>, request: Request) -> Response {
    let id = RequestId(u64::from_be_bytes(random()));
    let path = request.uri().path().to_owned();
    let head = request.method() == Method::HEAD;
    let (response, error) = route(context, peer.0.0, request, id).await;
    if response.status().is_server_error() {
        log::write(&http::failed(id, path, response.status().as_u16(), error));
    }
    if head { response.map(|_| Body::empty()) } else { response }
}

fn random() -> [u8; 8] {
    let mut random = [0; 8];
    // A name only serves to find the request in the log.
    let _ = getrandom::fill(&mut random);
    random
}

/// The answer, and what is wrong if something is.
async fn route(context: Context, peer: SocketAddr, request: Request, id: RequestId) -> (Response, String) {
    let config = context.config.read().map(|config| config.clone()).unwrap_or_else(|error| error.into_inner().clone());
    match routed(&request) {
        Route::Preflight => fine(with(StatusCode::NO_CONTENT.into_response(), &CORS)),
        Route::Refuse(status, error) => refuse(status, error),
        Route::Document => json(200, DOCUMENT_TYPE, serde_json::to_string(&config.document()).unwrap_or_default()),
        Route::Api(Api::Handlers(_)) if !config.handlers_api => refuse(404, UNLISTED),
        Route::Api(api) => ask(&context, api, id, config.stats_shared_seconds).await,
        Route::Health => health(&context.database).await,
        Route::Page => page("/index.html"),
        Route::Asset => page(request.uri().path()),
        Route::Socket => {
            let ip = context
                .proxies
                .as_ref()
                .map_or(peer.ip(), |proxies| proxies.client(request.headers(), peer.ip()))
                .to_string();
            open(context, ip, request).await
        }
    }
}

fn routed(request: &Request) -> Route {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let (upgrade, accept) = (text(header::UPGRADE), text(header::ACCEPT));
    let (uri, method) = (request.uri(), request.method().as_str());
    http::route(method, uri.path(), uri.query().unwrap_or_default(), upgrade, accept)
}

async fn open(context: Context, ip: String, request: Request) -> (Response, String) {
    let (answer, may) = oneshot::channel();
    context.shard.tell(Message::MayOpen(ip.clone(), answer));
    match may.await {
        Ok(Ok(())) => {}
        Ok(Err(away)) => return refuse(away.status, &away.reason),
        Err(_) => return refuse(503, "the relay restarts"),
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refuse(rejection.status().as_u16(), &rejection.body_text()),
    };
    let (shard, silence, alive) = (context.shard, context.silence, context.alive.upgrade());
    let upgrade = upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES);
    fine(upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER).on_upgrade(move |socket| async move {
        socket::serve(socket, shard, Some(ip), silence).await;
        drop(alive);
    }))
}

thread_local! {
    /// Answers of the last seconds, of this shard.
    static SHARED: RefCell<Kept> = const { RefCell::new(Kept::new()) };
}

/// Numbers, the same for all who ask within some seconds.
async fn ask(context: &Context, api: Api, id: RequestId, seconds: u64) -> (Response, String) {
    let known = SHARED.with_borrow(|shared| shared.get(api, now(), seconds * 1000).map(|body| body.to_string()));
    let (status, body) = match known.filter(|_| seconds > 0) {
        Some(body) => (200, body),
        None => {
            let elsewhere = elsewhere(context).await;
            let (answer, told) = oneshot::channel();
            context.shard.tell(Message::Ask(api, id, elsewhere, answer));
            told.await.unwrap_or_else(|_| (503, http::error_body("the relay restarts")))
        }
    };
    if status != 200 {
        return (json(status, "application/json", body.clone()).0, http::error_of(&body));
    }
    SHARED.with_borrow_mut(|shared| shared.keep(api, body.as_str().into(), now(), seconds * 1000));
    let (mut response, error) = json(200, http::content_type(api, 200), body);
    if seconds > 0
        && let Ok(age) = HeaderValue::try_from(format!("public, max-age={seconds}"))
    {
        response.headers_mut().insert(header::CACHE_CONTROL, age);
    }
    (response, error)
}

/// What the other shards know.
async fn elsewhere(context: &Context) -> Vec<Gauges> {
    let mut all = Vec::new();
    for shard in context.shards.iter().filter(|shard| !shard.is(&context.shard)) {
        let (answer, told) = oneshot::channel();
        shard.tell(Message::Gauges(answer));
        all.extend(told.await);
    }
    all
}

/// Whether the database answers and has the schema that this version needs.
async fn health(database: &Database) -> (Response, String) {
    let answer = async {
        schema::check(&read(database, vec![Schema::read()]).await?.rows)?;
        counts::decode_totals(&read(database, counts::read_totals()).await?.rows, 0)
    };
    match answer.await {
        Ok(_) => json(200, "application/json", r#"{"status":"ok"}"#.to_owned()),
        Err(error) => refuse(503, &format!("database: {error}")),
    }
}

async fn read(database: &Database, statements: Vec<Statement>) -> Result<Answer, StoreError> {
    let (answer, told) = oneshot::channel();
    database.read(statements, Box::new(move |result| drop(answer.send(result))));
    told.await.unwrap_or_else(|_| Err(StoreError::new("the relay restarts")))
}

fn page(path: &str) -> (Response, String) {
    let Some((_, kind, bytes)) = hud::FILES.iter().find(|(name, ..)| *name == path) else {
        let Route::Refuse(status, error) = NOT_FOUND else { return fine(StatusCode::NOT_FOUND.into_response()) };
        return refuse(status, error);
    };
    let response = ([(header::CONTENT_TYPE, *kind)], *bytes).into_response();
    fine(with(response, &PAGE_HEADERS))
}

fn fine(response: Response) -> (Response, String) {
    (response, String::new())
}

fn with(mut response: Response, headers: &[(&str, &'static str)]) -> Response {
    for (name, value) in headers {
        if let Ok(name) = HeaderName::try_from(*name) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// A JSON answer with the CORS headers.
fn json(status: u16, content_type: &'static str, body: String) -> (Response, String) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    fine(with((status, [(header::CONTENT_TYPE, content_type)], body).into_response(), &CORS))
}

/// An error as JSON.
fn refuse(status: u16, error: &str) -> (Response, String) {
    let (response, _) = json(status, "application/json", http::error_body(error));
    (with(response, http::error_header(status).as_slice()), error.to_owned())
}
