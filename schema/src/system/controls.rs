//! What operators may change while everything runs: pauses, limits, concurrency, dependencies.
//!
//! Each change is a row, and every claim reads it: it counts for all workers from their next claim on. **Pause** is the
//! only way to stop a queue or a kind: nothing new is claimed, what runs goes on to its end, and enqueueing goes on. To
//! **drain** is to pause and to wait until [`QueueControl::is_dry`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

pub use super::{
    pauses::{KindControl, kind, kinds, pause_kind, pause_queue, resume_kind, resume_queue},
    places::{Places, places, set_places},
};

/// A token bucket: `jobs` per `period` on average, at most `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Jobs per period, more than 0.
    pub jobs: i32,
    /// The period, more than 0.
    pub period: Duration,
    /// The bucket's size: so many may start together after a rest. At least 1.
    pub burst: i32,
}

impl Rate {
    /// `jobs` per `period`, all of them at once if need be.
    pub const fn new(jobs: i32, period: Duration) -> Self {
        Self { jobs, period, burst: jobs }
    }
}

/// Limits of a queue over all workers. `None` does not limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Jobs that run at a time; 0 lets none run.
    pub max_running: Option<i32>,
    /// Jobs of one limit key that run at a time, at least 1. Jobs without a key are not counted.
    pub max_per_key: Option<i32>,
    /// Starts of jobs in time, attempts counted each.
    pub rate: Option<Rate>,
    /// The same for each limit key.
    pub key_rate: Option<Rate>,
}

/// A queue that has a control, or live jobs.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct QueueControl {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Since when nothing is claimed from it; `None` while it is not paused.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    #[diesel(sql_type = Nullable<Text>)]
    pub paused_by: Option<String>,
    /// Why.
    #[diesel(sql_type = Nullable<Text>)]
    pub pause_reason: Option<String>,
    /// See [`Limits`].
    #[diesel(sql_type = Nullable<Integer>)]
    pub max_running: Option<i32>,
    /// See [`Limits`].
    #[diesel(sql_type = Nullable<Integer>)]
    pub max_per_key: Option<i32>,
    /// See [`Limits`].
    #[diesel(sql_type = Nullable<Integer>)]
    pub rate: Option<i32>,
    /// Seconds.
    #[diesel(sql_type = Nullable<Double>)]
    pub rate_period: Option<f64>,
    /// See [`Rate`].
    #[diesel(sql_type = Nullable<Integer>)]
    pub rate_burst: Option<i32>,
    /// See [`Limits`].
    #[diesel(sql_type = Nullable<Integer>)]
    pub key_rate: Option<i32>,
    /// Seconds.
    #[diesel(sql_type = Nullable<Double>)]
    pub key_rate_period: Option<f64>,
    /// See [`Rate`].
    #[diesel(sql_type = Nullable<Integer>)]
    pub key_rate_burst: Option<i32>,
    /// `code` or `operator`: whose limits these are.
    #[diesel(sql_type = Text)]
    pub limits_origin: String,
    /// Who changed it last.
    #[diesel(sql_type = Text)]
    pub updated_by: String,
    /// Jobs that run now.
    #[diesel(sql_type = BigInt)]
    pub running: i64,
    /// Paused, nothing runs, and no claim from before the pause can be on its way any more.
    #[diesel(sql_type = Bool)]
    pub dry: bool,
}

impl QueueControl {
    /// Whether it is paused and everything that ran has ended.
    pub fn is_dry(&self) -> bool {
        self.dry
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        Limits {
            max_running: self.max_running,
            max_per_key: self.max_per_key,
            rate: rate(self.rate, self.rate_period, self.rate_burst),
            key_rate: rate(self.key_rate, self.key_rate_period, self.key_rate_burst),
        }
    }
}

fn rate(jobs: Option<i32>, seconds: Option<f64>, burst: Option<i32>) -> Option<Rate> {
    let period = Duration::try_from_secs_f64(seconds?).ok()?;
    Some(Rate { jobs: jobs?, period, burst: burst? })
}

// A claim takes a few milliseconds from its snapshot to its commit; two seconds after the pause none is on its way.
macro_rules! queue_select {
    () => {
        "select c.queue, c.paused_at, c.paused_by, c.pause_reason, c.max_running, c.max_per_key, c.rate, c.rate_period,
                c.rate_burst, c.key_rate, c.key_rate_period, c.key_rate_burst, c.limits_origin, c.updated_by,
                coalesce(r.running, 0) as running,
                coalesce(c.paused_at < clock_timestamp() - interval '2 seconds', false) and r.running is null as dry
         from queue_controls c
         left join (select queue, count(*) as running from running_jobs group by queue) r
              on r.queue = c.queue"
    };
}

/// Every queue with a control, by name.
pub async fn queues(conn: &mut Conn) -> QueryResult<Vec<QueueControl>> {
    sql(concat!(queue_select!(), " order by c.queue")).load(conn).await
}

/// One queue's control; `None` if nothing was ever said of it.
pub async fn queue(conn: &mut Conn, queue: &str) -> QueryResult<Option<QueueControl>> {
    sql(concat!(queue_select!(), " where c.queue = $1"))
        .bind::<Text, _>(queue)
        .get_result(conn)
        .await
        .optional()
}

/// Sets a queue's limits, all of them: what is `None` is no longer limited. Refused by a constraint if a number is out
/// of range. Workers that start later do not replace them by the code's.
pub async fn set_limits(conn: &mut Conn, queue: &str, limits: &Limits, actor: &str) -> QueryResult<()> {
    write_limits(conn, queue, limits, "operator", actor).await
}

/// Sets a queue's limits unless an operator has: the defaults in code.
pub async fn default_limits(conn: &mut Conn, queue: &str, limits: &Limits) -> QueryResult<()> {
    write_limits(conn, queue, limits, "code", "code").await
}

async fn write_limits(
    conn: &mut Conn,
    queue: &str,
    limits: &Limits,
    origin: &str,
    actor: &str,
) -> QueryResult<()> {
    // The bucket begins anew where the rate changes, and only there: a worker that starts must not fill it.
    sql("insert into queue_controls as c (queue, max_running, max_per_key, rate, rate_period, rate_burst, key_rate,
             key_rate_period, key_rate_burst, limits_origin, updated_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (queue) do update
         set max_running = excluded.max_running, max_per_key = excluded.max_per_key, rate = excluded.rate,
             rate_period = excluded.rate_period, rate_burst = excluded.rate_burst, key_rate = excluded.key_rate,
             key_rate_period = excluded.key_rate_period, key_rate_burst = excluded.key_rate_burst,
             tokens = case when (c.rate, c.rate_period, c.rate_burst)
                                is not distinct from (excluded.rate, excluded.rate_period, excluded.rate_burst)
                           then c.tokens end,
             limits_origin = excluded.limits_origin, updated_at = clock_timestamp(), updated_by = excluded.updated_by
         where excluded.limits_origin = 'operator' or c.limits_origin = 'code'")
    .bind::<Text, _>(queue)
    .bind::<Nullable<Integer>, _>(limits.max_running)
    .bind::<Nullable<Integer>, _>(limits.max_per_key)
    .bind::<Nullable<Integer>, _>(limits.rate.map(|rate| rate.jobs))
    .bind::<Nullable<Double>, _>(limits.rate.map(|rate| rate.period.as_secs_f64()))
    .bind::<Nullable<Integer>, _>(limits.rate.map(|rate| rate.burst))
    .bind::<Nullable<Integer>, _>(limits.key_rate.map(|rate| rate.jobs))
    .bind::<Nullable<Double>, _>(limits.key_rate.map(|rate| rate.period.as_secs_f64()))
    .bind::<Nullable<Integer>, _>(limits.key_rate.map(|rate| rate.burst))
    .bind::<Text, _>(origin)
    .bind::<Text, _>(actor)
    .execute(conn)
    .await
    .map(drop)
}

/// Something outside that kinds need.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Dependency {
    /// Its name, as in the kinds' code.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Since when it is down; `None` while it is up.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub down_since: Option<DateTime<Utc>>,
    /// From then on one job may try whether it is up again.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub down_until: Option<DateTime<Utc>>,
    /// Why it is down.
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    /// The job that tries, or tried last.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub probe_id: Option<Uuid>,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

/// What kinds of the running workers need, by the code of those that started.
pub async fn needed(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let rows: Vec<Named> =
        sql("select distinct dependency as name from kind_needs order by name").load(conn).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// Every dependency that was ever down, by name.
pub async fn dependencies(conn: &mut Conn) -> QueryResult<Vec<Dependency>> {
    sql("select name, down_since, down_until, reason, probe_id from dependencies order by name")
        .load(conn)
        .await
}

/// Says that a dependency is down, for `rest` from now on: jobs whose kind needs it wait unclaimed, and after the rest one
/// of them may try. Said again, it begins a new rest.
pub async fn dependency_down(conn: &mut Conn, name: &str, rest: Duration, reason: &str) -> QueryResult<()> {
    sql("insert into dependencies as d (name, down_since, down_until, reason)
         values ($1, clock_timestamp(), clock_timestamp() + $2 * interval '1 second', $3)
         on conflict (name) do update
         set down_since = coalesce(d.down_since, excluded.down_since), down_until = excluded.down_until,
             reason = excluded.reason, probe_id = null, updated_at = clock_timestamp()")
    .bind::<Text, _>(name)
    .bind::<Double, _>(rest.as_secs_f64())
    .bind::<Text, _>(reason)
    .execute(conn)
    .await
    .map(drop)
}

/// Says that a dependency is up again; `false` if it was not down.
pub async fn dependency_up(conn: &mut Conn, name: &str) -> QueryResult<bool> {
    sql("update dependencies
         set down_since = null, down_until = null, reason = null, probe_id = null, updated_at = clock_timestamp()
         where name = $1 and down_since is not null")
    .bind::<Text, _>(name)
    .execute(conn)
    .await
    .map(|changed| changed == 1)
}
