//! A job on the wire with everything that is known of it.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::{Scheduled, seal, status::JobView};
use waybill_schema::system::jobs::{Inside, waits};

use super::dto::JobDto;
use crate::error::ApiResult;

/// What a job waits for.
#[derive(Debug, Object)]
#[oai(rename = "JobWaitsFor")]
pub struct WaitsForDto {
    /// `not_due`, `queue_paused`, `kind_paused`, `dependency_down`, `partition` (another job of its key is in front), `key_limit`
    /// (its limit key is at its limit), `queue_limit`, `no_worker` (none that lives serves the queue), `unknown` (none that
    /// serves it knows the job's kind in its version), `suspect` (two workers ended while it ran, and another such job is tried
    /// first) or `turn` (jobs are in front of it, and nothing else).
    pub reason: String,
    /// Which, or why: the dependency, the key, the reason of the pause, what the workers' releases know, how many workers ended.
    pub detail: Option<String>,
    /// The job in front; of a suspect, the one that is tried before it; of a dependency that is down, the one that tries.
    pub job_id: Option<Uuid>,
    /// Until when at least, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// Jobs in front of it, counted up to 1,000.
    pub ahead: Option<i64>,
}

impl From<waits::WaitsFor> for WaitsForDto {
    fn from(row: waits::WaitsFor) -> Self {
        let reason = row.reason.as_str().to_owned();
        Self { reason, detail: row.detail, job_id: row.job_id, until: row.until, ahead: row.ahead }
    }
}

/// A job with everything that is known of it.
#[derive(Debug, Object)]
pub struct JobDetail {
    /// As its owner sees it, with the texts of errors.
    #[oai(flatten)]
    pub job: JobDto,
    /// Its arguments; those of a kind that seals them are sealed here too.
    pub arguments: Value,
    /// Smaller runs first.
    pub priority: i16,
    /// Times it was snoozed.
    pub snoozes: i32,
    /// Who runs it, or ran it last.
    pub worker_id: Option<Uuid>,
    /// What enqueued it.
    pub causation_id: Option<Uuid>,
    /// The user who may read it.
    pub owner_id: Option<Uuid>,
    /// Jobs of one such key run one at a time.
    pub partition_key: Option<String>,
    /// What limits per key count by.
    pub limit_key: Option<String>,
    /// The batch or workflow it is part of.
    pub flow_id: Option<Uuid>,
    /// Its name there.
    pub step: Option<String>,
    /// W3C trace context of who enqueued it.
    pub traceparent: Option<String>,
    /// Its unique slot, as `kind:key`, if it has one, or had.
    pub unique_key: Option<String>,
    /// The schedule that enqueued it.
    pub schedule: Option<String>,
    /// Which of the schedule's times it is for; of a run by hand, when that was asked for.
    pub scheduled_for: Option<DateTime<Utc>>,
    /// Why it does not run; empty for one that runs, is over, or is about to be claimed.
    pub waits_for: Vec<WaitsForDto>,
}

impl JobDetail {
    /// As the database has it.
    pub fn new(row: JobView, inside: Inside, waits_for: Vec<waits::WaitsFor>) -> ApiResult<Self> {
        let (priority, snoozes, worker_id) = (row.priority, row.snoozes, row.worker_id);
        let (causation_id, owner_id) = (row.causation_id, row.owner_id);
        let scheduled = inside.scheduled.as_ref().and_then(Scheduled::read);
        Ok(Self {
            job: JobDto::new(row, true)?,
            arguments: seal::shown(&inside.payload),
            priority,
            snoozes,
            worker_id,
            causation_id,
            owner_id,
            partition_key: inside.partition_key,
            limit_key: inside.limit_key,
            flow_id: inside.flow_id,
            step: inside.step,
            traceparent: inside.traceparent,
            scheduled_for: scheduled.as_ref().map(|scheduled| scheduled.at),
            schedule: scheduled.map(|scheduled| scheduled.schedule),
            unique_key: inside.unique_key,
            waits_for: waits_for.into_iter().map(Into::into).collect(),
        })
    }
}
