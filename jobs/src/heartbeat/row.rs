//! The worker's row.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `worker`, or what else claims jobs.
    pub service: String,
    /// Version of the binary.
    pub version: String,
    /// The queues it serves.
    pub queues: Vec<String>,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// Takes the advisory lock of `key` for as long as the connection lives; false if somebody has it.
pub(super) async fn lock(conn: &mut Conn, key: i64) -> QueryResult<bool> {
    let answer: Answer = waybill_schema::sql("select pg_try_advisory_lock($1) as yes")
        .bind::<BigInt, _>(key)
        .get_result(conn)
        .await?;
    Ok(answer.yes)
}

/// Writes the row of a new worker. `quiet` is who asked the process in its life before to claim nothing more.
pub(super) async fn insert(
    conn: &mut Conn,
    id: Uuid,
    key: i64,
    lease: Duration,
    identity: &Identity,
    quiet: Option<&str>,
) -> QueryResult<()> {
    waybill_schema::sql(
        "insert into workers (id, service, host, pid, version, queues, lock_key, lease_until, quiet_at, quiet_by)
         values ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8 * interval '1 second',
                 case when $9 is not null then clock_timestamp() end, $9)
         on conflict (id) do update set lock_key = excluded.lock_key, unlocked_at = null,
             lease_until = excluded.lease_until",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Text, _>(&identity.service)
    .bind::<Text, _>(host())
    .bind::<Integer, _>(i32::try_from(std::process::id()).unwrap_or(i32::MAX))
    .bind::<Text, _>(&identity.version)
    .bind::<Array<Text>, _>(&identity.queues)
    .bind::<BigInt, _>(key)
    .bind::<Double, _>(lease.as_secs_f64())
    .bind::<Nullable<Text>, _>(quiet)
    .execute(conn)
    .await
    .map(drop)
}

/// The jobs of worker `$1` that were asked to end: one that has a worker runs.
macro_rules! asked {
    () => {
        "array(select j.id from jobs j where j.worker_id = $1 and j.cancel is not null and not j.undo) as asked"
    };
}

#[derive(QueryableByName)]
struct Asked {
    #[diesel(sql_type = Array<SqlUuid>)]
    asked: Vec<Uuid>,
}

/// The jobs of a worker that were asked to end.
pub(super) async fn asked(conn: &mut Conn, id: Uuid) -> QueryResult<Vec<Uuid>> {
    let row: Asked =
        waybill_schema::sql(concat!("select ", asked!())).bind::<SqlUuid, _>(id).get_result(conn).await?;
    Ok(row.asked)
}

/// What others want of this worker.
#[derive(QueryableByName)]
pub(super) struct Wishes {
    /// Jobs of it that were asked to end.
    #[diesel(sql_type = Array<SqlUuid>)]
    pub asked: Vec<Uuid>,
    /// Who wants it to claim nothing more.
    #[diesel(sql_type = Nullable<Text>)]
    pub quiet_by: Option<String>,
}

/// What a worker says with each beat.
pub(super) struct Word {
    /// It is ending.
    pub draining: bool,
    /// It claims nothing more, as was wished before this beat.
    pub quiet: bool,
    /// How many jobs of each queue run at a time, where that has changed.
    pub places: Option<Value>,
}

/// Extends the lease, under a new lock key if the connection is new; `None` if the row is gone, else what others want.
///
/// `quiet` is said a beat after the wish was read: no claim from before it is on its way by then.
pub(super) async fn extend(
    conn: &mut Conn,
    id: Uuid,
    key: i64,
    lease: Duration,
    word: Word,
) -> QueryResult<Option<Wishes>> {
    waybill_schema::sql(concat!(
        "update workers
         set heartbeat_at = clock_timestamp(), lease_until = clock_timestamp() + $3 * interval '1 second',
             lock_key = $2, unlocked_at = null, places = coalesce($6, places),
             state = case when $4 then 'draining' when $5 and quiet_at is not null then 'quiet' else 'running' end
         where id = $1
         returning case when quiet_at is not null then coalesce(quiet_by, '') end as quiet_by, ",
        asked!()
    ))
    .bind::<SqlUuid, _>(id)
    .bind::<BigInt, _>(key)
    .bind::<Double, _>(lease.as_secs_f64())
    .bind::<Bool, _>(word.draining)
    .bind::<Bool, _>(word.quiet)
    .bind::<Nullable<Jsonb>, _>(word.places)
    .get_result(conn)
    .await
    .optional()
}

/// Removes the row of a worker that holds nothing any more; false while it still holds jobs.
pub(super) async fn remove(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    let answer: Answer = waybill_schema::sql(
        "with gone as (
             delete from workers w where id = $1
               and not exists (select from running_jobs j where j.worker_id = w.id)),
         claims as (
             delete from job_claims c where worker_id = $1
               and not exists (select from running_jobs j where j.claim_batch = c.id))
         select not exists (select from running_jobs where worker_id = $1) as yes",
    )
    .bind::<SqlUuid, _>(id)
    .get_result(conn)
    .await?;
    Ok(answer.yes)
}

/// The host that this process runs on.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".to_owned())
}
