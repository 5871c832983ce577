//! Nexus: a Nostr relay for a market in which software agents buy and sell compute.
//!
//! Rooms, each of which knows only those below it: `cloudflare` and `native` (the hosts), `node` (what an object or a
//! thread runs), then `gateway` (the clients) and `partition` (a database), which know each other by [`message`]s alone;
//! the partition over `store` (every SQL text), both over `market` (job rules) and `nostr` (the protocol).
//! ARCHITECTURE.md says what each one owns and what it must never do.

// One panic takes every relay object of its isolate with it: nothing here may, whatever the input.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![deny(clippy::await_holding_refcell_ref, clippy::dbg_macro, missing_docs, unsafe_code)]

mod budget;
mod calendar;
pub mod gateway;
mod interest;
pub mod ledger;
pub mod link;
pub mod log;
pub mod market;
pub mod message;
pub mod moderation;
pub mod node;
pub mod nostr;
mod partition;
pub mod places;
pub mod seam;
pub mod store;
mod trees;
pub mod wire;

#[cfg(all(target_arch = "wasm32", feature = "cloudflare"))]
#[allow(unsafe_code, missing_docs)] // in what the bindings' macros expand to
mod cloudflare;
#[cfg(all(not(target_arch = "wasm32"), feature = "native"))]
pub mod native;
