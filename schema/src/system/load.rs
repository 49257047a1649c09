//! How much work waits, cheaply enough to be asked every second by every API process.

use std::time::Duration;

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
             (select queue from jobs where due and state = 'queued' and hold is null order by queue limit 1)
             union all
             select (select j.queue from jobs j where j.due and j.state = 'queued' and j.hold is null and j.queue > q.queue
                     order by j.queue limit 1)
             from q where q.queue is not null)
         select q.queue, greatest(0, extract(epoch from clock_timestamp() - h.run_at))::float8 as oldest_seconds
         from q cross join lateral (
             select run_at from jobs j where j.due and j.state = 'queued' and j.hold is null and j.queue = q.queue
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
    /// The queue, or [`OUTBOX`].
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Jobs, or events, that wait, counted up to 100,000.
    #[diesel(sql_type = BigInt)]
    pub waiting: i64,
    /// Jobs that ended, or events handed on, within [`window_seconds`](Self::window_seconds).
    #[diesel(sql_type = BigInt)]
    pub ended: i64,
    /// The shortest of [`WINDOWS`] in which something ended; the longest if nothing did.
    #[diesel(sql_type = Double)]
    pub window_seconds: f64,
}

/// The times over which ends are counted, the shortest first: mails end by the second, a file in minutes.
pub const WINDOWS: [Duration; 3] = [Duration::from_secs(10), Duration::from_mins(1), Duration::from_mins(10)];

/// What waits in these queues, and how fast it goes. A few milliseconds for what moves, so asked only of queues that lag. One in
/// which nothing ended for a minute costs a look at all that ended in ten: 0.8 s where those were three million, 7 ms for the
/// minute before (two shared cores, Postgres 15).
pub async fn backlogs(conn: &mut Conn, queues: &[&str]) -> QueryResult<Vec<Backlog>> {
    let mut found: Vec<Backlog> = sql("select q.queue, 0::bigint as ended, 0::float8 as window_seconds,
                case when q.queue = 'outbox' then (select count(*) from (select from outbox limit 100000) w)
                     else (select count(*) from (
                               select from jobs j where j.due and j.state = 'queued' and j.hold is null and j.queue = q.queue
                               limit 100000) w)
                end as waiting
         from unnest($1) as q(queue)")
    .bind::<Array<Text>, _>(queues)
    .load(conn)
    .await?;
    for window in WINDOWS {
        let still: Vec<&str> =
            found.iter().filter(|row| row.ended == 0).map(|row| row.queue.as_str()).collect();
        if still.is_empty() {
            break;
        }
        let ended = ended_of(conn, &still, window).await?;
        for row in found.iter_mut().filter(|row| row.ended == 0) {
            row.ended = ended.iter().find(|one| one.queue == row.queue).map_or(0, |one| one.ended);
            row.window_seconds = window.as_secs_f64();
        }
    }
    Ok(found)
}

/// How many jobs of these queues, or events, ended within a time; those of which none did are not in it.
async fn ended_of(conn: &mut Conn, queues: &[&str], window: Duration) -> QueryResult<Vec<Ended>> {
    sql("select queue, count(*) as ended from job_history
         where finished_at > now() - $2 * interval '1 second' and queue = any($1) group by queue
         union all
         select 'outbox', count(*) from event_log
         where published_at > now() - $2 * interval '1 second' and 'outbox' = any($1) having count(*) > 0")
    .bind::<Array<Text>, _>(queues)
    .bind::<Double, _>(window.as_secs_f64())
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

/// The time over which [`ended`] counts.
pub const LATELY: Duration = WINDOWS[0];

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
    /// What holds them, as in `jobs.hold`: `partition`, `key`, `kind:...`, `needs:...`, `unknown:...`, `suspect`.
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
