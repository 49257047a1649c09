//! Keeping the category tree.

pub mod dto;
pub mod routes;
