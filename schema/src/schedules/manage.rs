//! Schedules as people manage them. Those of the code may be paused and run; only those made over the API may be changed.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{ScheduleRow, columns};
use crate::{Conn, sql};

/// One fire of a schedule, and what became of its job.
#[derive(Debug, Clone, QueryableByName)]
pub struct FireRow {
    /// The time it was for; of a run by hand, when that was.
    #[diesel(sql_type = Timestamptz)]
    pub fire_at: DateTime<Utc>,
    /// When it was noticed.
    #[diesel(sql_type = Timestamptz)]
    pub fired_at: DateTime<Utc>,
    /// Whether an operator fired it.
    #[diesel(sql_type = Bool)]
    pub manual: bool,
    /// Its job; none if it was left out because the last one still lived.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub job_id: Option<Uuid>,
    /// Whether the job was there already: its kind allows one of its sort only.
    #[diesel(sql_type = Bool)]
    pub existing: bool,
    /// The job's state; none if it was left out, or the job is past retention.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
    /// When the job was over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
    /// What came of it.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub result: Option<Value>,
}

/// One schedule.
pub async fn find(conn: &mut Conn, name: &str) -> QueryResult<Option<ScheduleRow>> {
    sql(concat!("select ", columns!(), " from schedules where name = $1"))
        .bind::<Text, _>(name)
        .get_result(conn)
        .await
        .optional()
}

/// The same, locked until the transaction ends: no scheduler fires it meanwhile.
pub async fn lock(conn: &mut Conn, name: &str) -> QueryResult<Option<ScheduleRow>> {
    sql(concat!("select ", columns!(), " from schedules where name = $1 for update"))
        .bind::<Text, _>(name)
        .get_result(conn)
        .await
        .optional()
}

/// The newest fires with their jobs' states.
pub async fn fires(conn: &mut Conn, name: &str, limit: i64) -> QueryResult<Vec<FireRow>> {
    sql("with fires as materialized (
             select fire_at, fired_at, manual, job_id, existing from schedule_fires where schedule = $1
             order by fire_at desc limit $2)
         select f.fire_at, f.fired_at, f.manual, f.job_id, f.existing, j.state, j.finished_at, j.result
         from fires f
         left join lateral (
             select state, null::timestamptz as finished_at, null::jsonb as result from jobs where id = f.job_id
             union all select state, finished_at, result from job_history where id = f.job_id
             union all select 'dead', died_at, null from dead_letters where id = f.job_id
             limit 1) j on true
         order by f.fire_at desc")
    .bind::<Text, _>(name)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Makes a schedule of origin `api`; `false` if the name is taken.
pub async fn create(conn: &mut Conn, row: &ScheduleRow) -> QueryResult<bool> {
    write(
        conn,
        row,
        Some(row.paused),
        "insert into schedules (name, origin, spec, time_zone, missed, missed_limit, overlap, paused, kind, version, queue,
                                max_attempts, payload, next_at)
         values ($1, 'api', $2, $3, $4, $5, $6, coalesce($7, false), $8, $9, $10, $11, $12, $13)
         on conflict (name) do nothing",
    )
    .await
}

/// Replaces a schedule of origin `api` whole; its fires stay, and whether it rests, unless `paused` says so: who changes a
/// spec has not asked to wake what somebody put to rest. One that the scheduler rested is tried anew. `false` if there is none of
/// that name and origin.
pub async fn replace(conn: &mut Conn, row: &ScheduleRow, paused: Option<bool>) -> QueryResult<bool> {
    write(
        conn,
        row,
        paused,
        "update schedules set spec = $2, time_zone = $3, missed = $4, missed_limit = $5, overlap = $6,
                paused = coalesce($7, paused and problem is null),
                kind = $8, version = $9, queue = $10, max_attempts = $11, payload = $12, next_at = $13,
                problem = null, updated_at = now()
         where name = $1 and origin = 'api'",
    )
    .await
}

async fn write(
    conn: &mut Conn,
    row: &ScheduleRow,
    paused: Option<bool>,
    statement: &'static str,
) -> QueryResult<bool> {
    let written = sql(statement)
        .bind::<Text, _>(&row.name)
        .bind::<Text, _>(&row.spec)
        .bind::<Text, _>(&row.time_zone)
        .bind::<Text, _>(row.missed)
        .bind::<Integer, _>(row.missed_limit)
        .bind::<Text, _>(row.overlap)
        .bind::<Nullable<Bool>, _>(paused)
        .bind::<Text, _>(&row.kind)
        .bind::<SmallInt, _>(row.version)
        .bind::<Text, _>(&row.queue)
        .bind::<SmallInt, _>(row.max_attempts)
        .bind::<Jsonb, _>(&row.payload)
        .bind::<Nullable<Timestamptz>, _>(row.next_at)
        .execute(conn)
        .await?;
    Ok(written == 1)
}

/// Removes a schedule of origin `api` with the record of its fires; its jobs stay. `false` if there is none.
pub async fn delete(conn: &mut Conn, name: &str) -> QueryResult<bool> {
    let deleted = sql("delete from schedules where name = $1 and origin = 'api'")
        .bind::<Text, _>(name)
        .execute(conn)
        .await?;
    Ok(deleted == 1)
}

/// Rests a schedule, or wakes it: `next_at` then counts from the resume, because times that passed meanwhile were not wanted.
pub async fn set_paused(
    conn: &mut Conn,
    name: &str,
    paused: bool,
    next_at: Option<DateTime<Utc>>,
) -> QueryResult<()> {
    sql("update schedules set paused = $2, next_at = $3, problem = null, updated_at = now() where name = $1")
        .bind::<Text, _>(name)
        .bind::<Bool, _>(paused)
        .bind::<Nullable<Timestamptz>, _>(next_at)
        .execute(conn)
        .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct FireAt {
    #[diesel(sql_type = Timestamptz)]
    fire_at: DateTime<Utc>,
}

/// Records a fire by hand, at this moment, with the job that does its work, a new one or one that was there already; answers
/// with the moment. The schedule's times stay as they are.
pub async fn record_manual(
    conn: &mut Conn,
    name: &str,
    job_id: Uuid,
    existing: bool,
) -> QueryResult<DateTime<Utc>> {
    let fire: FireAt = sql("with fire as (
             insert into schedule_fires (schedule, fire_at, job_id, manual, existing)
             values ($1, clock_timestamp(), $2, true, $3) returning fire_at)
         update schedules set last_at = (select fire_at from fire), last_job_id = $2 where name = $1
         returning last_at as fire_at")
    .bind::<Text, _>(name)
    .bind::<SqlUuid, _>(job_id)
    .bind::<Bool, _>(existing)
    .get_result(conn)
    .await?;
    Ok(fire.fire_at)
}
