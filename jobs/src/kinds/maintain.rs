use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Job, Policy, queues};

/// Creates the coming days' partitions, drops those past retention, deletes expired carts, tokens and idempotency keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Maintain {}

impl Job for Maintain {
    const KIND: &'static str = "housekeeping.maintain";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    // Two of its statements read a whole partition, ten minutes each at most. The next quarter of an hour asks again, so it does
    // not insist.
    const POLICY: Policy = Policy {
        max_attempts: 5,
        backoff: Duration::from_secs(30),
        backoff_cap: Duration::from_mins(5),
        timeout: Duration::from_mins(30),
    };
}
