//! The hourly question whether everything holds. The report is the job's result, so it is kept as long as the history; the
//! scheduler publishes the newest one.

use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::{Map, Value, json};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome};
use waybill_schema::{Conn, checks, sql};

use super::HousekeepingDeps;

pub(super) async fn run(deps: HousekeepingDeps, cx: &JobContext) -> JobResult {
    let mut conn = cx.pool.get().await?;
    let found = (*conn)
        .transaction(async |conn: &mut Conn| {
            // Whole tables take longer than a request may.
            sql("set local statement_timeout = '10min'").execute(conn).await?;
            Ok::<_, Failure>(checks::run(conn, deps.stuck_after).await?)
        })
        .await?;
    let (mut kept, mut broken) = (Vec::new(), Vec::new());
    let mut counts = Map::new();
    for check in &found {
        let holds = !check.always || check.found == 0;
        if check.always && holds {
            kept.push(check.name.clone());
        }
        if !holds {
            tracing::error!(
                check = check.name,
                found = check.found,
                "an invariant is broken: {}",
                check.detail
            );
            broken.push(check.name.clone());
        }
        counts.insert(check.name.clone(), json!(check.found));
    }
    Ok(Outcome::Done(Some(
        json!({ "ok": broken.is_empty(), "broken": broken, "holds": kept, "found": Value::Object(counts) }),
    )))
}
