//! What nobody asked for and everybody needs: stuck checkouts woken, what is past its time removed.

mod expire_checkouts;
mod maintain;
mod purge;
mod replay_events;

use std::sync::Arc;
use std::time::Duration;

use waybill_jobs::{
    JobContext, Registry,
    kinds::{ExpireCheckouts, Maintain, ReplayEvents},
};

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct HousekeepingDeps {
    /// Days of finished jobs, published events and inbox rows.
    pub keep_days: i32,
    /// Partitions are made this many days ahead: as long may nobody run this.
    pub partitions_ahead: i32,
    /// An order without a job is given a new one at its deadline; one that has no deadline ahead, after standing still for
    /// this long.
    pub orphaned_after: Duration,
}

impl Default for HousekeepingDeps {
    fn default() -> Self {
        Self { keep_days: 30, partitions_ahead: 3, orphaned_after: Duration::from_mins(1) }
    }
}

/// Adds the handlers of this folder.
#[must_use]
pub fn register(registry: Registry, deps: &Arc<HousekeepingDeps>) -> Registry {
    let deps = **deps;
    registry
        .job(move |_: ExpireCheckouts, cx: JobContext| async move { expire_checkouts::run(deps, &cx).await })
        .job(move |_: Maintain, cx: JobContext| async move { maintain::run(deps, &cx).await })
        .job(move |job: ReplayEvents, cx: JobContext| async move { replay_events::run(job, &cx).await })
}
