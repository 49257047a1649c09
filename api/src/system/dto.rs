//! Checks and dead letters on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::seal;
use waybill_schema::{checks::Check, system::dead_letters::DeadLetterRow};

use crate::jobs::dto::{JobFailure, failures};

/// One invariant and what was found.
#[derive(Debug, Object)]
#[oai(rename = "Check")]
pub struct CheckDto {
    /// Stable name.
    pub name: String,
    /// Whether what was found is what must be.
    pub ok: bool,
    /// Rows that break it, or are left to do.
    pub found: i64,
    /// What must be found: 0.
    pub expected: i64,
    /// Whether it must hold at any moment; the others come to 0 once all work is done.
    pub always: bool,
    /// What is counted.
    pub detail: String,
}

/// Every check, of one moment.
#[derive(Debug, Object)]
#[oai(rename = "Checks")]
pub struct Report {
    /// Whether everything holds that must hold at any moment.
    pub ok: bool,
    /// Whether besides nothing is left to do.
    pub idle: bool,
    /// The checks.
    pub checks: Vec<CheckDto>,
}

impl Report {
    /// As the database found.
    pub fn new(checks: Vec<Check>) -> Self {
        Self {
            ok: checks.iter().all(|check| !check.always || check.found == 0),
            idle: checks.iter().all(|check| check.found == 0),
            checks: checks
                .into_iter()
                .map(|check| CheckDto {
                    ok: check.found == 0,
                    name: check.name,
                    found: check.found,
                    expected: 0,
                    always: check.always,
                    detail: check.detail,
                })
                .collect(),
        }
    }
}

/// A job that somebody must decide about.
#[derive(Debug, Object)]
#[oai(rename = "DeadLetter")]
pub struct DeadLetterDto {
    /// The job's id.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Attempts made.
    pub attempt: i16,
    /// Attempts it might have had.
    pub max_attempts: i16,
    /// Times it was snoozed.
    pub snoozes: i32,
    /// Why it was given up.
    pub reason: String,
    /// Its arguments.
    pub payload: Value,
    /// What it last said of itself.
    pub progress: Option<Value>,
    /// Attempts and how each failed.
    pub failures: Vec<JobFailure>,
    /// The order, import, ... it belongs to.
    pub correlation_id: Option<Uuid>,
    /// Enqueued.
    pub created_at: DateTime<Utc>,
    /// Given up.
    pub died_at: DateTime<Utc>,
}

impl From<DeadLetterRow> for DeadLetterDto {
    fn from(row: DeadLetterRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            snoozes: row.snoozes,
            reason: row.reason,
            payload: seal::shown(&row.payload),
            progress: row.progress,
            failures: failures(row.failures),
            correlation_id: row.correlation_id,
            created_at: row.created_at,
            died_at: row.died_at,
        }
    }
}
