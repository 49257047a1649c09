//! What workers find out about the dependencies that operators also see and set ([`super::controls`]): one that does not
//! answer is written down as down, one job at a time tries it, and an answer brings it up.
//!
//! Each of these changes only what the one who asks may change: a failure does not prolong a rest that somebody else
//! began, and a job whose turn to try is over brings nothing up, so a word of an operator is never undone by a late
//! answer.

use std::time::Duration;

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Double, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

crate::text_enum! {
    /// How a dependency stands, to one job.
    pub enum Standing {
        /// It may be called.
        Up = "up",
        /// It rests: who needs it waits.
        Down = "down",
        /// It is down, and this job is the one that tries.
        Probe = "probe",
    }
}

/// The name of a payment gateway among the dependencies.
pub fn gateway(name: &str) -> String {
    format!("gateway.{name}")
}

/// The name of the mail server among the dependencies.
pub const MAIL_SERVER: &str = "mail_server";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    standing: Standing,
}

/// How a dependency stands to a job.
pub async fn standing(conn: &mut Conn, name: &str, job_id: Uuid) -> QueryResult<Standing> {
    let row: Option<Row> = sql("select case when probe_id = $2 then 'probe' else 'down' end as standing
         from dependencies where name = $1 and down_since is not null")
    .bind::<Text, _>(name)
    .bind::<SqlUuid, _>(job_id)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map_or(Standing::Up, |row| row.standing))
}

/// [`standing`]; and if the job is the one that tries, it alone may for as long as `patience` from now on.
pub async fn hold_probe(
    conn: &mut Conn,
    name: &str,
    job_id: Uuid,
    patience: Duration,
) -> QueryResult<Standing> {
    let row: Row = sql("with mine as (
             update dependencies
             set down_until = greatest(down_until, clock_timestamp() + $3 * interval '1 second'),
                 updated_at = clock_timestamp()
             where name = $1 and probe_id = $2 and down_since is not null returning 1)
         select case when exists (select from mine) then 'probe'
                     when exists (select from dependencies where name = $1 and down_since is not null) then 'down'
                     else 'up' end as standing")
    .bind::<Text, _>(name)
    .bind::<SqlUuid, _>(job_id)
    .bind::<Double, _>(patience.as_secs_f64())
    .get_result(conn)
    .await?;
    Ok(row.standing)
}

/// Says that a dependency does not answer, and rests for `rest`. `false`, and nothing is changed, if that is known.
pub async fn failed(conn: &mut Conn, name: &str, rest: Duration, reason: &str) -> QueryResult<bool> {
    sql("insert into dependencies as d (name, down_since, down_until, reason)
         values ($1, clock_timestamp(), clock_timestamp() + $2 * interval '1 second', $3)
         on conflict (name) do update
         set down_since = excluded.down_since, down_until = excluded.down_until, reason = excluded.reason,
             probe_id = null, updated_at = clock_timestamp()
         where d.down_since is null")
    .bind::<Text, _>(name)
    .bind::<Double, _>(rest.as_secs_f64())
    .bind::<Text, _>(reason)
    .execute(conn)
    .await
    .map(|changed| changed == 1)
}

/// Says that the job which tried had no answer: another rest begins. `false` if that job is no longer the one that tries.
pub async fn probe_failed(
    conn: &mut Conn,
    name: &str,
    job_id: Uuid,
    rest: Duration,
    reason: &str,
) -> QueryResult<bool> {
    sql("update dependencies
         set down_until = clock_timestamp() + $3 * interval '1 second', reason = $4, probe_id = null,
             updated_at = clock_timestamp()
         where name = $1 and probe_id = $2 and down_since is not null")
    .bind::<Text, _>(name)
    .bind::<SqlUuid, _>(job_id)
    .bind::<Double, _>(rest.as_secs_f64())
    .bind::<Text, _>(reason)
    .execute(conn)
    .await
    .map(|changed| changed == 1)
}

/// Says that the job which tried had an answer: the dependency is up. `false` if that job is no longer the one that tries.
pub async fn probe_answered(conn: &mut Conn, name: &str, job_id: Uuid) -> QueryResult<bool> {
    sql("update dependencies
         set down_since = null, down_until = null, reason = null, probe_id = null, answered_at = clock_timestamp(),
             updated_at = clock_timestamp()
         where name = $1 and probe_id = $2 and down_since is not null")
    .bind::<Text, _>(name)
    .bind::<SqlUuid, _>(job_id)
    .execute(conn)
    .await
    .map(|changed| changed == 1)
}

/// Says that the job which was to try did not: another may at once. `false` if it is no longer the one that tries.
pub async fn probe_passed(conn: &mut Conn, name: &str, job_id: Uuid) -> QueryResult<bool> {
    sql("update dependencies
         set down_until = clock_timestamp(), probe_id = null, updated_at = clock_timestamp()
         where name = $1 and probe_id = $2 and down_since is not null")
    .bind::<Text, _>(name)
    .bind::<SqlUuid, _>(job_id)
    .execute(conn)
    .await
    .map(|changed| changed == 1)
}

/// A dependency with the jobs that wait for it.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Waiting {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Whether it is down.
    #[diesel(sql_type = Bool)]
    pub down: bool,
    /// Jobs that wait for it, or are about to be let go.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
}

/// Every dependency that was ever down, with the jobs that wait for it, by name.
pub async fn waiting(conn: &mut Conn) -> QueryResult<Vec<Waiting>> {
    sql("select d.name, d.down_since is not null as down,
                (select count(*) from jobs j where j.hold = 'needs:' || d.name) as jobs
         from dependencies d order by d.name")
    .load(conn)
    .await
}
