//! Keys for machines.

mod dto;
pub mod routes;
