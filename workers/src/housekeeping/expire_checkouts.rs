//! Checkouts past their deadline that nobody carries on.
//!
//! A live job watches its order's deadline itself, unless it is held because its gateway is down: such a one is let go, so that
//! it gives the stock back. An order whose job is gone (a dead letter, or lost by somebody's hand in the database) gets a new
//! one, which turns back what is past its deadline.

use diesel_async::AsyncConnection;
use serde_json::json;
use waybill_jobs::{Enqueue, Failure, Job, JobContext, JobResult, Outcome, enqueue_all, kinds::RunCheckout};
use waybill_schema::Conn;
use waybill_schema::orders::saga;

use super::HousekeepingDeps;

/// Orders in one transaction.
const BATCH: i64 = 500;

/// An order whose jobs died this often waits for a person, so that a broken one does not make dead letters for ever.
const MAX_DEAD_LETTERS: i64 = 3;

pub(super) async fn run(deps: HousekeepingDeps, cx: &JobContext) -> JobResult {
    let mut let_go = 0;
    loop {
        let mut conn = cx.pool.get().await?;
        let batch = saga::let_go_expired(&mut conn, RunCheckout::KIND, BATCH).await?;
        let_go += batch;
        if batch < usize::try_from(BATCH).unwrap_or(usize::MAX) || cx.cancelled.is_cancelled() {
            break;
        }
    }
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
    Ok(Outcome::Done(Some(json!({ "woken": woken, "let_go": let_go }))))
}

async fn wake(deps: HousekeepingDeps, cx: &JobContext) -> Result<usize, Failure> {
    let cause = cx.id;
    let mut conn = cx.pool.get().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let orders =
                saga::lock_orphans(conn, RunCheckout::KIND, deps.orphaned_after, MAX_DEAD_LETTERS, BATCH)
                    .await?;
            let jobs: Vec<(RunCheckout, Enqueue)> = orders
                .into_iter()
                .map(|order| {
                    let options = Enqueue {
                        causation_id: Some(cause),
                        subject_id: Some(order.subject_id),
                        ..Enqueue::default()
                    };
                    (RunCheckout { order_id: order.id }, options)
                })
                .collect();
            let enqueued =
                enqueue_all(conn, jobs.iter().map(|(job, options)| (job, options.clone()))).await?;
            Ok::<usize, Failure>(enqueued.len())
        })
        .await
}
