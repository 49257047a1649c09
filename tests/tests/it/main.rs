//! Tests over the real binaries; one program, because each would link the same crates again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod cli;
mod console;
mod consumers;
mod dependencies;
mod engine;
mod erasure;
mod gateway;
mod import_parts;
mod imports;
mod journey;
mod kill;
mod operator;
mod outages;
mod properties;
mod reindex;
mod schema;
mod start;
mod takeover;
mod traces;
mod webhooks;
