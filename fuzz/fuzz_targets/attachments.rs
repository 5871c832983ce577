//! `cargo +nightly fuzz run attachments`; see ../targets.rs.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|text: &str| targets::attachments(text));
