//! Tests over the real binaries; one program, because each would link the same crates again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod consumers;
mod engine;
mod gateway;
mod imports;
mod journey;
mod kill;
mod operator;
mod outages;
mod properties;
mod schema;
mod start;
mod takeover;
mod traces;
mod webhooks;
