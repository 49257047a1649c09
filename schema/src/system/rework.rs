//! What operators do to jobs, for any number in one statement. Each is guarded by where the job must be, and answers with the
//! ids it touched: the others have moved meanwhile.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

/// A job that was touched.
#[derive(Debug, Clone, QueryableByName)]
pub struct Touched {
    /// Its id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its queue, for a hint to its workers.
    #[diesel(sql_type = Text)]
    pub queue: String,
}

/// Queues dead jobs again under their ids, with all their attempts anew and their history kept. Not those whose
/// arguments were erased: nothing is left to run.
pub async fn revive(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Touched>> {
    sql("with gone as (delete from dead_letters where id = any($1) and erased_at is null returning *)
         insert into jobs (id, kind, version, queue, priority, state, run_at, attempt, max_attempts, snoozes, claim,
             partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, failures,
             created_at, limit_key, flow_id, step, subject_id, compensates, cancel, undo, scheduled)
         select id, kind, version, queue, priority, 'queued', clock_timestamp(), 0, max_attempts, snoozes, claim,
             partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, failures,
             created_at, limit_key, flow_id, step, subject_id, compensates, cancel, undo, scheduled
         from gone
         returning id, queue")
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await
}

/// Enqueues finished jobs once more, as new jobs under the ids `fresh`, caused by the old ones. They are no part of the flow
/// that the old ones were part of: that is over. Those whose arguments were erased cannot be.
pub async fn repeat(conn: &mut Conn, ids: &[Uuid], fresh: &[Uuid]) -> QueryResult<Vec<Touched>> {
    sql("insert into jobs (id, kind, version, queue, priority, state, run_at, max_attempts, partition_key, correlation_id,
             causation_id, owner_id, payload, limit_key, subject_id, compensates, scheduled)
         select t.fresh, kind, version, queue, priority, 'queued', clock_timestamp(), max_attempts, partition_key,
             correlation_id, id, owner_id, payload, limit_key, subject_id, compensates, scheduled
         from unnest($1, $2) as t(old, fresh) join job_history h on h.id = t.old
         where h.erased_at is null
         returning id, queue")
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(fresh)
    .load(conn)
    .await
}

/// Makes jobs due that wait for their time: for a backoff, or since they were enqueued for later.
pub async fn hurry(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Touched>> {
    sql("update jobs set state = 'queued', run_at = clock_timestamp()
         where id = any($1) and state = 'scheduled' returning id, queue")
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await
}

/// Moves jobs that do not run, and dead ones, to the history as discarded.
pub async fn discard(conn: &mut Conn, ids: &[Uuid], actor: &str) -> QueryResult<Vec<Touched>> {
    sql(concat!(
        "with letters as (delete from dead_letters where id = any($1) returning *),
         waiting as (delete from jobs where id = any($1) and state <> 'running' returning *),
         kept as (
             insert into job_history (",
        crate::job_columns!(),
        ", state, failures, reason)
             select ",
        crate::job_columns!(),
        ", 'discarded', failures, 'discarded by ' || $2 || '; was: ' || reason
             from letters
             union all
             select ",
        crate::job_columns!(),
        ", 'discarded', failures, 'discarded by ' || $2
             from waiting)
         select id, queue from letters union all select id, queue from waiting"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Text, _>(actor)
    .load(conn)
    .await
}
