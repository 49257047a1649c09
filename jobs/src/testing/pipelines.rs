//! Running pipelines in the test's own task.

use std::{sync::Arc, time::Duration};

use chrono::{SubsecRound as _, Utc};
use diesel_async::AsyncConnection;
use waybill_schema::{Conn, Pool};

use crate::{
    contract::{Failure, Policy},
    emit::{Event, EventEnvelope, SHARDS},
    events_lane::inline,
    pipeline::{Pipeline, PipelineError},
};

/// Rounds in which a pipeline may emit what it, or another, reacts to.
const ROUNDS: usize = 100;

/// An event that a pipeline has handled.
#[derive(Debug, Clone, PartialEq)]
pub struct Handled {
    /// The pipeline.
    pub pipeline: &'static str,
    /// The event.
    pub event: EventEnvelope,
}

/// An event as it would travel, that was emitted just now.
pub fn envelope<E: Event>(event: &E) -> EventEnvelope {
    EventEnvelope {
        id: waybill_schema::new_id(),
        topic: E::TOPIC.to_owned(),
        version: E::VERSION,
        aggregate: E::AGGREGATE.to_owned(),
        aggregate_id: event.aggregate_id(),
        created_at: Utc::now().trunc_subsecs(6),
        correlation_id: event.correlation_id(),
        causation_id: None,
        traceparent: None,
        payload: serde_json::to_value(event).unwrap(),
    }
}

/// Gives a pipeline events that are in no outbox, as one batch, and answers with what it said. Its effects are committed; nothing
/// keeps it from being given the same again.
pub async fn run_pipeline(
    pool: &Pool,
    pipeline: &dyn Pipeline,
    events: &[EventEnvelope],
) -> Result<(), PipelineError> {
    let strange = events.iter().find(|event| !pipeline.topics().contains(&event.topic.as_str()));
    assert!(strange.is_none(), "{} does not react to {strange:?}", pipeline.name());
    pipeline.prepare(events, pool).await?;
    let mut conn = pool.get().await.unwrap();
    (*conn)
        .transaction(async |conn: &mut Conn| -> Result<(), Failure> { pipeline.apply(events, conn).await })
        .await
}

/// Hands every event of the outbox to those of `pipelines` that react to it, as without a broker, and runs them until nothing is
/// left, with what they emit themselves. Answers with what was handled; panics if something could not be.
pub async fn drain_events(pool: &Pool, pipelines: &[Arc<dyn Pipeline>]) -> Vec<Handled> {
    let worker = super::register(pool).await;
    let shards: Vec<i16> = (0..SHARDS).collect();
    let mut handled = Vec::new();
    let mut rounds = 0;
    while inline::hand_over(pool, pipelines, &shards, Policy::DEFAULT.max_attempts).await > 0 {
        rounds += 1;
        assert!(rounds <= ROUNDS, "pipelines still emit what they react to after {ROUNDS} rounds");
        for pipeline in pipelines {
            let limit = Duration::from_mins(1);
            loop {
                let events =
                    inline::run(pool, pipeline, worker, limit).await.unwrap_or_else(|(event, failure)| {
                        panic!("{} cannot handle {}: {}", pipeline.name(), event.topic, failure.message)
                    });
                if events.is_empty() {
                    break;
                }
                handled.extend(events.into_iter().map(|event| Handled { pipeline: pipeline.name(), event }));
            }
        }
    }
    handled
}
