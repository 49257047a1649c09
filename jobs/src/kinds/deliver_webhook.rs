use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Job, Policy, queues};

/// Delivers one event to one webhook endpoint. Its handler sets the delays itself, by the published schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliverWebhook {
    /// The delivery.
    pub delivery_id: Uuid,
    /// Whom it is for, so that limits per key are limits per receiver. Jobs of earlier releases do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<Uuid>,
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

    fn limit_key(&self) -> Option<String> {
        self.endpoint_id.map(|id| id.to_string())
    }
}
