//! One WebSocket: what it says goes to its gateway, what its gateway orders is sent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tungstenite::error::{CapacityError, Error, ProtocolError};

use super::gateway::{GatewayThread, Message};
use super::outbox::{Order, Outbox, Queue, outbox};
use crate::gateway::ConnId;
use crate::seam::{Breach, Input, NO_CLOSE_FRAME};

/// How long a client may take to receive what is sent at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client may take to close its side.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// Frames that are sent at once.
const AT_ONCE: usize = 256;

/// Serves a connection until it ends. A client that is silent for `silence` is pinged, and has as long to answer.
pub async fn serve(socket: WebSocket, gateway: GatewayThread, ip: Option<String>, silence: Duration) {
    let mut random = [0; 24];
    // Without random numbers there are no challenges, so there is no connection.
    if getrandom::fill(&mut random).is_err() {
        return;
    }
    let (conn, challenge) = ConnId::fresh(random);
    let (orders, to_send) = outbox();
    let (sink, mut stream) = socket.split();
    gateway.hand(Message::Opened { conn, challenge, ip, orders: orders.clone() }).await;
    let own = gateway.clone();
    let taken = move || own.tell(Message::Input(Input::Taken { conn }));
    let sending = tokio::spawn(send(sink, to_send, taken));
    tokio::select! {
        () = receive(&mut stream, silence, conn, &gateway, &orders) => {}
        // What is not taken, or was ordered to end, is not listened to.
        () = orders.closed() => {}
    }
    gateway.hand(Message::Input(Input::Closed { conn })).await;
    drop(orders);
    // Sends what the gateway has ordered so far, and hears the client out: who closes on what was not read
    // takes back what is on its way.
    let _ = timeout(PATIENCE, sending).await;
    let _ = timeout(GOOD_BYE, async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

async fn receive(
    stream: &mut SplitStream<WebSocket>,
    silence: Duration,
    conn: ConnId,
    gateway: &GatewayThread,
    orders: &Outbox,
) {
    let mut asked = false;
    loop {
        // Who does not take the answers asks for no more of them.
        orders.room().await;
        let input = match timeout(silence, stream.next()).await {
            Ok(Some(Ok(Frame::Text(text)))) if text.as_str() == "ping" => {
                orders.put(Order::Send("pong".into()));
                continue;
            }
            Ok(Some(Ok(Frame::Text(text)))) => Input::Received { conn, text: text.as_str().to_owned() },
            Ok(Some(Ok(Frame::Binary(bytes)))) => Input::ReceivedBinary { conn, length: bytes.len() },
            Ok(Some(Ok(Frame::Ping(_) | Frame::Pong(_)))) => {
                asked = false;
                continue;
            }
            Ok(Some(Err(error))) => {
                // What comes after it cannot be found: the connection is ended, and told why.
                if let Some(input) = unreadable(conn, &error)
                    && gateway.hand(Message::Input(input)).await
                {
                    orders.closed().await;
                }
                return;
            }
            Ok(Some(Ok(Frame::Close(_))) | None) => return,
            Err(_) if asked => return,
            Err(_) => {
                asked = true;
                orders.put(Order::Ask);
                continue;
            }
        };
        asked = false;
        if !gateway.hand(Message::Input(input)).await {
            return;
        }
    }
}

/// What a client has sent when it cannot be read; nothing when the connection is gone. Of a frame, or a message of
/// several, that is longer than what is read nothing is kept.
fn unreadable(conn: ConnId, error: &axum::Error) -> Option<Input> {
    match std::error::Error::source(error)?.downcast_ref()? {
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
            Some(Input::Unread { conn, length: *size as u64 })
        }
        Error::Utf8(_) => Some(Input::Broken { conn, breach: Breach::Text }),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(Input::Broken { conn, breach: Breach::Frame }),
        _ => None,
    }
}

/// Writes what is ordered; `taken` is called when all before a mark is written.
async fn send(mut sink: SplitSink<WebSocket, Frame>, mut orders: Queue, taken: impl Fn()) {
    let mut some = Vec::new();
    while orders.take(&mut some, AT_ONCE).await > 0 {
        let (mut last, mut marked, mut bytes) = (false, false, 0);
        let sent = async {
            for order in some.drain(..) {
                bytes += order.bytes();
                let frame = match order {
                    Order::Send(text) => text_frame(text),
                    Order::Mark => {
                        marked = true;
                        continue;
                    }
                    Order::Ask => Frame::Ping(Bytes::new()),
                    Order::Close(NO_CLOSE_FRAME, _) => {
                        last = true;
                        break;
                    }
                    Order::Close(code, reason) => {
                        last = true;
                        Frame::Close(Some(CloseFrame { code, reason: reason.into() }))
                    }
                };
                sink.feed(frame).await?;
                if last {
                    break;
                }
            }
            sink.flush().await
        };
        let sent = tokio::select! {
            sent = timeout(PATIENCE, sent) => matches!(sent, Ok(Ok(()))),
            () = async { orders.cut().await; tokio::time::sleep(GOOD_BYE).await } => false,
        };
        if !sent || last {
            return;
        }
        orders.written(bytes);
        if marked {
            taken();
        }
    }
}

/// A frame that shares its text with others.
fn text_frame(text: Arc<str>) -> Frame {
    struct Shared(Arc<str>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    let bytes = Bytes::from_owner(Shared(text));
    // It was a string all along.
    Frame::Text(Utf8Bytes::try_from(bytes).unwrap_or_default())
}
