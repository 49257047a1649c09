//! Queues on the wire.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use uuid::Uuid;
use waybill_jobs::{queues, status::QueueCount};
use waybill_schema::system::{
    controls::{Places, QueueControl, Rate},
    load::{Ended, Held, LATELY},
    workers::Serving,
};

use super::worker_dto::WorkerDto;

/// So many jobs in a time.
#[derive(Debug, Clone, Object)]
#[oai(rename = "Rate", deny_unknown_fields)]
pub struct RateDto {
    /// Jobs that may start in the time, 1 to 1,000,000.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub jobs: i32,
    /// The time in seconds, more than 0 and 604,800, a week, at most.
    #[oai(validator(minimum(value = "0", exclusive), maximum(value = "604800")))]
    pub per_seconds: f64,
    /// Jobs that may start at once after a rest, 1 to 1,000,000; as many as `jobs` by default.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub burst: Option<i32>,
}

/// What a queue is limited to over all workers; null does not limit.
#[derive(Debug, Clone, Default, Object)]
#[oai(rename = "QueueLimits", deny_unknown_fields)]
pub struct LimitsDto {
    /// Jobs that run at a time; 0 lets none run.
    #[oai(validator(minimum(value = "0")))]
    pub max_running: Option<i32>,
    /// Jobs of one limit key (a merchant, a host) that run at a time.
    #[oai(validator(minimum(value = "1")))]
    pub max_per_key: Option<i32>,
    /// Starts of jobs, attempts counted each.
    pub rate: Option<RateDto>,
    /// The same for each limit key.
    pub key_rate: Option<RateDto>,
}

/// Jobs that something holds back.
#[derive(Debug, Object)]
#[oai(rename = "HeldJobs")]
pub struct HeldDto {
    /// What holds them: `partition` (others of their key are in front), `key` (their key is at its limit), `kind:...`
    /// (paused), `needs:...` (down), `suspect` (lost two workers, and waits to run without another such).
    pub reason: String,
    /// How many a claim has put aside for it.
    pub jobs: i64,
}

/// How many jobs of a queue run at a time, where an operator has said so.
#[derive(Debug, Object)]
#[oai(rename = "Concurrency")]
pub struct ConcurrencyDto {
    /// The worker; null for all that have nothing of their own.
    pub worker_id: Option<Uuid>,
    /// Jobs at a time.
    pub places: i32,
    /// Who said so.
    pub set_by: String,
}

/// A queue: what is in it, and what operators have said of it.
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
    /// Jobs that ended in a second, over the last ten.
    pub ended_per_second: f64,
    /// Live workers that serve it. With none its jobs wait until there is one.
    pub workers: i64,
    /// Due jobs that something holds back, by reason.
    pub held: Vec<HeldDto>,
    /// Whether nothing is claimed from it.
    pub paused: bool,
    /// Since when.
    pub paused_at: Option<DateTime<Utc>>,
    /// By whom.
    pub paused_by: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
    /// Paused, and nothing of it runs any more: it is drained.
    pub dry: bool,
    /// Its limits.
    pub limits: LimitsDto,
    /// Whose limits these are: `code` or `operator`; null if there are none.
    pub limits_by: Option<String>,
    /// Where its concurrency is not as its workers were started.
    pub concurrency: Vec<ConcurrencyDto>,
}

/// Queues and workers of one moment.
#[derive(Debug, Object)]
#[oai(rename = "Queues")]
pub struct Overview {
    /// Queues of the program, and others that have jobs, dead letters, workers or controls.
    pub queues: Vec<QueueDto>,
    /// Events not handed on yet.
    pub outbox_pending: i64,
    /// Workers, newest first.
    pub workers: Vec<WorkerDto>,
}

fn rate(jobs: Option<i32>, period: Option<f64>, burst: Option<i32>) -> Option<RateDto> {
    Some(RateDto { jobs: jobs?, per_seconds: period?, burst })
}

impl RateDto {
    /// The rate, if its time is one.
    pub fn rate(&self) -> Option<Rate> {
        let period = std::time::Duration::try_from_secs_f64(self.per_seconds).ok()?;
        Some(Rate { jobs: self.jobs, period, burst: self.burst.unwrap_or(self.jobs) })
    }
}

/// What the queues are put together from.
pub struct Parts {
    /// Jobs by queue and state.
    pub counts: Vec<QueueCount>,
    /// Jobs that ended of late.
    pub ended: Vec<Ended>,
    /// Who serves them.
    pub serving: Vec<Serving>,
    /// Jobs held back.
    pub held: Vec<Held>,
    /// Pauses and limits.
    pub controls: Vec<QueueControl>,
    /// Concurrency.
    pub places: Vec<Places>,
}

impl QueueDto {
    fn empty(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            scheduled: 0,
            queued: 0,
            running: 0,
            dead: 0,
            oldest_seconds: None,
            ended_per_second: 0.0,
            workers: 0,
            held: Vec::new(),
            paused: false,
            paused_at: None,
            paused_by: None,
            pause_reason: None,
            dry: false,
            limits: LimitsDto::default(),
            limits_by: None,
            concurrency: Vec::new(),
        }
    }

    /// One entry per queue, by name.
    pub fn all(parts: Parts) -> Vec<Self> {
        let mut queues: BTreeMap<String, Self> =
            queues::ALL.iter().map(|queue| ((*queue).to_owned(), Self::empty(queue))).collect();
        let entry = |queues: &mut BTreeMap<String, Self>, queue: &str, change: &dyn Fn(&mut Self)| {
            change(queues.entry(queue.to_owned()).or_insert_with(|| Self::empty(queue)));
        };
        for QueueCount { queue, state, jobs, oldest_seconds } in parts.counts {
            entry(&mut queues, &queue, &|entry| match state.as_str() {
                "scheduled" => entry.scheduled = jobs,
                "running" => entry.running = jobs,
                "dead" => entry.dead = jobs,
                _ => {
                    entry.queued = jobs;
                    entry.oldest_seconds = Some(oldest_seconds);
                }
            });
        }
        for Ended { queue, ended } in parts.ended {
            let ended = f64::from(u32::try_from(ended).unwrap_or(u32::MAX)) / LATELY.as_secs_f64();
            entry(&mut queues, &queue, &|entry| entry.ended_per_second = ended);
        }
        for Serving { queue, workers } in parts.serving {
            entry(&mut queues, &queue, &|entry| entry.workers = workers);
        }
        for Held { queue, hold, jobs } in parts.held {
            entry(&mut queues, &queue, &|entry| entry.held.push(HeldDto { reason: hold.clone(), jobs }));
        }
        for control in parts.controls {
            entry(&mut queues, &control.queue, &|entry| entry.control(&control));
        }
        for Places { queue, worker_id, places, updated_by } in parts.places {
            entry(&mut queues, &queue, &|entry| {
                entry.concurrency.push(ConcurrencyDto { worker_id, places, set_by: updated_by.clone() });
            });
        }
        queues.into_values().collect()
    }

    fn control(&mut self, control: &QueueControl) {
        self.paused = control.paused_at.is_some();
        self.paused_at = control.paused_at;
        self.paused_by.clone_from(&control.paused_by);
        self.pause_reason.clone_from(&control.pause_reason);
        self.dry = control.is_dry();
        self.limits = LimitsDto {
            max_running: control.max_running,
            max_per_key: control.max_per_key,
            rate: rate(control.rate, control.rate_period, control.rate_burst),
            key_rate: rate(control.key_rate, control.key_rate_period, control.key_rate_burst),
        };
        let limited = self.limits.max_running.is_some()
            || self.limits.max_per_key.is_some()
            || self.limits.rate.is_some()
            || self.limits.key_rate.is_some();
        self.limits_by = limited.then(|| control.limits_origin.clone());
    }
}
