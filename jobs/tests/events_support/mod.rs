//! What the events' tests share: a database and a broker of a test's own, processes that can be stopped and killed, and a
//! pipeline that records what it did.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod broker;
pub mod process;
pub mod recorder;
pub mod world;

pub use world::{Lane, World};
