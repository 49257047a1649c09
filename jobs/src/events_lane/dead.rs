//! What the broker gave up: messages that were delivered too often without an acknowledgement, because they kill their
//! consumers. They go where every failure goes: to the jobs of their pipeline, where each is tried alone.

use std::{collections::HashMap, sync::Arc};

use lapin::{message::Delivery, types::AMQPValue};
use tokio_util::sync::CancellationToken;
use waybill_schema::Pool;

use super::{
    item,
    messages::{MessageBatch, seq_of},
    park::{self, Parked},
    topology::Topology,
};
use crate::contract::{Failure, Policy};

/// Pause before a batch is tried again because the database is away.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Takes messages from the dead queue.
#[derive(Clone)]
pub(crate) struct DeadConsumer {
    pub pool: Pool,
    pub topology: Arc<Topology>,
    pub policy: Policy,
    pub stop: CancellationToken,
}

#[derive(Default)]
struct Given {
    parked: Vec<Parked>,
    unreadable: Vec<(Vec<u8>, String)>,
}

impl DeadConsumer {
    /// Parks a batch and acknowledges it.
    pub(crate) async fn consume(self: Arc<Self>, batch: MessageBatch) {
        while batch.is_live() {
            match self.park(&batch.messages).await {
                Ok(()) => {
                    tracing::warn!(
                        messages = batch.messages.len(),
                        "the broker gave up messages, they are jobs now"
                    );
                    return batch.ack().await;
                }
                Err(error) => tracing::warn!(error, "messages that the broker gave up wait for the database"),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn park(&self, messages: &[Delivery]) -> Result<(), String> {
        let mut pipelines: HashMap<String, Given> = HashMap::new();
        for message in messages {
            let (queue, reason) = death(message);
            let pipeline = self.topology.pipeline_of(&queue).unwrap_or("unknown").to_owned();
            let given = pipelines.entry(pipeline).or_default();
            match item::read(&message.data) {
                Ok(event) => {
                    let failure = Failure::retryable(format!("the broker gave it up: {reason}"));
                    given.parked.push(Parked {
                        event,
                        seq: seq_of(message),
                        failure: Some(failure),
                        behind: false,
                    });
                }
                Err(error) => given.unreadable.push((message.data.clone(), error.to_string())),
            }
        }
        let mut conn = self.pool.get().await.map_err(|error| error.to_string())?;
        for (pipeline, given) in pipelines {
            if !given.unreadable.is_empty() {
                park::bury_unreadable(&mut conn, &pipeline, &self.policy, &given.unreadable)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            if !given.parked.is_empty() {
                park::park(&mut conn, &pipeline, &self.policy, &given.parked)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

/// The queue that a message died in, and why, from the header that the broker keeps.
fn death(message: &Delivery) -> (String, String) {
    let headers = message.properties.headers().as_ref();
    let deaths = headers.and_then(|headers| headers.inner().get("x-death"));
    let Some(AMQPValue::FieldArray(deaths)) = deaths else { return Default::default() };
    let Some(AMQPValue::FieldTable(last)) = deaths.as_slice().first() else { return Default::default() };
    let text = |key: &str| match last.inner().get(key) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        Some(AMQPValue::ShortString(text)) => text.to_string(),
        _ => String::new(),
    };
    (text("queue"), text("reason"))
}
