//! How much work waits, cheaply enough to be asked every second by every API process.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Double, Text},
};
use diesel_async::RunQueryDsl;

use crate::{Conn, sql};

/// The name under which the outbox stands beside the queues.
pub const OUTBOX: &str = "outbox";

/// How long the first job of a queue has been due.
#[derive(Debug, Clone, QueryableByName)]
pub struct Head {
    /// The queue, or [`OUTBOX`].
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Seconds.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
}

/// The first waiting job of each queue that has one, in the order in which they are claimed: a skip along the index of what
/// can be claimed, one step a queue, whatever waits behind. Jobs that something holds back (a pause of their kind, a
/// dependency that is down) do not count.
pub async fn heads(conn: &mut Conn) -> QueryResult<Vec<Head>> {
    sql("with recursive q as (
             (select queue from jobs where state = 'queued' and hold is null order by queue limit 1)
             union all
             select (select j.queue from jobs j where j.state = 'queued' and j.hold is null and j.queue > q.queue
                     order by j.queue limit 1)
             from q where q.queue is not null)
         select q.queue, greatest(0, extract(epoch from clock_timestamp() - h.run_at))::float8 as oldest_seconds
         from q cross join lateral (
             select run_at from jobs j where j.state = 'queued' and j.hold is null and j.queue = q.queue
             order by ((run_at at time zone 'UTC') + priority * interval '1 minute'), id limit 1) h
         where q.queue is not null
         union all
         (select 'outbox', greatest(0, extract(epoch from clock_timestamp() - created_at))::float8
          from outbox order by seq limit 1)")
    .load(conn)
    .await
}

/// A queue that has fallen behind.
#[derive(Debug, Clone, QueryableByName)]
pub struct Backlog {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Jobs that wait, counted up to 100,000.
    #[diesel(sql_type = BigInt)]
    pub waiting: i64,
    /// Jobs that ended in the last ten seconds.
    #[diesel(sql_type = BigInt)]
    pub ended: i64,
}

/// The time over which [`Backlog::ended`] counts.
pub const DRAIN_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

/// What waits in these queues, and how fast it goes. A few milliseconds, so asked only of queues that lag.
pub async fn backlogs(conn: &mut Conn, queues: &[&str]) -> QueryResult<Vec<Backlog>> {
    sql("with ended as (
             select queue, count(*) as jobs from job_history
             where finished_at > now() - interval '10 seconds' and queue = any($1) group by queue)
         select q.queue, coalesce(e.jobs, 0) as ended,
                (select count(*) from (
                     select from jobs j where j.state = 'queued' and j.hold is null and j.queue = q.queue
                     limit 100000) w) as waiting
         from unnest($1) as q(queue) left join ended e on e.queue = q.queue")
    .bind::<Array<Text>, _>(queues)
    .load(conn)
    .await
}

/// How many jobs of a queue ended in the last ten seconds.
#[derive(Debug, Clone, QueryableByName)]
pub struct Ended {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Jobs.
    #[diesel(sql_type = BigInt)]
    pub ended: i64,
}

/// How many jobs ended in the last ten seconds, by queue.
pub async fn ended(conn: &mut Conn) -> QueryResult<Vec<Ended>> {
    sql("select queue, count(*) as ended from job_history
         where finished_at > now() - interval '10 seconds' group by queue")
    .load(conn)
    .await
}

/// Jobs that something holds back.
#[derive(Debug, Clone, QueryableByName)]
pub struct Held {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// What holds them, as in `jobs.hold`: `partition`, `key`, `kind:...`, `needs:...`, `unknown:...`.
    #[diesel(sql_type = Text)]
    pub hold: String,
    /// Jobs.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
}

/// Queued jobs that a claim met in vain and put aside, by queue and reason.
pub async fn held(conn: &mut Conn) -> QueryResult<Vec<Held>> {
    sql("select queue, hold, count(*) as jobs from jobs where hold is not null group by queue, hold order by queue, hold")
        .load(conn)
        .await
}
