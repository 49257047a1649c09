//! The checkout saga: carries an order from accepted to confirmed, or back to nothing.
//!
//! ```text
//! accepted -> reserved -> authorized -> captured -> completed
//!     \___________\____________\___________\_______ compensating -> compensated
//! ```
//!
//! One job carries the order through the steps. Each step is a transaction of its own that moves the order only from
//! where it is expected to stand and only while the job is held ([`waybill_schema::orders::saga`]), so a worker that dies
//! anywhere is succeeded by another that reads the step and the effect ledger and goes on. What a process remembers
//! saves reads; it decides nothing.

mod advance;
mod authorize;
mod capture;
mod compensate;
mod complete;
mod events;
mod money_back;
mod reserve;
mod resolve;
mod run;
mod trouble;
mod turn_back;

use std::sync::Arc;
use std::time::Duration;

use waybill_jobs::{JobContext, Registry, kinds::RunCheckout};
use waybill_platform::config::CheckoutConfig;

use crate::payments::Gateways;

/// What the saga needs beside its job.
#[derive(Clone)]
pub struct CheckoutDeps {
    /// Every gateway that payments are made through.
    pub gateways: Gateways,
    /// How long reserved stock waits for its payment.
    pub reservation_ttl: Duration,
    /// How long an order waits for units that other checkouts hold.
    pub stock_wait: Duration,
}

impl CheckoutDeps {
    /// As configured.
    pub fn new(config: &CheckoutConfig, gateways: Gateways) -> Self {
        Self { gateways, reservation_ttl: config.reservation_ttl, stock_wait: config.stock_wait }
    }
}

/// Adds the handler of this folder.
#[must_use]
pub fn register(registry: Registry, deps: &Arc<CheckoutDeps>) -> Registry {
    let deps = Arc::clone(deps);
    registry.job(move |job: RunCheckout, cx: JobContext| {
        let deps = Arc::clone(&deps);
        async move { run::run(&deps, &job, &cx).await }
    })
}
