//! Events: the log of those handed on; pipelines, how far each is behind, and giving one events of the past again.

pub mod dto;
pub mod log;
pub mod routes;
