//! Jobs as their owners see them.

pub mod dto;
pub mod routes;
