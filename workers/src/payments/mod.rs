//! Money: the interface to payment gateways, the sandbox's adapter, and what gateways tell us.
//!
//! A gateway is never asked to do a thing twice. [`pursue`] brings an effect of the ledger to its answer: it calls with
//! the effect's key, and when an answer is lost it asks what became of the key.

mod gateway;
mod gateway_event;
mod gateways;
mod late_hold;
pub mod pursue;
mod sandbox;

use std::sync::Arc;

use waybill_jobs::{JobContext, Registry, kinds::HandleGatewayEvent};

pub use gateway::{
    ALREADY_CAPTURED, Answer, Authorize, Capture, EventError, Fact, FactKind, Gateway, GatewayError,
    Operation, Refund, Request, Void,
};
pub use gateways::{GatewayHandle, Gateways, GatewaysError};
pub use sandbox::Sandbox;

pub use crate::outages::BreakerSettings;

/// What the handlers here need.
#[derive(Clone)]
pub struct PaymentsDeps {
    /// Every gateway that payments were or are made through.
    pub gateways: Gateways,
}

/// Adds the handlers of this folder.
#[must_use]
pub fn register(registry: Registry, deps: &Arc<PaymentsDeps>) -> Registry {
    let deps = Arc::clone(deps);
    registry.job(move |job: HandleGatewayEvent, cx: JobContext| {
        let deps = Arc::clone(&deps);
        async move { gateway_event::handle(&deps, &job, &cx).await }
    })
}
