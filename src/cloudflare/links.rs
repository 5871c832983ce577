//! How objects of the relay reach each other: what one tells another is the body of a request, and what that one has to
//! say at once is the body of the answer. Whether it arrived is the [link](crate::link)'s to find out.
//!
//! No request from outside comes here: of those the Worker's entry hands on reading ones alone, and these are no such.

use std::rc::Rc;

use worker::js_sys::Uint8Array;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Headers, Method, Request, RequestInit, Response, Result, console_error};

use super::object::{Core, now, report};
use super::role::{Object, Role};
use super::{RAY, kept, refuse};
use crate::gateway::RequestId;
use crate::log::{self, Level};
use crate::nostr::http_auth::Signed;

/// Where objects tell each other; who tells follows.
const PATH: &str = "/link/";
/// Where the entry hands on a call of the management API.
const CALL: &str = "/call";
/// The status of an object that is not used any more.
pub const UNUSED: u16 = 410;

/// What an object has answered.
enum Answered {
    /// What it has to say at once, which may be nothing.
    With(Vec<u8>),
    /// It is not used any more.
    Unused,
}

/// Who tells something by a request, if that is what it is.
pub fn sender(request: &Request) -> Option<Object> {
    let is_told = request.method() == Method::Post;
    request.path().strip_prefix(PATH).filter(|_| is_told).and_then(Object::of_path)
}

/// A call of the management API, for a gateway: who calls, and the body.
pub fn call(signed: &Signed, body: &str, id: RequestId) -> Result<Request> {
    let (headers, text) = (Headers::new(), crate::store::json_text(&(signed, body)));
    headers.set(RAY, &id.to_string())?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(headers).with_body(Some(text.into()));
    Request::new_with_init(&format!("https://nexus{CALL}"), &init)
}

/// The call that a request is, if it is one.
pub async fn called(request: &mut Request) -> Result<Option<(Signed, String)>> {
    if request.method() != Method::Post || request.path() != CALL {
        return Ok(None);
    }
    Ok(serde_json::from_str(&request.text().await?).ok())
}

/// Tells another object something.
async fn tell(core: &Core, to: Object, batch: &[u8]) -> Result<Answered> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(Uint8Array::from(batch).into()));
    let request = Request::new_with_init(&format!("https://nexus{PATH}{}", core.object.path()), &init)?;
    let mut response = core.objects.stub(&core.env, to)?.fetch_with_request(request).await?;
    match response.status_code() {
        UNUSED => Ok(Answered::Unused),
        200 => Ok(Answered::With(response.bytes().await?)),
        status => Err(worker::Error::RustError(format!("it answers with {status}: {}", response.text().await?))),
    }
}

impl Core {
    /// Another object has sent what it has to tell.
    pub(super) async fn hear(self: &Rc<Self>, from: Object, mut request: Request) -> Result<Response> {
        if matches!(&*self.role.borrow(), Role::Whole(_)) {
            return refuse(UNUSED, "the relay is one object now");
        }
        let batch = request.bytes().await?;
        match self.take(from, &batch, Some(from)) {
            Ok(answer) => Response::from_bytes(answer.unwrap_or_default()),
            Err(error) => refuse(400, &error),
        }
    }

    /// Takes what another object tells; returns what is to be told to `answered` at once.
    fn take(
        self: &Rc<Self>,
        from: Object,
        batch: &[u8],
        answered: Option<Object>,
    ) -> std::result::Result<Option<Vec<u8>>, String> {
        let effects = self.role.borrow_mut().receive(from, batch, now()).map_err(|error| error.to_string())?;
        self.perform_all(effects);
        Ok(self.tell_others(answered))
    }

    /// Sends what is to be told to other objects; what is for `answered` is returned.
    pub(super) fn tell_others(self: &Rc<Self>, answered: Option<Object>) -> Option<Vec<u8>> {
        let (keep, batches) = {
            let mut role = self.role.borrow_mut();
            (role.take_kept(), role.take_batches())
        };
        for keep in keep {
            report(kept::keep(&self.sql, keep), "keeping what must outlive the memory failed", None);
        }
        let mut answer = None;
        for (to, batch) in batches {
            if answered == Some(to) && answer.is_none() {
                answer = Some(batch);
            } else {
                self.send(to, batch);
            }
        }
        answer
    }

    fn send(self: &Rc<Self>, to: Object, batch: Vec<u8>) {
        let core = self.clone();
        spawn_local(async move {
            match tell(&core, to, &batch).await {
                Ok(Answered::With(told)) if told.is_empty() => {}
                Ok(Answered::With(told)) => match core.take(to, &told, None) {
                    Ok(_) => {}
                    Err(error) => core.unreached(to, &error),
                },
                Ok(Answered::Unused) => {
                    let effects = core.role.borrow_mut().gone(to, now());
                    core.perform_all(effects);
                    let _ = core.tell_others(None);
                }
                // It is told again.
                Err(error) => core.unreached(to, &error.to_string()),
            }
        });
    }

    fn unreached(&self, to: Object, error: &str) {
        let fields = [("object", to.path()), ("error", error.to_owned())];
        console_error!("{}", log::line(Level::Warn, "another object of the relay was not reached", &fields));
    }
}
