//! Parts of a stretch of a file, which run side by side.

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Integer, Jsonb, SmallInt, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{
    run::{Counts, bind_counts},
    sums,
};
use crate::{Conn, sql};

/// A part: where its rows lie, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct PartRow {
    /// Its number, from 0.
    #[diesel(sql_type = Integer)]
    pub part: i32,
    /// What the keys of its files begin with.
    #[diesel(sql_type = Text)]
    pub prefix: String,
    /// Bytes of its files.
    #[diesel(sql_type = Array<BigInt>)]
    pub sizes: Vec<i64>,
    /// Where the next attempt goes on, in its files one behind the other.
    #[diesel(sql_type = BigInt)]
    pub place: i64,
}

/// Gives the import to a workflow; `false` if another has it, or it is over. From now on its job is for workers that know
/// `version` of it, and is compensated when it is cancelled, also one that was enqueued by a version that cut nothing.
pub async fn begin(conn: &mut Conn, import_id: Uuid, flow_id: Uuid, version: i16) -> QueryResult<bool> {
    let given = sql(
        "with given as (
             update imports set flow_id = $2 where id = $1 and flow_id is null and status = 'running' returning job_id),
         raised as (update jobs set version = greatest(version, $3), compensates = true from given where id = job_id)
         select from given",
    )
    .bind::<SqlUuid, _>(import_id)
    .bind::<SqlUuid, _>(flow_id)
    .bind::<SmallInt, _>(version)
    .execute(conn)
    .await?;
    Ok(given == 1)
}

/// Writes the parts of an import, in the transaction that completes the cutting.
pub async fn insert(conn: &mut Conn, import_id: Uuid, parts: &[PartRow]) -> QueryResult<()> {
    for part in parts {
        sql("insert into import_parts (import_id, part, prefix, sizes) values ($1, $2, $3, $4)")
            .bind::<SqlUuid, _>(import_id)
            .bind::<Integer, _>(part.part)
            .bind::<Text, _>(&part.prefix)
            .bind::<Array<BigInt>, _>(&part.sizes)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// A part of an import.
pub async fn find(conn: &mut Conn, import_id: Uuid, part: i32) -> QueryResult<Option<PartRow>> {
    sql("select part, prefix, sizes, place from import_parts where import_id = $1 and part = $2")
        .bind::<SqlUuid, _>(import_id)
        .bind::<Integer, _>(part)
        .get_result(conn)
        .await
        .optional()
}

/// Moves a part's resume point from `from` to `to`, in the transaction that wrote the rows between, which were `bytes` of
/// the uploaded file; `false` if it is not at `from`, so that the rows must not be written again.
pub async fn checkpoint(
    conn: &mut Conn,
    import_id: Uuid,
    part: i32,
    (from, to): (i64, i64),
    bytes: i64,
    counts: &Counts,
) -> QueryResult<bool> {
    let statement =
        sql("update import_parts set place = $4, bytes_done = bytes_done + $5, rows_done = rows_done + $6,
             rows_created = rows_created + $7, rows_updated = rows_updated + $8,
             rows_unchanged = rows_unchanged + $9, rows_failed = rows_failed + $10
         where import_id = $1 and part = $2 and place = $3")
        .bind::<SqlUuid, _>(import_id)
        .bind::<Integer, _>(part)
        .bind::<BigInt, _>(from)
        .bind::<BigInt, _>(to)
        .bind::<BigInt, _>(bytes);
    Ok(bind_counts!(statement, counts).execute(conn).await? == 1)
}

/// Adds what the parts of a workflow have done to their import, whose resume point then lies behind them all; `false` if the
/// workflow does not have the import any more. Every part must be done. With `at_end` nothing but blank rows is behind them.
pub async fn merge(conn: &mut Conn, import_id: Uuid, flow_id: Uuid, at_end: bool) -> QueryResult<bool> {
    let merged = sql(concat!(
        "with target as (select id from imports where id = $1 and flow_id = $2 for update),
         gone as (delete from import_parts using target where import_id = target.id returning import_parts.*),
         p as (",
        sums!("gone"),
        ")
         update imports i set flow_id = null, rows_done = i.rows_done + p.rows_done,
             rows_created = i.rows_created + p.rows_created, rows_updated = i.rows_updated + p.rows_updated,
             rows_unchanged = i.rows_unchanged + p.rows_unchanged, rows_failed = i.rows_failed + p.rows_failed,
             byte_offset = greatest(byte_offset + p.bytes_done, case when $3 then size_bytes end)
         from target, p where i.id = target.id"
    ))
    .bind::<SqlUuid, _>(import_id)
    .bind::<SqlUuid, _>(flow_id)
    .bind::<Bool, _>(at_end)
    .execute(conn)
    .await?;
    Ok(merged == 1)
}

/// Shows how far an import is in the row of its own job, which waits, in the transaction open on `conn`. Whoever shows it
/// reads it after [`lock_job`], so that of two parts the later one does not show less.
pub async fn show(conn: &mut Conn, job_id: Uuid, progress: &Value) -> QueryResult<()> {
    sql("update jobs set progress = $2 where id = $1")
        .bind::<SqlUuid, _>(job_id)
        .bind::<Jsonb, _>(progress)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes turns with others who would [`show`]; `false` if the job is not live.
pub async fn lock_job(conn: &mut Conn, job_id: Uuid) -> QueryResult<bool> {
    let locked = sql("select from jobs where id = $1 for no key update")
        .bind::<SqlUuid, _>(job_id)
        .execute(conn)
        .await?;
    Ok(locked == 1)
}
