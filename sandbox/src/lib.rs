//! A payment gateway to develop and test against.
//!
//! It speaks HTTP as a real provider does (bearer keys, idempotency keys, signed webhooks, a ledger to reconcile with)
//! and misbehaves on request: declines, hangs, errors, answers that get lost after the money moved, webhooks that come
//! twice, out of order or never. The binary `waybill-sandbox` runs it alone; [`serve`] runs it inside a test.
//!
//! ```no_run
//! # async fn run() -> Result<(), waybill_sandbox::ServeError> {
//! let gateway = waybill_sandbox::serve(waybill_sandbox::Config::default()).await?;
//! println!("{}", gateway.url());
//! gateway.shutdown().await
//! # }
//! ```

mod config;
mod connections;
mod faults;
mod gateway;
mod http;
mod ids;
mod journal;
mod metrics;
mod model;
mod money;
mod refusal;
mod server;
mod webhooks;

pub use config::{Config, ConfigError, DEFAULT_API_KEY, DEFAULT_LISTEN};
pub use faults::{FaultKind, FaultSpec};
pub use journal::JournalError;
pub use model::{Operation, Token, UnknownToken};
pub use server::{Handle, ServeError, serve, serve_on};
pub use webhooks::{SecretError, WebhookSecret};
