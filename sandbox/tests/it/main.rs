//! The gateway through real HTTP, each test with one of its own on a free port.
#![allow(clippy::unwrap_used, clippy::panic)]

mod errors;
mod faults;
mod idempotency;
mod journal;
mod limits;
mod process;
mod support;
mod webhooks;
