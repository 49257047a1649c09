//! Pipeline `webhooks`: every event to every endpoint that asked for it.

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, Event, EventEnvelope, Pipeline, PipelineError, enqueue_all,
    events::{OrderPlaced, WEBHOOKS, WebhookBody},
    kinds::DeliverWebhook,
};
use waybill_schema::{
    Conn, new_id,
    webhooks::deliveries::{self, NewDelivery},
};

/// Writes the deliveries that events cause and enqueues them, in the transaction of the inbox.
pub struct Webhooks;

/// The person an event is about: the customer it names, or for a guest's order the order itself.
fn subject(event: &EventEnvelope) -> Option<Uuid> {
    let customer = event.payload.get("customer_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    customer.or_else(|| (event.aggregate == OrderPlaced::AGGREGATE).then_some(event.aggregate_id))
}

/// The body of an event's deliveries.
pub fn body(event: &EventEnvelope) -> Result<String, serde_json::Error> {
    serde_json::to_string(&WebhookBody::from(event))
}

#[async_trait]
impl Pipeline for Webhooks {
    fn name(&self) -> &'static str {
        WEBHOOKS.name
    }

    fn topics(&self) -> &'static [&'static str] {
        WEBHOOKS.topics
    }

    async fn apply(&self, batch: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError> {
        let subscribers = deliveries::subscribers(conn).await?;
        if subscribers.is_empty() {
            return Ok(());
        }
        // Rendered once per event, however many endpoints want it.
        let mut wanted = Vec::new();
        for event in batch {
            let endpoints: Vec<Uuid> =
                subscribers.iter().filter(|s| s.wants(&event.topic)).map(|s| s.id).collect();
            if !endpoints.is_empty() {
                wanted.push((event, body(event)?, endpoints));
            }
        }
        let written: Vec<NewDelivery<'_>> = wanted
            .iter()
            .flat_map(|(event, body, endpoints)| {
                endpoints.iter().map(|endpoint_id| NewDelivery {
                    id: new_id(),
                    endpoint_id: *endpoint_id,
                    event_id: event.id,
                    topic: &event.topic,
                    correlation_id: event.correlation_id,
                    body,
                })
            })
            .collect();
        let fresh = deliveries::insert(conn, &written).await?;
        let jobs: Vec<(DeliverWebhook, Enqueue)> = fresh
            .iter()
            .map(|delivery| {
                let event =
                    wanted.iter().map(|(event, ..)| event).find(|event| event.id == delivery.event_id);
                let options = Enqueue {
                    correlation_id: delivery.correlation_id,
                    subject_id: event.and_then(|event| subject(event)),
                    causation_id: Some(delivery.event_id),
                    traceparent: event.and_then(|event| event.traceparent.clone()),
                    ..Enqueue::default()
                };
                (
                    DeliverWebhook { delivery_id: delivery.id, endpoint_id: Some(delivery.endpoint_id) },
                    options,
                )
            })
            .collect();
        enqueue_all(conn, jobs.iter().map(|(job, options)| (job, options.clone()))).await?;
        Ok(())
    }
}
