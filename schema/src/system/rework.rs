//! What operators do to jobs, for any number in one statement. Each is guarded by where the job must be, and answers with the
//! ids it touched: the others have moved meanwhile.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Bool, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::obstacles::shut;
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

/// Queues dead jobs again under their ids, with all their attempts anew and their history kept. Not those whose arguments were
/// erased: nothing is left to run. Not those that are steps of a workflow that is over, or turns back: what they would do has been
/// undone around them. And not those whose unique slot another job has, unless `force`: then they run beside it, without one. Of two
/// that want the same slot the older has it.
pub async fn revive(conn: &mut Conn, ids: &[Uuid], force: bool) -> QueryResult<Vec<Touched>> {
    // Whoever settles a flow has its row locked: it has done so before, and is seen by the statement below, or waits and then
    // finds the job live.
    sql("select id from flows
         where id = any (array(select flow_id from dead_letters where id = any($1) and flow_id is not null))
         order by id for share")
    .bind::<Array<SqlUuid>, _>(ids)
    .execute(conn)
    .await?;
    sql(concat!(
        "with letters as materialized (
             select d.id, d.unique_key, d.unique_scope from dead_letters d
             where d.id = any($1) and d.erased_at is null and not ",
        shut!(),
        " order by d.id for update of d),
         taken as (
             insert into job_uniques as u (key, job_id, scope)
             select distinct on (unique_key) unique_key, id, case unique_scope when 'live' then 'live' else 'waiting' end
             from letters where unique_key is not null order by unique_key, id
             on conflict (key) do update
             set job_id = excluded.job_id, scope = excluded.scope,
                 until = case when u.job_id = excluded.job_id then u.until end
             where u.job_id = excluded.job_id or u.scope = 'window' and u.until <= clock_timestamp()
             returning u.job_id),
         gone as (
             delete from dead_letters d using letters l
             where d.id = l.id and (l.unique_key is null or $2 or l.id in (select job_id from taken))
             returning d.*)
         insert into jobs (id, kind, version, queue, priority, state, run_at, attempt, max_attempts, snoozes, claim,
             partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, failures,
             created_at, limit_key, flow_id, step, subject_id, compensates, cancel, undo, scheduled, unique_key)
         select id, kind, version, queue, priority, 'queued', clock_timestamp(), 0, max_attempts, snoozes, claim,
             partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, failures,
             created_at, limit_key, flow_id, step, subject_id, compensates, cancel, undo, scheduled,
             case when id in (select job_id from taken) then unique_key end
         from gone
         returning id, queue"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Bool, _>(force)
    .load(conn)
    .await
}

/// Enqueues finished jobs once more, as new jobs under the ids `fresh`, caused by the old ones. They are no part of the flow
/// that the old ones were part of: that is over. Those whose arguments were erased cannot be; with unique slots it is as in
/// [`revive`], but that a job within its own window is in nobody's way but others'.
pub async fn repeat(conn: &mut Conn, ids: &[Uuid], fresh: &[Uuid], force: bool) -> QueryResult<Vec<Touched>> {
    sql("with old as materialized (
             select t.fresh, h.*
             from unnest($1, $2) as t(old, fresh) join job_history h on h.id = t.old
             where h.erased_at is null),
         taken as (
             insert into job_uniques as u (key, job_id, scope)
             select distinct on (unique_key) unique_key, fresh, case unique_scope when 'live' then 'live' else 'waiting' end
             from old where unique_key is not null order by unique_key, id
             on conflict (key) do update
             set job_id = excluded.job_id, scope = excluded.scope,
                 until = case when u.until > clock_timestamp() then u.until end
             where u.scope = 'window'
               and (u.until <= clock_timestamp()
                    or exists (select from old o where o.fresh = excluded.job_id and o.id = u.job_id))
             returning u.job_id)
         insert into jobs (id, kind, version, queue, priority, state, run_at, max_attempts, partition_key, correlation_id,
             causation_id, owner_id, payload, limit_key, subject_id, compensates, scheduled, unique_key)
         select fresh, kind, version, queue, priority, 'queued', clock_timestamp(), max_attempts, partition_key,
             correlation_id, id, owner_id, payload, limit_key, subject_id, compensates, scheduled,
             case when fresh in (select job_id from taken) then unique_key end
         from old
         where unique_key is null or $3 or fresh in (select job_id from taken)
         returning id, queue")
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(fresh)
    .bind::<Bool, _>(force)
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
