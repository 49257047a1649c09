//! Changes of schedules, each in one transaction with the record of who made it.

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection;
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{Enqueue, Scheduled, kinds::list};
use waybill_schema::{
    Conn,
    schedules::{
        self, Overlap, ScheduleRow, manage,
        spec::{Spec, SpecError},
    },
    system::actions,
};

use super::dto::{Missed, ScheduleBody};
use crate::error::{ApiError, ApiResult, FieldError, codes};

/// Reads a schedule as a client wants it, with every fault at once; its first time comes after `now`.
pub fn parse(name: &str, body: ScheduleBody, now: DateTime<Utc>) -> ApiResult<ScheduleRow> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, message: String| {
        faults.push(FieldError { field: field.to_owned(), code: "invalid", message });
    };
    if !is_name(name) {
        let rule = "1 to 63 of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit";
        fault("name", rule.to_owned());
    }
    let time_zone = body.time_zone.unwrap_or_else(|| "UTC".to_owned());
    let mut next_at = None;
    match Spec::parse(&body.spec, &time_zone).and_then(|spec| spec.next(now)) {
        Ok(Some(next)) => next_at = Some(next),
        Ok(None) => fault("spec", "that time is past".to_owned()),
        Err(error @ SpecError::TimeZone(_)) => fault("time_zone", error.to_string()),
        Err(error) => fault("spec", error.to_string()),
    }
    let missed: Missed = body.missed.unwrap_or(Missed::Once);
    if missed == Missed::All && body.missed_limit.is_none() {
        fault("missed_limit", "under `all`, say how many missed times may fire at most".to_owned());
    }
    let mut payload = body.arguments.unwrap_or_else(|| json!({}));
    let kind = list::find(&body.kind);
    match kind.map(|kind| kind.check(&payload)) {
        None => {
            let known: Vec<_> = list::ALL.iter().map(|kind| kind.kind).collect();
            fault("kind", format!("is none of {}", known.join(", ")));
        }
        Some(_) if kind.is_some_and(|kind| kind.sealed) => {
            fault("kind", "its arguments are sealed, and a schedule keeps them in the open".to_owned());
        }
        Some(Err(error)) => fault("arguments", error.to_string()),
        Some(Ok(read)) => payload = read,
    }
    match kind {
        Some(kind) if faults.is_empty() => Ok(ScheduleRow {
            name: name.to_owned(),
            origin: "api".to_owned(),
            spec: body.spec.trim().to_owned(),
            time_zone,
            missed: missed.into(),
            missed_limit: body.missed_limit.unwrap_or(1),
            overlap: body.overlap.map_or(Overlap::Skip, Into::into),
            paused: body.paused.unwrap_or(false),
            kind: kind.kind.to_owned(),
            version: kind.version,
            queue: kind.queue.to_owned(),
            max_attempts: kind.max_attempts,
            payload,
            next_at,
            last_at: None,
            last_job_id: None,
            problem: None,
        }),
        _ => Err(ApiError::validation(faults)),
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(allowed)
        && name.chars().all(|c| allowed(c) || matches!(c, '.' | '-' | '_'))
}

/// Makes the schedule or replaces it, which wakes it or puts it to rest only if `paused` says so; answers whether it is new.
pub async fn put(conn: &mut Conn, actor: &str, row: &ScheduleRow, paused: Option<bool>) -> ApiResult<bool> {
    conn.transaction(async |conn| {
        let fresh = manage::create(conn, row).await?;
        if !fresh && !manage::replace(conn, row, paused).await? {
            return Err(of_code(&row.name));
        }
        let action = if fresh { "schedule.create" } else { "schedule.replace" };
        let detail = json!({ "spec": row.spec, "time_zone": row.time_zone, "kind": row.kind });
        actions::record(conn, actor, action, &row.name, &detail).await?;
        Ok(fresh)
    })
    .await
}

/// Removes a schedule of origin `api`.
pub async fn delete(conn: &mut Conn, actor: &str, name: &str) -> ApiResult<()> {
    conn.transaction(async |conn| {
        let row = manage::lock(conn, name).await?.ok_or_else(unknown)?;
        if !manage::delete(conn, &row.name).await? {
            return Err(of_code(name));
        }
        actions::record(conn, actor, "schedule.delete", name, &json!({ "spec": row.spec })).await?;
        Ok(())
    })
    .await
}

/// Rests a schedule or wakes it.
pub async fn set_paused(conn: &mut Conn, actor: &str, name: &str, paused: bool) -> ApiResult<ScheduleRow> {
    conn.transaction(async |conn| {
        let row = manage::lock(conn, name).await?.ok_or_else(unknown)?;
        // Times that pass while it rests are not missed: nobody wanted them.
        let next_at = if paused || !row.paused {
            row.next_at
        } else {
            let spec = Spec::parse(&row.spec, &row.time_zone).map_err(|e| {
                ApiError::conflict(codes::CONFLICT, format!("the schedule cannot be read: {e}"))
            })?;
            spec.next(schedules::now(conn).await?).map_err(ApiError::internal)?
        };
        manage::set_paused(conn, name, paused, next_at).await?;
        let action = if paused { "schedule.pause" } else { "schedule.resume" };
        actions::record(conn, actor, action, name, &json!({})).await?;
        manage::find(conn, name).await?.ok_or_else(unknown)
    })
    .await
}

/// Enqueues the schedule's job now, beside its times; answers with the job's id and queue. The job is the one that is there
/// already, if its kind allows no other.
pub async fn run(conn: &mut Conn, actor: &str, name: &str, force: bool) -> ApiResult<(Uuid, String)> {
    conn.transaction(async |conn| {
        let row = manage::lock(conn, name).await?.ok_or_else(unknown)?;
        if let Some(last) = row.last_job_id
            && row.overlap == Overlap::Skip
            && !force
            && schedules::job_lives(conn, last).await?
        {
            let detail = "its last job still lives, and the schedule allows no overlap";
            return Err(ApiError::conflict(codes::CONFLICT, detail).with("job_id", last.to_string()));
        }
        let kind = list::find(&row.kind).filter(|kind| kind.version == row.version).ok_or_else(|| {
            ApiError::conflict(codes::CONFLICT, "this version of the API does not know the schedule's kind")
        })?;
        let mut scheduled = Scheduled { schedule: row.name, at: schedules::now(conn).await? };
        let partition_key = (row.overlap == Overlap::Queue).then(|| scheduled.partition_key());
        let job = kind.enqueue(conn, row.payload, Enqueue { partition_key, ..Enqueue::default() }).await?;
        scheduled.at = manage::record_manual(conn, name, job.id(), !job.is_new()).await?;
        if job.is_new() {
            scheduled.tell(conn, job.id()).await?;
        }
        let detail = json!({ "job_id": job.id(), "existing": !job.is_new(), "force": force });
        actions::record(conn, actor, "schedule.run", name, &detail).await?;
        Ok((job.id(), row.queue))
    })
    .await
}

/// 404.
pub fn unknown() -> ApiError {
    ApiError::not_found("schedule")
}

fn of_code(name: &str) -> ApiError {
    let detail = format!("{name} is declared by the program: it may be paused and run, not changed");
    ApiError::conflict(codes::CONFLICT, detail)
}
