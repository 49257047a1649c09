//! For tests of whatever enqueues or runs jobs: a database per test, running jobs in the test's own task, and asking what
//! was enqueued. Everything here panics where a test should fail.
//!
//! Behind the feature `testing`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod database;
mod drain;
mod enqueued;
mod proxy;
mod until;

pub use database::TestDatabase;
pub use drain::{Ran, advance_to, drain, drain_all, register, run_inline, run_one, serve};
pub use enqueued::{
    Put, assert_enqueued, assert_no_leftovers, enqueued, enqueued_as, leftovers, refute_enqueued,
};
pub use proxy::Proxy;
pub use until::{until, until_some};
