//! The alarm for orders that stand still.
//!
//! Jobs turn an order back at its deadline, and orders without a job are given one; what is pending long after it is
//! something that neither can mend: a broken order whose jobs die, a queue that nobody serves.

use serde_json::json;
use waybill_jobs::{JobContext, JobResult, Outcome};
use waybill_schema::checks;

use super::HousekeepingDeps;

/// Orders named in log and result; the gauge of the scheduler counts all.
const NAMED: i64 = 20;

pub(super) async fn run(deps: HousekeepingDeps, cx: &JobContext) -> JobResult {
    let mut conn = cx.pool.get().await?;
    let stuck = checks::stuck_orders(&mut conn, deps.stuck_after, NAMED).await?;
    for order in &stuck {
        tracing::error!(
            order_id = %order.id, order = order.number, step = order.step, late_s = order.late_seconds,
            "an order is stuck"
        );
    }
    let named: Vec<_> =
        stuck.iter().map(|order| json!({ "order_id": order.id, "step": order.step })).collect();
    Ok(Outcome::Done(Some(json!({ "stuck": named }))))
}
