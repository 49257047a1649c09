//! Webhook endpoints and deliveries on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};
use uuid::Uuid;
use waybill_schema::webhooks::endpoints::{DeliveryRow, EndpointRow};

use crate::error::{ApiError, ApiResult};

/// An endpoint to register.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct NewEndpoint {
    /// Where events are posted. `https`, without user name and password.
    pub url: String,
    /// Topics wanted, such as `order.confirmed`; empty for all, those to come included.
    pub event_types: Option<Vec<String>>,
    /// For people, up to 500 characters.
    pub description: Option<String>,
}

/// What shall change; what is left out stays.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct ChangeEndpoint {
    /// Where events are posted.
    pub url: Option<String>,
    /// Topics wanted; empty for all.
    pub event_types: Option<Vec<String>>,
    /// For people.
    pub description: Option<String>,
    /// Whether events are delivered.
    pub active: Option<bool>,
}

/// Somebody who is told what happens.
#[derive(Debug, Object)]
#[oai(rename = "WebhookEndpoint")]
pub struct EndpointDto {
    /// Id.
    pub id: Uuid,
    /// Where events are posted.
    pub url: String,
    /// Topics wanted; empty for all.
    pub event_types: Vec<String>,
    /// For people.
    pub description: String,
    /// Whether events are delivered.
    pub active: bool,
    /// Since when every attempt has failed; null while all is well.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was disabled, because it failed for too long or answered 410; null if it was not, or by an administrator.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why it was disabled. `active: true` enables it again.
    pub disabled_reason: Option<String>,
    /// The key that signs its deliveries, `whsec_` and Base64. Only in the answer that registered it.
    #[oai(skip_serializing_if_is_none)]
    pub secret: Option<String>,
    /// Registered.
    pub created_at: DateTime<Utc>,
}

impl From<EndpointRow> for EndpointDto {
    fn from(row: EndpointRow) -> Self {
        Self {
            id: row.id,
            url: row.url,
            event_types: row.event_types,
            description: row.description,
            active: row.active,
            failing_since: row.failing_since,
            disabled_at: row.disabled_at,
            disabled_reason: row.disabled_reason,
            secret: None,
            created_at: row.created_at,
        }
    }
}

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// On its way, perhaps waiting for its next attempt.
    Queued,
    /// The receiver answered with a 2xx.
    Delivered,
    /// Given up; may be resent.
    Failed,
}

/// One event on its way to one endpoint.
#[derive(Debug, Object)]
#[oai(rename = "WebhookDelivery")]
pub struct DeliveryDto {
    /// Id.
    pub id: Uuid,
    /// The event: `webhook-id`, the same for every attempt.
    pub event_id: Uuid,
    /// Its topic.
    pub event_type: String,
    /// What has become of it.
    pub status: DeliveryStatus,
    /// Attempts made.
    pub attempts: i32,
    /// HTTP status of the newest answer.
    pub last_status: Option<i16>,
    /// Why the newest attempt failed.
    pub last_error: Option<String>,
    /// Written.
    pub created_at: DateTime<Utc>,
    /// Delivered or given up.
    pub finished_at: Option<DateTime<Utc>>,
}

impl DeliveryDto {
    /// As the database has it.
    pub fn new(row: DeliveryRow) -> ApiResult<Self> {
        use waybill_schema::webhooks::deliveries::DeliveryStatus as Status;
        let status = match row.status.parse::<Status>().map_err(ApiError::internal)? {
            Status::Queued => DeliveryStatus::Queued,
            Status::Delivered => DeliveryStatus::Delivered,
            Status::Failed => DeliveryStatus::Failed,
        };
        Ok(Self {
            id: row.id,
            event_id: row.event_id,
            event_type: row.topic,
            status,
            attempts: row.attempts,
            last_status: row.last_status,
            last_error: row.last_error,
            created_at: row.created_at,
            finished_at: row.finished_at,
        })
    }
}

/// A delivery that a job is at.
#[derive(Debug, Object)]
pub struct DeliveryStarted {
    /// The delivery.
    pub id: Uuid,
    /// Its job: `/v1/jobs/{job_id}`.
    pub job_id: Uuid,
}
