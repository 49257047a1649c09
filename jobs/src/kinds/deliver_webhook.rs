use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Job, Policy, queues};

/// Delivers one event to one webhook endpoint. Its handler sets the delays itself, by the published schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliverWebhook {
    /// The delivery.
    pub delivery_id: Uuid,
}

impl Job for DeliverWebhook {
    const KIND: &'static str = "webhook.deliver";
    const QUEUE: &'static str = queues::WEBHOOKS;
    // One attempt more than the schedule has delays.
    const POLICY: Policy = Policy {
        max_attempts: 10,
        backoff: Duration::from_secs(5),
        backoff_cap: Duration::from_hours(24),
        timeout: Duration::from_secs(30),
    };
}
