//! What Waybill's workers do: handlers of jobs and pipelines of events, one folder per subject, and the adapters to the
//! outside that they use.
//!
//! Adding a handler: `register` of its folder names it; adding a folder: one line in [`registry`].

pub mod checkout;
pub mod fail_point;
pub mod housekeeping;
pub mod indexing;
pub mod notifications;
pub mod outages;
pub mod payments;
pub mod services;
#[cfg(test)]
mod testing;
pub mod transfer;
pub mod webhooks;

pub use services::{Services, StartError};

use std::sync::Arc;

use waybill_jobs::{Pipeline, Registry};

use crate::{
    checkout::CheckoutDeps,
    housekeeping::{HousekeepingDeps, Stores},
    payments::PaymentsDeps,
};

/// Every job this binary can run.
pub fn registry(services: &Services) -> Result<Registry, StartError> {
    let config = &services.config;
    let gateways = payments::Gateways::from_config(&config.payments)?;
    let registry = Registry::new();
    let registry =
        checkout::register(registry, &Arc::new(CheckoutDeps::new(&config.checkout, gateways.clone())));
    let stores = Stores { files: Some(services.files.clone()), vault: Some(services.vault.clone()) };
    let registry = housekeeping::register(
        registry,
        &Arc::new(HousekeepingDeps::new(&services.config.housekeeping)),
        stores,
    );
    let registry = housekeeping::register_republish(registry, &config.broker);
    let registry = indexing::register(registry, services);
    let registry = notifications::register(registry, services)?;
    let registry = payments::register(registry, &Arc::new(PaymentsDeps { gateways }));
    let registry = transfer::register(registry, services)?;
    let registry = webhooks::register(registry, services)?;
    Ok(registry)
}

/// Every pipeline of the deployment. A process may serve some of them; its relay must know them all.
pub fn pipelines(services: &Services) -> Vec<Arc<dyn Pipeline>> {
    vec![
        Arc::new(notifications::Notifications),
        Arc::new(webhooks::Webhooks),
        Arc::new(indexing::Indexing::new(indexing::engine(services))),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use waybill_jobs::kinds::list;

    use crate::{registry, testing::TestDatabase};

    /// A kind that `jobs/src/kinds/mod.rs` does not name could be run here, and neither be scheduled nor be seen.
    #[tokio::test]
    async fn the_kinds_that_run_are_the_kinds_that_are_known_by_name() {
        let db = TestDatabase::new().await;
        let registry = registry(&db.services(&[])).unwrap();
        let mut listed: Vec<_> = list::ALL.iter().map(|info| (info.kind, info.queue, info.version)).collect();
        listed.sort_unstable();
        let run = registry.kinds().filter_map(|kind| registry.get(kind));
        assert_eq!(run.map(|entry| (entry.kind, entry.queue, entry.version)).collect::<Vec<_>>(), listed);
    }
}
