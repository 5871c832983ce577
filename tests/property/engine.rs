//! The second and third judge: the engine, live and stored, over SQLite.

use nexus::gateway::ConnId;
use nexus::nostr::{PublicKey, Values};
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::Author;
use crate::common::world::World;

/// Somebody who asks.
pub struct Reader {
    pub conn: ConnId,
    /// What the connection has proven, for the library and for the model.
    pub keys: Values<PublicKey>,
    pub hex: Vec<String>,
}

/// What came of a REQ: events and the hint of the EOSE, or the reason of a CLOSED.
pub type Answer = Result<(Vec<Value>, Option<String>), String>;

pub struct Engine {
    pub world: World,
    pub readers: Vec<Reader>,
    publisher: ConnId,
}

impl Engine {
    /// A relay with a reader for each list of proven keys.
    pub fn new(settings: &[(&str, &str)], readers: &[&[Author]]) -> Self {
        let mut world = World::new(settings);
        // Long enough to answer from memory.
        world.awake_for(200);
        let publisher = world.client();
        let readers = readers.iter().map(|authors| reader(&mut world, authors)).collect();
        Self { world, readers, publisher }
    }

    /// How many REQs were answered without the store.
    pub fn answered_from_memory(&mut self) -> u64 {
        self.world.stats()["storage"]["from_memory"].as_u64().unwrap()
    }

    pub fn at(&mut self, second: u64) {
        self.world.now = second * 1000;
    }

    /// Publishes events before the store answers any; returns id, verdict and prefix of each OK.
    pub fn publish(&mut self, events: &[&Value]) -> Vec<(String, bool, String)> {
        for event in events {
            self.world.say(self.publisher, json!(["EVENT", event]));
        }
        self.world.settle();
        let ok = |frame: Value| {
            assert_eq!(frame[0], "OK", "{frame}");
            let prefix = frame[3].as_str().unwrap().split(':').next().unwrap();
            (frame[1].as_str().unwrap().to_owned(), frame[2].as_bool().unwrap(), prefix.to_owned())
        };
        self.world.take(self.publisher).into_iter().map(ok).collect()
    }

    /// Removes what has expired and what belongs to those who vanished.
    pub fn sweep(&mut self) {
        self.world.input(Input::Alarm);
        self.world.settle();
    }

    /// What came to a reader by itself: subscription and event.
    pub fn live(&mut self, reader: usize) -> Vec<(String, Value)> {
        let frames = self.world.take(self.readers[reader].conn);
        let event = |mut frame: Value| {
            assert_eq!(frame[0], "EVENT", "{frame}");
            (frame[1].as_str().unwrap().to_owned(), frame[2].take())
        };
        frames.into_iter().map(event).collect()
    }

    /// A REQ, whose subscription stays open.
    pub fn stored(&mut self, reader: usize, subscription: &str, filters: &[Value]) -> Answer {
        let mut frames = self.ask(reader, "REQ", subscription, filters);
        let last = frames.pop().unwrap();
        match last[0].as_str() {
            Some("EOSE") => {}
            Some("CLOSED") => return Err(last[2].as_str().unwrap().to_owned()),
            _ => panic!("{last}"),
        }
        let event = |mut frame: Value| {
            assert_eq!((&frame[0], &frame[1]), (&json!("EVENT"), &json!(subscription)), "{frame}");
            frame[2].take()
        };
        Ok((frames.into_iter().map(event).collect(), last[2][0].as_str().map(str::to_owned)))
    }

    pub fn count(&mut self, reader: usize, filters: &[Value]) -> Result<u64, String> {
        let frame = self.ask(reader, "COUNT", "count", filters).remove(0);
        match frame[0].as_str() {
            Some("COUNT") => Ok(frame[2]["count"].as_u64().unwrap()),
            Some("CLOSED") => Err(frame[2].as_str().unwrap().to_owned()),
            _ => panic!("{frame}"),
        }
    }

    pub fn close(&mut self, reader: usize, subscription: &str) {
        let conn = self.readers[reader].conn;
        assert!(self.world.ask(conn, json!(["CLOSE", subscription])).is_empty());
    }

    fn ask(&mut self, reader: usize, verb: &str, id: &str, filters: &[Value]) -> Vec<Value> {
        let mut message = vec![json!(verb), json!(id)];
        message.extend(filters.iter().cloned());
        self.world.ask(self.readers[reader].conn, json!(message))
    }
}

fn reader(world: &mut World, authors: &[Author]) -> Reader {
    let conn = world.client();
    for author in authors {
        let event = world.auth_event(author, conn);
        assert_eq!(world.ask(conn, json!(["AUTH", event]))[0][2], true);
    }
    let keys: Values<PublicKey> = authors.iter().map(Author::key).collect();
    Reader { conn, hex: keys.iter().map(ToString::to_string).collect(), keys }
}
