//! Kinds, dependencies, admission and operators' changes on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::kinds::list::KindInfo;
use waybill_schema::system::{
    actions::ActionRow,
    controls::{Dependency, KindControl},
    outages::Waiting,
    workers::TopicRow,
};

use crate::middleware::backpressure::{Class, Load};

/// Why.
#[derive(Debug, Default, Object)]
#[oai(rename = "Reason", deny_unknown_fields)]
pub struct ReasonBody {
    /// For the others; shown with the pause.
    #[oai(validator(max_length = 500))]
    pub reason: Option<String>,
}

/// How many jobs of a queue run at a time.
#[derive(Debug, Object)]
#[oai(rename = "ConcurrencyBody", deny_unknown_fields)]
pub struct ConcurrencyBody {
    /// Jobs at a time, 0 to 10,000; null goes back to how the workers were started.
    #[oai(validator(minimum(value = "0"), maximum(value = "10000")))]
    pub places: Option<i32>,
    /// In one worker, as `getWorkers` lists it; in all that have nothing of their own by default.
    pub worker_id: Option<Uuid>,
}

/// That something outside is down.
#[derive(Debug, Object)]
#[oai(rename = "DownBody", deny_unknown_fields)]
pub struct DownBody {
    /// After so many seconds one job may try whether it is up again, 1 to 86,400; 60 by default.
    #[oai(validator(minimum(value = "1"), maximum(value = "86400")))]
    pub for_seconds: Option<u32>,
    /// Why, for the others.
    #[oai(validator(max_length = 500))]
    pub reason: Option<String>,
}

/// A kind of job.
#[derive(Debug, Object)]
#[oai(rename = "Kind")]
pub struct KindDto {
    /// Its permanent name.
    pub kind: String,
    /// Its queue; null for a kind that this version of the API does not know.
    pub queue: Option<String>,
    /// The version of its arguments.
    pub version: Option<i16>,
    /// Attempts before a job of it is dead.
    pub max_attempts: Option<i16>,
    /// Whether a cancelled job of it undoes what it did.
    pub compensates: bool,
    /// Whether the user it works for may cancel it.
    pub owner_cancels: bool,
    /// Whether none of it is claimed.
    pub paused: bool,
    /// Since when.
    pub paused_at: Option<DateTime<Utc>>,
    /// By whom.
    pub paused_by: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
    /// Jobs of it that run now.
    pub running: i64,
    /// Paused, and nothing of it runs any more.
    pub dry: bool,
}

/// Every kind.
#[derive(Debug, Object)]
#[oai(rename = "Kinds")]
pub struct KindList {
    /// By name.
    pub data: Vec<KindDto>,
}

/// Something outside that kinds of jobs need.
#[derive(Debug, Object)]
#[oai(rename = "Dependency")]
pub struct DependencyDto {
    /// Its name.
    pub name: String,
    /// Whether it is down: jobs that need it wait, and spend no attempts.
    pub down: bool,
    /// Since when.
    pub down_since: Option<DateTime<Utc>>,
    /// From then on one job may try.
    pub down_until: Option<DateTime<Utc>>,
    /// Why.
    pub reason: Option<String>,
    /// The job that tries, or tried last.
    pub probe_job_id: Option<Uuid>,
    /// Jobs that wait for it.
    pub waiting: i64,
}

/// Every dependency: what kinds of jobs need, the payment gateway, the mail server, and what else was ever down.
#[derive(Debug, Object)]
#[oai(rename = "Dependencies")]
pub struct DependencyList {
    /// By name.
    pub data: Vec<DependencyDto>,
}

/// Events of a topic that wait in the outbox.
#[derive(Debug, Object)]
#[oai(rename = "OutboxTopic")]
pub struct TopicDto {
    /// The topic.
    pub topic: String,
    /// Events not handed on yet.
    pub events: i64,
    /// How long the oldest of them has waited.
    pub oldest_seconds: f64,
}

/// The outbox.
#[derive(Debug, Object)]
#[oai(rename = "Outbox")]
pub struct OutboxDto {
    /// Topics with events that wait.
    pub data: Vec<TopicDto>,
}

/// A change that an operator made.
#[derive(Debug, Object)]
#[oai(rename = "OperatorAction")]
pub struct ActionDto {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `admin:<id>` or `api_key:<id>`.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// With which values.
    pub detail: Value,
}

/// Whether a class of requests is admitted, as the process that answers sees it.
#[derive(Debug, Object)]
#[oai(rename = "Admission")]
pub struct AdmissionDto {
    /// `bulk`, `writes` or `orders`.
    pub class: String,
    /// Whether they are.
    pub admitted: bool,
    /// The queue for whose sake they are refused.
    pub queue: Option<String>,
    /// Its oldest job's age at which they are refused, in seconds.
    pub limit_seconds: Option<f64>,
    /// What refused clients are told.
    pub retry_after_seconds: Option<u64>,
}

/// How much waits in a queue, as the process that answers measured it.
#[derive(Debug, Object)]
#[oai(rename = "QueueLoad")]
pub struct LoadDto {
    /// The queue; `outbox` for events not handed on yet.
    pub queue: String,
    /// How long its first job has been due.
    pub oldest_seconds: f64,
    /// Jobs that wait, up to 100,000; known once it lags.
    pub waiting: Option<i64>,
    /// Jobs that end in a second; known once it lags.
    pub drain_per_second: Option<f64>,
}

/// The system at a glance.
#[derive(Debug, Object)]
#[oai(rename = "System")]
pub struct SystemDto {
    /// The version that answers.
    pub version: String,
    /// Whether work is refused at all when too much waits.
    pub backpressure: bool,
    /// How old the measure is; null before the first.
    pub measured_seconds_ago: Option<f64>,
    /// By class, the first to be refused first.
    pub admission: Vec<AdmissionDto>,
    /// Queues in which jobs wait.
    pub load: Vec<LoadDto>,
}

impl SystemDto {
    /// As this process knows it.
    pub fn new(load: &Load) -> Self {
        let measured = load.measured();
        let admission = Class::ALL.into_iter().map(|class| {
            let refusal = load.refusal(class);
            AdmissionDto {
                class: class.name().to_owned(),
                admitted: refusal.is_none(),
                limit_seconds: refusal.as_ref().map(|refusal| refusal.limit.as_secs_f64()),
                retry_after_seconds: refusal.as_ref().map(|refusal| refusal.retry_after.as_secs()),
                queue: refusal.map(|refusal| refusal.queue),
            }
        });
        Self {
            version: waybill_platform::service::version().to_owned(),
            backpressure: load.is_enabled(),
            measured_seconds_ago: measured.as_ref().map(|(age, _)| age.as_secs_f64()),
            admission: admission.collect(),
            load: measured
                .map(|(_, queues)| queues)
                .unwrap_or_default()
                .into_iter()
                .map(|(queue, waiting)| LoadDto {
                    queue,
                    oldest_seconds: waiting.oldest.as_secs_f64(),
                    waiting: waiting.waiting,
                    drain_per_second: waiting.drain_per_second,
                })
                .collect(),
        }
    }
}

impl KindDto {
    /// What the program and operators say of a kind, and how many of it run.
    pub fn new(kind: &str, info: Option<&KindInfo>, control: Option<KindControl>, running: i64) -> Self {
        let control = control.as_ref();
        Self {
            kind: kind.to_owned(),
            queue: info.map(|info| info.queue.to_owned()),
            version: info.map(|info| info.version),
            max_attempts: info.map(|info| info.max_attempts),
            compensates: info.is_some_and(|info| info.compensates),
            owner_cancels: info.is_some_and(|info| info.owner_cancels),
            paused: control.is_some_and(|control| control.paused_at.is_some()),
            paused_at: control.and_then(|control| control.paused_at),
            paused_by: control.and_then(|control| control.paused_by.clone()),
            pause_reason: control.and_then(|control| control.pause_reason.clone()),
            running,
            dry: control.is_some_and(|control| control.dry),
        }
    }
}

impl DependencyDto {
    /// One that was never down.
    pub fn up(name: String, waiting: &[Waiting]) -> Self {
        let row = Dependency { name, down_since: None, down_until: None, reason: None, probe_id: None };
        Self::new(row, waiting)
    }

    /// A dependency and how many jobs wait for each.
    pub fn new(row: Dependency, waiting: &[Waiting]) -> Self {
        Self {
            waiting: waiting
                .iter()
                .find(|waiting| waiting.name == row.name)
                .map_or(0, |waiting| waiting.jobs),
            name: row.name,
            down: row.down_since.is_some(),
            down_since: row.down_since,
            down_until: row.down_until,
            reason: row.reason,
            probe_job_id: row.probe_id,
        }
    }
}

impl From<TopicRow> for TopicDto {
    fn from(row: TopicRow) -> Self {
        Self { topic: row.topic, events: row.events, oldest_seconds: row.oldest_seconds }
    }
}

impl From<ActionRow> for ActionDto {
    fn from(row: ActionRow) -> Self {
        Self { at: row.at, actor: row.actor, action: row.action, target: row.target, detail: row.detail }
    }
}
