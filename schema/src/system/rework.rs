//! What operators do to jobs, for any number in one statement. Each is guarded by where the job must be, and answers with the
//! ids it touched: the others have moved meanwhile.
//!
//! A slot that somebody has is not locked to see whose it is: a completion of many, which gives slots up in the order in which
//! its jobs are found, would wait for one while it is waited for because of another.

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

/// The scope of a slot that is taken again, by that of the one that was given up: a window does not begin anew.
macro_rules! scope {
    () => {
        "case unique_scope when 'live' then 'live' else 'waiting' end"
    };
}

/// Takes the slots of `wanted`, of two that want the same the first by `id`; who has which is read afterwards.
macro_rules! take {
    () => {
        concat!(
            " select t.job from (
                 select array_agg(unique_key order by id) as slots, array_agg(job order by id) as jobs,
                        array_agg(",
            scope!(),
            " order by id) as scopes, array_agg(null::double precision) as withins
                 from wanted) w
             cross join waybill_take_slots(w.slots, w.jobs, w.scopes, w.withins) t
             where w.slots is not null"
        )
    };
}

/// Those who retry jobs with unique slots do so one after the other. Slots are taken in the order of their keys, but by two
/// statements, and what one of them has another one's may wait for.
async fn one_at_a_time(conn: &mut Conn) -> QueryResult<()> {
    sql("select pg_advisory_xact_lock(hashtext('waybill_rework'))").execute(conn).await.map(drop)
}

/// Queues dead jobs again under their ids, with all their attempts anew and their history kept. Not those whose arguments were
/// erased: nothing is left to run. Not those that are steps of a workflow that is over, or turns back: what they would do has been
/// undone around them. And not those whose unique slot another job has, unless `force`: then they run beside it, without one. Of two
/// that want the same slot the older has it. In a transaction.
pub async fn revive(conn: &mut Conn, ids: &[Uuid], force: bool) -> QueryResult<Vec<Touched>> {
    one_at_a_time(conn).await?;
    // Whoever settles a flow has its row locked: it has done so before, and is seen by the statements below, or waits and then
    // finds the job live.
    sql("select id from flows
         where id = any (array(select flow_id from dead_letters where id = any($1) and flow_id is not null))
         order by id for share")
    .bind::<Array<SqlUuid>, _>(ids)
    .execute(conn)
    .await?;
    sql(concat!(
        "with wanted as materialized (
             select d.id, d.id as job, d.unique_key, d.unique_scope from dead_letters d
             where d.id = any($1) and d.unique_key is not null and d.erased_at is null and not ",
        shut!(),
        " order by d.id for update of d)",
        take!()
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .execute(conn)
    .await?;
    // What is left of its own window is in nobody's way but others'.
    sql(concat!(
        "update job_uniques u set scope = ",
        scope!(),
        " from dead_letters d
         where d.id = any($1) and d.unique_key = u.key and u.job_id = d.id and u.scope = 'window' and d.erased_at is null
           and not ",
        shut!()
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .execute(conn)
    .await?;
    sql(concat!(
        "with letters as materialized (
             select d.id, d.unique_key, u.key is not null as has_slot
             from dead_letters d
             left join job_uniques u on u.key = d.unique_key and u.job_id = d.id and u.scope <> 'window'
             where d.id = any($1) and d.erased_at is null and not ",
        shut!(),
        " order by d.id for update of d),
         gone as (
             delete from dead_letters d using letters l
             where d.id = l.id and (l.unique_key is null or $2 or l.has_slot)
             returning d.*, l.has_slot)
         insert into jobs (id, kind, version, queue, priority, state, run_at, attempt, max_attempts, snoozes, claim,
             partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, failures,
             created_at, limit_key, flow_id, step, subject_id, compensates, cancel, undo, scheduled, unique_key)
         select id, kind, version, queue, priority, 'queued', clock_timestamp(), 0, max_attempts, snoozes, claim,
             partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, failures,
             created_at, limit_key, flow_id, step, subject_id, compensates, cancel, undo, scheduled,
             case when has_slot then unique_key end
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
/// [`revive`], but that a job within its own window is in nobody's way but others'. In a transaction.
pub async fn repeat(conn: &mut Conn, ids: &[Uuid], fresh: &[Uuid], force: bool) -> QueryResult<Vec<Touched>> {
    one_at_a_time(conn).await?;
    // Locked, so that whoever is erased meanwhile does not leave a slot behind.
    sql(concat!(
        "with wanted as materialized (
             select h.id, o.fresh as job, h.unique_key, h.unique_scope
             from unnest($1, $2) as o(old, fresh) join job_history h on h.id = o.old
             where h.unique_key is not null and h.erased_at is null order by h.id for share of h)",
        take!()
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(fresh)
    .execute(conn)
    .await?;
    sql(concat!(
        "update job_uniques u set job_id = o.fresh, scope = ",
        scope!(),
        " from unnest($1, $2) as o(old, fresh) join job_history h on h.id = o.old
         where u.key = h.unique_key and u.job_id = h.id and u.scope = 'window' and h.erased_at is null"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(fresh)
    .execute(conn)
    .await?;
    sql("insert into jobs (id, kind, version, queue, priority, state, run_at, max_attempts, partition_key, correlation_id,
             causation_id, owner_id, payload, limit_key, subject_id, compensates, scheduled, unique_key)
         select o.fresh, h.kind, h.version, h.queue, h.priority, 'queued', clock_timestamp(), h.max_attempts, h.partition_key,
             h.correlation_id, h.id, h.owner_id, h.payload, h.limit_key, h.subject_id, h.compensates, h.scheduled, u.key
         from unnest($1, $2) as o(old, fresh)
         join job_history h on h.id = o.old
         left join job_uniques u on u.key = h.unique_key and u.job_id = o.fresh
         where h.erased_at is null and (h.unique_key is null or $3 or u.key is not null)
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
