//! Retention: partitions made and dropped, rows past their time removed in small steps.

use diesel::QueryableByName;
use diesel::sql_types::{Integer, Text};
use diesel_async::RunQueryDsl;
use serde_json::{Map, Value, json};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome};
use waybill_schema::{Conn, sql};

use super::HousekeepingDeps;
use super::purge;

/// The tables that are shed by whole days.
const PARTITIONED: [&str; 4] = ["job_history", "job_logs", "event_log", "inbox"];

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Integer)]
    count: i32,
}

pub(super) async fn run(deps: HousekeepingDeps, cx: &JobContext) -> JobResult {
    let mut report = Map::new();
    let mut conn = cx.pool.get().await?;
    report.insert("partitions_made".to_owned(), json!(ensure(&mut conn, deps.partitions_ahead).await?));
    for table in PARTITIONED {
        let dropped = drop_old(&mut conn, table, deps.keep_days).await?;
        report.insert(format!("{table}_partitions_dropped"), json!(dropped));
    }
    for (name, statement) in purge::STATEMENTS {
        let removed = purge::in_batches(&mut conn, cx, statement).await?;
        report.insert((*name).to_owned(), json!(removed));
    }
    for (name, statement, days) in purge::aged(deps) {
        let removed = purge::aged_in_batches(&mut conn, cx, statement, days).await?;
        report.insert(name.to_owned(), json!(removed));
    }
    let report = Value::Object(report);
    tracing::info!(%report, "maintenance");
    Ok(Outcome::Done(Some(report)))
}

async fn ensure(conn: &mut Conn, days_ahead: i32) -> Result<i32, Failure> {
    let made: Count = sql("select waybill_ensure_partitions($1) as count")
        .bind::<Integer, _>(days_ahead)
        .get_result(conn)
        .await?;
    Ok(made.count)
}

async fn drop_old(conn: &mut Conn, table: &str, keep_days: i32) -> Result<i32, Failure> {
    let dropped: Count = sql("select waybill_drop_partitions($1, $2) as count")
        .bind::<Text, _>(table)
        .bind::<Integer, _>(keep_days)
        .get_result(conn)
        .await?;
    Ok(dropped.count)
}
