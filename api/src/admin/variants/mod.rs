//! Keeping variants.

mod dto;
pub mod routes;
mod write;
