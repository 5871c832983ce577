//! The Cloudflare host: the Worker's entry. Translates and performs; decides nothing.
//!
//! Answers what needs no state itself (NIP-11, the HUD's files, errors) and hands WebSockets and
//! `/api/` to the [`NexusRelay`](object::NexusRelay) that the client's network has.

mod attachments;
mod d1;
mod database;
mod env;
mod frame;
mod kept;
mod links;
mod object;
mod own_store;
mod questions;
mod role;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use web_sys::Url;
use worker::{
    Cache, Context, Date, Env, Fetcher, Headers, Method, Request, RequestInit, Response, ResponseBuilder, Result, Stub,
    event,
};

use crate::gateway::http::{self, CORS, DOCUMENT_TYPE, NOT_FOUND, Route, UNLISTED};
use crate::gateway::{Api, Config, ConfigError, HttpRate, RequestId, SharedAnswers, Sort, access, network};
use crate::nostr::http_auth;

/// Names a request at Cloudflare.
const RAY: &str = "cf-ray";
/// Tells the object who has signed a request; what a client says there goes no further than the entry.
const KEY: &str = "x-nexus-key";

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    console_error_panic_hook::set_once();
    let (ray, path) = (request.headers().get(RAY)?, request.path());
    let id = ray.and_then(|ray| RequestId::of_ray(&ray)).map_or_else(random_id, Ok)?;
    let mut response = match answer(request, env, id).await {
        Ok(response) => response,
        Err(error) => refuse(500, &error.to_string())?,
    };
    // What answers a request for a WebSocket is the object's, and is as it is.
    if response.status_code() != 101 && !http::headers_of(&path).is_empty() {
        let headers = response.headers().clone();
        http::headers_of(&path).iter().try_for_each(|(name, value)| headers.set(name, value))?;
        response = response.with_headers(headers);
    }
    // Who is to come again later is turned away on purpose.
    if response.status_code() >= 500 && !response.headers().has("retry-after")? {
        let said = response.cloned()?.text().await?;
        worker::console_error!("{}", http::failed(id, path, response.status_code(), http::error_of(&said)));
    }
    Ok(response)
}

/// Where Cloudflare has not named a request.
fn random_id() -> Result<RequestId> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| worker::Error::RustError(error.to_string()))?;
    Ok(RequestId(u64::from_be_bytes(random)))
}

async fn answer(request: Request, env: Env, id: RequestId) -> Result<Response> {
    let header = |name| request.headers().get(name).ok().flatten();
    let (upgrade, accept) = (header("upgrade"), header("accept"));
    let route = route(&request, upgrade.as_deref(), accept.as_deref())?;
    let config = match settings(&env) {
        Ok(config) => config,
        Err(error) => return refuse(500, &error.to_string()),
    };
    if http::is_call(request.method().as_ref(), &request.path(), header("content-type").as_deref()) {
        return call(&env, &config, request, id).await;
    }
    match route {
        Route::Preflight => Ok(builder(204)?.empty()),
        Route::Refuse(status, error) => refuse(status, error),
        Route::Document => json(200, DOCUMENT_TYPE, serde_json::to_string(&config.document()).unwrap_or_default()),
        Route::Api(Api::Handlers(_)) if !config.handlers_api => refuse(404, UNLISTED),
        Route::Socket => match pass(&config, Sort::Socket, &request)? {
            None => object_of(&env, &config, &request)?.fetch_with_request(request).await,
            Some(refused) => Ok(refused),
        },
        Route::Api(api) => asked(&env, &config, api, &request, id).await,
        Route::Page | Route::Asset => asset(env.assets(env::ASSETS)?, request).await,
        Route::JobPage => {
            let own =
                RequestInit { headers: request.headers().clone(), method: request.method(), ..RequestInit::default() };
            let url = url_of(&request)?.origin() + http::JOB_PAGE;
            asset(env.assets(env::ASSETS)?, Request::new_with_init(&url, &own)?).await
        }
    }
}

/// The settings, which are read once: an isolate has the same to its end.
fn settings(env: &Env) -> std::result::Result<Rc<Config>, ConfigError> {
    CONFIG.with(|config| match config.get() {
        Some(config) => Ok(config.clone()),
        None => env::config(env).map(|read| config.get_or_init(|| Rc::new(read)).clone()),
    })
}

/// The object a request is for, by where it comes from.
fn object_of(env: &Env, config: &Config, request: &Request) -> Result<Stub> {
    let ip = request.headers().get("cf-connecting-ip")?.unwrap_or_default();
    let network = network(&ip).unwrap_or(ip);
    let continent = request.cf().and_then(|cf| cf.continent());
    let objects = role::Objects::of(config);
    objects.stub(env, objects.of_client(&network, continent.as_deref()))
}

/// Answers what is asked of the engine, of whoever may ask it.
async fn asked(env: &Env, config: &Config, api: Api, request: &Request, id: RequestId) -> Result<Response> {
    let authorization = request.headers().get("authorization")?.filter(|_| access::depends_on_key(config, api));
    // A signature takes as much to verify as an answer to give.
    if authorization.is_some()
        && let Some(refused) = pass(config, Sort::Question, request)?
    {
        return Ok(refused);
    }
    let (method, url) = (request.method(), url_of(request)?);
    let signed = http_auth::Asked { method: method.as_ref(), path: &(url.pathname() + &url.search()), body: None };
    let now = Date::now().as_millis();
    let api = match access::admit(config, api, authorization.as_deref(), &signed, now) {
        Ok(api) => api,
        Err(away) => return refuse(away.status, &away.reason),
    };
    let is_for_one = access::is_for_one(config, api);
    let response = match http::shared_seconds(api, config.stats_shared_seconds) {
        0 => ask(env, config, api, request, id).await?,
        seconds => shared(env, config, api, request, id, seconds, is_for_one).await?,
    };
    let headers = response.headers().clone();
    for (name, value) in if is_for_one { &http::FOR_ONE[..] } else { &[] } {
        headers.set(name, value)?;
    }
    Ok(response.with_headers(headers))
}

/// Asks the object, which calls the request by the same name. It is asked for the whole answer, as that is shared with
/// whoever asks next; of one to HEAD the runtime sends the headers alone.
async fn ask(env: &Env, config: &Config, api: Api, request: &Request, id: RequestId) -> Result<Response> {
    if let Some(refused) = pass(config, Sort::of(api), request)? {
        return Ok(refused);
    }
    let headers = request.headers().clone();
    headers.set(RAY, &id.to_string())?;
    match api {
        Api::Job(_, Some(key)) => headers.set(KEY, &key.to_string())?,
        _ => headers.delete(KEY)?,
    }
    let mut whole = RequestInit::new();
    whole.with_method(Method::Get).with_headers(headers);
    object_of(env, config, request)?.fetch_with_request(Request::new_with_init(&request.inner().url(), &whole)?).await
}

/// Has the object answer a call of the management API, by who has signed it.
async fn call(env: &Env, config: &Config, mut request: Request, id: RequestId) -> Result<Response> {
    if let Some(refused) = pass(config, Sort::Question, &request)? {
        return Ok(refused);
    }
    let (authorization, length) = (request.headers().get("authorization")?, request.headers().get("content-length")?);
    if length.and_then(|length| length.parse().ok()).is_none_or(|length: usize| length > http::CALL_BYTES_MAX) {
        return refuse(413, http::CALL_TOO_LONG);
    }
    let body = request.text().await?;
    let signed = match http::caller(config, authorization.as_deref(), body.as_bytes(), Date::now().as_millis()) {
        Ok(signed) => signed,
        Err(away) => return refuse(away.status, &away.reason),
    };
    object_of(env, config, &request)?.fetch_with_request(links::call(&signed, &body, id)?).await
}

/// Counts a request that the object is to be asked: the answer, if it is one too many.
fn pass(config: &Config, sort: Sort, request: &Request) -> Result<Option<Response>> {
    let ip = request.headers().get("cf-connecting-ip")?;
    let now = Date::now().as_millis();
    let passed = HTTP_RATE.with_borrow_mut(|http_rate| http_rate.pass(config, sort, ip.as_deref(), now));
    passed.err().map(|away| retry(refuse(away.status, &away.reason)?, away.retry_after_s)).transpose()
}

thread_local! {
    /// What the Worker is deployed with.
    static CONFIG: OnceCell<Rc<Config>> = const { OnceCell::new() };
    /// Who has asked this isolate for what only the object knows.
    static HTTP_RATE: RefCell<HttpRate> = const { RefCell::new(HttpRate::new()) };
    /// Answers of the last seconds, in the memory of this isolate. Text alone: a request's own objects may
    /// not be used by another.
    static SHARED: RefCell<SharedAnswers> = const { RefCell::new(SharedAnswers::new()) };
}

/// An answer that everybody gets the same of for some seconds: one of them asks the object, the others are
/// served from this isolate's memory, or else from the cache of their place, which all its isolates share
/// (there is none on workers.dev addresses). What can be asked in many ways is not put there: it would be filled
/// by whoever thinks of ever new ones.
async fn shared(
    env: &Env,
    config: &Config,
    api: Api,
    request: &Request,
    id: RequestId,
    seconds: u64,
    is_for_one: bool,
) -> Result<Response> {
    let now = Date::now().as_millis();
    if let Some(body) = SHARED.with_borrow_mut(|shared| shared.get_or_ask(api, now, seconds * 1000)) {
        return numbers(api, &body, seconds);
    }
    // What is for some alone stays here, where it was looked who asks.
    let (cache, key) = (Cache::default(), http::cache_key(&url_of(request)?.origin(), api).filter(|_| !is_for_one));
    if let Some(key) = &key
        && let Some(response) = cache.get(key.as_str(), false).await?
    {
        // Not for this memory as well: it would be shared for twice as long.
        return Ok(response);
    }
    let mut response = ask(env, config, api, request, id).await?;
    if response.status_code() != 200 {
        return Ok(response);
    }
    let body: Rc<str> = response.text().await?.into();
    SHARED.with_borrow_mut(|shared| shared.keep(api, body.clone(), now));
    if let Some(key) = &key {
        // What is not kept is asked again: no harm.
        let _ = cache.put(key.as_str(), numbers(api, &body, seconds)?).await;
    }
    numbers(api, &body, seconds)
}

/// Numbers that may be shared.
fn numbers(api: Api, body: &str, seconds: u64) -> Result<Response> {
    let response = json(200, http::content_type(api, 200), body.to_owned())?;
    response.headers().set("Cache-Control", &format!("public, max-age={seconds}"))?;
    Ok(response)
}

fn route(request: &Request, upgrade: Option<&str>, accept: Option<&str>) -> Result<Route> {
    let url = url_of(request)?;
    let query = url.search();
    let query = query.strip_prefix('?').unwrap_or_default();
    Ok(http::route(request.method().as_ref(), &url.pathname(), query, upgrade, accept))
}

/// As the platform reads it: the library would bring a parser of its own.
fn url_of(request: &Request) -> Result<Url> {
    Ok(Url::new(&request.inner().url())?)
}

async fn asset(assets: Fetcher, request: Request) -> Result<Response> {
    let path = request.path();
    let response = assets.fetch_request(request).await?;
    if response.status_code() == 404 {
        let Route::Refuse(status, error) = NOT_FOUND else { return Ok(response) };
        return refuse(status, error);
    }
    let headers = Headers::new();
    for (name, value) in response.headers().entries() {
        headers.append(&name, &value)?;
    }
    for (name, value) in http::page_headers(&path) {
        headers.set(name, value)?;
    }
    Ok(response.with_headers(headers))
}

fn builder(status: u16) -> Result<ResponseBuilder> {
    CORS.iter()
        .try_fold(ResponseBuilder::new().with_status(status), |builder, (name, value)| builder.with_header(name, value))
}

/// A JSON answer with the CORS headers.
fn json(status: u16, content_type: &str, body: String) -> Result<Response> {
    Ok(builder(status)?.with_header("Content-Type", content_type)?.fixed(body.into_bytes()))
}

/// An error as JSON.
fn refuse(status: u16, error: &str) -> Result<Response> {
    let response = json(status, "application/json", http::error_body(error))?;
    if let Some((name, value)) = http::error_header(status) {
        response.headers().set(name, value)?;
    }
    Ok(response)
}

/// With the seconds after which to try again, if they are known.
fn retry(response: Response, after_s: Option<u64>) -> Result<Response> {
    if let Some(seconds) = after_s {
        response.headers().set("Retry-After", &seconds.to_string())?;
    }
    Ok(response)
}
