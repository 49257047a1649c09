//! What people have a right to.

mod dto;
pub mod routes;
