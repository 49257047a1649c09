//! The job platform as administrators see it.

mod dto;
pub mod routes;
