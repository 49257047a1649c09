//! Checks, queues, workers and dead letters on the wire.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::status::QueueCount;
use waybill_schema::{
    checks::Check,
    system::{dead_letters::DeadLetterRow, workers::WorkerRow},
};

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

/// How much waits in a queue.
#[derive(Debug, Object)]
#[oai(rename = "Queue")]
pub struct QueueDto {
    /// Name.
    pub queue: String,
    /// Jobs not due yet.
    pub scheduled: i64,
    /// Jobs that are due.
    pub queued: i64,
    /// Jobs being worked at.
    pub running: i64,
    /// Dead letters that came from it.
    pub dead: i64,
    /// How long the oldest due job has been due: the queue's lag. Null when none is.
    pub oldest_seconds: Option<f64>,
}

/// A process that works.
#[derive(Debug, Object)]
#[oai(rename = "Worker")]
pub struct WorkerDto {
    /// Id, new at every start.
    pub id: Uuid,
    /// Its binary.
    pub service: String,
    /// Host.
    pub host: String,
    /// Process id there.
    pub pid: i32,
    /// Version.
    pub version: String,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// `running` or `draining`.
    pub state: String,
    /// Whether its lease holds.
    pub alive: bool,
    /// Jobs it holds.
    pub jobs: i64,
    /// The lane its events come on: `amqp` or `postgres`.
    pub event_lane: Option<String>,
    /// Why that one.
    pub event_lane_reason: Option<String>,
    /// Started.
    pub started_at: DateTime<Utc>,
    /// When it last said that it lives.
    pub heartbeat_at: DateTime<Utc>,
    /// Until when it is believed to live.
    pub lease_until: DateTime<Utc>,
}

/// Queues and workers of one moment.
#[derive(Debug, Object)]
#[oai(rename = "Queues")]
pub struct Overview {
    /// Queues that have jobs or dead letters.
    pub queues: Vec<QueueDto>,
    /// Events not handed on yet.
    pub outbox_pending: i64,
    /// Workers, newest first.
    pub workers: Vec<WorkerDto>,
}

impl QueueDto {
    /// One entry per queue out of counts by queue and state.
    pub fn all(counts: Vec<QueueCount>) -> Vec<Self> {
        let mut queues: BTreeMap<String, Self> = BTreeMap::new();
        for QueueCount { queue, state, jobs, oldest_seconds } in counts {
            let entry = queues.entry(queue).or_insert_with_key(|queue| Self {
                queue: queue.clone(),
                scheduled: 0,
                queued: 0,
                running: 0,
                dead: 0,
                oldest_seconds: None,
            });
            match state.as_str() {
                "scheduled" => entry.scheduled = jobs,
                "running" => entry.running = jobs,
                "dead" => entry.dead = jobs,
                _ => {
                    entry.queued = jobs;
                    entry.oldest_seconds = Some(oldest_seconds);
                }
            }
        }
        queues.into_values().collect()
    }
}

impl From<WorkerRow> for WorkerDto {
    fn from(row: WorkerRow) -> Self {
        Self {
            id: row.id,
            service: row.service,
            host: row.host,
            pid: row.pid,
            version: row.version,
            queues: row.queues,
            state: row.state,
            alive: row.alive,
            jobs: row.jobs,
            event_lane: row.event_lane,
            event_lane_reason: row.event_lane_reason,
            started_at: row.started_at,
            heartbeat_at: row.heartbeat_at,
            lease_until: row.lease_until,
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
            payload: row.payload,
            progress: row.progress,
            failures: failures(row.failures),
            correlation_id: row.correlation_id,
            created_at: row.created_at,
            died_at: row.died_at,
        }
    }
}
