//! The scheduler's loop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use waybill_schema::Pool;

use crate::{SchedulerError, board::Board, builtin, fire, gauges};

/// How often the service's gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Runs until `shutdown`. A failing database is waited for, never given up.
pub async fn run(pool: Pool, tick: Duration, stuck_after: Duration, shutdown: CancellationToken) {
    let firing = every(tick, &shutdown, {
        let pool = pool.clone();
        let mut declared = false;
        async move || {
            if !declared {
                builtin::declare(&pool).await?;
                declared = true;
                info!("schedules declared");
            }
            fire::due(&pool).await.map(drop)
        }
    });
    let mut board = Board::default();
    let measuring =
        every(GAUGES_EVERY, &shutdown, async move || gauges::publish(&pool, stuck_after, &mut board).await);
    tokio::join!(firing, measuring);
}

/// Calls `work` once a `period` until `shutdown`; failures are logged once per outage and waited out.
async fn every(
    period: Duration,
    shutdown: &CancellationToken,
    mut work: impl AsyncFnMut() -> Result<(), SchedulerError>,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        match work().await {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    info!("the scheduler works again");
                }
            }
            Err(error) if !failing => {
                failing = true;
                warn!(%error, "the scheduler cannot work");
            }
            Err(_) => {}
        }
    }
}
