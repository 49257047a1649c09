//! Payments: what is known of an order's money, and what gateways tell of it.
//!
//! A payment only moves forward: every function here is guarded by the statuses that may precede the new one, so a fact
//! that arrives late, twice or out of order changes nothing.

pub mod facts;
pub mod gateway_events;
mod row;

pub use row::{Payment, find_for_event};
