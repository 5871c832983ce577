//! Text frames on their way to sockets: one that goes to many becomes a JavaScript string once.

use std::sync::Arc;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::JsString;
use worker::wasm_bindgen::{self, JsCast, JsValue};
use worker::{WebSocket, web_sys};

#[wasm_bindgen]
extern "C" {
    /// A socket that takes strings as they are.
    #[wasm_bindgen(js_name = WebSocket)]
    type Socket;

    #[wasm_bindgen(method, catch)]
    fn send(this: &Socket, text: &JsString) -> Result<(), JsValue>;
}

/// The frame that was sent last.
#[derive(Default)]
pub struct Frame(Option<(Arc<str>, JsString)>);

impl Frame {
    /// Sends a frame. A socket that is gone throws; its close has been or will be an input.
    pub fn send(&mut self, socket: &WebSocket, text: Arc<str>) {
        let last = self.0.take().filter(|(last, _)| Arc::ptr_eq(last, &text));
        let (text, string) = last.unwrap_or_else(|| {
            let string = JsString::from(&*text);
            (text, string)
        });
        let socket: &web_sys::WebSocket = socket.as_ref();
        let _ = socket.unchecked_ref::<Socket>().send(&string);
        self.0 = Some((text, string));
    }
}
