//! Events again, for one pipeline.
//!
//! An event that the pipeline has handled loses its inbox row and becomes a job of the pipeline, in one statement; one that
//! was published before the pipeline existed becomes a job too. What is still on its way is left alone: it will come. A
//! replayed event keeps its id, so whoever deduplicates by it sees a copy, and takes its old place in the order of its
//! aggregate; events that happen meanwhile wait behind it, on whichever lane they come.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use crate::Policy;

/// Which events a pipeline is to see again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The pipeline.
    pub pipeline: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Events created from this on.
    pub since: DateTime<Utc>,
    /// Events created before this. Give the time at which the replay was asked for, or it will chase its own tail.
    pub until: DateTime<Utc>,
    /// Tells the jobs of this replay from those of another: the id of who asks.
    pub id: Uuid,
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Replayed {
    /// Events looked at in this step.
    #[diesel(sql_type = BigInt)]
    pub seen: i64,
    /// Those that became jobs.
    #[diesel(sql_type = BigInt)]
    pub queued: i64,
    /// The place in the outbox of the last one looked at; where the next step goes on. None if there was none left.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub last: Option<i64>,
}

/// One step: at most `limit` events after the place `after`, in the order in which they were emitted.
///
/// The jobs' ids are made of the event's place and the replay's id, so a step that is repeated after a crash makes no second
/// job, and the order within an aggregate is that of the events.
pub async fn step(conn: &mut Conn, replay: &Replay, after: i64, limit: i64) -> QueryResult<Replayed> {
    sql("with chosen as (
             select e.*, event_job_id($1 || ' ' || $6::text, e.seq, e.id) as job_id
             from event_log e
             where e.topic = any ($2) and e.created_at >= $3 and e.created_at < $4 and e.seq > $5
             order by e.seq limit $7),
         forgotten as (
             delete from inbox i using chosen c
             where i.pipeline = $1 and i.event_id = c.id and i.event_at = c.created_at
             returning i.event_id),
         queued as (
             insert into jobs (id, kind, queue, max_attempts, partition_key, correlation_id, causation_id, traceparent,
                 payload)
             select c.job_id, 'event.' || $1, 'events.' || $1, $8,
                 $1 || ':' || c.aggregate || ':' || c.aggregate_id, c.correlation_id, $6, c.traceparent,
                 event_envelope(c.id, c.topic, c.version, c.aggregate, c.aggregate_id, c.created_at, c.correlation_id,
                     c.causation_id, c.traceparent, c.payload)
             from chosen c
             where (c.id in (select event_id from forgotten) or not $1 = any (c.pipelines))
               and not exists (select from dead_letters d where d.id = c.job_id)
             order by c.seq
             on conflict do nothing
             returning id)
         select (select count(*) from chosen) as seen, (select count(*) from queued) as queued,
                (select max(seq) from chosen) as last")
    .bind::<Text, _>(&replay.pipeline)
    .bind::<Array<Text>, _>(&replay.topics)
    .bind::<Timestamptz, _>(replay.since)
    .bind::<Timestamptz, _>(replay.until)
    .bind::<BigInt, _>(after)
    .bind::<SqlUuid, _>(replay.id)
    .bind::<BigInt, _>(limit)
    .bind::<SmallInt, _>(Policy::DEFAULT.max_attempts)
    .get_result(conn)
    .await
}

/// How many events a replay would look at.
pub async fn count(conn: &mut Conn, replay: &Replay) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        events: i64,
    }
    let count: Count = sql("select count(*) as events from event_log
         where topic = any ($1) and created_at >= $2 and created_at < $3")
    .bind::<Array<Text>, _>(&replay.topics)
    .bind::<Timestamptz, _>(replay.since)
    .bind::<Timestamptz, _>(replay.until)
    .get_result(conn)
    .await?;
    Ok(count.events)
}
