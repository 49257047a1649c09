//! Orders: reading, following, and their trail.

pub mod dto;
pub mod find;
pub mod frame;
pub mod hub;
pub mod routes;
mod stream;
mod trail;
mod wait;
