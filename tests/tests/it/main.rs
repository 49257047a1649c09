//! Tests over the real binaries; one program, because each would link the same crates again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod catalogue;
mod cli;
mod consumers;
mod dependencies;
mod engine;
mod erasure;
mod flows;
mod gateway;
mod import_ends;
mod import_parts;
mod imports;
mod journey;
mod kill;
mod operator;
mod outages;
mod properties;
mod quiet;
mod reindex;
mod schema;
mod start;
mod takeover;
mod telemetry;
mod traces;
mod webhooks;
