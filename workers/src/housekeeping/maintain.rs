//! Retention: partitions made and dropped, rows past their time removed in small steps.
//!
//! No step waits for another to succeed: a table that cannot be shed must not keep the next day from its partition. What failed
//! is said at the end, by the attempt that fails.

use std::time::Duration;

use serde_json::{Map, Value, json};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome};
use waybill_schema::{
    Conn,
    partitions::{self, Settlement},
};

use super::stores::{self, Stores};
use super::{HousekeepingDeps, purge};

pub(super) async fn run(deps: HousekeepingDeps, stores: &Stores, cx: &JobContext) -> JobResult {
    let mut conn = cx.pool.get().await?;
    let mut steps = Steps::default();
    // First: without one for tomorrow its rows go where they do not belong. But attaching reads the default partition with its
    // lock held, so where that has filled it is settled before.
    let health = partitions::health(&mut conn).await;
    let health = steps.answer("partition_health", health).unwrap_or_default();
    let is_clear = |table: &str| health.iter().any(|known| known.parent == table && !known.strays);
    let (clear, filled): (Vec<_>, Vec<_>) =
        partitions::TABLES.into_iter().partition(|&table| is_clear(table));
    steps.make(&mut conn, &clear, deps).await;
    for table in partitions::TABLES {
        if cx.cancelled.is_cancelled() {
            break;
        }
        steps.shed(&mut conn, table, deps).await;
    }
    if !cx.cancelled.is_cancelled() {
        steps.make(&mut conn, &filled, deps).await;
    }
    steps.report.insert("partitions_made".to_owned(), json!(steps.made));
    // Somebody reads a table for longer than these wait: a dump, say. The next run tries again.
    steps.report.insert("partitions_busy".to_owned(), json!(steps.busy));
    for (name, statement) in purge::STATEMENTS {
        steps.rows(name, purge::in_batches(&mut conn, cx, statement).await);
    }
    for (name, statement, days) in purge::aged(deps) {
        steps.rows(name, purge::aged_in_batches(&mut conn, cx, statement, days).await);
    }
    let (files, vault) = (stores.files.as_ref(), stores.vault.as_ref());
    let removed = stores::remove_imports(&mut conn, files, deps.keep_imports_days, cx).await;
    steps.rows("imports_removed", removed);
    steps.rows("unfinished_files_removed", Ok(stores::remove_unfinished(files).await));
    steps.rows("endpoints_resealed", stores::reseal_endpoints(&mut conn, vault).await);
    steps.outcome(cx)
}

/// What the steps came to, and which of them failed.
#[derive(Default)]
struct Steps {
    report: Map<String, Value>,
    made: i32,
    busy: i32,
    failed: Vec<String>,
}

impl Steps {
    /// What a step answered; none if it failed, which is kept for the end.
    fn answer<T, E: Into<Failure>>(&mut self, step: &str, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                let error = error.into().message;
                tracing::error!(step, error, "a step of the maintenance failed");
                self.failed.push(format!("{step}: {error}"));
                None
            }
        }
    }

    /// Reports how many rows, files, ... a step has removed.
    fn rows(&mut self, step: &str, removed: Result<usize, Failure>) {
        if let Some(removed) = self.answer(step, removed) {
            self.report.insert(step.to_owned(), json!(removed));
        }
    }

    async fn make(&mut self, conn: &mut Conn, tables: &[&'static str], deps: HousekeepingDeps) {
        for &table in tables {
            let made = partitions::ensure_of(conn, &[table], deps.partitions_ahead).await;
            let Some(made) = self.answer(&format!("{table}_partitions_made"), made) else { continue };
            self.made += made.changed;
            self.busy += made.busy;
        }
    }

    async fn shed(&mut self, conn: &mut Conn, table: &'static str, deps: HousekeepingDeps) {
        let step = format!("{table}_partitions_dropped");
        let dropped = partitions::shed(conn, table, deps.keep_days).await;
        if let Some(dropped) = self.answer(&step, dropped) {
            self.busy += dropped.busy;
            self.report.insert(step, json!(dropped.changed));
        }
        let step = format!("{table}_default_settled");
        let settled = partitions::settle_default(conn, table, deps.keep_days).await;
        let Some(settled) = self.answer(&step, settled) else { return };
        match settled.end {
            Settlement::Empty => {}
            Settlement::Made => {
                tracing::warn!(
                    table,
                    "rows of days without a partition have got one: nobody made any for days"
                );
                self.report.insert(step, json!(true));
            }
            Settlement::Busy => self.busy += 1,
            Settlement::Mixed => {
                tracing::error!(table, "the default partition holds rows of days on both sides of others");
            }
        }
        if settled.removed > 0 {
            self.report.insert(format!("{table}_default_removed"), json!(settled.removed));
        }
    }

    fn outcome(self, cx: &JobContext) -> JobResult {
        let report = Value::Object(self.report);
        tracing::info!(%report, "maintenance");
        if !self.failed.is_empty() {
            return Err(Failure::retryable(self.failed.join("; ")));
        }
        if cx.cancelled.is_cancelled() {
            return Ok(Outcome::Snooze { after: Duration::ZERO, reason: "interrupted".to_owned() });
        }
        Ok(Outcome::Done(Some(report)))
    }
}
