//! Waybill's job platform: the contract of jobs and events, and the two lanes that carry them.
//!
//! * A **job** is work somebody asked for. It is a row in Postgres, written by [`enqueue()`] in the caller's transaction:
//!   committed means queued, rolled back means never.
//! * An **event** is a fact that happened. [`emit()`] writes it to the outbox in the same way; a relay hands it to RabbitMQ
//!   (or, without a broker, to Postgres), where each [`Pipeline`] gets it once in effect.
//!
//! Adding a job: one file in `kinds/` with its struct and [`Job`] impl, one line in the worker's registry.

pub mod context;
pub mod contract;
pub mod emit;
pub mod enqueue;
pub mod events;
pub mod events_lane;
pub mod heartbeat;
pub mod kinds;
pub mod pipeline;
pub mod postgres;
pub mod queues;
pub mod reaper;
pub mod registry;
pub mod runtime;
pub mod status;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;

pub use context::JobContext;
pub use contract::{Failure, Finished, Job, JobResult, Outcome, Policy};
pub use emit::{Event, EventEnvelope, emit, emit_all};
pub use enqueue::{Enqueue, EnqueueError, RawJob, enqueue, enqueue_all, enqueue_raw, enqueue_with};
pub use pipeline::{Pipeline, PipelineError};
pub use postgres::Notifier;
pub use registry::{Handler, Registry};
