//! Firing what is due.

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_jobs::{Enqueue, RawJob, enqueue_raw};
use waybill_schema::{
    Conn, Pool,
    schedules::{self, Missed, Overlap, ScheduleRow},
};

use crate::{SchedulerError, spec::Spec};

/// Fires every due schedule, each in the transaction that moves it on: a scheduler that dies half-way has done nothing.
/// Returns how many jobs were enqueued.
pub async fn due(pool: &Pool) -> Result<usize, SchedulerError> {
    let mut conn = pool.get().await?;
    conn.transaction(async |conn| {
        let mut enqueued = 0;
        for schedule in schedules::lock_due(conn).await? {
            enqueued += fire(conn, &schedule, Utc::now()).await?;
        }
        Ok(enqueued)
    })
    .await
}

async fn fire(conn: &mut Conn, schedule: &ScheduleRow, now: DateTime<Utc>) -> Result<usize, SchedulerError> {
    let spec = Spec::parse(&schedule.spec, &schedule.time_zone)?;
    let mut last_job = schedule.last_job_id;
    let mut fired = None;
    let mut enqueued = 0;
    for fire_at in times(&spec, schedule, now)? {
        if schedule.overlap == Overlap::Skip && lives(conn, last_job).await? {
            schedules::record_fire(conn, &schedule.name, fire_at, None).await?;
            metrics::counter!("waybill_schedule_skips_total", "schedule" => schedule.name.clone())
                .increment(1);
            continue;
        }
        let job_id = waybill_schema::new_id();
        if !schedules::record_fire(conn, &schedule.name, fire_at, Some(job_id)).await? {
            continue;
        }
        let job = RawJob {
            kind: schedule.kind.clone(),
            version: schedule.version,
            queue: schedule.queue.clone(),
            max_attempts: schedule.max_attempts,
            payload: schedule.payload.clone(),
        };
        enqueue_raw(conn, job, Enqueue { id: Some(job_id), ..Enqueue::default() }).await?;
        metrics::counter!("waybill_schedule_fires_total", "schedule" => schedule.name.clone()).increment(1);
        last_job = Some(job_id);
        fired = Some((fire_at, job_id));
        enqueued += 1;
    }
    schedules::advance(conn, &schedule.name, spec.next(now)?, fired).await?;
    Ok(enqueued)
}

/// The times to fire now. `next_at` is due; whatever followed it until now was missed.
fn times(
    spec: &Spec,
    schedule: &ScheduleRow,
    now: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, SchedulerError> {
    let missed = spec.between(schedule.next_at, now, usize::try_from(schedule.missed_limit).unwrap_or(1))?;
    Ok(match (schedule.missed, missed.last()) {
        // Nothing passed beyond the time that is due: the ordinary case.
        (_, None) => vec![schedule.next_at],
        (Missed::Skip, Some(newest)) => {
            // Fires only if its newest time has just come, within the tick that noticed it.
            let late = now - *newest;
            if late <= chrono::TimeDelta::seconds(1) { vec![*newest] } else { Vec::new() }
        }
        (Missed::Once, Some(newest)) => vec![*newest],
        (Missed::All, Some(_)) => {
            let mut all = vec![schedule.next_at];
            all.extend(missed);
            let limit = usize::try_from(schedule.missed_limit).unwrap_or(1);
            let surplus = all.len().saturating_sub(limit);
            all.split_off(surplus)
        }
    })
}

async fn lives(conn: &mut Conn, job: Option<Uuid>) -> Result<bool, SchedulerError> {
    match job {
        Some(id) => Ok(schedules::job_lives(conn, id).await?),
        None => Ok(false),
    }
}
