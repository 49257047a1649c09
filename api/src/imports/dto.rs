//! An import on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};
use uuid::Uuid;
use waybill_schema::imports::{ImportRow, ImportStatus};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ImportKind {
    /// Products and variants, one row a variant.
    Products,
    /// Absolute stock levels.
    Stock,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "ImportStatus", rename_all = "snake_case")]
pub enum ImportStatusDto {
    /// Its job waits.
    Queued,
    /// Rows are going in.
    Running,
    /// Every row is in, or reported.
    Completed,
    /// The file as a whole cannot be used.
    Failed,
}

/// A file that becomes rows, and how far it is.
#[derive(Debug, Object)]
#[oai(rename = "Import")]
pub struct ImportDto {
    /// Id.
    pub id: Uuid,
    /// What the file holds.
    pub kind: ImportKind,
    /// How far it is.
    pub status: ImportStatusDto,
    /// The file's name, as uploaded.
    pub filename: String,
    /// Its size.
    pub size_bytes: i64,
    /// Rows read, bad ones included.
    pub rows_done: i64,
    /// Rows that made something new.
    pub rows_created: i64,
    /// Rows that changed something.
    pub rows_updated: i64,
    /// Rows that said what was known.
    pub rows_unchanged: i64,
    /// Rows that could not be used; see `errors_url`.
    pub rows_failed: i64,
    /// Why the whole file failed.
    pub error: Option<String>,
    /// The job that reads it: `/v1/jobs/{job_id}`.
    pub job_id: Uuid,
    /// Uploaded.
    pub created_at: DateTime<Utc>,
    /// First row read.
    pub started_at: Option<DateTime<Utc>>,
    /// Over.
    pub finished_at: Option<DateTime<Utc>>,
    /// The rows that could not be used, as CSV.
    pub errors_url: String,
}

impl ImportDto {
    /// Its path.
    pub fn location(&self) -> String {
        location(self.id)
    }
}

fn location(id: Uuid) -> String {
    format!("/v1/admin/imports/{id}")
}

impl From<ImportRow> for ImportDto {
    fn from(row: ImportRow) -> Self {
        use waybill_schema::imports::ImportKind as Kind;
        Self {
            kind: match row.kind {
                Kind::Products => ImportKind::Products,
                Kind::Stock => ImportKind::Stock,
            },
            status: match row.status {
                ImportStatus::Queued => ImportStatusDto::Queued,
                ImportStatus::Running => ImportStatusDto::Running,
                ImportStatus::Completed => ImportStatusDto::Completed,
                ImportStatus::Failed => ImportStatusDto::Failed,
            },
            errors_url: format!("{}/errors", location(row.id)),
            id: row.id,
            filename: row.filename,
            size_bytes: row.size_bytes,
            rows_done: row.rows_done,
            rows_created: row.rows_created,
            rows_updated: row.rows_updated,
            rows_unchanged: row.rows_unchanged,
            rows_failed: row.rows_failed,
            error: row.error,
            job_id: row.job_id,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}
