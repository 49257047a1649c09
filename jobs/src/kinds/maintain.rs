use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Job, Policy, queues};

/// Creates the coming days' partitions, drops those past retention, deletes expired carts, tokens and idempotency keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Maintain {}

impl Job for Maintain {
    const KIND: &'static str = "housekeeping.maintain";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    // Two of its statements read a whole partition, ten minutes each at most.
    const POLICY: Policy = Policy { timeout: Duration::from_mins(30), ..Policy::DEFAULT };
}
