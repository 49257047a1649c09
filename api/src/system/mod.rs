//! The job platform as administrators see it and change it while it runs.

pub mod control;
mod control_dto;
pub mod dead;
pub mod dependencies;
mod dto;
mod queue_dto;
pub mod routes;
mod worker_dto;
pub mod workers;
