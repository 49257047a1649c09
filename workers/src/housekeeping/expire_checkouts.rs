//! Checkouts that nobody carries any more.
//!
//! A live job watches its order's deadline itself. This finds the orders whose job is gone: a dead letter, or lost by
//! somebody's hand in the database. Each gets a new job, which turns back what is past its deadline.

use diesel_async::AsyncConnection;
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{Enqueue, Failure, Job, JobContext, JobResult, Outcome, enqueue_all, kinds::RunCheckout};
use waybill_schema::Conn;
use waybill_schema::orders::saga;

use super::HousekeepingDeps;

/// Orders in one transaction.
const BATCH: i64 = 500;

/// An order whose jobs died this often waits for a person, so that a broken one does not make dead letters for ever.
const MAX_DEAD_LETTERS: i64 = 3;

pub(super) async fn run(deps: HousekeepingDeps, cx: &JobContext) -> JobResult {
    let mut woken = 0;
    loop {
        let batch = wake(deps, cx).await?;
        woken += batch;
        if batch < usize::try_from(BATCH).unwrap_or(usize::MAX) || cx.cancelled.is_cancelled() {
            break;
        }
    }
    if woken > 0 {
        tracing::warn!(woken, "checkouts without a job");
        metrics::counter!("waybill_checkouts_woken_total").increment(woken as u64);
    }
    Ok(Outcome::Done(Some(json!({ "woken": woken }))))
}

async fn wake(deps: HousekeepingDeps, cx: &JobContext) -> Result<usize, Failure> {
    let cause = cx.id;
    let mut conn = cx.pool.get().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let orders: Vec<Uuid> =
                saga::lock_orphans(conn, RunCheckout::KIND, deps.orphaned_after, MAX_DEAD_LETTERS, BATCH)
                    .await?;
            let jobs: Vec<RunCheckout> =
                orders.into_iter().map(|order_id| RunCheckout { order_id }).collect();
            let options = || Enqueue { causation_id: Some(cause), ..Enqueue::default() };
            let enqueued = enqueue_all(conn, jobs.iter().map(|job| (job, options()))).await?;
            Ok::<usize, Failure>(enqueued.len())
        })
        .await
}
