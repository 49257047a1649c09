//! The HTTP API: authenticate, validate, write facts and enqueue work in one transaction, answer. One folder per
//! resource, each with an `OpenApi` struct in its `routes.rs`; [`app`] puts them together.

pub mod admin;
pub mod app;
pub mod auth;
pub mod carts;
pub mod catalogue;
pub mod checkout;
pub mod console;
pub mod document;
pub mod error;
pub mod events;
pub mod flows;
pub mod gateways;
pub mod http;
pub mod idempotency;
pub mod identity;
pub mod imports;
pub mod jobs;
pub mod listener;
pub mod middleware;
pub mod orders;
pub mod schedules;
pub mod search;
pub mod state;
pub mod system;
pub mod watch;
pub mod webhooks;

pub use state::AppState;
