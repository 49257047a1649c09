//! Publishing with confirms.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{outbox::Outgoing, topology::Topology};
use crate::trace;

/// The header with an event's place in the outbox.
pub(crate) const SEQ_HEADER: &str = "waybill-seq";
/// After this a batch ends where it is, what is left of it comes with the next: a burst about one aggregate has a round for
/// each of its events, and what is confirmed should leave the outbox soon.
const LONGEST: Duration = Duration::from_secs(5);
/// The header of an event that an operator had published again.
pub(crate) const AGAIN_HEADER: &str = "waybill-again";
/// AMQP: survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A channel with confirms.
pub(crate) struct Publisher {
    connection: Arc<Connection>,
    channel: Channel,
    /// (pipeline, topic) of other releases that are bound.
    bound: HashSet<(String, String)>,
    /// Whether what it publishes was published before.
    again: bool,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Confirmed: these are the broker's now.
    pub confirmed: Vec<i64>,
    /// Refused by a full queue.
    pub refused: Vec<i64>,
    /// Not published, because they must not overtake a refused one.
    pub behind: usize,
    /// Why not all of the others were confirmed. The publisher is of no further use.
    pub failure: Option<String>,
}

impl Publisher {
    pub(crate) async fn open(connection: Arc<Connection>) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel, bound: HashSet::new(), again: false })
    }

    /// Marks what it publishes as published before.
    pub(crate) fn again(self) -> Self {
        Self { again: true, ..self }
    }

    /// Whether it works on this connection.
    pub(crate) fn is_on(&self, connection: &Arc<Connection>) -> bool {
        Arc::ptr_eq(&self.connection, connection) && self.channel.status().connected()
    }

    /// Binds the queues of pipelines that only another release knows, for these events.
    pub(crate) async fn bind(&mut self, topology: &Topology, events: &[Outgoing]) -> lapin::Result<()> {
        let mut routes = Vec::new();
        for event in events {
            for pipeline in event.wanted_by() {
                let route = (pipeline.to_owned(), event.topic.clone());
                if !topology.declares(pipeline, &event.topic)
                    && !self.bound.contains(&route)
                    && !routes.contains(&route)
                {
                    routes.push(route);
                }
            }
        }
        if !routes.is_empty() {
            topology.bind(&self.connection, &routes).await?;
            tracing::info!(?routes, "bound what another release wants");
            self.bound.extend(routes);
        }
        Ok(())
    }

    /// Publishes events, any number in flight but one per aggregate: were an event refused while the next of its aggregate
    /// was taken, they would arrive in the wrong order. Gives up when no confirm has come for `patience`.
    pub(crate) async fn publish(
        &self,
        exchange: &str,
        events: Vec<&Outgoing>,
        patience: Duration,
    ) -> Published {
        let mut published = Published::default();
        let mut waiting = events;
        let mut stopped: HashSet<(&str, Uuid)> = HashSet::new();
        let started = Instant::now();
        while !waiting.is_empty() && published.failure.is_none() && started.elapsed() < LONGEST {
            let mut flying = HashSet::new();
            let (round, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|event| flying.insert((event.aggregate.as_str(), event.aggregate_id)));
            waiting = rest;
            let refused = self.round(exchange, &round, patience, &mut published).await;
            stopped.extend(refused);
            if !stopped.is_empty() {
                let before = waiting.len();
                waiting.retain(|event| !stopped.contains(&(event.aggregate.as_str(), event.aggregate_id)));
                published.behind += before - waiting.len();
            }
        }
        published
    }

    async fn round<'e>(
        &self,
        exchange: &str,
        round: &[&'e Outgoing],
        patience: Duration,
        published: &mut Published,
    ) -> Vec<(&'e str, Uuid)> {
        let mut confirms = FuturesUnordered::new();
        for (place, event) in round.iter().enumerate() {
            // Nobody need be there for a topic that no pipeline of any release wants; for the others a queue must be.
            let mandatory = event.wanted_by().next().is_some();
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
                        published.refused.push(event.seq);
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
        if self.again {
            headers.insert(AGAIN_HEADER.into(), AMQPValue::Boolean(true));
        }
        if let Some(traceparent) = &event.traceparent {
            headers.insert(trace::HEADER.into(), AMQPValue::LongString(traceparent.as_str().into()));
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
