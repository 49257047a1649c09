use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Event, EventEnvelope};

/// A webhook endpoint gets nothing more until an administrator enables it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointDisabled {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// Why, for people.
    pub reason: String,
    /// Since when every attempt has failed; none if it answered that it is gone.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was disabled.
    pub disabled_at: DateTime<Utc>,
}

impl Event for EndpointDisabled {
    const TOPIC: &'static str = "webhook_endpoint.disabled";
    const AGGREGATE: &'static str = "webhook_endpoint";

    fn aggregate_id(&self) -> Uuid {
        self.endpoint_id
    }
}

/// What a webhook's receiver reads of any event: fields are added, never changed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhookBody<'a> {
    /// The topic.
    #[serde(rename = "type")]
    topic: &'a str,
    /// When the event was written.
    timestamp: DateTime<Utc>,
    /// The payload.
    data: &'a Value,
    /// The event, the same in every copy: deduplicate by it.
    id: Uuid,
    /// Of the payload.
    version: i16,
}

impl<'a> From<&'a EventEnvelope> for WebhookBody<'a> {
    fn from(event: &'a EventEnvelope) -> Self {
        let EventEnvelope { topic, created_at: timestamp, payload: data, id, version, .. } = event;
        Self { topic, timestamp: *timestamp, data, id: *id, version: *version }
    }
}
