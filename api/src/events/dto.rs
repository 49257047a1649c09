//! Pipelines on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use uuid::Uuid;
use waybill_jobs::{
    events,
    events_lane::{PipelineLag, PipelineSpec, replay::Replay},
    kinds::ReplayEvents,
};

use crate::error::{ApiError, ApiResult, FieldErrors};

/// A pipeline, and how far it is behind.
#[derive(Debug, Object)]
#[oai(rename = "Pipeline")]
pub struct PipelineDto {
    /// Its name.
    pub name: String,
    /// The topics it reacts to.
    pub topics: Vec<String>,
    /// Events at the broker: in its queue, or in a worker's hands.
    pub at_broker: i64,
    /// Events that wait as jobs: those of the Postgres lane, those that failed before, and replayed ones.
    pub as_jobs: i64,
    /// Events that it gave up.
    pub dead: i64,
    /// Age of the oldest that it has not handled, in seconds; 0 if there is none.
    pub oldest_seconds: f64,
    /// Whether these are lower bounds: no more than 50,000 events, jobs and dead letters are looked at.
    pub at_least: bool,
}

impl From<PipelineLag> for PipelineDto {
    fn from(lag: PipelineLag) -> Self {
        let topics = events::pipeline(&lag.pipeline).map_or(&[][..], |spec| spec.topics);
        Self {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            name: lag.pipeline,
            at_broker: lag.at_broker,
            as_jobs: lag.as_jobs,
            dead: lag.dead,
            oldest_seconds: lag.oldest_seconds,
            at_least: lag.at_least,
        }
    }
}

/// Every pipeline.
#[derive(Debug, Object)]
pub struct PipelineList {
    /// By name.
    pub data: Vec<PipelineDto>,
}

/// How many events a replay would look at.
#[derive(Debug, Object)]
pub struct ReplayCount {
    /// Events.
    pub events: i64,
}

/// Which events a pipeline is to have again.
#[derive(Debug, Object)]
#[oai(rename = "NewReplay", deny_unknown_fields)]
pub struct NewReplay {
    /// Of these topics only; all that the pipeline reacts to by default.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub topics: Option<Vec<String>>,
    /// Created from this on. What is older than the retention keeps is gone.
    pub since: DateTime<Utc>,
    /// Created before this; now by default.
    pub until: Option<DateTime<Utc>>,
}

/// The pipeline of that name; 404 otherwise.
pub fn pipeline(name: &str) -> ApiResult<&'static PipelineSpec> {
    events::pipeline(name).ok_or_else(|| ApiError::not_found("pipeline"))
}

impl NewReplay {
    /// The job that does it.
    pub fn parse(self, spec: &PipelineSpec) -> ApiResult<ReplayEvents> {
        let until = self.until.unwrap_or_else(Utc::now);
        let mut wrong = FieldErrors::new();
        if self.since >= until {
            wrong.add("since", "range", "must be before `until`, which is now by default");
        }
        let topics = self.topics.unwrap_or_else(|| spec.topics.iter().map(|t| (*t).to_owned()).collect());
        for (place, topic) in topics.iter().enumerate() {
            if !spec.topics.contains(&topic.as_str()) {
                let known = spec.topics.join(", ");
                wrong.add(
                    format!("topics[{place}]"),
                    "unknown",
                    format!("the pipeline reacts to none but {known}"),
                );
            }
        }
        wrong.check()?;
        Ok(ReplayEvents { pipeline: spec.name.to_owned(), topics, since: self.since, until })
    }
}

/// As the engine counts it.
pub fn counted(job: ReplayEvents) -> Replay {
    Replay { pipeline: job.pipeline, topics: job.topics, since: job.since, until: job.until, id: Uuid::nil() }
}
