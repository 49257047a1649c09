//! Webhooks out: which events go to whom, and their delivery as Standard Webhooks describes it.

mod address;
mod client;
mod deliver;
mod limits;
mod pipeline;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::Utc;
use waybill_jobs::Registry;

pub use address::{Forbidden, Rules, is_public};
pub use deliver::Deliverer;
pub use pipeline::{Webhooks, body};

use crate::{Services, StartError};

/// Adds this folder's handlers.
pub fn register(registry: Registry, services: &Services) -> Result<Registry, StartError> {
    let deliverer = Arc::new(deliverer(services)?);
    Ok(registry.job(move |job, context| Arc::clone(&deliverer).run(job, context)))
}

fn deliverer(services: &Services) -> Result<Deliverer, StartError> {
    let config = &services.config.webhooks;
    let rules = Rules { allow_private: config.allow_private_addresses, require_https: config.require_https };
    Ok(Deliverer {
        receivers: client::Receivers::new(rules, config.timeout)?,
        vault: services.vault.clone(),
        limits: limits::Limits::new(config.max_per_endpoint),
        schedule: config.schedule.clone(),
        disable_after: config.disable_after,
        clock: Arc::new(Utc::now),
    })
}
