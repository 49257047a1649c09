use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Job, Policy, queues};

/// Reads an uploaded file row by row into the database, from where an earlier attempt stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunImport {
    /// The import.
    pub import_id: Uuid,
}

impl Job for RunImport {
    const KIND: &'static str = "import.run";
    const QUEUE: &'static str = queues::IMPORTS;
    // A million rows take minutes; every chunk is committed, so a late attempt only has the rest to do.
    const POLICY: Policy = Policy {
        max_attempts: 10,
        backoff: Duration::from_secs(1),
        backoff_cap: Duration::from_mins(1),
        timeout: Duration::from_hours(1),
    };

    fn correlation_id(&self) -> Option<Uuid> {
        Some(self.import_id)
    }
}
