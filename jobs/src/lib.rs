//! Waybill's job platform: the contract of jobs and events, and the two lanes that carry them.
//!
//! * A **job** is work somebody asked for. It is a row in Postgres, written by [`enqueue()`] in the caller's transaction:
//!   committed means queued, rolled back means never.
//! * An **event** is a fact that happened. [`emit()`] writes it to the outbox in the same way; a relay hands it to RabbitMQ
//!   (or, without a broker, to Postgres), where each [`Pipeline`] gets it once in effect.
//!
//! Adding a job: one file in `kinds/` with its struct and [`Job`] impl, two lines in `kinds/mod.rs` that name it, and a handler
//! with one line in the worker's registry; `docs/adding-a-job.md` shows it.

/// The guide, compiled so that it stays true.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../docs/adding-a-job.md")]
pub mod guide {}

pub mod cancel;
pub mod clock;
pub mod context;
pub mod contract;
pub mod control;
pub mod emit;
pub mod enqueue;
pub mod erase;
pub mod events;
pub mod events_lane;
#[cfg(feature = "fail-points")]
pub mod fail_point;
pub mod flows;
pub mod heartbeat;
pub mod kinds;
pub mod logs;
pub mod payload;
pub mod pipeline;
pub mod postgres;
pub mod queues;
pub mod reaper;
pub mod registry;
pub mod runtime;
pub mod scheduled;
pub mod seal;
pub mod status;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
pub mod unique;
mod waiting;

pub use cancel::{Cancelled, cancel};
pub use clock::Clock;
pub use context::JobContext;
pub use contract::{Failure, Finished, Job, JobResult, Outcome, Policy};
pub use emit::{Event, EventEnvelope, emit, emit_all};
pub use enqueue::{
    Enqueue, EnqueueError, RawJob, enqueue, enqueue_all, enqueue_raw, enqueue_with, try_enqueue,
    try_enqueue_all, try_enqueue_raw,
};
pub use flows::{Batch, Workflow};
pub use logs::Level;
pub use pipeline::{Pipeline, PipelineError};
pub use postgres::Notifier;
pub use registry::{Handler, Registry};
pub use scheduled::Scheduled;
pub use unique::{Enqueued, Unique};
