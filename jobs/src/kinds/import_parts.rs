//! The steps of an import's workflow.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunImport;
use crate::{Job, Policy, queues};

/// Cuts the next stretch of an import's file into parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SplitImport {
    /// The import.
    pub import_id: Uuid,
    /// How many parts, 1 or more.
    pub parts: u32,
}

/// Brings the rows of one part into the database, from where an earlier attempt stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportPart {
    /// The import.
    pub import_id: Uuid,
    /// The part, from 0.
    pub part: i32,
}

/// Adds what the parts have done to the import, and wakes its job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MergeImport {
    /// The import.
    pub import_id: Uuid,
    /// The workflow.
    pub flow_id: Uuid,
}

/// Removes the files of a workflow that is over, however it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanImport {
    /// The import.
    pub import_id: Uuid,
    /// The workflow.
    pub flow_id: Uuid,
}

macro_rules! step {
    ($step:ty, $kind:literal, $queue:expr) => {
        impl Job for $step {
            const KIND: &'static str = $kind;
            const QUEUE: &'static str = $queue;
            const POLICY: Policy = RunImport::POLICY;

            fn correlation_id(&self) -> Option<Uuid> {
                Some(self.import_id)
            }
        }
    };
}

step!(SplitImport, "import.split", queues::IMPORTS);
step!(ImportPart, "import.part", queues::IMPORT_PARTS);
step!(MergeImport, "import.merge", queues::IMPORTS);
step!(CleanImport, "import.clean", queues::IMPORTS);
