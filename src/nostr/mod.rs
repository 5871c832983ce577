//! The protocol as data: events, kinds, tags, filters, messages, the NIP-11 document.
//!
//! Owns parsing, serialization and verification. Reads no clock, holds no policy, does no IO.
//! Parsers are total: any input gives a value or a [`Reason`] to send back.

pub mod auth;
pub mod bytes;
pub mod client_msg;
pub mod deletion;
pub mod event;
pub mod filter;
pub mod gate;
pub mod hll;
pub mod http_auth;
pub mod kind;
pub mod nip11;
pub mod refusal;
pub mod relay_msg;
pub mod tag;
pub mod values;

pub use bytes::{EventId, PublicKey, Signature};
pub use client_msg::ClientMessage;
pub use event::Event;
pub use filter::Filter;
pub use kind::KindClass;
pub use refusal::{Prefix, Reason};
pub use tag::Tag;
pub use values::Values;

/// The largest number that JSON carries exactly everywhere, and the time that stands for ever.
pub const MAX_INTEGER: u64 = 1 << 53;
