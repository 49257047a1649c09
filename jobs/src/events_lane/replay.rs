//! Events again, for one pipeline.
//!
//! An event that the pipeline has handled loses its inbox row and becomes a job of the pipeline, in one statement; one that
//! was published before the pipeline existed becomes a job too, and one whose job was discarded or cancelled. What is still
//! on its way is left alone: it will come. So are dead letters, which wait for a decision and are counted. A
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
    /// Those left out because they are dead letters of the pipeline, which are retried as such.
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    /// The place in the outbox of the last one looked at; where the next step goes on. None if there was none left.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub last: Option<i64>,
}

/// One step: at most `limit` events after the place `after`, in the order in which they were emitted.
///
/// The jobs' ids are made of the event's place and the replay's id, so a step that is repeated after a crash makes no second
/// job, and the order within an aggregate is that of the events.
pub async fn step(conn: &mut Conn, replay: &Replay, after: i64, limit: i64) -> QueryResult<Replayed> {
    // All jobs of an event, whichever pipeline or replay they are of, have ids that begin with its place: see
    // `event_job_id`. So whether one lives, died or ended is a look at a stretch of the primary key.
    sql("with chosen as materialized (
             select e.*, event_job_id($1 || ' ' || $6::text, e.seq, e.id) as job_id,
                 (lpad(to_hex(e.seq >> 12), 12, '0') || '8' || lpad(to_hex(e.seq & 4095), 3, '0') || '8'
                  || repeat('0', 15))::uuid as first_job,
                 (lpad(to_hex(e.seq >> 12), 12, '0') || '8' || lpad(to_hex(e.seq & 4095), 3, '0') || '8'
                  || repeat('f', 15))::uuid as last_job
             from event_log e
             where e.topic = any ($2) and e.created_at >= $3 and e.created_at < $4 and e.seq > $5
             order by e.seq limit $7),
         forgotten as (
             delete from inbox i using chosen c
             where i.pipeline = $1 and i.event_id = c.id and i.event_at = c.created_at
             returning i.event_id),
         unhandled as materialized (
             select c.seq, c.id, first_job, last_job, $1 = any (c.pipelines) as handed,
                 exists (select from dead_letters d where d.id between c.first_job and c.last_job
                         and d.kind = 'event.' || $1) as dead,
                 exists (select from jobs j where j.id between c.first_job and c.last_job
                         and j.kind = 'event.' || $1) as alive
             from chosen c
             where c.id not in (select event_id from forgotten)),
         missed as materialized (
             select u.id from unhandled u
             where not u.dead and not u.alive
               and (not u.handed
                    or exists (select from job_history h where h.id between u.first_job and u.last_job
                               and h.kind = 'event.' || $1))),
         queued as (
             insert into jobs (id, kind, queue, max_attempts, partition_key, correlation_id, causation_id, traceparent,
                 payload)
             select c.job_id, 'event.' || $1, 'events.' || $1, $8,
                 $1 || ':' || c.aggregate || ':' || c.aggregate_id, c.correlation_id, $6, c.traceparent,
                 event_envelope(c.id, c.topic, c.version, c.aggregate, c.aggregate_id, c.created_at, c.correlation_id,
                     c.causation_id, c.traceparent, c.payload)
             from chosen c
             where c.id in (select event_id from forgotten) or c.id in (select id from missed)
             order by c.seq
             on conflict do nothing
             returning id)
         select (select count(*) from chosen) as seen, (select count(*) from queued) as queued,
                (select count(*) from unhandled where dead) as dead, (select max(seq) from chosen) as last")
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
