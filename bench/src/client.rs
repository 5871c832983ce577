//! A connection to a relay, with its key proven where the relay asks for it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::Error;
use crate::jobs::{Author, now};

/// How long a relay may take to send its challenge, if it has one.
const CHALLENGE: Duration = Duration::from_millis(500);
/// Connections that are made at the same time.
const AT_ONCE: usize = 32;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A relay.
#[derive(clap::Args, Clone)]
pub struct Target {
    /// Where it is: ws://HOST:PORT
    #[arg(long)]
    pub url: String,
    /// What it calls itself in AUTH; its URL when left out.
    #[arg(long)]
    pub relay: Option<String>,
}

/// A connection.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    /// Connects, without proving anything.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let host = url.strip_prefix("ws://").ok_or("the URL must begin with ws://")?;
        let host = host.split('/').next().unwrap_or(host);
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let stream = TcpStream::connect(&address).await.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(url, stream).await.map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { socket })
    }

    /// Connects and proves the key of `author`, if the relay sends a challenge.
    pub async fn join(target: &Target, author: &Author) -> Result<Self, Error> {
        let mut client = Self::connect(&target.url).await?;
        let Ok(first) = tokio::time::timeout(CHALLENGE, client.next()).await else { return Ok(client) };
        let first = first?;
        let (verb, challenge): (String, String) = serde_json::from_str(&first).unwrap_or_default();
        if verb != "AUTH" {
            return Ok(client);
        }
        let relay = target.relay.as_ref().unwrap_or(&target.url);
        let event = author.sign(22242, now(), &[&["relay", relay], &["challenge", &challenge]], String::new());
        client.send(format!("[\"AUTH\",{}]", event.to_json())).await?;
        let answer = client.next().await?;
        if !accepts(&answer) {
            return Err(format!("AUTH: {answer}").into());
        }
        Ok(client)
    }

    /// Subscribes and reads up to EOSE; the events that came before it.
    pub async fn ask(&mut self, subscription: &str, filter: &str) -> Result<usize, Error> {
        self.send(format!("[\"REQ\",\"{subscription}\",{filter}]")).await?;
        let mut events = 0;
        loop {
            let text = self.next().await?;
            match verb(&text) {
                "EVENT" => events += 1,
                "EOSE" => return Ok(events),
                _ => return Err(format!("REQ {filter}: {text}").into()),
            }
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), Error> {
        Ok(self.socket.send(Message::Text(text.into())).await?)
    }

    /// Sends with the next [`flush`](Self::flush).
    pub async fn feed(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), Error> {
        Ok(self.socket.feed(Message::Text(text.into())).await?)
    }

    pub async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.socket.flush().await?)
    }

    /// The next message; that there is none in a minute is an error.
    pub async fn next(&mut self) -> Result<Utf8Bytes, Error> {
        tokio::time::timeout(PATIENCE, self.wait()).await.map_err(|_| "the relay has said nothing for a minute")?
    }

    /// Reads up to the message of that verb and id.
    pub async fn until(&mut self, what: &str, of: &str) -> Result<(), Error> {
        loop {
            let text = self.next().await?;
            match verb(&text) {
                "OK" if !accepts(&text) => return Err(format!("EVENT: {text}").into()),
                said if said == what && id(&text) == of => return Ok(()),
                _ => {}
            }
        }
    }

    /// The next message, however long it takes.
    pub async fn wait(&mut self) -> Result<Utf8Bytes, Error> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => return Err(format!("the relay closed: {frame:?}").into()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err("the relay ended the connection".into()),
            }
        }
    }
}

/// Makes `count` connections, some at a time.
pub async fn many<T>(count: usize, connect: impl AsyncFn(usize) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    futures_util::stream::iter(0..count).map(|n| connect(n)).buffer_unordered(AT_ONCE).try_collect().await
}

/// What a message is.
pub fn verb(text: &str) -> &str {
    text.split('"').nth(1).unwrap_or_default()
}

/// The id an OK or the event of an EVENT message is for, without parsing the rest of it.
pub fn id(text: &str) -> &str {
    match verb(text) {
        "OK" => text.split('"').nth(3).unwrap_or_default(),
        _ => text.split_once("\"id\":\"").and_then(|(_, rest)| rest.get(..64)).unwrap_or_default(),
    }
}

/// Whether an OK is true.
pub fn accepts(text: &str) -> bool {
    verb(text) == "OK" && text.split(',').nth(2).is_some_and(|word| word.trim() == "true")
}
