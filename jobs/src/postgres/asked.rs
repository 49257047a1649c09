//! The end of a run whose job somebody asked to be cancelled: over, or queued again as its own compensation.

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, Bool, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    complete::{Entry, ids},
    put_back::PutBack,
};

/// A run that ended short of done.
pub(super) struct Ending<'a> {
    pub id: Uuid,
    pub claim: i64,
    pub entry: Option<&'a Entry>,
    /// The handler itself said so, whoever asked.
    pub said: bool,
}

impl<'a> From<&'a PutBack> for Ending<'a> {
    fn from(back: &'a PutBack) -> Self {
        Self { id: back.id, claim: back.claim, entry: back.entry.as_ref(), said: false }
    }
}

/// Ends those of `runs` whose job was asked to end; answers with their ids and leaves the others alone.
///
/// One whose kind can undo is queued again, with all its attempts anew, to be undone; a run that was claimed and never
/// started leaves nothing to undo, unless one before it did.
pub(super) async fn end(conn: &mut Conn, runs: &[Ending<'_>]) -> QueryResult<Vec<Uuid>> {
    waybill_schema::sql(concat!("with ended as (
             select j.id, t.claim,
                 j.compensates and (t.began or j.attempt > 1 or j.failures <> '[]') as undoes,
                 coalesce(j.cancel, jsonb_build_object('by', 'handler', 'reason', t.error, 'at', clock_timestamp())) as why,
                 case when t.began then jsonb_build_array(jsonb_build_object('attempt', j.attempt, 'outcome', t.outcome,
                     'error', t.error, 'started_at', j.claimed_at, 'finished_at', clock_timestamp(),
                     'worker_id', j.worker_id)) else '[]' end as entry
             from unnest($1, $2, $3, $4, $5, $6) as t(id, claim, began, outcome, error, said)
             join jobs j on j.id = t.id and j.claim = t.claim
             where j.state = 'running' and not j.undo and (j.cancel is not null or t.said)
             for update of j),
         turned as (
             update jobs j set state = 'queued', undo = true, cancel = e.why, run_at = clock_timestamp(), attempt = 0,
                 worker_id = null, claimed_at = null, failures = j.failures || e.entry
             from ended e where j.id = e.id and j.claim = e.claim and j.state = 'running' and e.undoes
             returning j.id),
         gone as (
             delete from jobs j using ended e
             where j.id = e.id and j.claim = e.claim and j.state = 'running' and not e.undoes
             returning j.*, e.entry, e.why),
         kept as (
             insert into job_history (", waybill_schema::job_columns!(), ",
                 state, failures, finished_at, reason)
             select ", waybill_schema::job_columns!(), ",
                 'cancelled', failures || entry, clock_timestamp(), why ->> 'reason'
             from gone)
         select id from turned union all select id from gone"))
    .bind::<Array<SqlUuid>, _>(runs.iter().map(|run| run.id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(runs.iter().map(|run| run.claim).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(runs.iter().map(|run| run.entry.is_some()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(
        runs.iter().map(|run| run.entry.map_or("cancelled", |entry| entry.outcome)).collect::<Vec<_>>(),
    )
    .bind::<Array<Text>, _>(
        runs.iter().map(|run| run.entry.map_or("", |entry| entry.error.as_str())).collect::<Vec<_>>(),
    )
    .bind::<Array<Bool>, _>(runs.iter().map(|run| run.said).collect::<Vec<_>>())
    .load(conn)
    .await
    .map(ids)
}

/// [`end`] for runs that ended with their worker.
pub(crate) async fn end_lost(conn: &mut Conn, runs: &[(Uuid, i64)], lost: &Entry) -> QueryResult<Vec<Uuid>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let runs: Vec<_> = runs
        .iter()
        .map(|(id, claim)| Ending { id: *id, claim: *claim, entry: Some(lost), said: false })
        .collect();
    end(conn, &runs).await
}
