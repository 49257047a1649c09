//! Retention: partitions made and dropped, rows past their time removed in small steps.

use serde_json::{Map, Value, json};
use waybill_jobs::{JobContext, JobResult, Outcome};
use waybill_schema::partitions::{self, Settlement};

use super::stores::{self, Stores};
use super::{HousekeepingDeps, purge};

pub(super) async fn run(deps: HousekeepingDeps, stores: &Stores, cx: &JobContext) -> JobResult {
    let mut report = Map::new();
    let mut conn = cx.pool.get().await?;
    let mut busy = 0;
    for table in partitions::TABLES {
        let dropped = partitions::shed(&mut conn, table, deps.keep_days).await?;
        busy += dropped.busy;
        report.insert(format!("{table}_partitions_dropped"), json!(dropped.changed));
        // After what is aged is gone and before anything is attached: attaching reads the default partition.
        let settled = partitions::settle_default(&mut conn, table, deps.keep_days).await?;
        match settled.end {
            Settlement::Empty => {}
            Settlement::Made => {
                tracing::warn!(
                    table,
                    "rows of days without a partition have got one: nobody made any for days"
                );
                report.insert(format!("{table}_default_settled"), json!(true));
            }
            Settlement::Busy => busy += 1,
            Settlement::Mixed => {
                tracing::error!(table, "the default partition holds rows of days on both sides of others");
            }
        }
        if settled.removed > 0 {
            report.insert(format!("{table}_default_removed"), json!(settled.removed));
        }
    }
    let made = partitions::ensure(&mut conn, deps.partitions_ahead).await?;
    busy += made.busy;
    report.insert("partitions_made".to_owned(), json!(made.changed));
    // Somebody reads a table for longer than these wait: a dump, say. The next run tries again.
    report.insert("partitions_busy".to_owned(), json!(busy));
    for (name, statement) in purge::STATEMENTS {
        let removed = purge::in_batches(&mut conn, cx, statement).await?;
        report.insert((*name).to_owned(), json!(removed));
    }
    for (name, statement, days) in purge::aged(deps) {
        let removed = purge::aged_in_batches(&mut conn, cx, statement, days).await?;
        report.insert(name.to_owned(), json!(removed));
    }
    let removed = stores::remove_imports(&mut conn, stores.files.as_ref(), deps.keep_imports_days).await?;
    report.insert("imports_removed".to_owned(), json!(removed));
    report.insert(
        "unfinished_files_removed".to_owned(),
        json!(stores::remove_unfinished(stores.files.as_ref()).await),
    );
    let resealed = stores::reseal_endpoints(&mut conn, stores.vault.as_ref()).await?;
    report.insert("endpoints_resealed".to_owned(), json!(resealed));
    let report = Value::Object(report);
    tracing::info!(%report, "maintenance");
    Ok(Outcome::Done(Some(report)))
}
