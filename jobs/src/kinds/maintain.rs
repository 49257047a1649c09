use serde::{Deserialize, Serialize};

use crate::{Job, queues};

/// Creates the coming days' partitions, drops those past retention, deletes expired carts, tokens and idempotency keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Maintain {}

impl Job for Maintain {
    const KIND: &'static str = "housekeeping.maintain";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
}
