//! A job on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object, types::ParseFromJSON};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::status::JobView;

use crate::error::{ApiError, ApiResult};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum JobState {
    /// Not due yet.
    Scheduled,
    /// Due; a worker will claim it.
    Queued,
    /// A worker is at it.
    Running,
    /// Done.
    Done,
    /// Nobody wanted it any more.
    Cancelled,
    /// It made no sense any more.
    Discarded,
    /// Its attempts are used up: somebody must look.
    Dead,
}

/// An attempt that did not end in done.
#[derive(Debug, Deserialize, Object)]
pub struct JobFailure {
    /// Which attempt, from 1.
    #[serde(default)]
    pub attempt: i16,
    /// How it ended: `failed`, `timed_out`, `retry`, `snoozed`, `lost`, ...
    #[serde(default)]
    pub outcome: String,
    /// Why. Administrators only.
    #[serde(default)]
    pub error: Option<String>,
    /// Begun.
    #[serde(default)]
    pub started_at: Option<DateTime<Utc>>,
    /// Ended.
    #[serde(default)]
    pub finished_at: Option<DateTime<Utc>>,
}

/// Work in progress, or done.
#[derive(Debug, Object)]
#[oai(rename = "Job")]
pub struct JobDto {
    /// Id.
    pub id: Uuid,
    /// What it does, such as `checkout.run`.
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Attempts begun.
    pub attempt: i16,
    /// Attempts it may have.
    pub max_attempts: i16,
    /// When it is due, or was.
    pub run_at: DateTime<Utc>,
    /// Enqueued.
    pub created_at: DateTime<Utc>,
    /// The newest attempt's begin.
    pub started_at: Option<DateTime<Utc>>,
    /// Over.
    pub finished_at: Option<DateTime<Utc>>,
    /// What it last said of itself.
    pub progress: Option<Value>,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it was cancelled, discarded or is dead. Administrators only.
    pub reason: Option<String>,
    /// Attempts that did not end in done.
    pub failures: Vec<JobFailure>,
    /// The order, import, ... it belongs to.
    pub correlation_id: Option<Uuid>,
}

/// How the attempts of a job failed. Entries of a shape that another version wrote are left out.
pub fn failures(failures: Value) -> Vec<JobFailure> {
    match failures {
        Value::Array(entries) => {
            entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
        }
        _ => Vec::new(),
    }
}

impl JobDto {
    /// As the database has it; the texts of errors only for those who run the shop.
    pub fn new(row: JobView, with_internals: bool) -> ApiResult<Self> {
        let state = JobState::parse_from_json(Some(Value::String(row.state)))
            .map_err(|e| ApiError::internal(e.into_message()))?;
        let mut failures = failures(row.failures);
        if !with_internals {
            for failure in &mut failures {
                failure.error = None;
            }
        }
        Ok(Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            state,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            run_at: row.run_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            progress: row.progress,
            result: row.result,
            reason: row.reason.filter(|_| with_internals),
            failures,
            correlation_id: row.correlation_id,
        })
    }
}
