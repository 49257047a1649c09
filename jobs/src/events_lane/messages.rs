//! Batches of messages.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    broker::Link,
    publish::{AGAIN_HEADER, SEQ_HEADER},
};
use crate::trace;

/// Pause before a queue is consumed again after its channel was lost.
const AGAIN: Duration = Duration::from_millis(200);
/// Longest wait for the broker's part in closing a channel.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Messages of one channel, in the order of the queue. Dropped without [`ack`](Self::ack), it has its channel closed, so
/// that the broker delivers it again, and what was delivered after it too: nothing overtakes.
pub(crate) struct MessageBatch {
    pub messages: Vec<Delivery>,
    channel: Channel,
    broken: CancellationToken,
    settled: bool,
}

impl MessageBatch {
    /// Whether an acknowledgement can still reach the broker. If not, the messages come again.
    pub(crate) fn is_live(&self) -> bool {
        !self.broken.is_cancelled() && self.channel.status().connected()
    }

    /// Acknowledges all of it, on its own channel.
    pub(crate) async fn ack(mut self) {
        self.settled = true;
        let Some(last) = self.messages.last() else { return };
        // Batches of a channel are settled in order, so all up to the last tag are.
        let multiple = BasicAckOptions { multiple: true };
        if let Err(error) = self.channel.basic_ack(last.delivery_tag, multiple).await {
            tracing::debug!(%error, "acknowledgement lost; the messages come again and are known");
            self.broken.cancel();
        }
    }
}

impl Drop for MessageBatch {
    fn drop(&mut self) {
        if !self.settled {
            self.broken.cancel();
        }
    }
}

/// The place in the outbox that the relay has given a message; 0 for one from elsewhere.
pub(crate) fn seq_of(message: &Delivery) -> i64 {
    let headers = message.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(SEQ_HEADER)) {
        Some(AMQPValue::LongLongInt(seq)) => *seq,
        _ => 0,
    }
}

/// Whether an operator had the message published again, for others: our pipelines have replays of their own.
pub(crate) fn is_again(message: &Delivery) -> bool {
    let headers = message.properties.headers().as_ref();
    headers.is_some_and(|headers| headers.inner().contains_key(AGAIN_HEADER))
}

/// The trace context that the relay has given a message.
pub(crate) fn traceparent_of(message: &Delivery) -> Option<&str> {
    let headers = message.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(trace::HEADER)) {
        Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    }
}

/// Makes batches of a queue's messages.
#[derive(Clone)]
pub(crate) struct MessageSource {
    pub link: Link,
    pub queue: String,
    /// Messages in hand.
    pub prefetch: u16,
    /// Largest batch.
    pub max_batch: usize,
    pub linger: Duration,
}

impl MessageSource {
    /// Sends batches until `stop`.
    pub(crate) async fn run(self, out: mpsc::Sender<MessageBatch>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let connection = tokio::select! {
                () = stop.cancelled() => return,
                connection = self.link.connection() => connection,
            };
            let Some(connection) = connection else { return };
            if let Err(error) = self.consume(&connection, &out, &stop).await {
                tracing::debug!(queue = self.queue, error, "consumer lost its channel");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn consume(
        &self,
        connection: &Arc<Connection>,
        out: &mpsc::Sender<MessageBatch>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let text = |error: lapin::Error| error.to_string();
        let channel = connection.create_channel().await.map_err(text)?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await.map_err(text)?;
        let consumer = channel
            .basic_consume(
                self.queue.as_str().into(),
                ShortString::default(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(text)?;
        let broken = CancellationToken::new();
        let result = self.forward(&channel, consumer, &broken, out, stop).await;
        // A batch in hand is acknowledged on this channel, so a stop leaves it open until that is done.
        if stop.is_cancelled() && result.is_ok() {
            out.closed().await;
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "done".into())).await;
        result
    }

    async fn forward(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
        broken: &CancellationToken,
        out: &mpsc::Sender<MessageBatch>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = broken.cancelled() => return Err("a batch was left unsettled".to_owned()),
                permit = out.reserve() => permit.map_err(|_| "nobody takes batches".to_owned())?,
            };
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = broken.cancelled() => return Err("a batch was left unsettled".to_owned()),
                delivery = consumer.next() => delivered(delivery)?,
            };
            let mut batch = MessageBatch {
                messages: vec![first],
                channel: channel.clone(),
                broken: broken.clone(),
                settled: false,
            };
            let until = Instant::now() + self.linger;
            while batch.messages.len() < self.max_batch {
                match tokio::time::timeout_at(until, consumer.next()).await {
                    Ok(delivery) => batch.messages.push(delivered(delivery)?),
                    Err(_) => break,
                }
            }
            permit.send(batch);
        }
    }
}

fn delivered(delivery: Option<lapin::Result<Delivery>>) -> Result<Delivery, String> {
    match delivery {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the broker cancelled the consumer".to_owned()),
    }
}
