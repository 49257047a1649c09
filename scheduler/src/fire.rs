//! Firing what is due.

use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_jobs::{Enqueue, EnqueueError, Enqueued, RawJob, Scheduled, kinds::list, try_enqueue_raw};
use waybill_schema::{
    Conn, Pool,
    schedules::{
        self, Missed, Overlap, ScheduleRow,
        spec::{Spec, SpecError},
    },
};

use crate::SchedulerError;

/// A time that nobody fired for this long counts as missed; before, it is only late.
const LATE: TimeDelta = TimeDelta::minutes(1);

/// Schedules fired in one call: a tick must end.
const MOST: usize = 100;

/// Fires every due schedule, each in a transaction of its own that also moves it on: a scheduler that dies half-way has
/// done nothing, and one schedule that cannot be fired does not hold up the others. Returns how many jobs were enqueued.
pub async fn due(pool: &Pool) -> Result<usize, SchedulerError> {
    let mut conn = pool.get().await?;
    let mut enqueued = 0;
    let mut passed = Vec::new();
    let mut fired = 0;
    while fired < MOST {
        // Counted when it is durable, and not what is taken back.
        match conn.transaction(async |conn| one(conn, &passed).await).await? {
            Some(Fired::Jobs { schedule, jobs, skipped }) => {
                count("waybill_schedule_fires_total", &schedule, jobs);
                count("waybill_schedule_skips_total", &schedule, skipped);
                enqueued += jobs;
                fired += 1;
            }
            Some(Fired::Rests) => fired += 1,
            Some(Fired::Refused(schedule)) => {
                count("waybill_schedule_failures_total", &schedule, 1);
                passed.push(schedule);
            }
            None => break,
        }
    }
    Ok(enqueued)
}

fn count(name: &'static str, schedule: &str, n: usize) {
    metrics::counter!(name, "schedule" => schedule.to_owned()).increment(n as u64);
}

/// What became of a schedule that was due.
enum Fired {
    /// It was moved on, with so many new jobs and so many times that were left out.
    Jobs { schedule: String, jobs: usize, skipped: usize },
    /// It cannot be fired.
    Rests,
    /// The database refused this one. It stays due for the next tick: what was in the way may be gone then.
    Refused(String),
}

/// Fires the schedule that has been due longest, but for those `passed` over; nothing if none is, or others are at it.
async fn one(conn: &mut Conn, passed: &[String]) -> Result<Option<Fired>, SchedulerError> {
    let Some(schedule) = schedules::lock_due(conn, passed).await? else { return Ok(None) };
    let now = schedules::now(conn).await?;
    // What it says cannot be read by this version: it rests, and says why. Nothing has been written yet.
    let plan = match plan(&schedule, now) {
        Ok(plan) => plan,
        Err(error) => {
            tracing::error!(schedule = schedule.name, %error, "a schedule cannot be fired and rests");
            schedules::fail(conn, &schedule.name, &error.to_string()).await?;
            return Ok(Some(Fired::Rests));
        }
    };
    // In a savepoint: what the failed one has written goes back.
    match conn.transaction(async |conn| fire(conn, &schedule, &plan).await).await {
        // The arguments fit no more, or may not be enqueued from here: that must hold up no other schedule.
        Err(SchedulerError::Enqueue(error)) if !matches!(error, EnqueueError::Database(_)) => {
            tracing::error!(schedule = schedule.name, %error, "a schedule cannot be fired and rests");
            schedules::fail(conn, &schedule.name, &error.to_string()).await?;
            Ok(Some(Fired::Rests))
        }
        // A constraint, a lock that was not to be had. If it is the connection that broke, this says so.
        Err(error @ (SchedulerError::Enqueue(_) | SchedulerError::Database(_))) => {
            schedules::trouble(conn, &schedule.name, &error.to_string()).await?;
            tracing::error!(schedule = schedule.name, %error, "a schedule was not fired and is tried again");
            Ok(Some(Fired::Refused(schedule.name)))
        }
        fired => {
            let (jobs, skipped) = fired?;
            Ok(Some(Fired::Jobs { schedule: schedule.name, jobs, skipped }))
        }
    }
}

/// The times to fire now, and the next one after them.
struct Plan {
    times: Vec<DateTime<Utc>>,
    next: Option<DateTime<Utc>>,
}

fn plan(schedule: &ScheduleRow, now: DateTime<Utc>) -> Result<Plan, SpecError> {
    let spec = Spec::parse(&schedule.spec, &schedule.time_zone)?;
    Ok(Plan { times: times(&spec, schedule, now)?, next: spec.next(now)? })
}

/// `next_at` is due; whatever followed it until now came while nobody looked.
fn times(spec: &Spec, schedule: &ScheduleRow, now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, SpecError> {
    let Some(due) = schedule.next_at else { return Ok(Vec::new()) };
    let limit = usize::try_from(schedule.missed_limit).unwrap_or(1).max(1);
    let later = spec.between(due, now, limit)?;
    let newest = later.last().copied().unwrap_or(due);
    Ok(match schedule.missed {
        Missed::Skip if now - newest > LATE => Vec::new(),
        Missed::Skip | Missed::Once => vec![newest],
        Missed::All => {
            let mut all = vec![due];
            all.extend(later);
            let surplus = all.len().saturating_sub(limit);
            all.split_off(surplus)
        }
    })
}

/// Answers with the jobs that are new, and the times that were left out.
async fn fire(
    conn: &mut Conn,
    schedule: &ScheduleRow,
    plan: &Plan,
) -> Result<(usize, usize), SchedulerError> {
    let mut fired = None;
    let mut enqueued = 0;
    let mut skipped = 0;
    for (place, fire_at) in plan.times.iter().enumerate() {
        if !schedules::record_fire(conn, &schedule.name, *fire_at).await? {
            continue;
        }
        // Of several times only one could run: the newest, since it sees what the others would have seen.
        let is_newest = place + 1 == plan.times.len();
        if schedule.overlap == Overlap::Skip && (!is_newest || lives(conn, schedule.last_job_id).await?) {
            skipped += 1;
            continue;
        }
        let job = enqueue(conn, schedule, *fire_at).await?;
        schedules::record_job(conn, &schedule.name, *fire_at, job.id(), !job.is_new()).await?;
        fired = Some((*fire_at, job.id()));
        enqueued += usize::from(job.is_new());
    }
    schedules::advance(conn, &schedule.name, plan.next, fired).await?;
    Ok((enqueued, skipped))
}

/// By the kind's own definition if this version knows it; else, as a newer API wrote it into the row, for a newer worker.
async fn enqueue(
    conn: &mut Conn,
    schedule: &ScheduleRow,
    fire_at: DateTime<Utc>,
) -> Result<Enqueued, EnqueueError> {
    let scheduled = Scheduled { schedule: schedule.name.clone(), at: fire_at };
    let partition_key = (schedule.overlap == Overlap::Queue).then(|| scheduled.partition_key());
    let options = Enqueue { partition_key, ..Enqueue::default() };
    let job = match list::find(&schedule.kind).filter(|info| info.version == schedule.version) {
        Some(info) => info.enqueue(conn, schedule.payload.clone(), options).await?,
        None => {
            let job = RawJob {
                kind: schedule.kind.clone(),
                version: schedule.version,
                queue: schedule.queue.clone(),
                max_attempts: schedule.max_attempts,
                payload: schedule.payload.clone(),
            };
            try_enqueue_raw(conn, job, options).await?
        }
    };
    // One that was there already is for what it was enqueued for.
    if job.is_new() {
        scheduled.tell(conn, job.id()).await?;
    }
    Ok(job)
}

async fn lives(conn: &mut Conn, job: Option<Uuid>) -> Result<bool, SchedulerError> {
    match job {
        Some(id) => Ok(schedules::job_lives(conn, id).await?),
        None => Ok(false),
    }
}
