use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Event;

/// A webhook endpoint gets nothing more until an administrator enables it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
