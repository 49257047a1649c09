//! The schedules that Waybill brings along.

use tracing::warn;
use waybill_jobs::{
    Job, RawJob,
    heartbeat::host,
    kinds::{CheckInvariants, ExpireCheckouts, Maintain, RemoveOrphanFiles, WatchCheckouts},
};
use waybill_schema::{
    Pool,
    schedules::{
        self, Missed, Overlap, ScheduleRow,
        declare::{Declared, Declarer, declare as declare_row, forget_undeclared},
        spec::Spec,
    },
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
        // By the database's clock: see `declare_row`. A new schedule fires at once: a fresh database wants its
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

/// This process, which has just started.
pub async fn declarer(pool: &Pool) -> Result<Declarer, SchedulerError> {
    let started = schedules::now(&mut *pool.get().await?).await?;
    let name = format!("process {} on {}", std::process::id(), host());
    Ok(Declarer { name, release: release(), started, anew: true })
}

/// Writes the declared schedules and removes those that no release declares any more.
pub async fn declare(pool: &Pool, by: &Declarer) -> Result<(), SchedulerError> {
    let rows = declared()?;
    let mut conn = pool.get().await?;
    for row in &rows {
        let schedule = row.name.as_str();
        match declare_row(&mut conn, row, by).await? {
            Declared::Agreed | Declared::Older => {}
            Declared::Instead(other) => warn!(
                schedule,
                this = by.name,
                other,
                "two builds of one version declare a schedule differently; what this one says holds"
            ),
            Declared::Overruled(other) => warn!(
                schedule,
                this = by.name,
                other,
                "two builds of one version declare a schedule differently; what the other says holds, which was started later"
            ),
        }
    }
    let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    forget_undeclared(&mut conn, &names).await?;
    Ok(())
}
