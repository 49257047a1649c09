//! The scheduler's loop.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use waybill_schema::{Pool, partitions, schedules::declare::Declarer};

use crate::{SchedulerError, board::Board, builtin, fire, gauges};

/// How often the service's gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// How often the schedules of the code are declared: an older release that starts during a roll-out may have removed what this one
/// has declared, and whoever stops declaring one gives it up after an hour.
const DECLARE_EVERY: Duration = Duration::from_mins(5);

/// Runs until `shutdown`. A failing database is waited for, never given up.
pub async fn run(pool: Pool, tick: Duration, stuck_after: Duration, shutdown: CancellationToken) {
    let firing = every(tick, &shutdown, {
        let pool = pool.clone();
        let mut declared: Option<(Declarer, Instant)> = None;
        async move || {
            if declared.is_none() {
                // Before anything fires: the job that makes them may not have run for days.
                let made = partitions::ensure(&mut *pool.get().await?, partitions::AT_START).await;
                if let Err(error) = made {
                    warn!(%error, "partitions for today and tomorrow could not be made");
                }
            }
            match &mut declared {
                None => {
                    let by = builtin::declarer(&pool).await?;
                    builtin::declare(&pool, &by).await?;
                    declared = Some((Declarer { anew: false, ..by }, Instant::now()));
                    info!("schedules declared");
                }
                Some((by, at)) if at.elapsed() >= DECLARE_EVERY => {
                    builtin::declare(&pool, by).await?;
                    *at = Instant::now();
                }
                Some(_) => {}
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
