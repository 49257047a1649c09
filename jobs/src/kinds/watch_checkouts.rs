use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Job, Policy, queues};

/// Looks for orders that are pending long after their deadline, and raises the alarm.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WatchCheckouts {}

impl Job for WatchCheckouts {
    const KIND: &'static str = "housekeeping.watch_checkouts";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    const POLICY: Policy = Policy {
        max_attempts: 3,
        backoff: Duration::from_secs(5),
        backoff_cap: Duration::from_secs(30),
        timeout: Duration::from_mins(1),
    };
}
