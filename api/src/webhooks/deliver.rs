//! Deliveries asked for by hand: a test, and a second time.

use chrono::Utc;
use diesel_async::AsyncConnection;
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{Enqueue, Job, enqueue_with, kinds::DeliverWebhook};
use waybill_schema::{
    Conn, new_id,
    webhooks::{
        deliveries::{self, NewDelivery},
        endpoints,
    },
};

use super::dto::DeliveryStarted;
use crate::{
    error::{ApiError, ApiResult, codes},
    state::AppState,
};

/// The topic of a test; no event of the shop's has it.
const TEST: &str = "webhook.test";

/// Sends a `webhook.test` to one endpoint alone.
pub async fn test(state: &AppState, endpoint_id: Uuid, owner_id: Option<Uuid>) -> ApiResult<DeliveryStarted> {
    let (id, event_id) = (new_id(), new_id());
    let body = json!({
        "type": TEST,
        "timestamp": Utc::now(),
        "data": { "endpoint_id": endpoint_id, "message": "If you can read this, your endpoint works." },
        "id": event_id,
        "version": 1,
    })
    .to_string();
    let mut conn = state.conn().await?;
    let started = (*conn)
        .transaction(async |conn: &mut Conn| {
            let endpoint = endpoints::find(conn, endpoint_id).await?;
            let endpoint = endpoint.ok_or_else(|| ApiError::not_found("webhook endpoint"))?;
            if !endpoint.active {
                return Err(ApiError::conflict(codes::CONFLICT, "the endpoint is not active"));
            }
            let delivery =
                NewDelivery { id, endpoint_id, event_id, topic: TEST, correlation_id: None, body: &body };
            deliveries::insert(conn, &[delivery]).await?;
            start(conn, id, endpoint_id, Enqueue { owner_id, ..Enqueue::default() }).await
        })
        .await?;
    state.notifier.hint(DeliverWebhook::QUEUE);
    Ok(started)
}

/// Delivers once more what was delivered, or given up.
pub async fn resend(state: &AppState, id: Uuid, owner_id: Option<Uuid>) -> ApiResult<DeliveryStarted> {
    let mut conn = state.conn().await?;
    let started = (*conn)
        .transaction(async |conn: &mut Conn| {
            if let Some(again) = endpoints::requeue(conn, id).await? {
                let options = Enqueue {
                    owner_id,
                    correlation_id: again.correlation_id,
                    subject_id: again.subject_id,
                    ..Enqueue::default()
                };
                return start(conn, id, again.endpoint_id, options).await;
            }
            Err(match deliveries::due(conn, id).await? {
                Some(_) => ApiError::conflict(codes::CONFLICT, "the delivery is on its way"),
                None => ApiError::not_found("webhook delivery"),
            })
        })
        .await?;
    state.notifier.hint(DeliverWebhook::QUEUE);
    Ok(started)
}

async fn start(
    conn: &mut Conn,
    delivery_id: Uuid,
    endpoint_id: Uuid,
    options: Enqueue,
) -> ApiResult<DeliveryStarted> {
    let job = DeliverWebhook { delivery_id, endpoint_id: Some(endpoint_id) };
    let job_id = enqueue_with(conn, &job, options).await?;
    Ok(DeliveryStarted { id: delivery_id, job_id })
}
