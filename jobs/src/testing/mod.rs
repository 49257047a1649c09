//! For tests of whatever enqueues or runs jobs, emits events or reacts to them: a database per test, running jobs and pipelines in
//! the test's own task, a clock that stands still, and asking what was enqueued and emitted. Everything here panics where a test
//! should fail.
//!
//! Behind the feature `testing`.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use serde::{Deserialize, Serialize};
//! # use waybill_jobs::{Clock, Enqueue, Job, JobContext, JobResult, Outcome, Registry, enqueue, enqueue_with, queues};
//! # use waybill_jobs::testing::{TestDatabase, advance, assert_enqueued, drain, run_inline};
//! # #[derive(Serialize, Deserialize)] struct Greet { name: String }
//! # impl Job for Greet { const KIND: &'static str = "mail.greet"; const QUEUE: &'static str = queues::MAIL; }
//! # #[derive(Serialize, Deserialize)] struct Remind { name: String }
//! # impl Job for Remind { const KIND: &'static str = "mail.remind"; const QUEUE: &'static str = queues::MAIL; }
//! async fn greet(job: Greet, cx: JobContext) -> JobResult {
//!     let in_an_hour = Enqueue { run_at: Some(cx.now() + Duration::from_hours(1)), ..Enqueue::default() };
//!     enqueue_with(&*cx.pool.get().await?, &Remind { name: job.name }, in_an_hour).await?;
//!     Ok(Outcome::done())
//! }
//! # async fn remind(_: Remind, _: JobContext) -> JobResult { Ok(Outcome::done()) }
//!
//! # async fn test() {
//! let db = TestDatabase::create().await;
//! // Fails the test at its end if jobs or events are left that it has not asked about.
//! let _nothing_left = db.nothing_left();
//! let clock = Clock::frozen_at("2099-05-01T12:00:00Z".parse().unwrap());
//! let registry = Registry::new().job(greet).job(remind).with_clock(clock.clone());
//!
//! enqueue(&*db.conn().await, &Greet { name: "Ada".to_owned() }).await.unwrap();
//! assert_eq!(drain(db.pool(), &registry, queues::MAIL).await.len(), 1);
//! assert_enqueued::<Remind>(db.pool(), |job| job.name == "Ada").await;
//!
//! assert_eq!(advance(db.pool(), &clock, Duration::from_mins(59)).await, 0);
//! assert_eq!(advance(db.pool(), &clock, Duration::from_mins(1)).await, 1);
//! assert_eq!(drain(db.pool(), &registry, queues::MAIL).await[0].outcome, "done");
//!
//! // A handler by itself, on a job that is in no queue.
//! assert!(run_inline(db.pool(), &registry, &Remind { name: "Bob".to_owned() }).await.is_ok());
//! # }
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod database;
mod drain;
mod emitted;
mod enqueued;
mod leftovers;
mod mortal;
mod pipelines;
mod proxy;
mod until;

pub use clock::{advance, advance_to};
pub use database::TestDatabase;
pub use drain::{Ran, drain, drain_all, register, run_inline, run_one, serve};
pub use emitted::{assert_emitted, emitted, refute_emitted};
pub use enqueued::{Put, assert_enqueued, enqueued, enqueued_as, refute_enqueued};
pub use leftovers::{NothingLeft, assert_no_leftovers, leftovers};
pub use mortal::Mortal;
pub use pipelines::{Handled, drain_events, envelope, run_pipeline};
pub use proxy::Proxy;
pub use until::{until, until_some};
