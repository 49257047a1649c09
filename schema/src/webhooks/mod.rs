//! Webhooks out: endpoints, deliveries, and the log of every attempt.

pub mod deliveries;
pub mod endpoints;

use uuid::Uuid;

/// What an endpoint's secret is sealed for. The sealed content is the text the owner was shown: `whsec_` and Base64.
pub fn secret_purpose(endpoint_id: Uuid) -> String {
    format!("webhook_endpoint:{endpoint_id}")
}
