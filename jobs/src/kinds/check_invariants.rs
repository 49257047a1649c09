use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Job, Policy, queues};

/// Asks the database whether everything holds that must hold; its result is the report, and a broken one raises the alarm.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CheckInvariants {}

impl Job for CheckInvariants {
    const KIND: &'static str = "housekeeping.check_invariants";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
    // It reads whole tables. The next hour asks again, so it does not insist.
    const POLICY: Policy = Policy {
        max_attempts: 3,
        backoff: Duration::from_secs(30),
        backoff_cap: Duration::from_mins(5),
        timeout: Duration::from_mins(15),
    };
}
