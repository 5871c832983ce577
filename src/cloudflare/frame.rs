//! Frames on their way: one that comes is measured before it is copied into memory, which never shrinks; one
//! that goes to many becomes a JavaScript string once.

use std::sync::Arc;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{ArrayBuffer, JsString, Uint8Array};
use worker::wasm_bindgen::{self, JsCast, JsValue};
use worker::{WebSocket, web_sys};

use crate::gateway::{ConnId, MAX_FRAME_BYTES};
use crate::seam::Input;

#[wasm_bindgen]
extern "C" {
    /// Writes strings as UTF-8, in JavaScript's own memory.
    type TextEncoder;

    #[wasm_bindgen(constructor)]
    fn new() -> TextEncoder;

    #[wasm_bindgen(method)]
    fn encode(this: &TextEncoder, text: &JsString) -> Uint8Array;

    /// A socket that takes strings as they are.
    #[wasm_bindgen(js_name = WebSocket)]
    type Socket;

    #[wasm_bindgen(method, catch)]
    fn send(this: &Socket, text: &JsString) -> Result<(), JsValue>;
}

/// What a client sent. Of a frame that is too long, and of a binary one, nothing but the length is taken.
pub fn received(conn: ConnId, message: &JsValue) -> Input {
    let Some(text) = message.dyn_ref::<JsString>() else {
        let length = message.dyn_ref::<ArrayBuffer>().map_or(0, |bytes| bytes.byte_length() as usize);
        return Input::ReceivedBinary { conn, length };
    };
    match utf8_length(text) {
        length if length > MAX_FRAME_BYTES => Input::Unread { conn, length: length as u64 },
        _ => Input::Received { conn, text: text.into() },
    }
}

/// Bytes of a text as UTF-8, exactly where that decides; a character of JavaScript's takes one to three.
fn utf8_length(text: &JsString) -> usize {
    let units = text.length() as usize;
    match units > MAX_FRAME_BYTES || 3 * units <= MAX_FRAME_BYTES {
        true => units,
        false => TextEncoder::new().encode(text).length() as usize,
    }
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
