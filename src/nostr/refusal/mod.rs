//! Why something is refused: the prefixes, and the one table of all texts that say no. A text is made by the function
//! its table entry makes, so there is no refusal without an entry; docs/REFUSALS.md is written from the table.

mod table;

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

pub use table::*;

/// The machine-readable first word of an OK or CLOSED message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Prefix {
    /// Authentication comes first (NIP-42).
    AuthRequired,
    /// Refused for good.
    Blocked,
    /// Already here, or a newer version is.
    Duplicate,
    /// Fault of the relay; trying again may help.
    Error,
    /// Not of the form the protocol asks for.
    Invalid,
    /// An ephemeral event that nobody was listening to.
    Mute,
    /// Too little proof of work (NIP-13).
    Pow,
    /// Too fast; the text ends with `retry in N s`.
    RateLimited,
    /// Well-formed, but over a limit or not allowed.
    Restricted,
    /// A part of the protocol this relay does not speak.
    Unsupported,
}

impl Prefix {
    /// All prefixes this relay uses.
    pub const ALL: [Self; 10] = [
        Self::AuthRequired,
        Self::Blocked,
        Self::Duplicate,
        Self::Error,
        Self::Invalid,
        Self::Mute,
        Self::Pow,
        Self::RateLimited,
        Self::Restricted,
        Self::Unsupported,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequired => "auth-required",
            Self::Blocked => "blocked",
            Self::Duplicate => "duplicate",
            Self::Error => "error",
            Self::Invalid => "invalid",
            Self::Mute => "mute",
            Self::Pow => "pow",
            Self::RateLimited => "rate-limited",
            Self::Restricted => "restricted",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why something was refused: `prefix: text`. The table alone makes one, here or in another object of the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For programs.
    pub prefix: Prefix,
    /// For people.
    text: String,
}

impl Reason {
    fn new(prefix: Prefix, text: fmt::Arguments<'_>) -> Self {
        Self { prefix, text: fmt::format(text) }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.prefix.as_str(), self.text)
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.to_string()
    }
}

/// What a program can do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Prove a key, then the same again.
    Auth,
    /// Change the message: the same will be refused again.
    Change,
    /// Nothing has to be done.
    Done,
    /// Close, or wait for, some of what is open, then the same again.
    Less,
    /// Leave it: nothing the sender does helps.
    Never,
    /// The same again, later.
    Wait,
}

impl Then {
    /// Each with what it means.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Wait, "send the same again after the seconds that the text names, else after some that grow"),
        (Self::Auth, "prove a key (NIP-42), then send the same again"),
        (Self::Less, "close some of what is open, or wait for its answers, then the same again"),
        (Self::Change, "change what is sent; the same will be refused again"),
        (Self::Never, "give up; nothing that you send helps"),
        (Self::Done, "nothing; what you want is so already, or there is nobody to want it"),
    ];

    /// Its word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Change => "change",
            Self::Done => "done",
            Self::Less => "less",
            Self::Never => "never",
            Self::Wait => "wait",
        }
    }
}

/// What is known of a refusal. It is for documentation and tests; no program carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its stable name: that of the function which makes it.
    pub code: &'static str,
    /// Before the text; what closes a connection or answers a request over HTTP may have none.
    pub prefix: Option<Prefix>,
    /// The text, in which `{name}` stands for what is filled in.
    pub text: &'static str,
    /// How it is told: `OK`, `OK true`, `CLOSED`, `NEG-ERR`, `NOTICE`, `close CODE`, `HTTP STATUS`, with commas between.
    pub told: &'static str,
    /// What helps.
    pub then: Then,
    /// What it means.
    pub means: &'static str,
}
