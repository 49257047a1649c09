//! Settings of the events' lane.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;

use crate::{contract::Policy, pipeline::Pipeline};

/// A pipeline as the relay knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineSpec {
    /// See [`Pipeline::name`].
    pub name: &'static str,
    /// See [`Pipeline::topics`].
    pub topics: &'static [&'static str],
}

impl PipelineSpec {
    /// The spec of a pipeline.
    pub fn of(pipeline: &dyn Pipeline) -> Self {
        Self { name: pipeline.name(), topics: pipeline.topics() }
    }

    /// The specs of many.
    pub fn of_all(pipelines: &[Arc<dyn Pipeline>]) -> Vec<Self> {
        pipelines.iter().map(|pipeline| Self::of(pipeline.as_ref())).collect()
    }
}

/// How events travel.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// `amqp://` or `amqps://` URL of the broker; without one events ride on Postgres.
    pub broker_url: Option<SecretString>,
    /// The durable topic exchange that events are published to.
    pub exchange: String,
    /// What the names of our queues begin with: `<prefix>.<pipeline>`, and `<prefix>.dead` for what the broker gave up.
    pub prefix: String,
    /// Messages in hand per pipeline; also the largest batch, however much more a pipeline would take.
    pub prefetch: u16,
    /// How long the broker may be away, or refuse to take anything, before the relay turns to Postgres.
    pub down_after: Duration,
    /// Longest queue of a pipeline, in messages; a full one refuses further ones, which then wait in the outbox, and after
    /// `down_after` become jobs. Without a limit the disk of the broker is the limit. A queue keeps the limit it was created
    /// with.
    pub max_length: Option<u32>,
    /// How long a consumer waits for more events after the first of a batch.
    pub linger: Duration,
    /// Parts of a batch that a pipeline handles at a time, 1 to 4; the events of one aggregate share a part.
    pub concurrency: usize,
    /// Whether this process runs a relay.
    pub relay: bool,
    /// Most events that the relay moves together.
    pub relay_batch: i64,
    /// Shortest and longest pause of the relay and of the Postgres consumers when there is nothing to do.
    pub poll: (Duration, Duration),
    /// How a failed event is tried again. `timeout` limits each of a batch's two steps.
    pub policy: Policy,
    /// How long batches in hand may go on after a stop was asked for.
    pub shutdown_deadline: Duration,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            broker_url: None,
            exchange: "waybill.events".to_owned(),
            prefix: "waybill".to_owned(),
            prefetch: 200,
            down_after: Duration::from_secs(3),
            max_length: None,
            linger: Duration::from_millis(20),
            concurrency: 1,
            relay: true,
            relay_batch: 500,
            poll: (Duration::from_millis(20), Duration::from_millis(500)),
            policy: Policy::DEFAULT,
            shutdown_deadline: Duration::from_secs(20),
        }
    }
}
