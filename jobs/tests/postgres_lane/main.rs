//! The Postgres lane against a real Postgres.

#![allow(clippy::unwrap_used, clippy::panic)]

mod claim;
mod complete;
mod connections;
mod drain_rate;
mod helpers;
mod lost;
mod outcomes;
mod partition;
mod policy;
mod rig;
mod shutdown;
mod transactions;
mod wake;
