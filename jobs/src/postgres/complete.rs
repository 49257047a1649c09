//! Ending a run for good: from `running` to history, or to the dead letters.
//!
//! Each function is one statement for any number of jobs, answers with the ids whose claim still held, and leaves the
//! others alone. All of them may be called inside a transaction.

use std::collections::HashSet;

use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Uuid as SqlUuid};
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
pub(super) struct Ended {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

pub(super) fn ids(rows: Vec<Ended>) -> Vec<Uuid> {
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
         select coalesce(array_agg(id), '{}') as ids from gone"
        )
    };
}

/// One row for all: to send each and to read it costs more than to gather them.
#[derive(QueryableByName)]
struct Gone {
    #[diesel(sql_type = Array<SqlUuid>)]
    ids: Vec<Uuid>,
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
        .get_result(conn)
        .await
        .map(|gone: Gone| gone.ids)
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
    .get_result(conn)
    .await
    .map(|gone: Gone| gone.ids)
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
pub(super) async fn end_rest<'a>(
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
