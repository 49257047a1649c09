//! A job on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object, types::ParseFromJSON};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::{logs::LogLine, status::JobView};
use waybill_schema::system::jobs::JobRow;

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

impl JobState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Cancelled,
        Self::Discarded,
        Self::Dead,
    ];

    /// Its spelling in the database and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
            Self::Dead => "dead",
        }
    }
}

/// An attempt that did not end in done.
#[derive(Debug, Deserialize, Object)]
pub struct JobFailure {
    /// Which attempt, from 1.
    #[serde(default)]
    pub attempt: i16,
    /// How it ended: `failed`, `timed_out`, `panicked`, `retry`, `snoozed`, `interrupted`, `worker_lost`, `cancelled` or
    /// `discarded`.
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
    /// Whether somebody asked for its end. One that runs goes on until it hears of it; whatever ends its run then, it is
    /// cancelled, or undone first.
    pub cancel_asked: bool,
    /// Whether it is its compensation that waits or runs.
    pub undo: bool,
    /// What holds it back, if a claim has met it in vain: `partition` (others of its key are in front), `key` (its key is at its
    /// limit), `kind:...` (paused), `needs:...` (down).
    pub held_by: Option<String>,
}

/// A line that a job's handler wrote for its owner.
#[derive(Debug, Object)]
#[oai(rename = "JobLogLine")]
pub struct LogLineDto {
    /// When.
    pub at: DateTime<Utc>,
    /// In which attempt.
    pub attempt: i16,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What.
    pub line: String,
}

impl From<LogLine> for LogLineDto {
    fn from(line: LogLine) -> Self {
        Self { at: line.at, attempt: line.attempt, level: line.level, line: line.line }
    }
}

/// A job in a list.
#[derive(Debug, Object)]
pub struct JobSummary {
    /// Id.
    pub id: Uuid,
    /// What it does.
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// Where it is in its life.
    pub state: String,
    /// Smaller runs first.
    pub priority: i16,
    /// Attempts begun.
    pub attempt: i16,
    /// Attempts it may have.
    pub max_attempts: i16,
    /// Times it was snoozed.
    pub snoozes: i32,
    /// When it is due, or was.
    pub run_at: DateTime<Utc>,
    /// Enqueued.
    pub created_at: DateTime<Utc>,
    /// The newest attempt's begin.
    pub started_at: Option<DateTime<Utc>>,
    /// Over.
    pub finished_at: Option<DateTime<Utc>>,
    /// Who runs it, or ran it last.
    pub worker_id: Option<Uuid>,
    /// The order, import, ... it belongs to.
    pub correlation_id: Option<Uuid>,
    /// What enqueued it.
    pub causation_id: Option<Uuid>,
    /// The user who may read it.
    pub owner_id: Option<Uuid>,
    /// Why it was cancelled, discarded or given up.
    pub reason: Option<String>,
    /// The error of the newest attempt that did not end in done.
    pub error: Option<String>,
}

impl From<JobRow> for JobSummary {
    fn from(row: JobRow) -> Self {
        let error = row.last_failure.as_ref().and_then(|failure| failure["error"].as_str());
        Self {
            error: error.map(str::to_owned),
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            state: row.state,
            priority: row.priority,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            snoozes: row.snoozes,
            run_at: row.run_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            worker_id: row.worker_id,
            correlation_id: row.correlation_id,
            causation_id: row.causation_id,
            owner_id: row.owner_id,
            reason: row.reason,
        }
    }
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
    pub fn new(view: JobView, with_internals: bool) -> ApiResult<Self> {
        let JobView { job: row, progress, result, failures: attempts, cancel_asked, undo, hold, .. } = view;
        let state = JobState::parse_from_json(Some(Value::String(row.state)))
            .map_err(|e| ApiError::internal(e.into_message()))?;
        let mut failures = failures(attempts);
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
            progress,
            result,
            reason: row.reason.filter(|_| with_internals),
            failures,
            correlation_id: row.correlation_id,
            cancel_asked,
            undo,
            held_by: hold,
        })
    }
}
