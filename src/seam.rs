//! The seam to a host: what it tells the engine, and what the engine has it do. docs/BACKENDS.md says how.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::budget::{NATIVE_BYTES, OBJECT_BYTES};
use crate::gateway::{Api, Config, ConnId, RequestId};
use crate::log::Level;
use crate::nostr::http_auth::Signed;
use crate::store::{Answer, Statement, StoreError};

/// The close code of a connection that ends without a close frame (RFC 6455, 7.1.5); it is never sent.
pub const NO_CLOSE_FRAME: u16 = 1006;

/// Names a run of statements until it is answered. Answers to unknown tickets are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub(crate) u64);

/// Unix time in milliseconds.
pub type Millis = u64;

/// Where connections come from: an address, of IPv6 the first of its /64.
pub type Network = IpAddr;

/// What the engine has to know of where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Whether memory lasts as long as connections do. Where it does not, it is not seen what clients have been written
    /// either.
    pub lasting: bool,
}

impl Host {
    /// A Durable Object.
    pub const OBJECT: Self = Self { lasting: false };
    /// A process.
    pub const PROCESS: Self = Self { lasting: true };

    /// What one group takes: in a Durable Object a part of what D1 takes in one parameter (2 MB), in some milliseconds.
    pub(crate) const fn group_max(self) -> GroupMax {
        if self.lasting {
            GroupMax { events: 1024, parameter_bytes: 4_000_000 }
        } else {
            GroupMax { events: 256, parameter_bytes: 1_000_000 }
        }
    }

    /// Bytes of memory that clients can make one node take.
    pub(crate) const fn memory_bytes(self) -> usize {
        if self.lasting { NATIVE_BYTES } else { OBJECT_BYTES }
    }
}

/// What a group of events that are stored together has at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupMax {
    /// Events.
    pub events: usize,
    /// Bytes they take in the parameters of its write, about.
    pub parameter_bytes: usize,
}

/// What a client sent that nobody can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// What is no WebSocket frame, or none that may come there.
    Frame,
    /// Text that is not UTF-8.
    Text,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client connected; `challenge` is fresh and unguessable.
    Opened {
        /// Unused so far.
        conn: ConnId,
        /// For NIP-42.
        challenge: String,
        /// The address it comes from, if the host knows it.
        ip: Option<String>,
    },
    /// A client sent a text frame.
    Received {
        /// Who.
        conn: ConnId,
        /// What.
        text: String,
    },
    /// A client sent a binary frame of so many bytes.
    ReceivedBinary {
        /// Who.
        conn: ConnId,
        /// Length in bytes.
        length: usize,
    },
    /// A client sent a frame, text or binary, that the host did not read as it is longer than
    /// [`MAX_FRAME_BYTES`](crate::gateway::MAX_FRAME_BYTES). It ends the connection.
    Unread {
        /// Who.
        conn: ConnId,
        /// Length in bytes, or what is known of it: longer than the bound.
        length: u64,
    },
    /// A client sent what the host could not read, and what follows cannot be found. It ends the connection.
    Broken {
        /// Who.
        conn: ConnId,
        /// What is wrong with it.
        breach: Breach,
    },
    /// The answer to [`Effect::Mark`].
    Taken {
        /// Of the effect.
        conn: ConnId,
    },
    /// A connection ended, from whichever side.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// The answer to [`Effect::Commit`].
    Committed {
        /// Of the effect.
        ticket: Ticket,
        /// Rows and what they cost, or why there are none.
        result: Result<Answer, StoreError>,
    },
    /// The answer to [`Effect::Query`].
    Answered {
        /// Of the effect.
        ticket: Ticket,
        /// Rows and what they cost, or why there are none.
        result: Result<Answer, StoreError>,
    },
    /// Somebody asks over HTTP; answered with [`Effect::Respond`].
    Requested {
        /// To answer with; unused so far.
        request: RequestId,
        /// What.
        api: Api,
        /// The address it comes from, if the host knows it.
        ip: Option<String>,
    },
    /// Somebody who has proven a key calls the management API (NIP-86); answered with [`Effect::Respond`].
    Managed {
        /// To answer with; unused so far.
        request: RequestId,
        /// Who, as the host has checked.
        signed: Signed,
        /// The body.
        body: String,
    },
    /// Settings have changed.
    Configured {
        /// All of them.
        config: Box<Config>,
    },
    /// The host is about to end: nothing is on its way to the store any more.
    Leaving,
    /// The time asked for by [`Effect::WakeAt`] has come.
    Alarm,
    /// The time asked for by [`Effect::TimerAt`] has come.
    Timer,
    /// The answer to [`Effect::Yield`].
    Yielded,
    /// Memory was lost (or never was): these connections are open, each with the text it was last
    /// asked to remember.
    Woke {
        /// All of them.
        conns: Vec<(ConnId, String)>,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a text frame; a connection that is gone is no error.
    Send {
        /// To whom.
        conn: ConnId,
        /// What; frames one after the other may be the same one.
        text: Arc<str>,
    },
    /// Give [`Input::Taken`] once all that was sent to a connection before this is written to its socket. Asked only of
    /// a host that is [`lasting`](Host::lasting).
    Mark {
        /// Which.
        conn: ConnId,
    },
    /// End a connection.
    Close {
        /// Which.
        conn: ConnId,
        /// WebSocket close code; with [`NO_CLOSE_FRAME`] none is sent.
        code: u16,
        /// Close reason.
        reason: String,
    },
    /// Keep `text` with the connection in place of what was kept before, to be given back by
    /// [`Input::Woke`].
    Remember {
        /// Which.
        conn: ConnId,
        /// ASCII or not; up to [`MAX_REMEMBERED`](crate::gateway::MAX_REMEMBERED) bytes.
        text: String,
    },
    /// Run the statements as one transaction that writes.
    Commit {
        /// To answer with.
        ticket: Ticket,
        /// In order.
        statements: Vec<Statement>,
    },
    /// Run the statements as one transaction that reads.
    Query {
        /// To answer with.
        ticket: Ticket,
        /// In order.
        statements: Vec<Statement>,
        /// Whether it is a client's question: it may wait for others, to be one transaction with them.
        may_wait: bool,
    },
    /// Give [`Input::Yielded`] once what has arrived by now has been given, at most a few milliseconds
    /// later: so what comes together is committed together.
    Yield,
    /// Give [`Input::Alarm`] at this time or before; one that is set for earlier stays.
    WakeAt {
        /// When.
        at: Millis,
    },
    /// Give [`Input::Timer`] at this time, as long as memory lasts, which it must until then; one that is set
    /// for earlier stays.
    TimerAt {
        /// When.
        at: Millis,
    },
    /// Answer an HTTP request with JSON.
    Respond {
        /// Which.
        request: RequestId,
        /// HTTP status.
        status: u16,
        /// JSON.
        body: Rc<str>,
        /// Seconds, for the header `Retry-After`, if it is to have one.
        retry_after_s: Option<u64>,
    },
    /// End this incarnation: what comes next wakes with another name, and nothing of this one's memory.
    Restart,
    /// Write one line for the operator.
    Log {
        /// How much it matters.
        level: Level,
        /// JSON.
        line: String,
    },
}
