//! Batches and workflows as their owners see them, and as operators look for them and cancel them.

pub mod admin;
mod dto;
pub mod routes;
