//! Workers on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::system::workers::{RunningRow, WorkerRow};

/// A job that a worker runs.
#[derive(Debug, Object)]
#[oai(rename = "RunningJob")]
pub struct RunningDto {
    /// The job.
    pub id: Uuid,
    /// What it does.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Which attempt.
    pub attempt: i16,
    /// Since when.
    pub started_at: Option<DateTime<Utc>>,
    /// How far it says it is.
    pub progress: Option<Value>,
}

impl From<RunningRow> for RunningDto {
    fn from(row: RunningRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            attempt: row.attempt,
            started_at: row.started_at,
            progress: row.progress,
        }
    }
}

/// How many jobs of a queue a worker runs at a time.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "WorkerPlaces")]
pub struct PlacesDto {
    /// The queue.
    pub queue: String,
    /// As the worker was started.
    pub configured: i64,
    /// As it is now, by its own word of a second ago at most.
    pub now: i64,
    /// Jobs that run.
    pub running: i64,
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
    /// `running`; `quiet` once it claims nothing more because an operator wants it; `draining` at its end.
    pub state: String,
    /// Since when an operator wants it to claim nothing more.
    pub quiet_at: Option<DateTime<Utc>>,
    /// Who.
    pub quiet_by: Option<String>,
    /// It is quiet, and holds no job any more: it may be stopped, and nothing is interrupted.
    pub dry: bool,
    /// Whether its lease holds.
    pub alive: bool,
    /// Jobs it holds.
    pub jobs: i64,
    /// Those of them that ran out of time and whose handlers never yield: nothing ends them but the process.
    pub overdue: i32,
    /// How many of each queue it runs at a time, by queue; of pipelines there are none, they take batches.
    pub places: Vec<PlacesDto>,
    /// What it runs, the longest-running first, at most 100.
    pub running: Vec<RunningDto>,
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

impl WorkerDto {
    /// As the database has it, with what it runs.
    pub fn new(row: WorkerRow, running: Vec<RunningDto>) -> Self {
        Self {
            id: row.id,
            service: row.service,
            host: row.host,
            pid: row.pid,
            version: row.version,
            queues: row.queues,
            dry: row.state == "quiet" && row.jobs == 0,
            state: row.state,
            quiet_at: row.quiet_at,
            quiet_by: row.quiet_by,
            // A worker of another version may say it in another way: then it says nothing.
            places: serde_json::from_value(row.places).unwrap_or_default(),
            alive: row.alive,
            jobs: row.jobs,
            overdue: row.overdue,
            running,
            event_lane: row.event_lane,
            event_lane_reason: row.event_lane_reason,
            started_at: row.started_at,
            heartbeat_at: row.heartbeat_at,
            lease_until: row.lease_until,
        }
    }
}

/// Every worker.
#[derive(Debug, Object)]
#[oai(rename = "Workers")]
pub struct WorkerList {
    /// The newest first.
    pub data: Vec<WorkerDto>,
}
