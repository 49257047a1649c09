use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Job, Policy, queues};

/// Brings an uploaded file into the database, from where an earlier attempt stopped: reads it row by row, or, as long as much
/// of it is left, has a workflow do the next stretch (`import.split`, `import.part` side by side, `import.merge`) and waits.
/// It is over when the import is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunImport {
    /// The import.
    pub import_id: Uuid,
}

impl Job for RunImport {
    const KIND: &'static str = "import.run";
    const QUEUE: &'static str = queues::IMPORTS;
    // A worker that knows nothing of parts would read the rows that they have.
    const VERSION: i16 = 2;
    // A million rows take minutes; every chunk is committed, so a late attempt only has the rest to do.
    const POLICY: Policy = Policy {
        max_attempts: 10,
        backoff: Duration::from_secs(1),
        backoff_cap: Duration::from_mins(1),
        timeout: Duration::from_hours(1),
    };
    // Cancelling it ends its workflow; rows that are in stay in.
    const COMPENSATES: bool = true;
    const OWNER_CANCELS: bool = true;

    fn correlation_id(&self) -> Option<Uuid> {
        Some(self.import_id)
    }
}
