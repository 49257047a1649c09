//! Rows leaving the outbox.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

use super::{config::PipelineSpec, routes::declared};

/// Who wants which topic according to this release, as two columns for SQL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    pub topics: Vec<&'static str>,
    pub pipelines: Vec<&'static str>,
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
}

/// `routes`, from $1 and $2 and from what other releases have declared.
macro_rules! routes {
    () => {
        concat!(
            "routes as materialized (
                 select topic, pipeline from unnest($1, $2) as r(topic, pipeline)
                 union
                 select topic, pipeline from event_routes where ",
            declared!(),
            ")"
        )
    };
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
    /// The pipelines that want it, with commas; each must have its queue bound before the event is published.
    #[diesel(sql_type = Text)]
    pub pipelines: String,
}

impl Outgoing {
    /// The pipelines that want it.
    pub(crate) fn wanted_by(&self) -> impl Iterator<Item = &str> {
        self.pipelines.split(',').filter(|name| !name.is_empty())
    }
}

/// Events of a topic that became jobs.
#[derive(Debug, QueryableByName)]
pub(crate) struct Handed {
    #[diesel(sql_type = Text)]
    pub topic: String,
    #[diesel(sql_type = BigInt)]
    pub events: i64,
    /// Whose jobs they are.
    #[diesel(sql_type = Array<Text>)]
    pub pipelines: Vec<String>,
}

/// The next events of `shards`, in order.
pub(crate) async fn read(
    conn: &mut Conn,
    routes: &Routes,
    shards: &[i16],
    limit: i64,
) -> QueryResult<Vec<Outgoing>> {
    sql(concat!(
        "with ",
        routes!(),
        "select seq, id, topic, shard, aggregate, aggregate_id, correlation_id, traceparent, created_at,
                event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                    traceparent, payload)::text as body,
                coalesce((select string_agg(r.pipeline, ',' order by r.pipeline) from routes r
                          where r.topic = outbox.topic), '') as pipelines
         from outbox where shard = any ($3) order by seq limit $4"
    ))
    .bind::<Array<Text>, _>(&routes.topics)
    .bind::<Array<Text>, _>(&routes.pipelines)
    .bind::<Array<SmallInt>, _>(shards)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Moves published events to the log, with the pipelines that were known to want them when they were read.
pub(crate) async fn published(conn: &mut Conn, events: &[&Outgoing]) -> QueryResult<usize> {
    let mut topics: Vec<(&str, &str)> =
        events.iter().map(|event| (event.topic.as_str(), event.pipelines.as_str())).collect();
    topics.sort_unstable();
    topics.dedup();
    let (topics, pipelines): (Vec<&str>, Vec<&str>) = topics.into_iter().unzip();
    sql("with moved as (delete from outbox where seq = any ($1) returning *)
         insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id,
             traceparent, payload, created_at, published_at, lane, pipelines)
         select seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id, traceparent, payload,
             created_at, now(), 'amqp',
             coalesce((select string_to_array(r.pipelines, ',') from unnest($2, $3) as r(topic, pipelines)
                       where r.topic = moved.topic), '{}')
         from moved")
    .bind::<Array<BigInt>, _>(events.iter().map(|event| event.seq).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(topics)
    .bind::<Array<Text>, _>(pipelines)
    .execute(conn)
    .await
}

/// Which events to make jobs of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// The next of these shards, so many at most.
    Next(&'a [i16], i64),
    /// These.
    These(&'a [i64]),
}

/// Moves events to the log and makes a job of each for each of its pipelines, in one statement; answers with the numbers.
pub(crate) async fn hand_over(
    conn: &mut Conn,
    routes: &Routes,
    which: Which<'_>,
    max_attempts: i16,
) -> QueryResult<Vec<Handed>> {
    let (shards, limit, seqs) = match which {
        Which::Next(shards, limit) => (shards, limit, None),
        Which::These(seqs) => (&[][..], 0, Some(seqs)),
    };
    sql(concat!(
        "with ",
        routes!(),
        ", moved as (
             delete from outbox
             where seq = any (coalesce($3, array(select seq from outbox where shard = any ($4) order by seq limit $5)))
             returning *),
         logged as (
             insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id,
                 traceparent, payload, created_at, published_at, lane, pipelines)
             select seq, id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id, traceparent,
                 payload, created_at, now(), 'postgres',
                 coalesce((select array_agg(r.pipeline order by r.pipeline) from routes r where r.topic = moved.topic), '{}')
             from moved),
         queued as (
             insert into jobs (id, kind, queue, max_attempts, partition_key, correlation_id, causation_id, traceparent,
                 payload)
             select event_job_id(r.pipeline, m.seq, m.id), 'event.' || r.pipeline, 'events.' || r.pipeline, $6,
                 r.pipeline || ':' || m.aggregate || ':' || m.aggregate_id, m.correlation_id, m.id, m.traceparent,
                 event_envelope(m.id, m.topic, m.version, m.aggregate, m.aggregate_id, m.created_at, m.correlation_id,
                     m.causation_id, m.traceparent, m.payload)
             from moved m join routes r on r.topic = m.topic
             on conflict do nothing)
         select topic, count(*) as events,
             coalesce((select array_agg(r.pipeline) from routes r where r.topic = moved.topic), '{}') as pipelines
         from moved group by topic"
    ))
    .bind::<Array<Text>, _>(&routes.topics)
    .bind::<Array<Text>, _>(&routes.pipelines)
    .bind::<Nullable<Array<BigInt>>, _>(seqs)
    .bind::<Array<SmallInt>, _>(shards)
    .bind::<BigInt, _>(limit)
    .bind::<SmallInt, _>(max_attempts)
    .load(conn)
    .await
}
