//! How much is left to do.

use diesel::sql_types::{BigInt, Double, SmallInt, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use waybill_schema::{Conn, sql};

/// Events that nobody has handed on yet, of one shard.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct ShardBacklog {
    /// The shard.
    #[diesel(sql_type = SmallInt)]
    pub shard: i16,
    /// Events.
    #[diesel(sql_type = BigInt)]
    pub events: i64,
    /// Age of the oldest, in seconds.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
}

/// Events that wait as jobs of a pipeline, parked ones included.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct PipelineBacklog {
    /// The pipeline.
    #[diesel(sql_type = Text)]
    pub pipeline: String,
    /// Jobs.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
    /// Age of the oldest, in seconds.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
}

/// What is left, as far as the database knows; what is in the broker's queues is not in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backlog {
    /// Shards with events in the outbox.
    pub outbox: Vec<ShardBacklog>,
    /// Pipelines with event jobs.
    pub pipelines: Vec<PipelineBacklog>,
}

impl Backlog {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.pipelines.is_empty()
    }

    /// Everything that is left.
    pub fn total(&self) -> i64 {
        self.outbox.iter().map(|shard| shard.events).sum::<i64>()
            + self.pipelines.iter().map(|pipeline| pipeline.jobs).sum::<i64>()
    }
}

/// Reads the backlog.
pub async fn backlog(conn: &mut Conn) -> QueryResult<Backlog> {
    let outbox = outbox(conn).await?;
    let pipelines = sql("select substr(queue, 8) as pipeline, count(*) as jobs,
                extract(epoch from clock_timestamp() - min(created_at))::float8 as oldest_seconds
         from jobs where queue like 'events.%' group by queue order by queue")
    .load(conn)
    .await?;
    Ok(Backlog { outbox, pipelines })
}

pub(crate) async fn outbox(conn: &mut Conn) -> QueryResult<Vec<ShardBacklog>> {
    sql("select shard, count(*) as events,
                greatest(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as oldest_seconds
         from outbox group by shard order by shard")
    .load(conn)
    .await
}
