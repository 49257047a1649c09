//! The schedules that Waybill brings along.

use waybill_jobs::{
    Job, RawJob,
    kinds::{CheckInvariants, ExpireCheckouts, Maintain, RemoveOrphanFiles, WatchCheckouts},
};
use waybill_schema::{
    Pool,
    schedules::{self, Missed, Overlap, ScheduleRow, spec::Spec},
};

use crate::SchedulerError;

/// Every schedule declared by the code.
fn declared() -> Result<Vec<ScheduleRow>, SchedulerError> {
    Ok(vec![
        // An expired reservation holds stock that somebody else wants: looked for often, and it is one indexed query.
        row("expire-checkouts", "every 5s", &ExpireCheckouts::default())?,
        row("maintain", "every 15m", &Maintain::default())?,
        row("watch-checkouts", "every 1m", &WatchCheckouts::default())?,
        // It reads whole tables: once an hour, and not at the full hour, when everybody else does.
        row("check-invariants", "17 * * * *", &CheckInvariants::default())?,
        // It lists the whole store, for something that almost never happens.
        row("remove-orphan-files", "43 3 * * *", &RemoveOrphanFiles::default())?,
    ])
}

fn row<J: Job>(name: &str, spec: &str, job: &J) -> Result<ScheduleRow, SchedulerError> {
    Spec::parse(spec, "UTC")?;
    let raw = RawJob::of(job)?;
    Ok(ScheduleRow {
        name: name.to_owned(),
        origin: "code".to_owned(),
        spec: spec.to_owned(),
        time_zone: "UTC".to_owned(),
        missed: Missed::Once,
        missed_limit: 1,
        overlap: Overlap::Skip,
        paused: false,
        kind: raw.kind,
        version: raw.version,
        queue: raw.queue,
        max_attempts: raw.max_attempts,
        payload: raw.payload,
        // By the database's clock: see `schedules::declare`. A new schedule fires at once: a fresh database wants its
        // partitions now.
        next_at: None,
        last_at: None,
        last_job_id: None,
        problem: None,
    })
}

/// This release as a number that grows from one to the next: `1.2.3` is 100020003.
fn release() -> i64 {
    let parts = env!("CARGO_PKG_VERSION").split(['.', '-', '+']).take(3);
    parts.fold(0, |number, part| number * 10_000 + part.parse::<i64>().unwrap_or(0))
}

/// Writes the declared schedules and removes those that no release declares any more. `anew`: for the first time in this
/// process.
pub async fn declare(pool: &Pool, anew: bool) -> Result<(), SchedulerError> {
    let rows = declared()?;
    let mut conn = pool.get().await?;
    for row in &rows {
        schedules::declare(&mut conn, row, release(), anew).await?;
    }
    let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    schedules::forget_undeclared(&mut conn, &names).await?;
    Ok(())
}
