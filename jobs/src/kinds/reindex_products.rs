use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::IN_STRETCHES;
use crate::{Job, Policy, Unique, queues};

/// Writes the search index anew from the products as they are, from where an earlier attempt stopped.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReindexProducts {
    /// Only those of this category and of what is below it; all otherwise.
    #[serde(default)]
    pub category_id: Option<Uuid>,
}

impl Job for ReindexProducts {
    const KIND: &'static str = "search.reindex";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    const POLICY: Policy = IN_STRETCHES;

    /// One at a time: of two that write the same product in the same state, the one that was asked for later has seen the
    /// categories as they are now.
    fn partition_key(&self) -> Option<String> {
        Some("search.reindex".to_owned())
    }

    /// Only of those for all: who renames a category enqueues before the commit, and one that waits may begin before that.
    fn unique(&self) -> Option<Unique> {
        self.category_id.is_none().then(|| Unique::while_waiting("all"))
    }
}
