//! How fast events go from the outbox to a batch consumer that has acknowledged them.
//!
//! ```text
//! cargo test --release -p waybill-jobs --test events_speed -- --ignored --nocapture --test-threads=1
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use events_support::{
    Lane, World,
    recorder::{Changed, Recorder},
    world::things,
};
use waybill_jobs::{
    Event, EventEnvelope, Pipeline, PipelineError, events_lane::EventsConfig, testing::until,
};
use waybill_schema::Conn;

const EVENTS: usize = 100_000;

/// Reads events and does nothing, so that what is measured is the lane: its inbox, its acknowledgements.
struct Idle;

#[async_trait]
impl Pipeline for Idle {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[Changed::TOPIC]
    }

    fn max_batch(&self) -> usize {
        500
    }

    async fn apply(&self, batch: &[EventEnvelope], _: &mut Conn) -> Result<(), PipelineError> {
        for event in batch {
            event.read::<Changed>().transpose()?;
        }
        Ok(())
    }
}

async fn measure(lane: Lane) {
    let Some(mut world) = World::new(lane).await else { return };
    world.config = EventsConfig {
        prefetch: 500,
        relay_batch: 1000,
        broker_url: world.config.broker_url.clone(),
        exchange: world.config.exchange.clone(),
        prefix: world.config.prefix.clone(),
        ..EventsConfig::default()
    };
    // Straight to the broker: a proxy would be measured with it.
    if let Some(names) = &world.names {
        world.config.broker_url = Some(names.url.clone().into());
    }
    world.recorder = Recorder::new("recorder", 500);
    world.emit(&things(EVENTS / 100), 0..100).await;
    let started = Instant::now();
    let process = world.process_with(vec![Arc::new(Idle)]);
    until("all are handled", || async {
        world.db.count("select count(*) as n from inbox").await == i64::try_from(EVENTS).unwrap()
            && world.left().await == 0
    })
    .await;
    let elapsed = started.elapsed();
    let rate = f64::from(u32::try_from(EVENTS).unwrap()) / elapsed.as_secs_f64();
    println!(
        "{{\"lane\":\"{}\",\"events\":{EVENTS},\"seconds\":{:.2},\"events_per_second\":{rate:.0},\"optimised\":{}}}",
        lane.as_str(),
        elapsed.as_secs_f64(),
        !cfg!(debug_assertions)
    );
    process.stop().await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn over_the_broker() {
    measure(Lane::Amqp).await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn over_postgres() {
    measure(Lane::Postgres).await;
}
