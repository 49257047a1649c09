//! What nobody asked for and everybody needs: stuck checkouts woken, what is past its time removed.

mod check_invariants;
mod expire_checkouts;
mod maintain;
mod orphans;
mod purge;
mod replay_events;
mod republish_events;
mod stores;
mod watch_checkouts;
#[cfg(test)]
mod week;

use std::sync::Arc;
use std::time::Duration;

use waybill_jobs::{
    JobContext, Registry,
    kinds::{
        CheckInvariants, ExpireCheckouts, Maintain, RemoveOrphanFiles, ReplayEvents, RepublishEvents,
        WatchCheckouts,
    },
};
use waybill_platform::config::{BrokerConfig, HousekeepingConfig};

pub use self::stores::Stores;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct HousekeepingDeps {
    /// Days of finished jobs, published events and inbox rows.
    pub keep_days: i32,
    /// Days of schedules' fires.
    pub keep_fires_days: i32,
    /// Days of mails that were sent or given up.
    pub keep_mails_days: i32,
    /// Days of deliveries to webhook receivers that are over, with their attempts.
    pub keep_deliveries_days: i32,
    /// Days of imports that are over, with their errors and files.
    pub keep_imports_days: i32,
    /// Partitions are made this many days ahead: as long may nobody run this.
    pub partitions_ahead: i32,
    /// An order without a job is given a new one at its deadline; one that has no deadline ahead, after standing still for
    /// this long.
    pub orphaned_after: Duration,
    /// How long after its deadline a pending order counts as stuck.
    pub stuck_after: Duration,
}

impl HousekeepingDeps {
    /// As configured.
    pub fn new(config: &HousekeepingConfig) -> Self {
        Self {
            keep_days: config.keep_days,
            keep_fires_days: config.keep_fires_days,
            keep_mails_days: config.keep_mails_days,
            keep_deliveries_days: config.keep_deliveries_days,
            keep_imports_days: config.keep_imports_days,
            partitions_ahead: config.partitions_ahead,
            stuck_after: config.stuck_after,
            ..Self::default()
        }
    }
}

impl Default for HousekeepingDeps {
    fn default() -> Self {
        Self {
            keep_days: 30,
            keep_fires_days: 7,
            keep_mails_days: 90,
            keep_deliveries_days: 30,
            keep_imports_days: 90,
            partitions_ahead: 14,
            orphaned_after: Duration::from_mins(1),
            stuck_after: waybill_schema::checks::STUCK_AFTER,
        }
    }
}

/// Adds the handlers of this folder.
#[must_use]
pub fn register(registry: Registry, deps: &Arc<HousekeepingDeps>, stores: Stores) -> Registry {
    let deps = **deps;
    let files = stores.clone();
    registry
        .job(move |_: RemoveOrphanFiles, cx: JobContext| {
            let files = files.clone();
            async move { orphans::run(&files, &cx).await }
        })
        .job(move |_: ExpireCheckouts, cx: JobContext| async move { expire_checkouts::run(deps, &cx).await })
        .job(move |_: Maintain, cx: JobContext| {
            let stores = stores.clone();
            async move { maintain::run(deps, &stores, &cx).await }
        })
        .job(move |job: ReplayEvents, cx: JobContext| async move { replay_events::run(job, &cx).await })
        .job(move |_: CheckInvariants, cx: JobContext| async move { check_invariants::run(deps, &cx).await })
        .job(move |_: WatchCheckouts, cx: JobContext| async move { watch_checkouts::run(deps, &cx).await })
}

/// Adds the handler that speaks to the broker.
#[must_use]
pub fn register_republish(registry: Registry, broker: &BrokerConfig) -> Registry {
    let broker = Arc::new(broker.clone());
    registry.job(move |job: RepublishEvents, cx: JobContext| {
        let broker = Arc::clone(&broker);
        async move { republish_events::run(job, &broker, &cx).await }
    })
}
