//! Pipeline `notifications`: which events cause which mails.

use async_trait::async_trait;
use waybill_jobs::{
    Enqueue, Event, EventEnvelope, Pipeline, PipelineError, enqueue_all,
    events::{NOTIFICATIONS, OrderCancelled, OrderConfirmed},
    kinds::SendMail,
};
use waybill_schema::{
    Conn,
    mails::{self, MailTemplate, OrderMail},
    new_id,
};

/// Writes the mails that events cause and enqueues their sending, in the transaction of the inbox.
pub struct Notifications;

#[async_trait]
impl Pipeline for Notifications {
    fn name(&self) -> &'static str {
        NOTIFICATIONS.name
    }

    fn topics(&self) -> &'static [&'static str] {
        NOTIFICATIONS.topics
    }

    async fn apply(&self, batch: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError> {
        let due: Vec<(&EventEnvelope, OrderMail)> = batch
            .iter()
            .filter_map(|event| {
                let template = match event.topic.as_str() {
                    OrderConfirmed::TOPIC => MailTemplate::OrderConfirmed,
                    OrderCancelled::TOPIC => MailTemplate::OrderCancelled,
                    _ => return None,
                };
                Some((event, OrderMail { id: new_id(), template, order_id: event.aggregate_id }))
            })
            .collect();
        let written: Vec<OrderMail> = due.iter().map(|(_, mail)| *mail).collect();
        let fresh = mails::insert_for_orders(conn, &written).await?;
        let jobs: Vec<(SendMail, Enqueue)> = due
            .iter()
            .filter_map(|(event, mail)| {
                let fresh = fresh.iter().find(|fresh| fresh.id == mail.id)?;
                let options = Enqueue {
                    correlation_id: fresh.correlation_id,
                    subject_id: fresh.subject_id,
                    causation_id: Some(event.id),
                    traceparent: event.traceparent.clone(),
                    ..Enqueue::default()
                };
                Some((SendMail { mail_id: mail.id }, options))
            })
            .collect();
        enqueue_all(conn, jobs.iter().map(|(job, options)| (job, options.clone()))).await?;
        Ok(())
    }
}
