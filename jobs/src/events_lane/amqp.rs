//! The broker's consumer of a pipeline.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    effect::{Away, Left, Stage},
    inbox,
    item::{self, Item, Lane, Place},
    messages::{MessageBatch, seq_of},
    meter,
    park::{self, Parked},
};
use crate::contract::{Failure, Policy};

/// Pause before a batch is tried again that could not be settled because the database is away; doubles from the first to
/// the second. The messages stay in hand meanwhile: giving them back would use up their deliveries.
const AWAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Handles batches of messages.
#[derive(Clone)]
pub(crate) struct AmqpConsumer {
    pub stage: Stage,
    pub policy: Policy,
    pub stop: CancellationToken,
}

impl AmqpConsumer {
    /// Handles a batch and acknowledges it; without an acknowledgement it comes again.
    pub(crate) async fn consume(self: Arc<Self>, batch: MessageBatch) {
        let span = tracing::info_span!(
            "events",
            pipeline = self.stage.pipeline.name(),
            lane = "amqp",
            events = batch.messages.len()
        );
        self.settle(batch).instrument(span).await;
    }

    async fn settle(&self, batch: MessageBatch) {
        let (mut pause, mut before) = (AWAY.0, 0);
        while batch.is_live() {
            if self.handle(&batch, before).await.is_ok() {
                return batch.ack().await;
            }
            before += 1;
            tracing::warn!("events wait for the database");
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(AWAY.1);
        }
    }

    /// Brings every message to an end that is in the database: applied, a job, or a dead letter.
    async fn handle(&self, batch: &MessageBatch, before: u32) -> Result<(), Away> {
        let name = self.stage.pipeline.name();
        let topics = self.stage.pipeline.topics();
        let (mut items, mut unreadable, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for message in &batch.messages {
            match item::read_slice(&message.data) {
                Ok(event) if !topics.contains(&event.topic.as_str()) => {
                    meter::handled(name, Lane::Amqp, "ignored", 1);
                }
                Ok(event) if seen.insert(event.id) => {
                    items.push(Item { event, place: Place::Message { seq: seq_of(message) } });
                }
                Ok(_) => meter::handled(name, Lane::Amqp, "duplicate", 1),
                Err(error) => unreadable.push((message.data.clone(), error.to_string())),
            }
        }
        let (fresh, mut parked) = self.triage(items).await?;
        for (item, left) in self.stage.handle(fresh, before).await? {
            parked.push(to_parked(item, left));
        }
        self.park(&parked, &unreadable).await
    }

    /// Drops what is known; sends behind the jobs of its aggregate what has some.
    async fn triage(&self, items: Vec<Item>) -> Result<(Vec<Item>, Vec<Parked>), Away> {
        if items.is_empty() {
            return Ok((items, Vec::new()));
        }
        let name = self.stage.pipeline.name();
        let mut conn = self.stage.pool.get().await.map_err(away)?;
        let known = inbox::known(&mut conn, name, &items).await.map_err(away)?;
        let (mut fresh, mut parked, mut duplicates) = (Vec::with_capacity(items.len()), Vec::new(), 0);
        for (item, known) in items.into_iter().zip(known) {
            if known.over {
                duplicates += 1;
            } else if known.behind {
                parked.push(to_parked(item, Left::Behind));
            } else {
                fresh.push(item);
            }
        }
        meter::handled(name, Lane::Amqp, "duplicate", duplicates);
        Ok((fresh, parked))
    }

    async fn park(&self, parked: &[Parked], unreadable: &[(Vec<u8>, String)]) -> Result<(), Away> {
        let name = self.stage.pipeline.name();
        if parked.is_empty() && unreadable.is_empty() {
            return Ok(());
        }
        let mut conn = self.stage.pool.get().await.map_err(away)?;
        if !unreadable.is_empty() {
            park::bury_unreadable(&mut conn, name, &self.policy, unreadable).await.map_err(away)?;
            meter::handled(name, Lane::Amqp, "unreadable", unreadable.len());
        }
        if !parked.is_empty() {
            let failed = parked.iter().filter(|parked| parked.failure.is_some()).count();
            let made = park::park(&mut conn, name, &self.policy, parked).await.map_err(away)?;
            meter::handled(name, Lane::Amqp, "failed", failed);
            meter::handled(name, Lane::Amqp, "behind", parked.len() - failed);
            meter::parked(name, made);
            if let Some(Failure { message, .. }) = parked.iter().find_map(|parked| parked.failure.as_ref()) {
                tracing::warn!(failed, behind = parked.len() - failed, error = %message, "events parked as jobs");
            }
        }
        Ok(())
    }
}

fn to_parked(item: Item, left: Left) -> Parked {
    let seq = match item.place {
        Place::Message { seq } => seq,
        Place::Job(_) => 0,
    };
    let failure = match left {
        Left::Failed(failure) => Some(failure),
        Left::Behind => None,
    };
    Parked { event: item.event, seq, failure }
}

/// Our own statements do not fail for what is in the events, so whatever their error, the database is not there for us.
fn away(error: impl std::fmt::Display) -> Away {
    tracing::warn!(%error, "the database does not answer");
    Away
}
