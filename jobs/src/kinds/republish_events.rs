use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::IN_STRETCHES;
use crate::{Job, Policy, queues};

/// Publishes events of the past to the broker, for consumers that are none of ours, from where an earlier attempt stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepublishEvents {
    /// Of these topics; of all if it is empty.
    pub topics: Vec<String>,
    /// Events created from this on; older ones than retention keeps are gone.
    pub since: DateTime<Utc>,
    /// Events created before this.
    pub until: DateTime<Utc>,
    /// Those that the broker has carried before, too.
    pub all: bool,
}

impl Job for RepublishEvents {
    const KIND: &'static str = "events.republish";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    const POLICY: Policy = IN_STRETCHES;

    /// One at a time, or events of one aggregate would be shuffled.
    fn partition_key(&self) -> Option<String> {
        Some(Self::KIND.to_owned())
    }
}
