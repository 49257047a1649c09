use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Job, Policy, queues};

/// Removes files that no row names: an upload was stored, and its process killed before it could say so.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RemoveOrphanFiles {}

impl Job for RemoveOrphanFiles {
    const KIND: &'static str = "housekeeping.remove_orphan_files";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    // It lists the store. What it leaves the next day finds.
    const POLICY: Policy = Policy {
        max_attempts: 3,
        backoff: Duration::from_mins(1),
        backoff_cap: Duration::from_mins(10),
        timeout: Duration::from_mins(15),
    };
}
