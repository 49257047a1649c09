//! The broker's consumer of a pipeline.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    effect::{Away, Left, Stage},
    inbox,
    item::{self, Item, Lane, Place},
    messages::{MessageBatch, is_again, seq_of, traceparent_of},
    meter, newer,
    park::{self, Parked},
};
use crate::{
    contract::{Failure, Policy},
    trace,
};

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
            otel.kind = "consumer",
            pipeline = self.stage.pipeline.name(),
            lane = "amqp",
            events = batch.messages.len()
        );
        trace::link(&span, batch.messages.iter().filter_map(traceparent_of));
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
        let (mut items, mut unreadable, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for message in &batch.messages {
            match item::read(&message.data) {
                Ok(_) if is_again(message) => meter::handled(name, Lane::Amqp, "ignored", 1),
                Ok(event) if seen.insert(event.id) => {
                    items.push(Item { event, place: Place::Message { seq: seq_of(message) } });
                }
                Ok(_) => meter::handled(name, Lane::Amqp, "duplicate", 1),
                Err(error) => unreadable.push((message.data.clone(), error.to_string())),
            }
        }
        let items = self.wanted(items).await?;
        let (fresh, mut parked) = self.triage(items).await?;
        let (fresh, newer) = newer::split(self.stage.pipeline.as_ref(), fresh);
        meter::handled(name, Lane::Amqp, "newer", newer.len());
        parked.extend(newer.into_iter().map(|item| to_parked(item, Left::Newer)));
        for (item, left) in self.stage.handle(fresh, before).await? {
            parked.push(to_parked(item, left));
        }
        self.park(&parked, &unreadable).await
    }

    /// Drops what no pipeline of any release wants: of a topic that was given up, but whose queue is still bound.
    async fn wanted(&self, mut items: Vec<Item>) -> Result<Vec<Item>, Away> {
        let pipeline = self.stage.pipeline.as_ref();
        let events = || items.iter().map(|item| &item.event);
        if newer::unknown(pipeline, events()).is_empty() {
            return Ok(items);
        }
        let mut conn = self.stage.pool.get().await.map_err(away)?;
        let wanted = newer::wanted(&mut conn, pipeline, events()).await.map_err(away)?;
        let before = items.len();
        items.retain(|Item { event, .. }| {
            pipeline.topics().contains(&event.topic.as_str()) || wanted.contains(&event.topic)
        });
        meter::handled(pipeline.name(), Lane::Amqp, "ignored", before - items.len());
        Ok(items)
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
            let behind = parked.iter().filter(|parked| parked.behind).count();
            meter::handled(name, Lane::Amqp, "behind", behind);
            meter::parked(name, made);
            self.stage.hint();
            if let Some(Failure { message, .. }) = parked.iter().find_map(|parked| parked.failure.as_ref()) {
                tracing::warn!(failed, behind, error = %message, "events parked as jobs");
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
    let behind = matches!(left, Left::Behind);
    let failure = match left {
        Left::Failed(failure) => Some(failure),
        Left::Behind | Left::Newer => None,
    };
    Parked { event: item.event, seq, failure, behind }
}

/// Our own statements do not fail for what is in the events, so whatever their error, the database is not there for us.
fn away(error: impl std::fmt::Display) -> Away {
    tracing::warn!(%error, "the database does not answer");
    Away
}
