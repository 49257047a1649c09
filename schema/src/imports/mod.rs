//! Imports: files that become rows.

pub mod parts;
pub mod run;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql::sql};

crate::text_enum! {
    /// What a file holds.
    pub enum ImportKind {
        /// Products and variants, one row a variant.
        Products = "products",
        /// Absolute stock levels.
        Stock = "stock",
    }
}

crate::text_enum! {
    /// How far an import is.
    pub enum ImportStatus {
        /// Its job waits.
        Queued = "queued",
        /// Rows are going in.
        Running = "running",
        /// Every row is in, or reported.
        Completed = "completed",
        /// The file as a whole cannot be used.
        Failed = "failed",
    }
}

/// An import and its counters.
#[derive(Debug, Clone, QueryableByName)]
pub struct ImportRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// What the file holds.
    #[diesel(sql_type = Text)]
    pub kind: ImportKind,
    /// How far it is.
    #[diesel(sql_type = Text)]
    pub status: ImportStatus,
    /// As uploaded.
    #[diesel(sql_type = Text)]
    pub filename: String,
    /// Key in the object store.
    #[diesel(sql_type = Text)]
    pub object: String,
    /// Size.
    #[diesel(sql_type = BigInt)]
    pub size_bytes: i64,
    /// The job that reads it.
    #[diesel(sql_type = SqlUuid)]
    pub job_id: Uuid,
    /// The workflow that imports what lies behind `byte_offset`, if that is cut into parts.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub flow_id: Option<Uuid>,
    /// Rows read, bad ones included, and those that parts have read.
    #[diesel(sql_type = BigInt)]
    pub rows_done: i64,
    /// Where the next attempt goes on, or where what the parts have begins.
    #[diesel(sql_type = BigInt)]
    pub byte_offset: i64,
    /// Bytes of the rows that are read.
    #[diesel(sql_type = BigInt)]
    pub bytes_done: i64,
    /// Rows that made something new.
    #[diesel(sql_type = BigInt)]
    pub rows_created: i64,
    /// Rows that changed something.
    #[diesel(sql_type = BigInt)]
    pub rows_updated: i64,
    /// Rows that said what was known.
    #[diesel(sql_type = BigInt)]
    pub rows_unchanged: i64,
    /// Rows that could not be used.
    #[diesel(sql_type = BigInt)]
    pub rows_failed: i64,
    /// Why the whole file failed.
    #[diesel(sql_type = Nullable<Text>)]
    pub error: Option<String>,
    /// Uploaded.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// First row read.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub started_at: Option<DateTime<Utc>>,
    /// Over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
}

/// A row that could not be used.
#[derive(Debug, Clone, QueryableByName)]
pub struct RowError {
    /// As a spreadsheet counts: the header is row 1.
    #[diesel(sql_type = BigInt)]
    pub row_number: i64,
    /// The column.
    #[diesel(sql_type = Text)]
    pub field: String,
    /// What stood there.
    #[diesel(sql_type = Text)]
    pub value: String,
    /// What is wrong with it.
    #[diesel(sql_type = Text)]
    pub reason: String,
}

/// An uploaded file.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// Id.
    pub id: Uuid,
    /// What it holds.
    pub kind: ImportKind,
    /// As uploaded.
    pub filename: String,
    /// Key in the object store.
    pub object: String,
    /// Size.
    pub size_bytes: i64,
    /// Who uploaded it; none for an API key.
    pub created_by: Option<Uuid>,
    /// The job that will read it, enqueued in the same transaction.
    pub job_id: Uuid,
}

/// What parts have done, added up.
macro_rules! sums {
    ($parts:literal) => {
        concat!(
            "select coalesce(sum(bytes_done), 0)::bigint as bytes_done, coalesce(sum(rows_done), 0)::bigint as rows_done,
                    coalesce(sum(rows_created), 0)::bigint as rows_created,
                    coalesce(sum(rows_updated), 0)::bigint as rows_updated,
                    coalesce(sum(rows_unchanged), 0)::bigint as rows_unchanged,
                    coalesce(sum(rows_failed), 0)::bigint as rows_failed
             from ",
            $parts
        )
    };
}

use sums;

/// Imports with what their parts have done so far. One statement, so what a part has is never seen twice, nor missed, when
/// it is added to the import.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select i.id, i.kind, i.status, i.filename, i.object, i.size_bytes, i.job_id, i.flow_id, i.byte_offset, i.error,
                    i.created_at, i.started_at, i.finished_at, i.byte_offset + p.bytes_done as bytes_done,
                    i.rows_done + p.rows_done as rows_done, i.rows_created + p.rows_created as rows_created,
                    i.rows_updated + p.rows_updated as rows_updated,
                    i.rows_unchanged + p.rows_unchanged as rows_unchanged, i.rows_failed + p.rows_failed as rows_failed
             from imports i cross join lateral (",
            sums!("import_parts where import_id = i.id"),
            ") p ",
            $rest
        )
    };
}

/// Writes an import.
pub async fn create(conn: &mut Conn, import: &NewImport) -> QueryResult<ImportRow> {
    sql("insert into imports (id, kind, filename, object, size_bytes, created_by, job_id)
         values ($1, $2, $3, $4, $5, $6, $7)
         returning id, kind, status, filename, object, size_bytes, job_id, flow_id, rows_done, byte_offset,
                   byte_offset as bytes_done, rows_created, rows_updated, rows_unchanged, rows_failed, error, created_at,
                   started_at, finished_at")
    .bind::<SqlUuid, _>(import.id)
    .bind::<Text, _>(import.kind.as_str())
    .bind::<Text, _>(&import.filename)
    .bind::<Text, _>(&import.object)
    .bind::<BigInt, _>(import.size_bytes)
    .bind::<Nullable<SqlUuid>, _>(import.created_by)
    .bind::<SqlUuid, _>(import.job_id)
    .get_result(conn)
    .await
}

/// One import.
pub async fn find(conn: &mut Conn, id: Uuid) -> QueryResult<Option<ImportRow>> {
    sql(select!("where i.id = $1")).bind::<SqlUuid, _>(id).get_result(conn).await.optional()
}

/// Imports older than `before`, newest first.
pub async fn list(conn: &mut Conn, before: Option<Uuid>, limit: i64) -> QueryResult<Vec<ImportRow>> {
    sql(select!("where $1::uuid is null or i.id < $1 order by i.id desc limit $2"))
        .bind::<Nullable<SqlUuid>, _>(before)
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}

/// Row errors behind (`row_number`, `field`), a page in file order.
pub async fn errors_after(
    conn: &mut Conn,
    import_id: Uuid,
    after: (i64, &str),
    limit: i64,
) -> QueryResult<Vec<RowError>> {
    sql("select row_number, field, value, reason from import_errors
         where import_id = $1 and (row_number, field) > ($2, $3) order by row_number, field limit $4")
    .bind::<SqlUuid, _>(import_id)
    .bind::<BigInt, _>(after.0)
    .bind::<Text, _>(after.1)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
