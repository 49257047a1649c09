use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Event;

/// Somebody opened an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerRegistered {
    /// The customer.
    pub customer_id: Uuid,
    /// When.
    pub registered_at: DateTime<Utc>,
}

impl Event for CustomerRegistered {
    const TOPIC: &'static str = "customer.registered";
    const AGGREGATE: &'static str = "customer";

    fn aggregate_id(&self) -> Uuid {
        self.customer_id
    }
}
