//! What the job that reads a file writes about it.

use diesel::{
    QueryResult,
    sql_types::{Array, BigInt, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::RowError;
use crate::{Conn, sql};

/// What a row came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// It made something new.
    Created,
    /// It changed something.
    Updated,
    /// It said what was known.
    Unchanged,
    /// It cannot be used.
    Refused {
        /// The column.
        field: &'static str,
        /// What stood there.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Rows by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the file passed, blank ones included, the header not.
    pub done: i64,
    /// Rows that made something new.
    pub created: i64,
    /// Rows that changed something.
    pub updated: i64,
    /// Rows that said what was known.
    pub unchanged: i64,
    /// Rows that cannot be used.
    pub failed: i64,
}

/// Binds what a statement adds to counters, behind what else it binds.
macro_rules! bind_counts {
    ($statement:expr, $counts:expr) => {
        $statement
            .bind::<BigInt, _>($counts.done)
            .bind::<BigInt, _>($counts.created)
            .bind::<BigInt, _>($counts.updated)
            .bind::<BigInt, _>($counts.unchanged)
            .bind::<BigInt, _>($counts.failed)
    };
}

pub(super) use bind_counts;

/// Says that `job_id` is at it, which is another job once an operator has had the first one repeated; `false` if the import
/// is over.
pub async fn start(conn: &mut Conn, id: Uuid, job_id: Uuid) -> QueryResult<bool> {
    // A failed import starts again when somebody retries its job.
    let started =
        sql("update imports set status = 'running', started_at = coalesce(started_at, now()), error = null,
             finished_at = null, job_id = $2
         where id = $1 and status <> 'completed'")
        .bind::<SqlUuid, _>(id)
        .bind::<SqlUuid, _>(job_id)
        .execute(conn)
        .await?;
    Ok(started == 1)
}

/// Moves the resume point from `from` to `to`, in the transaction that wrote the rows between; `false` if it is not at
/// `from`, so that the rows must not be written again.
pub async fn checkpoint(conn: &mut Conn, id: Uuid, from: i64, to: i64, counts: &Counts) -> QueryResult<bool> {
    let statement = sql(
        "update imports set byte_offset = $3, rows_done = rows_done + $4, rows_created = rows_created + $5,
             rows_updated = rows_updated + $6, rows_unchanged = rows_unchanged + $7, rows_failed = rows_failed + $8
         where id = $1 and byte_offset = $2 and status = 'running'",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<BigInt, _>(from)
    .bind::<BigInt, _>(to);
    Ok(bind_counts!(statement, counts).execute(conn).await? == 1)
}

/// Writes what was wrong with rows.
pub async fn insert_errors(conn: &mut Conn, id: Uuid, errors: &[RowError]) -> QueryResult<()> {
    if errors.is_empty() {
        return Ok(());
    }
    sql("insert into import_errors (import_id, row_number, field, value, reason)
         select $1, * from unnest($2, $3, $4, $5) on conflict do nothing")
    .bind::<SqlUuid, _>(id)
    .bind::<Array<BigInt>, _>(errors.iter().map(|e| e.row_number).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(errors.iter().map(|e| e.value.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(errors.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that every row is in, or reported.
pub async fn complete(conn: &mut Conn, id: Uuid) -> QueryResult<()> {
    sql("update imports set status = 'completed', finished_at = now() where id = $1 and status = 'running'")
        .bind::<SqlUuid, _>(id)
        .execute(conn)
        .await?;
    Ok(())
}

macro_rules! failed {
    () => {
        "an internal error; the job has the details"
    };
}

/// What an import failed of, if that is nothing to do with its file.
pub const FAILED: &str = failed!();

/// An import that nobody reads any more is failed, and says what became of its job. What a dead letter was comes to life again when
/// that is retried.
macro_rules! close {
    ($which:literal) => {
        concat!(
            "update imports i set status = 'failed', finished_at = now(), error = coalesce(
                 (select 'its job was ' || h.state || '; the rows up to there are in' from job_history h
                  where h.id = i.job_id and h.state in ('cancelled', 'discarded') order by h.finished_at desc limit 1),
                 (select '",
            failed!(),
            "' from dead_letters d where d.id = i.job_id),
                 'its job is gone; the rows up to there are in')
             where i.status in ('queued', 'running') and not exists (select from jobs j where j.id = i.job_id) and ",
            $which
        )
    };
}

/// Closes at most `$1` imports whose job is over without them: whoever ended it said nothing, or its worker died under the last
/// attempt.
pub const CLOSE: &str = close!(
    "i.id = any(array(
         select id from imports o
         where o.status in ('queued', 'running') and not exists (select from jobs j where j.id = o.job_id)
         limit $1 for update of o skip locked))"
);

/// Closes those of the imports that these jobs were to read that nobody reads any more, in the transaction that ended the jobs.
pub async fn close(conn: &mut Conn, jobs: &[Uuid]) -> QueryResult<usize> {
    sql(close!("i.job_id = any($1)")).bind::<Array<SqlUuid>, _>(jobs).execute(conn).await
}

/// Says why the file as a whole cannot be used; rows that are in stay in.
pub async fn fail(conn: &mut Conn, id: Uuid, error: &str) -> QueryResult<()> {
    sql("update imports set status = 'failed', error = $2, finished_at = now() where id = $1 and status <> 'completed'")
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(error)
        .execute(conn)
        .await?;
    Ok(())
}
