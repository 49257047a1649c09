//! Workers, and the events that wait for them.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{
        Array, BigInt, Bool, Double, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
    },
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, sql};

/// A process that claims jobs.
#[derive(Debug, Clone, QueryableByName)]
pub struct WorkerRow {
    /// Id, new at every start.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its binary.
    #[diesel(sql_type = Text)]
    pub service: String,
    /// Host.
    #[diesel(sql_type = Text)]
    pub host: String,
    /// Process id there.
    #[diesel(sql_type = Integer)]
    pub pid: i32,
    /// Version.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// Queues it serves.
    #[diesel(sql_type = Array<Text>)]
    pub queues: Vec<String>,
    /// running, quiet or draining.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Whether its lease holds.
    #[diesel(sql_type = Bool)]
    pub alive: bool,
    /// Jobs it holds.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
    /// Those of them that should have ended, and whose handlers never yield.
    #[diesel(sql_type = Integer)]
    pub overdue: i32,
    /// The lane its events come on: amqp or postgres.
    #[diesel(sql_type = Nullable<Text>)]
    pub event_lane: Option<String>,
    /// Why that one.
    #[diesel(sql_type = Nullable<Text>)]
    pub event_lane_reason: Option<String>,
    /// Started.
    #[diesel(sql_type = Timestamptz)]
    pub started_at: DateTime<Utc>,
    /// When it last said that it lives.
    #[diesel(sql_type = Timestamptz)]
    pub heartbeat_at: DateTime<Utc>,
    /// Until when it is believed to live.
    #[diesel(sql_type = Timestamptz)]
    pub lease_until: DateTime<Utc>,
    /// Since when an operator wants it to claim nothing more.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub quiet_at: Option<DateTime<Utc>>,
    /// Who.
    #[diesel(sql_type = Nullable<Text>)]
    pub quiet_by: Option<String>,
    /// Per queue how many jobs run: `[{"queue", "configured", "now", "running"}]`.
    #[diesel(sql_type = Jsonb)]
    pub places: Value,
}

macro_rules! serving {
    () => {
        "state = 'running' and lease_until > clock_timestamp()"
    };
}

#[derive(QueryableByName)]
struct Pending {
    #[diesel(sql_type = BigInt)]
    pending: i64,
}

/// Every worker known, newest first; the dead are known until the reaper has taken their jobs over.
pub async fn list(conn: &mut Conn) -> QueryResult<Vec<WorkerRow>> {
    sql("select w.id, w.service, w.host, w.pid, w.version, w.queues, w.state, w.lease_until > now() as alive,
                coalesce(j.jobs, 0) as jobs, w.event_lane, w.event_lane_reason, w.started_at, w.heartbeat_at,
                w.lease_until, w.overdue, w.quiet_at, w.quiet_by,
                coalesce((select jsonb_agg(p.place || jsonb_build_object('running',
                                     (select count(*) from running_jobs r
                                      where r.worker_id = w.id and r.queue = p.place ->> 'queue'))
                                 order by p.place ->> 'queue')
                          from jsonb_array_elements(w.places) p(place)), '[]') as places
         from workers w
         left join (select worker_id, count(*) as jobs from running_jobs group by worker_id) j
              on j.worker_id = w.id
         order by w.started_at desc limit 1000")
    .load(conn)
    .await
}

/// Says that an operator wants a worker to claim nothing more, or no longer does; its heartbeat follows. `None` if there is no
/// such worker, else whether that is anything new.
pub async fn set_quiet(
    conn: &mut Conn,
    worker_id: Uuid,
    quiet: bool,
    actor: &str,
) -> QueryResult<Option<bool>> {
    let row: Option<Known> = sql("with changed as (
             update workers
             set quiet_at = case when $2 then clock_timestamp() end, quiet_by = case when $2 then $3 end
             where id = $1 and (quiet_at is not null) <> $2 returning 1)
         select exists (select from changed) as known from workers where id = $1")
    .bind::<SqlUuid, _>(worker_id)
    .bind::<Bool, _>(quiet)
    .bind::<Text, _>(actor)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| row.known))
}

/// Whether a worker is there, and among its queues this one; `None` if it is not there.
pub async fn runs_queue(conn: &mut Conn, worker_id: Uuid, queue: &str) -> QueryResult<Option<bool>> {
    let row: Option<Known> = sql("select $2 = any (queues) as known from workers where id = $1")
        .bind::<SqlUuid, _>(worker_id)
        .bind::<Text, _>(queue)
        .get_result(conn)
        .await
        .optional()?;
    Ok(row.map(|row| row.known))
}

/// Events not handed on yet.
pub async fn outbox_pending(conn: &mut Conn) -> QueryResult<i64> {
    let row: Pending = sql("select count(*) as pending from outbox").get_result(conn).await?;
    Ok(row.pending)
}

/// A job that a worker runs.
#[derive(Debug, Clone, QueryableByName)]
pub struct RunningRow {
    /// The worker.
    #[diesel(sql_type = SqlUuid)]
    pub worker_id: Uuid,
    /// The job.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Its queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Which attempt.
    #[diesel(sql_type = SmallInt)]
    pub attempt: i16,
    /// Since when.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub started_at: Option<DateTime<Utc>>,
    /// How far it says it is.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub progress: Option<Value>,
}

/// What each worker runs, the longest-running first, at most `per_worker` of each.
pub async fn running(conn: &mut Conn, per_worker: i64) -> QueryResult<Vec<RunningRow>> {
    sql("select w.id as worker_id, j.id, j.kind, j.queue, j.attempt, j.claimed_at as started_at, j.progress
         from workers w cross join lateral (
             select id, kind, queue, attempt, claimed_at, progress from running_jobs r
             where r.worker_id = w.id order by claimed_at, id limit $1) j
         order by w.started_at desc, j.claimed_at, j.id")
    .bind::<BigInt, _>(per_worker)
    .load(conn)
    .await
}

/// The outbox, and what pipelines have yet to hand on, by topic.
#[derive(Debug, Clone, QueryableByName)]
pub struct TopicRow {
    /// The topic.
    #[diesel(sql_type = Text)]
    pub topic: String,
    /// Events not handed on yet.
    #[diesel(sql_type = BigInt)]
    pub events: i64,
    /// How long the oldest of them has waited, in seconds.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
}

/// The events that wait in the outbox, by topic.
pub async fn outbox(conn: &mut Conn) -> QueryResult<Vec<TopicRow>> {
    sql("select topic, count(*) as events,
                greatest(0, extract(epoch from clock_timestamp() - min(created_at)))::float8 as oldest_seconds
         from outbox group by topic order by topic")
    .load(conn)
    .await
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Bool)]
    known: bool,
}

/// Whether a worker serves the queue, or a job waits in it.
pub async fn knows_queue(conn: &mut Conn, queue: &str) -> QueryResult<bool> {
    let row: Known = sql("select exists (select from workers where $1 = any(queues))
                              or exists (select from jobs where queue = $1 and state <> 'running') as known")
    .bind::<Text, _>(queue)
    .get_result(conn)
    .await?;
    Ok(row.known)
}

/// Whether a live worker serves the queue that is not about to stop.
pub async fn is_served(conn: &mut Conn, queue: &str) -> QueryResult<bool> {
    let row: Known = sql(concat!(
        "select exists (select from workers where ",
        serving!(),
        " and $1 = any(queues)) as known"
    ))
    .bind::<Text, _>(queue)
    .get_result(conn)
    .await?;
    Ok(row.known)
}

/// How many workers serve a queue.
#[derive(Debug, Clone, QueryableByName)]
pub struct Serving {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Live workers that are not about to stop.
    #[diesel(sql_type = BigInt)]
    pub workers: i64,
}

/// How many workers serve each queue that one serves.
pub async fn serving(conn: &mut Conn) -> QueryResult<Vec<Serving>> {
    sql(concat!(
        "select q.queue, count(*) as workers from workers cross join lateral (select distinct unnest(queues)) as q(queue)
         where ",
        serving!(),
        " group by q.queue order by q.queue"
    ))
    .load(conn)
    .await
}

/// Whether a live or dead job is of the kind.
pub async fn knows_kind(conn: &mut Conn, kind: &str) -> QueryResult<bool> {
    let row: Known = sql("select exists (select from jobs where kind = $1)
                              or exists (select from dead_letters where kind = $1) as known")
    .bind::<Text, _>(kind)
    .get_result(conn)
    .await?;
    Ok(row.known)
}
