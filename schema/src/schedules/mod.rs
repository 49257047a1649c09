//! Schedules as rows, and the record of their fires: what the scheduler does with them. [`manage`] has what people do,
//! [`declare`] what programs do.

pub mod declare;
pub mod manage;
pub mod spec;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Array, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, sql::sql};

crate::text_enum! {
    /// What happens to times that passed while no scheduler ran.
    pub enum Missed {
        /// They are forgotten.
        Skip = "skip",
        /// They fire once together.
        Once = "once",
        /// Each fires, the newest `missed_limit` of them.
        All = "all",
    }
}

crate::text_enum! {
    /// What happens when the job of the last time still lives.
    pub enum Overlap {
        /// This time is left out.
        Skip = "skip",
        /// Both run.
        Allow = "allow",
        /// Both run, one after the other.
        Queue = "queue",
    }
}

/// A schedule.
#[derive(Debug, Clone, QueryableByName)]
pub struct ScheduleRow {
    /// Its permanent name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// `code` or `api`.
    #[diesel(sql_type = Text)]
    pub origin: String,
    /// `every 30s`, `at <time>` or cron fields: see [`spec`].
    #[diesel(sql_type = Text)]
    pub spec: String,
    /// IANA time zone of cron fields.
    #[diesel(sql_type = Text)]
    pub time_zone: String,
    /// Policy for missed times.
    #[diesel(sql_type = Text)]
    pub missed: Missed,
    /// Most missed times that fire under [`Missed::All`].
    #[diesel(sql_type = Integer)]
    pub missed_limit: i32,
    /// Policy for overlaps.
    #[diesel(sql_type = Text)]
    pub overlap: Overlap,
    /// Whether it rests.
    #[diesel(sql_type = Bool)]
    pub paused: bool,
    /// The job's kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// The payload's version.
    #[diesel(sql_type = SmallInt)]
    pub version: i16,
    /// The job's queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// The job's attempts.
    #[diesel(sql_type = SmallInt)]
    pub max_attempts: i16,
    /// The job's arguments.
    #[diesel(sql_type = Jsonb)]
    pub payload: Value,
    /// The next time; none for a one-off that has fired.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub next_at: Option<DateTime<Utc>>,
    /// The last time that fired.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub last_at: Option<DateTime<Utc>>,
    /// The job of the last time.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub last_job_id: Option<Uuid>,
    /// Why the scheduler rests it, or could not fire it the last time.
    #[diesel(sql_type = Nullable<Text>)]
    pub problem: Option<String>,
}

macro_rules! columns {
    () => {
        "name, origin, spec, time_zone, missed, missed_limit, overlap, paused, kind, version, queue, max_attempts,
         payload, next_at, last_at, last_job_id, problem"
    };
}
use columns;

/// Every schedule, by name.
pub async fn all(conn: &mut Conn) -> QueryResult<Vec<ScheduleRow>> {
    sql(concat!("select ", columns!(), " from schedules order by name")).load(conn).await
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

/// The time by the database's clock, in a transaction that of its begin. All times of schedules are computed from it, since it
/// also says what is due: a host whose clock is ahead would move every schedule past what the database calls now, and silence
/// them; one that is behind would find them due again at once, without end.
pub async fn now(conn: &mut Conn) -> QueryResult<DateTime<Utc>> {
    let now: Now = sql("select now() as now").get_result(conn).await?;
    Ok(now.now)
}

/// The schedule that has been due longest, but for those `passed` over, locked until the transaction ends; others' locks are
/// passed over too, so any number of schedulers may ask at once.
pub async fn lock_due(conn: &mut Conn, passed: &[String]) -> QueryResult<Option<ScheduleRow>> {
    sql(concat!(
        "select ",
        columns!(),
        " from schedules where not paused and next_at <= now() and name <> all($1) order by next_at limit 1
          for update skip locked"
    ))
    .bind::<Array<Text>, _>(passed)
    .get_result(conn)
    .await
    .optional()
}

/// Records that a time fires, for now without a job; `false` if it has fired before.
pub async fn record_fire(conn: &mut Conn, name: &str, fire_at: DateTime<Utc>) -> QueryResult<bool> {
    let fresh = sql("insert into schedule_fires (schedule, fire_at) values ($1, $2) on conflict do nothing")
        .bind::<Text, _>(name)
        .bind::<Timestamptz, _>(fire_at)
        .execute(conn)
        .await?;
    Ok(fresh == 1)
}

/// Records which job does the work of a fire: a new one, or one that was there already.
pub async fn record_job(
    conn: &mut Conn,
    name: &str,
    fire_at: DateTime<Utc>,
    job_id: Uuid,
    existing: bool,
) -> QueryResult<()> {
    sql("update schedule_fires set job_id = $3, existing = $4 where schedule = $1 and fire_at = $2")
        .bind::<Text, _>(name)
        .bind::<Timestamptz, _>(fire_at)
        .bind::<SqlUuid, _>(job_id)
        .bind::<Bool, _>(existing)
        .execute(conn)
        .await?;
    Ok(())
}

/// Moves a schedule on: its next time, if it has one, and the last one if it fired. It has no problem then.
pub async fn advance(
    conn: &mut Conn,
    name: &str,
    next_at: Option<DateTime<Utc>>,
    fired: Option<(DateTime<Utc>, Uuid)>,
) -> QueryResult<()> {
    sql("update schedules set next_at = $2, last_at = coalesce($3, last_at), last_job_id = coalesce($4, last_job_id),
             problem = null
         where name = $1")
    .bind::<Text, _>(name)
    .bind::<Nullable<Timestamptz>, _>(next_at)
    .bind::<Nullable<Timestamptz>, _>(fired.map(|f| f.0))
    .bind::<Nullable<SqlUuid>, _>(fired.map(|f| f.1))
    .execute(conn)
    .await?;
    Ok(())
}

/// Rests a schedule that cannot be fired, with the reason.
pub async fn fail(conn: &mut Conn, name: &str, problem: &str) -> QueryResult<()> {
    sql("update schedules set paused = true, problem = $2, updated_at = now() where name = $1")
        .bind::<Text, _>(name)
        .bind::<Text, _>(problem)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes why a schedule was not fired; it stays due.
pub async fn trouble(conn: &mut Conn, name: &str, problem: &str) -> QueryResult<()> {
    sql("update schedules set problem = $2, updated_at = now() where name = $1 and problem is distinct from $2")
        .bind::<Text, _>(name)
        .bind::<Text, _>(problem)
        .execute(conn)
        .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Lives {
    #[diesel(sql_type = Bool)]
    lives: bool,
}

/// Whether a job still waits or runs.
pub async fn job_lives(conn: &mut Conn, job_id: Uuid) -> QueryResult<bool> {
    let answer: Lives = sql("select exists (select 1 from jobs where id = $1) as lives")
        .bind::<SqlUuid, _>(job_id)
        .get_result(conn)
        .await?;
    Ok(answer.lives)
}
