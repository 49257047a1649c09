//! Publishing with confirms.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::outbox::Outgoing;

/// The header with an event's place in the outbox.
pub(crate) const SEQ_HEADER: &str = "waybill-seq";
/// After this a batch ends where it is, what is left of it comes with the next: a burst about one aggregate has a round for
/// each of its events, and what is confirmed should leave the outbox soon.
const LONGEST: Duration = Duration::from_secs(5);
/// W3C trace context.
const TRACEPARENT_HEADER: &str = "traceparent";
/// AMQP: survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A channel with confirms.
pub(crate) struct Publisher {
    connection: Arc<Connection>,
    channel: Channel,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Confirmed: these are the broker's now.
    pub confirmed: Vec<i64>,
    /// Refused by a full queue, with everything that must not overtake it. They wait in the outbox.
    pub refused: usize,
    /// Why not all of the others were confirmed. The publisher is of no further use.
    pub failure: Option<String>,
}

impl Publisher {
    pub(crate) async fn open(connection: Arc<Connection>) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel })
    }

    /// Whether it works on this connection.
    pub(crate) fn is_on(&self, connection: &Arc<Connection>) -> bool {
        Arc::ptr_eq(&self.connection, connection) && self.channel.status().connected()
    }

    /// Publishes events, any number in flight but one per aggregate: were an event refused while the next of its aggregate
    /// was taken, they would arrive in the wrong order. Gives up when no confirm has come for `patience`.
    pub(crate) async fn publish(
        &self,
        exchange: &str,
        topics: &HashMap<&'static str, Vec<&'static str>>,
        events: &[Outgoing],
        patience: Duration,
    ) -> Published {
        let mut published = Published::default();
        let mut waiting: Vec<&Outgoing> = events.iter().collect();
        let mut stopped: HashSet<(&str, Uuid)> = HashSet::new();
        let started = Instant::now();
        while !waiting.is_empty() && published.failure.is_none() && started.elapsed() < LONGEST {
            let mut flying = HashSet::new();
            let (round, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|event| flying.insert((event.aggregate.as_str(), event.aggregate_id)));
            waiting = rest;
            let refused = self.round(exchange, topics, &round, patience, &mut published).await;
            stopped.extend(refused);
            if !stopped.is_empty() {
                let before = waiting.len();
                waiting.retain(|event| !stopped.contains(&(event.aggregate.as_str(), event.aggregate_id)));
                published.refused += before - waiting.len();
            }
        }
        published
    }

    async fn round<'e>(
        &self,
        exchange: &str,
        topics: &HashMap<&'static str, Vec<&'static str>>,
        round: &[&'e Outgoing],
        patience: Duration,
        published: &mut Published,
    ) -> Vec<(&'e str, Uuid)> {
        let mut confirms = FuturesUnordered::new();
        for (place, event) in round.iter().enumerate() {
            // Nobody need be there for a topic that none of our pipelines wants; for the others a queue must be.
            let mandatory = topics.contains_key(event.topic.as_str());
            // A blocked connection takes no bytes, so even the sending may have no end.
            match tokio::time::timeout(patience, self.send(exchange, event, mandatory)).await {
                Ok(Ok(confirm)) => confirms.push(async move { (place, confirm.await) }),
                Ok(Err(error)) => published.failure = Some(error.to_string()),
                Err(_) => published.failure = Some(format!("nothing could be sent for {patience:?}")),
            }
            if published.failure.is_some() {
                break;
            }
        }
        let (mut acked, mut returned, mut refused) =
            (Vec::with_capacity(confirms.len()), HashSet::new(), Vec::new());
        loop {
            match tokio::time::timeout(patience, confirms.next()).await {
                Ok(Some((place, Ok(confirmation)))) => {
                    let event = round[place];
                    let taken = confirmation.is_ack();
                    if matches!(confirmation, Confirmation::NotRequested) {
                        published.failure = Some("the channel does not confirm".to_owned());
                    } else if taken {
                        acked.push(event);
                    } else {
                        refused.push((event.aggregate.as_str(), event.aggregate_id));
                    }
                    // The client gives a returned message to whichever confirm is next, so it is told by its id.
                    if let Some(message) = confirmation.take_message()
                        && let Some(id) = message.delivery.properties.message_id().as_ref()
                    {
                        returned.insert(id.as_str().to_owned());
                    }
                }
                Ok(Some((_, Err(error)))) => published.failure = Some(error.to_string()),
                Ok(None) => break,
                Err(_) => {
                    published.failure = Some(format!("no confirm within {patience:?}"));
                    break;
                }
            }
        }
        for event in acked {
            if !returned.is_empty() && returned.contains(&event.id.to_string()) {
                published.failure = Some(format!("no queue takes {}", event.topic));
            } else {
                published.confirmed.push(event.seq);
            }
        }
        published.refused += refused.len();
        refused
    }

    async fn send(
        &self,
        exchange: &str,
        event: &Outgoing,
        mandatory: bool,
    ) -> lapin::Result<lapin::PublisherConfirm> {
        let mut headers = FieldTable::default();
        headers.insert(SEQ_HEADER.into(), AMQPValue::LongLongInt(event.seq));
        if let Some(traceparent) = &event.traceparent {
            headers.insert(TRACEPARENT_HEADER.into(), AMQPValue::LongString(traceparent.as_str().into()));
        }
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(event.id.to_string().into())
            .with_type(event.topic.as_str().into())
            .with_timestamp(event.created_at.timestamp().unsigned_abs())
            .with_app_id("waybill".into())
            .with_headers(headers);
        if let Some(correlation) = event.correlation_id {
            properties = properties.with_correlation_id(correlation.to_string().into());
        }
        let options = BasicPublishOptions { mandatory, ..Default::default() };
        self.channel
            .basic_publish(
                exchange.into(),
                event.topic.as_str().into(),
                options,
                event.body.as_bytes(),
                properties,
            )
            .await
    }
}
