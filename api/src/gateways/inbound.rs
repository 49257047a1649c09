//! A gateway's webhook, believed and stored.

use chrono::Utc;
use diesel_async::AsyncConnection;
use poem::http::HeaderMap;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::{Job, enqueue, kinds::HandleGatewayEvent};
use waybill_platform::signature::{ID_HEADER, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};
use waybill_schema::{
    Conn,
    payments::gateway_events::{self, NewGatewayEvent},
};

use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Characters of an event's id, and of its kind, at most.
const MAX_TEXT: usize = 200;

/// What every gateway event says, besides what only its gateway's adapter reads.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Data,
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    /// The reference we gave the payment: the order's id.
    #[serde(default)]
    reference: Option<String>,
}

/// Checks signature and time, then stores the event and its job in one transaction. An event that came before changes
/// nothing.
pub async fn receive(state: &AppState, gateway: &str, headers: &HeaderMap, body: &[u8]) -> ApiResult<()> {
    let key = key(state, gateway)?;
    let header = |name: &'static str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| ApiError::unauthenticated(format!("the header {name} is required")))
    };
    let id = header(ID_HEADER)?;
    let (timestamp, signatures) = (header(TIMESTAMP_HEADER)?, header(SIGNATURE_HEADER)?);
    key.verify(id, timestamp, signatures, body, Utc::now().timestamp()).map_err(|error| {
        metrics::counter!("waybill_gateway_events_total", "outcome" => "refused").increment(1);
        ApiError::unauthenticated(error.to_string())
    })?;
    if id.is_empty() || id.chars().count() > MAX_TEXT {
        return Err(ApiError::malformed(format!("{ID_HEADER} must have 1 to {MAX_TEXT} characters")));
    }
    let malformed = |e: serde_json::Error| ApiError::malformed(format!("the body is no event: {e}"));
    let payload: Value = serde_json::from_slice(body).map_err(malformed)?;
    let envelope = Envelope::deserialize(&payload).map_err(malformed)?;
    let kind: String = envelope.kind.chars().take(MAX_TEXT).collect();
    let order_id = envelope.data.reference.and_then(|reference| reference.parse::<Uuid>().ok());

    let event = NewGatewayEvent { gateway, event_id: id, kind: &kind, payload: &payload, order_id };
    let mut conn = state.conn().await?;
    let new = (*conn)
        .transaction(async |conn: &mut Conn| {
            let new = gateway_events::insert(conn, &event).await?;
            if new {
                let job =
                    HandleGatewayEvent { gateway: gateway.to_owned(), event_id: id.to_owned(), order_id };
                enqueue(conn, &job).await?;
            }
            Ok::<_, ApiError>(new)
        })
        .await?;
    if new {
        state.notifier.hint(HandleGatewayEvent::QUEUE);
    }
    let outcome = if new { "stored" } else { "duplicate" };
    metrics::counter!("waybill_gateway_events_total", "outcome" => outcome).increment(1);
    Ok(())
}

/// The key that the gateway signs with; 404 for a gateway that is none of ours.
fn key(state: &AppState, gateway: &str) -> ApiResult<SigningKey> {
    let secret = match gateway {
        "sandbox" => &state.config.payments.sandbox.webhook_secret,
        _ => return Err(ApiError::not_found("gateway")),
    };
    SigningKey::parse(secret.expose_secret()).map_err(ApiError::internal)
}
