//! HTTP: what needs no state is answered here, WebSockets and `/api/` go to the gateway the connection was
//! dealt to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};

use super::gateway::{self, GatewayThread, Message, now};
use super::proxy::Proxies;
use super::{hud, log, socket};
use crate::gateway::http::{self, CORS, DOCUMENT_TYPE, FOR_ONE, NOT_FOUND, Route, UNLISTED};
use crate::gateway::{Api, Config, HttpRate, MAX_FRAME_BYTES, RequestId, SharedAnswers, Sort, access};
use crate::nostr::http_auth;

/// Bytes of the buffers of a connection, each way: most connections wait most of the time.
const BUFFER: usize = 4096;

/// What requests are answered from.
#[derive(Clone)]
pub struct Context {
    /// The one that serves this connection.
    pub gateway: GatewayThread,
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
    let (mut response, error) = route(context, peer.0.0, request, id).await;
    for (name, value) in http::headers_of(&path) {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    // Who is to come again later is turned away on purpose.
    if response.status().is_server_error() && !response.headers().contains_key(header::RETRY_AFTER) {
        log::write(&http::failed(id, path, response.status().as_u16(), error));
    }
    // Of an answer to HEAD what serves the connection sends the headers alone, the body's length among them.
    response
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
    let proxies = context.proxies.as_ref();
    let ip = proxies.map_or(peer.ip(), |proxies| proxies.client(request.headers(), peer.ip())).to_string();
    if http::is_call(
        request.method().as_str(),
        request.uri().path(),
        list(request.headers(), &header::CONTENT_TYPE).as_deref(),
    ) {
        return call(&context, &config, request, id, ip).await;
    }
    match routed(&request) {
        Route::Preflight => fine(with(StatusCode::NO_CONTENT.into_response(), &CORS)),
        Route::Refuse(status, error) => refuse(status, error),
        Route::Document => json(200, DOCUMENT_TYPE, serde_json::to_string(&config.document()).unwrap_or_default()),
        Route::Api(Api::Handlers(_)) if !config.handlers_api => refuse(404, UNLISTED),
        Route::Api(api) => match admitted(&config, api, &request, &ip) {
            Ok(api) => ask(&context, &config, api, id, ip).await,
            Err(refused) => *refused,
        },
        Route::Page => page("/index.html"),
        Route::JobPage => page(&format!("{}.html", http::JOB_PAGE)),
        Route::Asset => page(request.uri().path()),
        Route::Socket => match pass(&config, Sort::Socket, &ip) {
            None => open(context, ip, request).await,
            Some(refused) => refused,
        },
    }
}

fn routed(request: &Request) -> Route {
    let headers = request.headers();
    let (upgrade, accept) = (list(headers, &header::UPGRADE), list(headers, &header::ACCEPT));
    let (uri, method) = (request.uri(), request.method().as_str());
    http::route(method, uri.path(), uri.query().unwrap_or_default(), upgrade.as_deref(), accept.as_deref())
}

/// A header as the one list that its lines are together; nothing when there are none.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

async fn open(context: Context, ip: String, request: Request) -> (Response, String) {
    let (answer, may) = oneshot::channel();
    context.gateway.tell(Message::MayOpen(ip.clone(), answer));
    match may.await {
        Ok(Ok(())) => {}
        Ok(Err(away)) => {
            let (response, error) = refuse(away.status, &away.reason);
            return (retry(response, away.retry_after_s), error);
        }
        Err(_) => return refuse(503, "the relay restarts"),
    }
    let (mut parts, _) = request.into_parts();
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_PROTOCOL] {
        // What makes a socket of it reads one line of each.
        let one = if name == header::UPGRADE { Some("websocket".to_owned()) } else { list(&parts.headers, &name) };
        if let Some(one) = one.and_then(|one| HeaderValue::try_from(one).ok()) {
            parts.headers.insert(name, one);
        }
    }
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refuse(rejection.status().as_u16(), &rejection.body_text()),
    };
    let (gateway, silence, alive) = (context.gateway, context.silence, context.alive.upgrade());
    let upgrade =
        upgrade.protocols([http::SUBPROTOCOL]).max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES);
    fine(upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER).on_upgrade(move |socket| async move {
        socket::serve(socket, gateway, Some(ip), silence).await;
        drop(alive);
    }))
}

/// Counts a request that the gateway is to be asked: the answer, if it is one too many.
fn pass(config: &Config, sort: Sort, ip: &str) -> Option<(Response, String)> {
    let away = HTTP_RATE.with_borrow_mut(|http_rate| http_rate.pass(config, sort, Some(ip), now())).err()?;
    let (response, error) = refuse(away.status, &away.reason);
    Some((retry(response, away.retry_after_s), error))
}

thread_local! {
    /// Who has asked this gateway for what is not kept here.
    static HTTP_RATE: RefCell<HttpRate> = const { RefCell::new(HttpRate::new()) };
    /// Answers of the last seconds, of this gateway.
    static SHARED: RefCell<SharedAnswers> = const { RefCell::new(SharedAnswers::new()) };
}

/// What is asked of the engine, by who has signed it where that matters; the answer, if it may not be asked.
fn admitted(config: &Config, api: Api, request: &Request, ip: &str) -> Result<Api, Box<(Response, String)>> {
    let authorization = list(request.headers(), &header::AUTHORIZATION).filter(|_| access::depends_on_key(config, api));
    // A signature takes as much to verify as an answer to give.
    if authorization.is_some()
        && let Some(refused) = pass(config, Sort::Question, ip)
    {
        return Err(refused.into());
    }
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let signed = http_auth::Asked { method: request.method().as_str(), path, body: None };
    let admitted = access::admit(config, api, authorization.as_deref(), &signed, now());
    admitted.map_err(|away| refuse(away.status, &away.reason).into())
}

/// Numbers, the same for all who ask within some seconds.
async fn ask(context: &Context, config: &Config, api: Api, id: RequestId, ip: String) -> (Response, String) {
    let seconds = http::shared_seconds(api, config.stats_shared_seconds);
    let known =
        SHARED.with_borrow_mut(|shared| shared.get_or_ask(api, now(), seconds * 1000).map(|body| body.to_string()));
    let body = match known.filter(|_| seconds > 0) {
        Some(body) => body,
        None => {
            if let Some(refused) = pass(config, Sort::of(api), &ip) {
                return refused;
            }
            let (answer, told) = oneshot::channel();
            context.gateway.tell(Message::Ask(api, id, Some(ip), answer));
            let Ok(gateway::Response { status, body, retry_after_s }) = told.await else {
                return refuse(503, "the relay restarts");
            };
            if status != 200 {
                let error = http::error_of(&body);
                return (retry(json(status, "application/json", body).0, retry_after_s), error);
            }
            SHARED.with_borrow_mut(|shared| shared.keep(api, body.as_str().into(), now()));
            body
        }
    };
    let (mut response, error) = json(200, http::content_type(api, 200), body);
    if access::is_for_one(config, api) {
        return (with(response, &FOR_ONE), error);
    }
    if seconds > 0
        && let Ok(age) = HeaderValue::try_from(format!("public, max-age={seconds}"))
    {
        response.headers_mut().insert(header::CACHE_CONTROL, age);
    }
    (response, error)
}

/// Has the gateway answer a call of the management API.
async fn call(context: &Context, config: &Config, request: Request, id: RequestId, ip: String) -> (Response, String) {
    if let Some(refused) = pass(config, Sort::Question, &ip) {
        return refused;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, http::CALL_BYTES_MAX).await else {
        return refuse(413, http::CALL_TOO_LONG);
    };
    let authorization = list(&parts.headers, &header::AUTHORIZATION);
    let signed = match http::caller(config, authorization.as_deref(), &body, now()) {
        Ok(signed) => signed,
        Err(away) => return refuse(away.status, &away.reason),
    };
    let (answer, told) = oneshot::channel();
    context.gateway.tell(Message::Manage(signed, String::from_utf8_lossy(&body).into_owned(), id, answer));
    let Ok(gateway::Response { status, body, retry_after_s }) = told.await else {
        return refuse(503, "the relay restarts");
    };
    let error = if status == 200 { String::new() } else { http::error_of(&body) };
    (retry(json(status, "application/json", body).0, retry_after_s), error)
}

fn page(path: &str) -> (Response, String) {
    let Some((_, kind, bytes)) = hud::FILES.iter().find(|(name, ..)| *name == http::file_of(path)) else {
        let Route::Refuse(status, error) = NOT_FOUND else { return fine(StatusCode::NOT_FOUND.into_response()) };
        return refuse(status, error);
    };
    let response = ([(header::CONTENT_TYPE, *kind)], *bytes).into_response();
    fine(with(response, &http::page_headers(path)))
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

/// With the seconds after which to try again, if they are known.
fn retry(mut response: Response, after_s: Option<u64>) -> Response {
    if let Some(seconds) = after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
