//! Rows leaving the outbox.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use super::config::PipelineSpec;

/// Who wants which topic, as two columns for SQL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    topics: Vec<&'static str>,
    pipelines: Vec<&'static str>,
}

impl Routes {
    pub(crate) fn new(specs: &[PipelineSpec]) -> Self {
        let mut routes = Self::default();
        for spec in specs {
            for topic in spec.topics {
                routes.topics.push(topic);
                routes.pipelines.push(spec.name);
            }
        }
        routes
    }

    /// The pipelines of each topic.
    pub(crate) fn by_topic(&self) -> HashMap<&'static str, Vec<&'static str>> {
        let mut map: HashMap<_, Vec<_>> = HashMap::new();
        for (topic, pipeline) in self.topics.iter().zip(&self.pipelines) {
            map.entry(*topic).or_default().push(*pipeline);
        }
        map
    }
}

/// An event on its way to the broker.
#[derive(Debug, QueryableByName)]
pub(crate) struct Outgoing {
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    #[diesel(sql_type = Text)]
    pub topic: String,
    #[diesel(sql_type = SmallInt)]
    pub shard: i16,
    #[diesel(sql_type = Text)]
    pub aggregate: String,
    #[diesel(sql_type = SqlUuid)]
    pub aggregate_id: Uuid,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    pub traceparent: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// The envelope, made by the database, so that both lanes carry the same and nothing is parsed on the way.
    #[diesel(sql_type = Text)]
    pub body: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = BigInt)]
    events: i64,
}

/// The next events of `shards`, in order.
pub(crate) async fn read(conn: &mut Conn, shards: &[i16], limit: i64) -> QueryResult<Vec<Outgoing>> {
    sql("select seq, id, topic, shard, aggregate, aggregate_id, correlation_id, traceparent, created_at,
                event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                    traceparent, payload)::text as body
         from outbox where shard = any ($1) order by seq limit $2")
    .bind::<Array<SmallInt>, _>(shards)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Moves published events to the log.
pub(crate) async fn published(conn: &mut Conn, routes: &Routes, seqs: &[i64]) -> QueryResult<usize> {
    sql("with moved as (delete from outbox where seq = any ($1) returning *)
         insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id,
             traceparent, payload, created_at, published_at, lane, pipelines)
         select seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id, traceparent, payload,
             created_at, now(), 'amqp',
             coalesce((select array_agg(r.pipeline) from unnest($2, $3) as r(topic, pipeline)
                       where r.topic = moved.topic), '{}')
         from moved")
    .bind::<Array<BigInt>, _>(seqs)
    .bind::<Array<Text>, _>(&routes.topics)
    .bind::<Array<Text>, _>(&routes.pipelines)
    .execute(conn)
    .await
}

/// Moves the next events of `shards` to the log and makes a job of each for each of its pipelines, in one statement;
/// answers with the number per topic.
pub(crate) async fn hand_over(
    conn: &mut Conn,
    routes: &Routes,
    shards: &[i16],
    limit: i64,
    max_attempts: i16,
) -> QueryResult<Vec<(String, u64)>> {
    let counts: Vec<Count> = sql("with moved as (
             delete from outbox
             where seq = any (array(select seq from outbox where shard = any ($1) order by seq limit $2))
             returning *),
         logged as (
             insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id,
                 traceparent, payload, created_at, published_at, lane, pipelines)
             select seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id, traceparent,
                 payload, created_at, now(), 'postgres',
                 coalesce((select array_agg(r.pipeline) from unnest($3, $4) as r(topic, pipeline)
                           where r.topic = moved.topic), '{}')
             from moved),
         queued as (
             insert into jobs (id, kind, queue, max_attempts, partition_key, correlation_id, causation_id, traceparent,
                 payload)
             select event_job_id(r.pipeline, m.seq, m.id), 'event.' || r.pipeline, 'events.' || r.pipeline, $5,
                 r.pipeline || ':' || m.aggregate || ':' || m.aggregate_id, m.correlation_id, m.id, m.traceparent,
                 event_envelope(m.id, m.topic, m.version, m.aggregate, m.aggregate_id, m.created_at, m.correlation_id,
                     m.causation_id, m.traceparent, m.payload)
             from moved m join unnest($3, $4) as r(topic, pipeline) on r.topic = m.topic
             on conflict do nothing)
         select topic, count(*) as events from moved group by topic")
    .bind::<Array<SmallInt>, _>(shards)
    .bind::<BigInt, _>(limit)
    .bind::<Array<Text>, _>(&routes.topics)
    .bind::<Array<Text>, _>(&routes.pipelines)
    .bind::<SmallInt, _>(max_attempts)
    .load(conn)
    .await?;
    Ok(counts.into_iter().map(|count| (count.topic, count.events.unsigned_abs())).collect())
}
