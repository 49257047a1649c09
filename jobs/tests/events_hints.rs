//! Nobody waits for a poll: what events become, and what they cause, is hinted at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use events_support::{Lane, World, recorder::Changed, world::things};
use waybill_jobs::{
    Event, EventEnvelope, Job as _, Pipeline, PipelineError, enqueue, kinds::Maintain, testing::until,
};
use waybill_schema::Conn;

/// A pipeline whose events cause jobs.
struct Enqueuer;

#[async_trait]
impl Pipeline for Enqueuer {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[Changed::TOPIC]
    }

    async fn apply(&self, _: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError> {
        enqueue(conn, &Maintain {}).await?;
        Ok(())
    }
}

async fn jobs_caused_by_events_are_hinted_at(lane: Lane) {
    let Some(world) = World::new(lane).await else { return };
    let process = world.process_of(Arc::new(Enqueuer));
    let mut hints = process.hints().await.subscribe();
    world.emit(&things(1), 0..1).await;
    let hinted = async { while hints.recv().await.unwrap() != Maintain::QUEUE {} };
    tokio::time::timeout(Duration::from_secs(30), hinted).await.expect("a hint");
    // After the commit: a hint before it is idle.
    let caused = format!("select count(*) as n from jobs where kind = '{}'", Maintain::KIND);
    assert_eq!(world.db.count(&caused).await, 1);
    process.stop().await;
}

#[tokio::test]
async fn jobs_caused_by_events_of_the_broker_are_hinted_at() {
    jobs_caused_by_events_are_hinted_at(Lane::Amqp).await;
}

#[tokio::test]
async fn jobs_caused_by_events_on_postgres_are_hinted_at() {
    jobs_caused_by_events_are_hinted_at(Lane::Postgres).await;
}

/// Consumers and relay that look only once in ten minutes by themselves.
#[tokio::test]
async fn what_becomes_a_job_is_hinted_at() {
    let mut world = World::new(Lane::Postgres).await.unwrap();
    world.config.poll = (Duration::from_mins(10), Duration::from_mins(10));
    let process = world.process();
    world.emit(&things(3), 0..1).await;
    until("it is handled without a poll", || async {
        // What whoever emits does after its commit; the relay may not be listening yet.
        world.db.execute("select pg_notify('waybill_jobs', 'outbox')").await;
        world.db.count("select count(*) as n from recorded").await == 3
    })
    .await;
    process.stop().await;
}
