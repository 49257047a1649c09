//! The Postgres lane against a real Postgres.

#![allow(clippy::unwrap_used, clippy::panic)]

mod asked;
mod bloat;
mod cancel;
mod claim;
mod complete;
mod connections;
mod controls;
mod drain_rate;
mod erase;
mod flows;
mod flows_back;
mod follow;
mod front;
mod held;
mod helpers;
mod limits;
mod lost;
mod outcomes;
mod partition;
mod policy;
mod rig;
mod shutdown;
mod transactions;
mod unique;
mod unknown;
mod wake;
