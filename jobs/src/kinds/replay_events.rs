use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::IN_STRETCHES;
use crate::{Job, Policy, queues};

/// Gives a pipeline events of the past again, from where an earlier attempt stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayEvents {
    /// The pipeline, one of [`crate::events::PIPELINES`].
    pub pipeline: String,
    /// The topics, of those that the pipeline reacts to.
    pub topics: Vec<String>,
    /// Events created from this on; older ones than retention keeps are gone.
    pub since: DateTime<Utc>,
    /// Events created before this.
    pub until: DateTime<Utc>,
}

impl Job for ReplayEvents {
    const KIND: &'static str = "events.replay";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    const POLICY: Policy = IN_STRETCHES;

    /// One replay of a pipeline at a time.
    fn partition_key(&self) -> Option<String> {
        Some(format!("events.replay:{}", self.pipeline))
    }
}
