//! The whole of Waybill as a test sees it: real binaries, a database of its own, a gateway of its own, over HTTP.
//!
//! `cargo xtask test` provides the services and builds the binaries with their fail points.

pub mod books;
pub mod broker;
pub mod browser;
pub mod client;
pub mod fake_clock;
pub mod missing;
pub mod process;
pub mod receiver;
pub mod scratch;
pub mod shop;
pub mod system;
pub mod until;

pub use client::Client;
pub use system::{Plan, System};
pub use until::until;
