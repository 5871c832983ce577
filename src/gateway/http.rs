//! Which HTTP request gets which answer; both hosts route by this.

use super::{Api, Config, Level, RequestId, TurnedAway, accept, log};
use crate::message::Step;
use crate::nostr::http_auth::{self, Signed};
use crate::nostr::{EventId, Reason, refusal};
use crate::seam::Millis;

/// The three headers NIP-11 asks for, sent with every answer.
pub const CORS: [(&str, &str); 3] = [
    ("Access-Control-Allow-Origin", "*"),
    // A star does not stand for the first.
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, *"),
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
];

/// Sent with the HUD page and its files: nothing is loaded from or sent to elsewhere.
const PAGE_HEADERS: [(&str, &str); 4] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

/// Sent with an answer that is for who asks alone.
pub const FOR_ONE: [(&str, &str); 2] = [("Cache-Control", "private, no-store"), ("Vary", "Authorization")];
/// The page of the owner.
const ADMIN_PAGE: &str = "/admin";

/// The policy of the owner's page: a signer that is elsewhere (NIP-46) is reached over a relay.
const ADMIN_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' \
                            wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is sent with the page or file of a path.
pub fn page_headers(path: &str) -> [(&'static str, &'static str); 4] {
    let mut headers = PAGE_HEADERS;
    if let ([policy, ..], ADMIN_PAGE) = (&mut headers, path) {
        policy.1 = ADMIN_POLICY;
    }
    headers
}

/// The file of a path: pages are named without its ending.
pub fn file_of(path: &str) -> &str {
    if path == ADMIN_PAGE { "/admin.html" } else { path }
}

/// The media type of the information document (NIP-11).
pub const DOCUMENT_TYPE: &str = "application/nostr+json";

/// The media type of a call of the management API (NIP-86).
const MANAGEMENT_TYPE: &str = "application/nostr+json+rpc";

/// Bytes of such a call.
pub const CALL_BYTES_MAX: usize = 65_536;

/// What is said with 413.
pub const CALL_TOO_LONG: &str = "a call has at most 65536 bytes, and says how many in Content-Length";

/// The media type of Prometheus' text format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The media type of the HUD page.
const PAGE_TYPE: &str = "text/html";

/// The subprotocol that is granted to a WebSocket which asks for it.
pub const SUBPROTOCOL: &str = "nostr";

/// Seconds for which `/health` is shared at the most.
const MAX_HEALTH_SHARED: u64 = 2;

/// Whether a list of subprotocols, the header `Sec-WebSocket-Protocol`, asks for [`SUBPROTOCOL`].
pub fn asks_for_subprotocol(asked: &str) -> bool {
    asked.split(',').any(|asked| asked.trim() == SUBPROTOCOL)
}

/// Headers that go with whatever is answered under a path.
pub fn headers_of(path: &str) -> &'static [(&'static str, &'static str)] {
    match path {
        // A document, a page or a refusal, by what the client accepts.
        "/" => &[("Vary", "Accept")],
        _ if path.starts_with(JOBS) => &[("Vary", "Authorization")],
        _ => &[],
    }
}

/// Under which URL the answer to one of the few questions that everybody asks is shared: what else the request has in
/// its own changes nothing.
pub fn cache_key(origin: &str, api: Api) -> Option<String> {
    let path = match api {
        Api::Stats => "/api/stats".to_owned(),
        Api::Metrics => "/metrics".to_owned(),
        Api::Handlers(_) | Api::Job(..) => return None,
        Api::History(step) => format!("/api/history?step={}", step.name()),
        Api::Health => "/health".to_owned(),
    };
    Some(origin.to_owned() + &path)
}

/// Seconds of which an answer with 200 is the same for all, where `STATS_SHARED_SECONDS` are so many; 0 where none is
/// shared. Whether the relay is up is asked by what has to know it soon.
pub fn shared_seconds(api: Api, seconds: u64) -> u64 {
    if api == Api::Health { seconds.min(MAX_HEALTH_SHARED) } else { seconds }
}

/// The media type of an answer with this status.
pub fn content_type(api: Api, status: u16) -> &'static str {
    if api == Api::Metrics && status == 200 { METRICS_TYPE } else { "application/json" }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A WebSocket into the relay.
    Socket,
    /// The NIP-11 document.
    Document,
    /// The HUD page.
    Page,
    /// The page of a job.
    JobPage,
    /// A file of the HUD; 404 when there is none of that name.
    Asset,
    /// What the engine answers.
    Api(Api),
    /// A CORS preflight: headers and no body.
    Preflight,
    /// An error status and what to say with it.
    Refuse(u16, &'static str),
}

/// No such path.
pub const NOT_FOUND: Route = Route::Refuse(404, "not found; the relay is at /, its numbers at /api/stats");

/// What is said with 400 where an id should be.
const NO_ID: &str = "what follows /jobs/ must be the id of a job request, 64 lower-case hex digits";
/// What is said with 404 where there is no job of an id.
pub const NO_JOB: &str =
    "no job of this id is known here; jobs are forgotten some time after their events (RETAIN_RESULTS)";

/// The file of a job's page, as assets are asked for it.
pub const JOB_PAGE: &str = "/job";

/// Where the page of a job is, and what is known of one.
const JOB_PAGES: &str = "/jobs/";
const JOBS: &str = "/api/jobs/";

/// What is said with 404 where the list of handlers is turned off.
pub const UNLISTED: &str = "this relay does not list handlers (HANDLERS_API)";

/// The header that goes with an error of this status, if one does.
pub const fn error_header(status: u16) -> Option<(&'static str, &'static str)> {
    match status {
        401 => Some(("WWW-Authenticate", "Nostr")),
        405 => Some(("Allow", "GET, HEAD, OPTIONS")),
        426 => Some(("Upgrade", "websocket")),
        _ => None,
    }
}

/// The line of the log for a request that failed.
pub fn failed(id: RequestId, path: String, status: u16, error: String) -> String {
    let fields = [("request", id.to_string()), ("path", path), ("status", status.to_string()), ("error", error)];
    log::line(Level::Error, "request failed", &fields)
}

/// Routes a request; `query` is what follows the `?`, `upgrade` and `accept` are the headers of that name, all their
/// lines as one list. The document and the page are for who names them; who accepts anything is told what there is.
///
/// The WebSocket is at `/` alone: NIP-01 has a relay accept a single endpoint when other paths would
/// change nothing.
pub fn route(method: &str, path: &str, query: &str, upgrade: Option<&str>, accept: Option<&str>) -> Route {
    if method == "OPTIONS" {
        return Route::Preflight;
    }
    let reads = matches!(method, "GET" | "HEAD");
    let accepted = |media_type| accept.and_then(|accept| accept::accepted(accept, media_type));
    let protocols = upgrade.unwrap_or_default().split(',');
    let upgrades = protocols.into_iter().any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"));
    let of_job = [JOB_PAGES, JOBS].map(|before| path.strip_prefix(before));
    match path {
        "/" | "/api/stats" | "/api/handlers" | "/api/history" | "/metrics" | "/health" if !reads => Route::Refuse(
            405,
            "method not allowed; use GET, or POST / with Content-Type: application/nostr+json+rpc (NIP-86)",
        ),
        _ if !reads && of_job != [None; 2] => Route::Refuse(405, "method not allowed; use GET"),
        _ if !upgrades && of_job != [None; 2] => match of_job.map(|id| id.map(EventId::parse)) {
            [Some(Some(_)), _] => Route::JobPage,
            [_, Some(Some(job))] => Route::Api(Api::Job(job, None)),
            _ => Route::Refuse(400, NO_ID),
        },
        "/" if upgrades => Route::Socket,
        "/" => match (accepted(DOCUMENT_TYPE), accepted(PAGE_TYPE)) {
            // A program that takes any JSON does not mean it.
            (Some((true, document)), page) if page.is_none_or(|(_, page)| document >= page) => Route::Document,
            (_, Some(_)) => Route::Page,
            _ => Route::Refuse(
                426,
                "this is a Nostr relay: connect a WebSocket, or ask for application/nostr+json (NIP-11) or text/html",
            ),
        },
        "/api/stats" => Route::Api(Api::Stats),
        "/api/handlers" => {
            let kind = query.split('&').find_map(|pair| pair.strip_prefix("k=")?.parse().ok());
            let wrong = Route::Refuse(400, "k must be the kind of job, as in /api/handlers?k=5050");
            kind.map_or(wrong, |kind| Route::Api(Api::Handlers(kind)))
        }
        "/api/history" => {
            let step = query.split('&').find_map(|pair| Step::named(pair.strip_prefix("step=")?));
            let wrong = Route::Refuse(400, "step must be minute or hour, as in /api/history?step=hour");
            step.map_or(wrong, |step| Route::Api(Api::History(step)))
        }
        "/metrics" => Route::Api(Api::Metrics),
        "/health" => Route::Api(Api::Health),
        _ if reads && !upgrades => Route::Asset,
        _ => NOT_FOUND,
    }
}

/// Whether a request is a call of the management API.
pub fn is_call(method: &str, path: &str, content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    method == "POST" && path == "/" && media_type.trim().eq_ignore_ascii_case(MANAGEMENT_TYPE)
}

/// Who calls it, if `authorization`, the header of that name, says so (NIP-98); `now` is in milliseconds.
pub fn caller(config: &Config, authorization: Option<&str>, body: &[u8], now: Millis) -> Result<Signed, TurnedAway> {
    let away = |status, reason: Reason| TurnedAway { status, reason: reason.to_string(), retry_after_s: None };
    // Nobody has a signature verified, or an object woken, for nothing.
    if config.pubkey.is_none() {
        return Err(away(403, refusal::no_owner()));
    }
    let asked = http_auth::Asked { method: "POST", path: "/", body: Some(body) };
    http_auth::signed(authorization, &asked, &config.relays, now / 1000).map_err(|reason| away(401, reason))
}

/// The error in a body of [`error_body`]; of another, its beginning.
pub fn error_of(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    error.unwrap_or(body).chars().take(300).collect()
}

/// The JSON body of an error.
pub fn error_body(error: &str) -> String {
    serde_json::json!({ "error": error }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_serves_sockets_documents_and_people() {
        assert_eq!(route("GET", "/", "", Some("WebSocket"), None), Route::Socket);
        assert_eq!(route("GET", "/", "", None, Some("application/nostr+json")), Route::Document);
        assert_eq!(route("GET", "/", "", None, Some("text/html,application/xhtml+xml,*/*;q=0.8")), Route::Page);
        assert!(matches!(route("GET", "/", "", None, Some("*/*")), Route::Refuse(426, _)));
        assert!(matches!(route("GET", "/", "", Some("h2c"), None), Route::Refuse(426, _)));
        assert_eq!(route("GET", "/", "", Some("h2c, WebSocket"), None), Route::Socket);
        assert!(matches!(route("POST", "/", "", None, None), Route::Refuse(405, _)));
    }

    #[test]
    fn the_document_is_for_who_prefers_it_to_the_page() {
        for (accept, expected) in [
            ("application/nostr+json;q=0.9, text/html", Route::Page),
            ("application/nostr+json, text/html", Route::Document),
            ("text/html;q=0.2, application/nostr+json;q=0.3", Route::Document),
            ("application/nostr+json;q=0, text/*", Route::Page),
            ("application/nostr+json;q=0.1, */*", Route::Document),
            ("*/*;q=0.1, Application/Nostr+JSON", Route::Document),
        ] {
            assert_eq!(route("GET", "/", "", None, Some(accept)), expected, "{accept}");
        }
        let not_named = ["application/*", "application/json", "application/nostr+jsonx", ""];
        for accept in not_named.into_iter().chain(["application/nostr+json;q=0"]) {
            assert!(matches!(route("GET", "/", "", None, Some(accept)), Route::Refuse(426, _)), "{accept}");
        }
    }

    #[test]
    fn files_have_the_same_headers_where_the_platform_serves_them() {
        let file = include_str!("../../hud/_headers");
        let rules: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
        let line = |(name, value): (&str, &str)| format!("  {name}: {value}");
        // What a page has otherwise takes the place of what all have.
        let own = page_headers(ADMIN_PAGE).into_iter().filter(|header| !PAGE_HEADERS.contains(header));
        let own = own.flat_map(|header| [format!("  ! {}", header.0), line(header)]);
        let all = ["/*".to_owned()].into_iter().chain(PAGE_HEADERS.map(line));
        assert_eq!(rules, all.chain([ADMIN_PAGE.to_owned()]).chain(own).collect::<Vec<String>>());
    }

    #[test]
    fn a_job_has_a_page_and_what_it_shows() {
        let job = EventId::new([0xab; 32]);
        let get = |path: &str| route("GET", path, "", None, None);
        assert_eq!(get(&format!("/api/jobs/{job}")), Route::Api(Api::Job(job, None)));
        assert_eq!(get(&format!("/jobs/{job}")), Route::JobPage);
        for path in ["/jobs/", "/api/jobs/", "/jobs/1", &format!("/api/jobs/{job}0"), &format!("/api/jobs/{job}/")] {
            assert!(matches!(get(path), Route::Refuse(400, _)), "{path}");
        }
        assert!(matches!(route("PUT", &format!("/api/jobs/{job}"), "", None, None), Route::Refuse(405, _)));
        assert_eq!(route("GET", &format!("/jobs/{job}"), "", Some("websocket"), None), NOT_FOUND);
    }

    #[test]
    fn nothing_is_verified_where_nobody_may_call() {
        let read = |own: Option<String>| {
            Config::read(|key| match key {
                "RELAY_URL" => Some("wss://nexus.example".to_owned()),
                "RELAY_PUBKEY" => own.clone(),
                _ => None,
            })
        };
        let status = |own| caller(&read(own).unwrap(), Some("Nostr e30="), b"{}", 0).unwrap_err().status;
        assert_eq!((status(None), status(Some("ab".repeat(32)))), (403, 401));
    }

    #[test]
    fn other_paths() {
        assert_eq!(route("OPTIONS", "/anything", "", None, None), Route::Preflight);
        assert_eq!(route("GET", "/api/stats", "", None, None), Route::Api(Api::Stats));
        assert_eq!(route("GET", "/api/handlers", "x=1&k=5050", None, None), Route::Api(Api::Handlers(5050)));
        assert!(matches!(route("GET", "/api/handlers", "k=65536", None, None), Route::Refuse(400, _)));
        assert!(matches!(route("DELETE", "/api/stats", "", None, None), Route::Refuse(405, _)));
        assert_eq!(route("GET", "/hud.js", "", None, None), Route::Asset);
        assert_eq!(route("POST", "/nowhere", "", None, None), NOT_FOUND);
        assert_eq!(route("GET", "/nowhere", "", Some("websocket"), None), NOT_FOUND);
    }

    #[test]
    fn the_error_of_a_body_is_found_again() {
        assert_eq!(error_of(&error_body("no \"such\" table")), "no \"such\" table");
        assert_eq!(error_of(&"x".repeat(1000)).len(), 300);
    }

    #[test]
    fn what_is_shared_under_a_url_is_the_answer_to_it() {
        let history = [Step::Minute, Step::Hour].map(Api::History);
        assert_eq!(cache_key("", Api::Handlers(5050)), None);
        for api in [Api::Stats, Api::Metrics, Api::Health].into_iter().chain(history) {
            let key = cache_key("", api).unwrap();
            let (path, query) = key.split_once('?').unwrap_or((&key, ""));
            assert_eq!(route("GET", path, query, None, None), Route::Api(api));
        }
    }
}
