//! Pipelines of events: how far each is behind, and giving one events of the past again.

pub mod dto;
pub mod routes;
