//! Schedules on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::schedules::{self, ScheduleRow, manage::FireRow};

/// What happens to times that passed while no scheduler ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Missed {
    /// They are forgotten; a time counts as missed a minute after it came.
    Skip,
    /// They fire once together, for the newest.
    Once,
    /// Each fires, the newest `missed_limit` of them, which must be given; under overlap `skip` only the newest one can.
    All,
}

/// What happens when the job of the last time still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Overlap {
    /// The time is left out, and listed without a job.
    Skip,
    /// Both jobs run.
    Allow,
    /// Both jobs run, one after the other in the order of their times; a kind whose jobs keep an order of their own keeps that.
    Queue,
}

/// A schedule as it is to be.
#[derive(Debug, Object)]
#[oai(rename = "ScheduleBody", deny_unknown_fields)]
pub struct ScheduleBody {
    /// When: `every 30s` (s, m, h, d), `at 2026-12-24T18:00:00Z` for one time only, or five or six cron fields (with seconds
    /// first) in `time_zone`.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub spec: String,
    /// IANA time zone of cron fields, such as `Europe/London`; UTC by default. A time that the change to summer time leaves
    /// out fires right after it; one that the change back repeats fires once.
    pub time_zone: Option<String>,
    /// Missed times: `once` by default.
    pub missed: Option<Missed>,
    /// Missed times that fire at most under `all`, 1 to 1000.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    pub missed_limit: Option<i32>,
    /// Overlaps: `skip` by default.
    pub overlap: Option<Overlap>,
    /// Whether it rests; by default a new one does not, and one that is replaced stays as it was.
    pub paused: Option<bool>,
    /// What to run, one of `/v1/admin/system/kinds`.
    pub kind: String,
    /// Its arguments, `{}` by default. They are checked against the kind.
    pub arguments: Option<Value>,
}

/// A schedule.
#[derive(Debug, Object)]
#[oai(rename = "Schedule")]
pub struct ScheduleDto {
    /// Its permanent name.
    pub name: String,
    /// `code`: declared by the program, may be paused and run but not changed; `api`: made here.
    pub origin: String,
    /// When.
    pub spec: String,
    /// Time zone of cron fields.
    pub time_zone: String,
    /// Policy for missed times.
    pub missed: Missed,
    /// Missed times that fire at most under `all`.
    pub missed_limit: i32,
    /// Policy for overlaps.
    pub overlap: Overlap,
    /// Whether it rests.
    pub paused: bool,
    /// Why the scheduler rests it (it cannot be read), or could not fire it the last time and tries again.
    pub problem: Option<String>,
    /// What it runs.
    pub kind: String,
    /// In which queue.
    pub queue: String,
    /// With which arguments.
    pub arguments: Value,
    /// The next time; none while it rests, and after a single time.
    pub next_at: Option<DateTime<Utc>>,
    /// The last time that fired.
    pub last_at: Option<DateTime<Utc>>,
    /// The job of the last time.
    pub last_job_id: Option<Uuid>,
}

/// A fire of a schedule and what became of it.
#[derive(Debug, Object)]
#[oai(rename = "ScheduleRun")]
pub struct RunDto {
    /// The time it was for.
    pub fire_at: DateTime<Utc>,
    /// When a scheduler noticed it, or an operator asked.
    pub fired_at: DateTime<Utc>,
    /// Whether an operator asked.
    pub manual: bool,
    /// Its job; none if it was left out because the one before still lived.
    pub job_id: Option<Uuid>,
    /// Whether that job was there already, so that none was enqueued: of its kind there may be only one.
    pub existing: bool,
    /// Where the job is; none if there was none, or it is past retention.
    pub state: Option<String>,
    /// When the job was over.
    pub finished_at: Option<DateTime<Utc>>,
    /// What came of it.
    pub result: Option<Value>,
}

/// A schedule, its times to come and its last runs.
#[derive(Debug, Object)]
#[oai(rename = "ScheduleDetail")]
pub struct ScheduleDetail {
    /// The schedule.
    #[oai(flatten)]
    pub schedule: ScheduleDto,
    /// The next five times; none while it rests.
    pub next_runs: Vec<DateTime<Utc>>,
    /// The last twenty runs, the newest first.
    pub runs: Vec<RunDto>,
}

/// Every schedule.
#[derive(Debug, Object)]
#[oai(rename = "Schedules")]
pub struct ScheduleList {
    /// By name.
    pub data: Vec<ScheduleDto>,
}

impl From<Missed> for schedules::Missed {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Skip => Self::Skip,
            Missed::Once => Self::Once,
            Missed::All => Self::All,
        }
    }
}

impl From<schedules::Missed> for Missed {
    fn from(missed: schedules::Missed) -> Self {
        match missed {
            schedules::Missed::Skip => Self::Skip,
            schedules::Missed::Once => Self::Once,
            schedules::Missed::All => Self::All,
        }
    }
}

impl From<Overlap> for schedules::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Allow => Self::Allow,
            Overlap::Queue => Self::Queue,
        }
    }
}

impl From<schedules::Overlap> for Overlap {
    fn from(overlap: schedules::Overlap) -> Self {
        match overlap {
            schedules::Overlap::Skip => Self::Skip,
            schedules::Overlap::Allow => Self::Allow,
            schedules::Overlap::Queue => Self::Queue,
        }
    }
}

impl From<ScheduleRow> for ScheduleDto {
    fn from(row: ScheduleRow) -> Self {
        Self {
            next_at: row.next_at.filter(|_| !row.paused),
            name: row.name,
            origin: row.origin,
            spec: row.spec,
            time_zone: row.time_zone,
            missed: row.missed.into(),
            missed_limit: row.missed_limit,
            overlap: row.overlap.into(),
            paused: row.paused,
            problem: row.problem,
            kind: row.kind,
            queue: row.queue,
            arguments: row.payload,
            last_at: row.last_at,
            last_job_id: row.last_job_id,
        }
    }
}

impl From<FireRow> for RunDto {
    fn from(row: FireRow) -> Self {
        Self {
            fire_at: row.fire_at,
            fired_at: row.fired_at,
            manual: row.manual,
            job_id: row.job_id,
            existing: row.existing,
            state: row.state,
            finished_at: row.finished_at,
            result: row.result,
        }
    }
}
