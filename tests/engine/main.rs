//! Scenarios of the engine with a fake clock and a real SQLite that fails on demand.

#[path = "../common/mod.rs"]
mod common;

mod abuse;
mod api;
mod attacked;
mod audit;
mod auth;
mod bad_input;
mod ban;
mod bounds;
mod ceiling;
mod count;
mod counts;
mod deletion;
mod expiry;
mod faults;
mod frames;
mod gates;
mod gateways;
mod halved;
mod market;
mod memory;
mod networks;
mod pages;
mod proof;
mod publish;
mod questions;
mod rates;
mod reads_attacked;
mod recent;
mod refusals;
mod remembered;
mod repeat;
mod requests;
mod retries;
mod settings;
mod standing;
mod subscribe;
mod turns;
mod unasked;
mod unheard;
mod versions;
mod wake;
mod windows;
