//! The Postgres lane in the caller's own task: for tests.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use uuid::Uuid;
use waybill_schema::Pool;

use super::{
    config::PipelineSpec,
    effect::{Left, Stage},
    item::{self, Item, Lane, Place, Ticket},
    outbox::{self, Routes, Which},
};
use crate::{contract::Failure, emit::EventEnvelope, pipeline::Pipeline, postgres::claim, queues};

/// Events handed over in one statement.
const EVENTS: i64 = 1_000;

/// Makes jobs of the outbox's next events, as a relay without a broker does; answers with how many left the outbox.
pub(crate) async fn hand_over(
    pool: &Pool,
    pipelines: &[Arc<dyn Pipeline>],
    shards: &[i16],
    attempts: i16,
) -> u64 {
    let routes = Routes::new(&PipelineSpec::of_all(pipelines));
    let mut conn = pool.get().await.unwrap();
    let which = Which::Next(shards, EVENTS);
    let moved = outbox::hand_over(&mut conn, &routes, which, attempts).await.unwrap();
    moved.into_iter().map(|handed| handed.events.unsigned_abs()).sum()
}

/// Has a pipeline handle the next batch that waits for it; answers with its events, or with the first that failed.
pub(crate) async fn run(
    pool: &Pool,
    pipeline: &Arc<dyn Pipeline>,
    worker: Uuid,
    timeout: Duration,
) -> Result<Vec<EventEnvelope>, (EventEnvelope, Failure)> {
    let queue = queues::pipeline_queue(pipeline.name());
    let jobs = claim(&mut pool.get().await.unwrap(), &queue, worker, pipeline.max_batch()).await.unwrap();
    let items: Vec<Item> = jobs
        .into_iter()
        .map(|job| Item {
            place: Place::Job(Ticket {
                id: job.id,
                claim: job.claim,
                attempt: job.attempt,
                max_attempts: job.max_attempts,
            }),
            event: item::read(job.payload.as_bytes()).unwrap(),
        })
        .collect();
    let events = items.iter().map(|item| item.event.clone()).collect();
    let stage = Stage {
        pipeline: Arc::clone(pipeline),
        pool: pool.clone(),
        lane: Lane::Postgres,
        notifier: None,
        timeout,
        parts: 1,
    };
    let left = stage.handle(items, 0).await.unwrap_or_else(|away| panic!("the database is {away:?}"));
    for (item, left) in left {
        if let Left::Failed(failure) = left {
            return Err((item.event, failure));
        }
    }
    Ok(events)
}
