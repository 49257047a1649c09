//! The events' lane: outbox, relay, broker, and the consumers of both lanes.
//!
//! ```text
//!  emit() -> outbox --relay--> exchange --> queue of a pipeline --> consumer --\
//!                        |                                            | failed   one transaction: inbox row + effect
//!                        `-- no broker --> jobs `event.<pipeline>` <--'--------/
//! ```
//!
//! # Order and effect
//!
//! A pipeline gets each event once in effect, and the events of one aggregate in the order of their outbox `seq`. (Two
//! transactions that emit for one aggregate must serialise on it, as writers of its row do; else "before" means nothing.)
//!
//! 1. A shard of the outbox has one relay at a time, which works in `seq` order.
//! 2. A pipeline's queue has a single active consumer at the broker.
//! 3. The job of an event and a pipeline has an id made of the event's `seq` (see `jobs.rs`): jobs of one partition key run in
//!    that order whoever enqueued them, and an event that is parked twice is one job.
//! 4. A consumer parks an event behind the live jobs of its pipeline and aggregate, so it may come back to the broker's
//!    lane at any moment without overtaking (one index probe per aggregate and batch).
//! 5. A relay that turns from the broker to Postgres first hands over, in `seq` order, what it has published and nobody has
//!    handled yet (`switch.rs`), so that later events do not overtake those that are stuck in a broker that is away.
//! 6. What only a newer release reads is kept as a job of its pipeline, by old relays and old consumers alike (`routes.rs`,
//!    `newer.rs`), and holds back what is behind it.
//! 7. The inbox row is written in the transaction of the effect and refuses a second one, on whichever lane it comes.

mod amqp;
mod backlog;
mod broker;
mod choice;
mod config;
mod crowd;
mod dead;
mod drive;
mod effect;
mod feed;
mod hand_back;
mod inbox;
#[cfg(feature = "testing")]
pub(crate) mod inline;
mod item;
mod job_consumer;
mod jobs;
mod lag;
pub mod log;
mod messages;
mod meter;
mod moves;
mod newer;
mod outbox;
mod park;
mod publish;
mod refusals;
mod relay;
pub mod replay;
pub mod republish;
mod routes;
mod run;
mod shards;
mod superfluous;
mod switch;
mod topology;

pub use backlog::{Backlog, PipelineBacklog, ShardBacklog, backlog};
pub use config::{EventsConfig, PipelineSpec};
pub use lag::{PipelineLag, lag};
pub use run::Events;

/// The queue name to hint at ([`crate::postgres::Notifier::hint`]) after a transaction that emitted has committed: the relay
/// then does not wait for its next look at the outbox. Handlers' transactions are hinted at by themselves.
pub const OUTBOX_HINT: &str = "outbox";
