//! Ending a run, but not the job: from `running` back into the queue.

use std::time::Duration;

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, Double, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    asked::Ending,
    complete::{Entry, end_rest, ids},
};

/// A job that goes back into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// The job.
    pub id: Uuid,
    /// Its fencing token.
    pub claim: i64,
    /// How long until it may run again. With none it keeps its place in the queue.
    pub delay: Duration,
    /// Whether the attempt is given back.
    pub refund: bool,
    /// Whether it counts as a snooze.
    pub snooze: bool,
    /// For the history; `None` if nothing of the job has run.
    pub entry: Option<Entry>,
}

/// Puts jobs back into the queue: retried, snoozed, interrupted or handed back. One that was asked to end is cancelled instead.
///
/// A job keeps the last 50 entries of its history: one that snoozes for weeks must not grow without end.
pub async fn put_back(conn: &mut Conn, jobs: &[PutBack]) -> QueryResult<Vec<Uuid>> {
    let mut held = waybill_schema::sql(
        "update jobs j
         set state = case when t.delay > 0 then 'scheduled' else 'queued' end,
             run_at = case when t.delay > 0 then clock_timestamp() + t.delay * interval '1 second' else j.run_at end,
             attempt = j.attempt - t.refund, snoozes = j.snoozes + t.snooze,
             worker_id = null, claimed_at = null,
             failures = case when t.outcome is null then j.failures
                 else (case when jsonb_array_length(j.failures) >= 50 then j.failures - 0 else j.failures end)
                     || jsonb_build_object('attempt', j.attempt, 'outcome', t.outcome, 'error', t.error,
                         'started_at', j.claimed_at, 'finished_at', clock_timestamp(), 'worker_id', j.worker_id)
                 end
         from unnest($1, $2, $3, $4, $5, $6, $7) as t(id, claim, delay, refund, snooze, outcome, error)
         where j.id = t.id and j.claim = t.claim and j.state = 'running' and (j.cancel is null or j.undo)
         returning j.id",
    )
    .bind::<Array<SqlUuid>, _>(jobs.iter().map(|job| job.id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(jobs.iter().map(|job| job.claim).collect::<Vec<_>>())
    .bind::<Array<Double>, _>(jobs.iter().map(|job| job.delay.as_secs_f64()).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(jobs.iter().map(|job| i16::from(job.refund)).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(jobs.iter().map(|job| i16::from(job.snooze)).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(
        jobs.iter().map(|job| job.entry.as_ref().map(|entry| entry.outcome)).collect::<Vec<_>>(),
    )
    .bind::<Array<Nullable<Text>>, _>(
        jobs.iter().map(|job| job.entry.as_ref().map(|entry| entry.error.as_str())).collect::<Vec<_>>(),
    )
    .load(conn)
    .await
    .map(ids)?;
    end_rest(conn, &mut held, jobs.iter().map(Ending::from)).await?;
    Ok(held)
}
