//! Ending a run: from `running` to history, to the dead letters, or back into the queue.
//!
//! Each function is one statement for any number of jobs, answers with the ids whose claim still held, and leaves the
//! others alone. All of them may be called inside a transaction.

use std::{collections::HashSet, time::Duration};

use diesel::sql_types::{Array, BigInt, Double, Jsonb, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    asked::{self, Ending},
    tid::{Tid, TidSql},
};

/// Longest error text kept with an attempt, in characters.
const ERROR_LIMIT: usize = 2_000;

#[derive(QueryableByName)]
struct Ended {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

fn ids(rows: Vec<Ended>) -> Vec<Uuid> {
    rows.into_iter().map(|row| row.id).collect()
}

/// What the history of a job says of one attempt that did not end in done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `failed`, `timed_out`, `panicked`, `retry`, `snoozed`, `interrupted`, `worker_lost`, `cancelled`, `discarded`.
    pub outcome: &'static str,
    /// Why.
    pub error: String,
}

impl Entry {
    /// An entry; the text is cut to 2,000 characters, and freed of NUL, which Postgres does not take.
    pub fn new(outcome: &'static str, error: impl Into<String>) -> Self {
        let mut error: String = error.into();
        if error.contains('\0') {
            error = error.replace('\0', "\u{fffd}");
        }
        if let Some((end, _)) = error.char_indices().nth(ERROR_LIMIT) {
            error.truncate(end);
        }
        Self { outcome, error }
    }
}

/// A job that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The job.
    pub id: Uuid,
    /// Its fencing token.
    pub claim: i64,
    /// Where its row probably is.
    pub place: Tid,
    /// `done` with what its owner may read, or `cancelled` or `discarded` with the reason.
    pub end: End,
}

/// How a job ended for good, short of dying.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With or without a result.
    Done(Option<Value>),
    /// Somebody no longer wanted it.
    Cancelled(Entry),
    /// It made no sense any more.
    Discarded(Entry),
}

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

macro_rules! move_done {
    ($found:literal) => {
        concat!(
            "with gone as (
             delete from jobs j using ",
            $found,
            " and j.claim = t.claim and j.state = 'running'
             returning j.*, t.result),
         kept as (
             insert into job_history (",
            waybill_schema::job_columns!(),
            ",
                 state, failures, finished_at, result, reason)
             select ",
            waybill_schema::job_columns!(),
            ",
                 case when undo then 'cancelled' else 'done' end, failures, clock_timestamp(), result,
                 case when undo then cancel ->> 'reason' end
             from gone)
         select id from gone"
        )
    };
}

/// Moves jobs to the history as done; the hot path, so it carries nothing but results.
pub async fn complete_done(
    conn: &mut Conn,
    jobs: &[(Uuid, i64)],
    results: &[Option<Value>],
) -> QueryResult<Vec<Uuid>> {
    waybill_schema::sql(move_done!("unnest($1, $2, $3) as t(id, claim, result) where j.id = t.id"))
        .bind::<Array<SqlUuid>, _>(jobs.iter().map(|job| job.0).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(jobs.iter().map(|job| job.1).collect::<Vec<_>>())
        .bind::<Array<Nullable<Jsonb>>, _>(results)
        .load(conn)
        .await
        .map(ids)
}

/// The same for rows that are where they were when they were claimed; others are left alone.
async fn complete_in_place(
    conn: &mut Conn,
    places: &[Tid],
    jobs: &[(Uuid, i64)],
    results: &[Option<Value>],
) -> QueryResult<Vec<Uuid>> {
    waybill_schema::sql(move_done!(
        "unnest($1, $2, $3, $4) as t(id, claim, result, place) where j.ctid = t.place and j.id = t.id"
    ))
    .bind::<Array<SqlUuid>, _>(jobs.iter().map(|job| job.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(jobs.iter().map(|job| job.1).collect::<Vec<_>>())
    .bind::<Array<Nullable<Jsonb>>, _>(results)
    .bind::<Array<TidSql>, _>(places)
    .load(conn)
    .await
    .map(ids)
}

/// Most rows are found without a search of the index, a sixth of what the statement costs; the rest (something was noted on them, or they
/// are not ours any more) by their ids.
async fn complete_found(
    conn: &mut Conn,
    places: &[Tid],
    jobs: &[(Uuid, i64)],
    results: &[Option<Value>],
) -> QueryResult<Vec<Uuid>> {
    if places.contains(&Tid::UNKNOWN) {
        return complete_done(conn, jobs, results).await;
    }
    let mut held = complete_in_place(conn, places, jobs, results).await?;
    if held.len() < jobs.len() {
        let found: HashSet<_> = held.iter().copied().collect();
        let (rest, results): (Vec<_>, Vec<_>) = jobs
            .iter()
            .copied()
            .zip(results.iter().cloned())
            .filter(|(job, _)| !found.contains(&job.0))
            .unzip();
        held.extend(complete_done(conn, &rest, &results).await?);
    }
    Ok(held)
}

/// Moves jobs to the history.
pub async fn complete(conn: &mut Conn, jobs: &[Completion]) -> QueryResult<Vec<Uuid>> {
    let mut done = Vec::with_capacity(jobs.len());
    let mut places = Vec::with_capacity(jobs.len());
    let mut results = Vec::with_capacity(jobs.len());
    let mut closed = Vec::new();
    for job in jobs {
        match &job.end {
            End::Done(result) => {
                done.push((job.id, job.claim));
                places.push(job.place);
                results.push(result.clone());
            }
            End::Cancelled(entry) => closed.push((job.id, job.claim, "cancelled", entry)),
            End::Discarded(entry) => closed.push((job.id, job.claim, "discarded", entry)),
        }
    }
    let mut held =
        if done.is_empty() { Vec::new() } else { complete_found(conn, &places, &done, &results).await? };
    if !closed.is_empty() {
        held.extend(close(conn, &closed).await?);
        let rest = closed.iter().map(|job| Ending {
            id: job.0,
            claim: job.1,
            entry: Some(job.3),
            said: job.2 == "cancelled",
        });
        end_rest(conn, &mut held, rest).await?;
    }
    Ok(held)
}

/// What the statements above left alone is not ours any more, or was asked to end while it ran.
async fn end_rest<'a>(
    conn: &mut Conn,
    held: &mut Vec<Uuid>,
    runs: impl Iterator<Item = Ending<'a>>,
) -> QueryResult<()> {
    let rest: Vec<_> = {
        let held: HashSet<_> = held.iter().collect();
        runs.filter(|run| !held.contains(&run.id)).collect()
    };
    if !rest.is_empty() {
        held.extend(asked::end(conn, &rest).await?);
    }
    Ok(())
}

async fn close(conn: &mut Conn, jobs: &[(Uuid, i64, &'static str, &Entry)]) -> QueryResult<Vec<Uuid>> {
    waybill_schema::sql(concat!("with gone as (
             delete from jobs j using unnest($1, $2, $3, $4, $5) as t(id, claim, ended, outcome, error)
             where j.id = t.id and j.claim = t.claim and j.state = 'running'
               and (t.ended <> 'cancelled' or j.undo or not j.compensates)
             returning j.*, t.ended, t.error,
                 jsonb_build_object('attempt', j.attempt, 'outcome', t.outcome, 'error', t.error,
                     'started_at', j.claimed_at, 'finished_at', clock_timestamp(), 'worker_id', j.worker_id) as entry),
         kept as (
             insert into job_history (", waybill_schema::job_columns!(), ",
                 state, failures, finished_at, reason)
             select ", waybill_schema::job_columns!(), ",
                 ended, failures || entry, clock_timestamp(),
                 case when ended = 'cancelled' then coalesce(cancel ->> 'reason', error) else error end
             from gone)
         select id from gone"))
    .bind::<Array<SqlUuid>, _>(jobs.iter().map(|job| job.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(jobs.iter().map(|job| job.1).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(jobs.iter().map(|job| job.2).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(jobs.iter().map(|job| job.3.outcome).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(jobs.iter().map(|job| job.3.error.as_str()).collect::<Vec<_>>())
    .load(conn)
    .await
    .map(ids)
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

/// Moves jobs to the dead letters: (id, claim, the attempt's entry, why there is no other attempt). One that was asked to
/// end is cancelled instead.
pub async fn bury(conn: &mut Conn, jobs: &[(Uuid, i64, Entry, &'static str)]) -> QueryResult<Vec<Uuid>> {
    let mut held = waybill_schema::sql(concat!("with gone as (
             delete from jobs j using unnest($1, $2, $3, $4, $5) as t(id, claim, outcome, error, reason)
             where j.id = t.id and j.claim = t.claim and j.state = 'running' and (j.cancel is null or j.undo)
             returning j.*, t.reason,
                 jsonb_build_object('attempt', j.attempt, 'outcome', t.outcome, 'error', t.error,
                     'started_at', j.claimed_at, 'finished_at', clock_timestamp(), 'worker_id', j.worker_id) as entry),
         kept as (
             insert into dead_letters (", waybill_schema::job_columns!(), ",
                 failures, died_at, reason)
             select ", waybill_schema::job_columns!(), ",
                 failures || entry, clock_timestamp(), reason
             from gone)
         select id from gone"))
    .bind::<Array<SqlUuid>, _>(jobs.iter().map(|job| job.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(jobs.iter().map(|job| job.1).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(jobs.iter().map(|job| job.2.outcome).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(jobs.iter().map(|job| job.2.error.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(jobs.iter().map(|job| job.3).collect::<Vec<_>>())
    .load(conn)
    .await
    .map(ids)?;
    let rest = jobs.iter().map(|job| Ending { id: job.0, claim: job.1, entry: Some(&job.2), said: false });
    end_rest(conn, &mut held, rest).await?;
    Ok(held)
}
