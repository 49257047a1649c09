//! How far each pipeline is behind.

use diesel::sql_types::{BigInt, Double, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use waybill_schema::{Conn, sql};

/// What a pipeline has not handled yet of what was handed to it.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct PipelineLag {
    /// The pipeline.
    #[diesel(sql_type = Text)]
    pub pipeline: String,
    /// Events at the broker, in its queue or in a consumer's hands.
    #[diesel(sql_type = BigInt)]
    pub at_broker: i64,
    /// Events that wait as jobs: those of the Postgres lane, parked and replayed ones.
    #[diesel(sql_type = BigInt)]
    pub as_jobs: i64,
    /// Dead letters.
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    /// Age of the oldest of the first two, in seconds; 0 if there is none.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
}

/// The lag of each of `pipelines`, the idle ones included.
///
/// What is at the broker is known here as what was published and has no inbox row: counted from the mark of what is
/// settled on, so its cost grows with the lag and not with the log. An event that was published within the last moment
/// counts, so a busy system is never quite at zero.
pub async fn lag(conn: &mut Conn, pipelines: &[&str]) -> QueryResult<Vec<PipelineLag>> {
    sql("with open as materialized (
             select p.name as pipeline, e.published_at as since, event_job_id(p.name, e.seq, e.id) as job_id
             from event_shards s
             join event_log e on e.shard = s.shard and e.published_at > s.settled_at
             cross join lateral unnest(e.pipelines) as p(name)
             left join lateral (select 1 as one from inbox i
                                where i.pipeline = p.name and i.event_id = e.id and i.event_at = e.created_at
                                limit 1) handled on true
             where s.lane = 'amqp' and e.lane = 'amqp' and handled.one is null
               and e.published_at > (select min(settled_at) from event_shards)),
         flying as (
             select pipeline, since from open
             where not exists (select from jobs j where j.id = open.job_id)
               and not exists (select from dead_letters d where d.id = open.job_id)),
         waiting as (
             select substr(queue, 8) as pipeline, created_at as since from jobs where queue like 'events.%')
         select t.name as pipeline,
                (select count(*) from flying f where f.pipeline = t.name) as at_broker,
                (select count(*) from waiting w where w.pipeline = t.name) as as_jobs,
                (select count(*) from dead_letters d where d.queue = 'events.' || t.name) as dead,
                greatest(0, coalesce(extract(epoch from clock_timestamp() - least(
                    (select min(since) from flying f where f.pipeline = t.name),
                    (select min(since) from waiting w where w.pipeline = t.name))), 0))::float8 as oldest_seconds
         from unnest($1) as t(name)
         order by t.name")
    .bind::<diesel::sql_types::Array<Text>, _>(pipelines)
    .load(conn)
    .await
}
