//! Webhooks from payment gateways.

mod inbound;
pub mod routes;
