//! The Postgres lane against a real Postgres.

#![allow(clippy::unwrap_used, clippy::panic)]

mod asked;
mod bloat;
mod cancel;
mod claim;
mod claim_rows;
mod complete;
mod connections;
mod controls;
mod drain_rate;
mod erase;
mod fairness;
mod flows;
mod flows_back;
mod flows_locked;
mod follow;
mod held;
mod helpers;
mod helpers_events;
mod helpers_time;
mod limits;
mod lost;
mod outcomes;
mod overdue;
mod partition;
mod poison;
mod policy;
mod quiet;
mod retries;
mod rig;
mod shutdown;
mod transactions;
mod unique;
mod unique_batches;
mod wake;
