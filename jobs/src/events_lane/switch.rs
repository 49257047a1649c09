//! Changing the lane of shards.
//!
//! To the broker: at once. A consumer parks what would overtake a job.
//!
//! To Postgres: what was published and is not handled may be stuck in a broker that is away. It becomes jobs first, in the
//! transaction that changes the lane and before the next event does, so the order holds without waiting for the broker.
//! Its copies at the broker are duplicates when it comes back. To find it, only what was published after `settled_at` needs
//! to be looked at; [`settle`] moves that mark along.

use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use super::{
    item::Lane,
    outbox::{self, Handed, Outgoing, Routes, Which},
    superfluous,
};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    events: i64,
}

#[derive(QueryableByName)]
struct Made {
    #[diesel(sql_type = Array<SqlUuid>)]
    jobs: Vec<Uuid>,
}

#[derive(QueryableByName)]
struct ShardLane {
    #[diesel(sql_type = SmallInt)]
    shard: i16,
    #[diesel(sql_type = Text)]
    lane: String,
}

/// The lanes that shards are on.
pub(crate) async fn lanes(conn: &mut Conn, shards: &[i16]) -> QueryResult<Vec<(i16, Lane)>> {
    let rows: Vec<ShardLane> = sql("select shard, lane from event_shards where shard = any ($1)")
        .bind::<Array<SmallInt>, _>(shards)
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.shard, if row.lane == "amqp" { Lane::Amqp } else { Lane::Postgres }))
        .collect())
}

/// Puts shards on the broker's lane. Must be committed before the first event of them is published.
pub(crate) async fn to_amqp(conn: &mut Conn, shards: &[i16]) -> QueryResult<()> {
    sql("update event_shards set lane = 'amqp', reason = null, changed_at = now(), settled_at = now()
         where shard = any ($1)")
    .bind::<Array<SmallInt>, _>(shards)
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts shards on the Postgres lane; answers with the number of jobs made of what the broker had.
pub(crate) async fn to_postgres(
    conn: &mut Conn,
    shards: &[i16],
    reason: &str,
    max_attempts: i16,
) -> QueryResult<u64> {
    let shards = shards.to_vec();
    let reason = reason.to_owned();
    conn.transaction(async |conn: &mut Conn| -> QueryResult<u64> {
        let events = reclaim(conn, &shards, None, max_attempts).await?;
        sql("update event_shards set lane = 'postgres', reason = $2, changed_at = now() where shard = any ($1)")
            .bind::<Array<SmallInt>, _>(&shards)
            .bind::<Text, _>(&reason)
            .execute(conn)
            .await?;
        Ok(events)
    })
    .await
}

/// Makes jobs of these events, of shards that stay on the broker's lane: first of what the broker has of their aggregates,
/// so that the order holds. Later ones come by the broker and are parked behind them.
pub(crate) async fn divert(
    conn: &mut Conn,
    routes: &Routes,
    events: &[Outgoing],
    max_attempts: i16,
) -> QueryResult<Vec<Handed>> {
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let mut shards: Vec<i16> = events.iter().map(|event| event.shard).collect();
    let mut aggregates: Vec<Uuid> = events.iter().map(|event| event.aggregate_id).collect();
    shards.sort_unstable();
    shards.dedup();
    aggregates.sort_unstable();
    aggregates.dedup();
    conn.transaction(async |conn: &mut Conn| -> QueryResult<Vec<Handed>> {
        reclaim(conn, &shards, Some(&aggregates), max_attempts).await?;
        outbox::hand_over(conn, routes, Which::These(&seqs), max_attempts).await
    })
    .await
}

/// Makes jobs of what was published and is neither handled, nor a job, nor given up; within a transaction.
///
/// Two days bound the search; what waits longer in the broker is safe there, but may be overtaken. The margin of ten
/// seconds is for a database's clock that steps back. The laterals keep the inbox lookups index probes: what has to be
/// looked at is little, the inbox is large.
async fn reclaim(
    conn: &mut Conn,
    shards: &[i16],
    aggregates: Option<&[Uuid]>,
    max_attempts: i16,
) -> QueryResult<u64> {
    let made: Made = sql("with late as (
             select e.*, p.name as pipeline, event_job_id(p.name, e.seq, e.id) as job_id
             from event_shards s
             join event_log e on e.shard = s.shard and e.published_at > s.settled_at - interval '10 seconds'
             cross join lateral unnest(e.pipelines) as p(name)
             left join lateral (select 1 as one from inbox i
                                where i.pipeline = p.name and i.event_id = e.id and i.event_at = e.created_at
                                limit 1) handled on true
             where s.shard = any ($1) and e.lane = 'amqp' and handled.one is null
               and ($3 is null or e.aggregate_id = any ($3))
               and e.created_at > now() - interval '2 days'
               and e.published_at > (select min(settled_at) from event_shards where shard = any ($1))
                                    - interval '10 seconds'),
         queued as (
             insert into jobs (id, kind, queue, max_attempts, partition_key, correlation_id, causation_id, traceparent,
                 payload)
             select job_id, 'event.' || pipeline, 'events.' || pipeline, $2,
                 pipeline || ':' || aggregate || ':' || aggregate_id, correlation_id, id, traceparent,
                 event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                     traceparent, payload)
             from late
             where not exists (select from dead_letters d where d.id = late.job_id)
               and not exists (select from job_history h where h.id = late.job_id)
             on conflict do nothing
             returning id)
         select coalesce(array_agg(id), '{}') as jobs from queued")
    .bind::<Array<SmallInt>, _>(shards)
    .bind::<SmallInt, _>(max_attempts)
    .bind::<Nullable<Array<SqlUuid>>, _>(aggregates)
    .get_result(conn)
    .await?;
    let handled = superfluous::remove(conn, &made.jobs).await?;
    Ok((made.jobs.len() - handled) as u64)
}

/// Moves `settled_at` of shards on the broker's lane up to before the first event that is neither handled, nor a job, nor
/// given up; answers with whether all were. Only the shards' owner may call it, between two moves of its own.
///
/// First what the inbox does not have, which is little, and only then the jobs: their ids are hashes, and to compute one for
/// every event took nine tenths of the statement.
pub(crate) async fn settle(conn: &mut Conn, shards: &[i16]) -> QueryResult<bool> {
    let Count { events } = sql("with open as materialized (
             select e.shard, e.published_at, event_job_id(p.name, e.seq, e.id) as job_id
             from event_shards s
             join event_log e on e.shard = s.shard and e.published_at > s.settled_at
             cross join lateral unnest(e.pipelines) as p(name)
             left join lateral (select 1 as one from inbox i
                                where i.pipeline = p.name and i.event_id = e.id and i.event_at = e.created_at
                                limit 1) handled on true
             where s.shard = any ($1) and e.lane = 'amqp' and handled.one is null
               and e.created_at > now() - interval '2 days'
               and e.published_at > (select min(settled_at) from event_shards where shard = any ($1))),
         late as (
             select shard, min(published_at) as published_at
             from open
             where not exists (select from jobs j where j.id = open.job_id)
               and not exists (select from dead_letters d where d.id = open.job_id)
               and not exists (select from job_history h where h.id = open.job_id)
             group by shard),
         moved as (
             update event_shards s
             set settled_at = greatest(s.settled_at,
                 coalesce((select l.published_at - interval '1 microsecond' from late l where l.shard = s.shard), now()))
             where s.shard = any ($1) and s.lane = 'amqp')
         select count(*) as events from late")
    .bind::<Array<SmallInt>, _>(shards)
    .get_result(conn)
    .await?;
    Ok(events == 0)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use diesel_async::SimpleAsyncConnection as _;

    use super::{Lane, lanes, settle, to_postgres};
    use crate::testing::{TestDatabase, until};

    /// Five events of shard 3, published a second apart to the pipelines `a` and `b`.
    async fn published() -> TestDatabase {
        let db = TestDatabase::create().await;
        db.execute(
            "update event_shards set lane = 'amqp', settled_at = now() - interval '1 hour' where shard = 3;
             insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at,
                 published_at, lane, pipelines)
             select n, gen_random_uuid(), 't', 1, 'thing', gen_random_uuid(), 3, '{}', now() - interval '1 minute',
                 now() - interval '1 minute' + n * interval '1 second', 'amqp', '{a,b}'
             from generate_series(1, 5) n;",
        )
        .await;
        db
    }

    async fn handle(db: &TestDatabase, pipeline: &str, seqs: &str) {
        db.execute(&format!(
            "insert into inbox (pipeline, event_id, event_at, lane)
             select '{pipeline}', id, created_at, 'amqp' from event_log where seq in ({seqs})"
        ))
        .await;
    }

    #[tokio::test]
    async fn the_mark_stops_before_the_first_event_that_somebody_has_not_handled() {
        let db = published().await;
        handle(&db, "a", "1, 2, 3, 4, 5").await;
        handle(&db, "b", "1, 2, 4").await;
        assert!(!settle(&mut *db.conn().await, &[3]).await.unwrap());
        let between = "select count(*) as n from event_shards s where shard = 3
                       and settled_at >= (select published_at from event_log where seq = 2)
                       and settled_at < (select published_at from event_log where seq = 3)";
        assert_eq!(db.count(between).await, 1);

        // A job is as good as handled: it is on the Postgres lane already.
        handle(&db, "b", "5").await;
        db.execute(
            "insert into jobs (id, kind, queue, max_attempts, payload)
             select event_job_id('b', seq, id), 'event.b', 'events.b', 3, '{}' from event_log where seq = 3",
        )
        .await;
        assert!(settle(&mut *db.conn().await, &[3]).await.unwrap());
        let beyond = "select count(*) as n from event_shards where shard = 3
                      and settled_at > (select max(published_at) from event_log)";
        assert_eq!(db.count(beyond).await, 1);
        // Others are not its business.
        assert_eq!(db.count("select count(*) as n from event_shards where lane = 'amqp'").await, 1);
    }

    /// The job of an event is being completed while its shard goes to Postgres.
    #[tokio::test]
    async fn what_is_handled_in_the_same_moment_is_no_job_again() {
        let db = published().await;
        handle(&db, "a", "1, 2, 3, 4, 5").await;
        handle(&db, "b", "1, 3, 4, 5").await;
        db.execute(
            "insert into jobs (id, kind, queue, max_attempts, payload)
             select event_job_id('b', seq, id), 'event.b', 'events.b', 3, '{}' from event_log where seq = 2",
        )
        .await;
        let mut completing = db.conn().await;
        let handled = "begin;
            insert into inbox (pipeline, event_id, event_at, lane)
            select 'b', id, created_at, 'postgres' from event_log where seq = 2;
            delete from jobs";
        completing.batch_execute(handled).await.unwrap();
        let pool = db.pool().clone();
        let switching = tokio::spawn(async move {
            to_postgres(&mut pool.get().await.unwrap(), &[3], "gone", 3).await.unwrap()
        });
        let waits = "select count(*) as n from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'";
        until("it waits for the completion", || async { db.count(waits).await == 1 }).await;
        completing.batch_execute("commit").await.unwrap();
        assert_eq!(switching.await.unwrap(), 0);
        assert_eq!(db.count("select count(*) as n from jobs").await, 0);
    }

    #[tokio::test]
    async fn what_nobody_has_handled_becomes_a_job_once() {
        let db = published().await;
        handle(&db, "a", "1, 2, 3, 4, 5").await;
        handle(&db, "b", "1").await;
        db.execute(
            "insert into jobs (id, kind, queue, max_attempts, payload)
             select event_job_id('b', seq, id), 'event.b', 'events.b', 3, '{}' from event_log where seq = 2;
             insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
                 payload, failures, created_at, reason)
             select event_job_id('b', seq, id), 'event.b', 1, 'events.b', 0, 3, 3, 0, 0, now(), '{}', '[]', now(), 'no'
             from event_log where seq = 3;",
        )
        .await;
        assert_eq!(to_postgres(&mut *db.conn().await, &[3], "gone", 3).await.unwrap(), 2);
        let jobs = "select count(*) as n from jobs j join event_log e on j.id = event_job_id('b', e.seq, e.id)
                    where e.seq in (4, 5) and j.partition_key = 'b:thing:' || e.aggregate_id and j.causation_id = e.id";
        assert_eq!(db.count(jobs).await, 2);
        assert_eq!(lanes(&mut *db.conn().await, &[3]).await.unwrap(), [(3, Lane::Postgres)]);
        assert_eq!(to_postgres(&mut *db.conn().await, &[3], "gone", 3).await.unwrap(), 0);
    }
}
